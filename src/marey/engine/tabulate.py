"""The query table of a network that narrows: what each setting costs and reaches.

    1  norm statistics of every setting, from a few batches of training clips
    2  accuracy of every setting over the validation split, each video decoded once
    3  cost, and the time of one clip on this machine
    4  rows that another one beats in cost, time and accuracy alike are dropped

Source: T. Yang et al., "MutualNet", ECCV 2020, Section 3.3.
Differs: the published table knows no time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch

from marey.engine.evaluate import Progress

BATCHES = 9  # of training clips for the statistics of a setting, the published number
REPEATS = 5  # timings of one clip, of which the median is kept


@torch.no_grad()
def tabulate(
    recipe: Any,
    model: Any,
    *,
    settings: Sequence[float] = (),
    batches: int = BATCHES,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> tuple[Any, ...]:
    """Give ``model`` a query table over the recipe's data, and return its rows, cheapest first.

    ``settings`` are by default those of ``model.grid()``. Raises ValueError for a network that
    does not narrow or data that cannot be read.
    """
    if not hasattr(model, "recalibrate"):
        raise ValueError(
            f"{getattr(model, 'variant', type(model).__name__)} has one width; a query table "
            "belongs to a mutualnet_* network (see 'marey models list mutualnet')"
        )
    device = device or torch.device("cpu")
    model.to(device).eval()
    model.set_table([])
    model.width = 1.0
    model.set_table([model.row(s) for s in settings] if settings else model.grid())
    chosen = [row.setting for row in model.config.table]
    place = {"batch": recipe.run.batch, "rank": 0, "world": 1}
    model.recalibrate(
        clips_of(recipe.build_loader("train", model, **place), batches, device), chosen
    )
    reached = accuracies(recipe, model, chosen, progress)
    spec = model.spec
    clip = torch.zeros(1, 3, spec.length, spec.test_size, spec.test_size, device=device)
    for setting, accuracy in zip(chosen, reached, strict=True):
        model.note(setting, accuracy=accuracy, latency_ms=latency(model, clip, setting))
    model.set_table(front(model.config.table))
    return tuple(model.config.table)


def clips_of(loader: Any, batches: int, device: torch.device) -> list[torch.Tensor]:
    """The pixels of the first batches, (B * V, C, T, H, W) each, on the device."""
    found = (batch.rgb for batch in islice(loader.epoch(0), batches))
    return [rgb.flatten(0, 1).to(device) for rgb in found if rgb is not None]


def accuracies(
    recipe: Any, model: Any, settings: Sequence[float], progress: Progress | None = None
) -> list[float]:
    """The task's best figure (0-1) of every setting over the validation split, in one pass."""
    task = recipe.build_task(model)
    loader = recipe.build_loader("val", model, batch=1, rank=0, world=1)
    metrics = [task.metric() for _ in settings]
    started, total, resting = time.perf_counter(), len(loader), model.width
    try:
        for done, batch in enumerate(loader.epoch(0), start=1):
            if batch.rgb is None or not len(batch):
                continue
            for setting, metric in zip(settings, metrics, strict=True):
                model.width = setting
                metric.update(task.scores(model, batch.rgb), batch.target.float())
            if progress is not None:
                left = (time.perf_counter() - started) / done * (total - done)
                progress({"kind": "eval", "done": done, "total": total, "eta_s": left})
    finally:
        model.width = resting
    return [float(metric.result()[task.best]) for metric in metrics]


def latency(model: Any, clip: torch.Tensor, setting: float) -> float:
    """Milliseconds of one clip at a setting, the median of a few passes after a first one."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        model(clip, width=setting)
        if clip.device.type == "cuda":
            torch.cuda.synchronize(clip.device)
        times.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(times[1:]), 3)


def front(rows: Sequence[Any]) -> list[Any]:
    """Rows that no other beats or equals in cost, time and accuracy at once, cheapest first."""

    def beaten(row: Any) -> bool:
        return any(
            other is not row
            and other.gflops <= row.gflops
            and other.latency_ms <= row.latency_ms
            and other.accuracy >= row.accuracy
            for other in rows
        )

    return sorted((row for row in rows if not beaten(row)), key=lambda row: row.gflops)
