"""Suppression of segments beside a compiled one, and the metric at the size of THUMOS14.

    python benchmarks/segments.py

torchvision's compiled NMS sees segments as boxes of height 1, whose overlap is the same number.
Medians over ten turns in one process, taken in turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor
from torchvision.ops import nms

from marey.geometry import segments as ours


def candidates(count: int, duration_s: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Segments like a detector's: many around each of some instances, scores falling off."""
    draw = torch.Generator().manual_seed(seed)
    middles = torch.rand(max(1, count // 50), generator=draw) * duration_s
    middle = middles[torch.randint(len(middles), (count,), generator=draw)]
    middle = middle + torch.randn(count, generator=draw)
    length = 10 ** (torch.rand(count, generator=draw) * 1.5 - 0.3)
    pairs = torch.stack([middle - length / 2, middle + length / 2], dim=1)
    return pairs, torch.rand(count, generator=draw)


def turns(*jobs: Callable[[], object], count: int = 10) -> list[float]:
    """Median milliseconds of each job, taken in turn."""
    spent: list[list[float]] = [[] for _ in jobs]
    for _ in range(count):
        for job, row in zip(jobs, spent, strict=True):
            start = time.perf_counter()
            job()
            row.append(1000 * (time.perf_counter() - start))
    return [median(row) for row in spent]


def suppression(count: int, duration_s: float) -> None:
    """One row: hard NMS of both, then soft and weighted of ours."""
    pairs, scores = candidates(count, duration_s)
    zeros, ones = torch.zeros(count), torch.ones(count)
    boxes = torch.stack([pairs[:, 0], zeros, pairs[:, 1], ones], dim=1)
    mine = ours.hard_nms(pairs, scores, threshold=0.5)
    kept = len(nms(boxes, scores, 0.5))
    hard, compiled, soft, weighted = turns(
        lambda: ours.hard_nms(pairs, scores, threshold=0.5),
        lambda: nms(boxes, scores, 0.5),
        lambda: ours.soft_nms(pairs, scores, most=2000),
        lambda: ours.weighted_nms(pairs, scores, threshold=0.5),
    )
    print(
        f"{count:8} {duration_s:8.0f} {len(mine):6} {kept:6} {hard:8.1f} {compiled:9.1f} "
        f"{hard / compiled:6.2f} {soft:8.1f} {weighted:9.1f}"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("segments  seconds   kept  theirs  hard ms  compiled  ratio  soft ms  weighted ms")
    for count, duration_s in ((1000, 200.0), (10_000, 200.0), (10_000, 1800.0), (10_000, 20.0)):
        suppression(count, duration_s)
