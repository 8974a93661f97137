"""Score every video of a split once, over all its views, and measure the scores.

    loader      each process reads its own part; a video is decoded once for all its views
    scores      the task turns views (B, V, C, T, H, W) into one row of probabilities a video
    gathering   rows of all processes, ordered as the items are: the figures do not depend on how
                many processes there were

Files that cannot be read are skipped, named and counted; nothing takes their place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from marey.config import write_json, write_whole
from marey.engine.distributed import gather_objects, gather_rows
from marey.tasks.task import Task
from marey.types import Batch, Failure

Progress = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found. ``clips``: one row a video, as predictions.json has them."""

    metrics: dict[str, float]
    clips: list[dict[str, Any]]
    confusion: np.ndarray | None
    classes: tuple[str, ...]
    skipped: list[Failure] = field(default_factory=list)
    clamped: int = 0
    per_class: list[float | None] = field(default_factory=list)
    model: str = ""
    split: str = ""
    views: tuple[int, int] = (1, 1)
    seconds: float = 0.0


@dataclass
class _Rows:
    """One process's share: ``scores`` and ``target`` (n, K), ``index`` (n,)."""

    scores: Tensor
    target: Tensor
    index: Tensor
    keys: dict[int, str]
    failures: list[Failure]
    clamped: int


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Mixed precision for ``run.precision``; half precision on a CPU is bf16."""
    if precision == "float32":
        return torch.autocast(device.type, enabled=False)
    half = torch.float16 if precision == "fp16" and device.type == "cuda" else torch.bfloat16
    return torch.autocast(device.type, dtype=half)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    task: Task,
    loader: Any,
    *,
    device: torch.device,
    precision: str = "float32",
    split: str = "val",
    progress: Progress | None = None,
) -> Evaluation:
    """Figures, rows and skipped files of everything ``loader`` reads, on every process alike.

    The model comes back in the mode it was in. Raises ValueError when no video could be read.
    """
    started = time.perf_counter()
    world = int(loader.order.world)  # among how many processes the videos are dealt out
    mode = model.training
    model.to(device).eval()
    try:
        with autocast(device, precision):
            rows = _score(model, task, loader, progress)
    finally:
        model.train(mode)
    rows = _gather(rows, world, device)
    if not len(rows.index):
        raise ValueError(f"no video of {split!r} could be scored: {_reasons(rows.failures)}")
    metric = task.metric()
    metric.update(rows.scores, rows.target)
    classes = getattr(model, "classes", None) or [str(k) for k in range(rows.scores.shape[1])]
    items, told = getattr(loader.dataset, "items", None), getattr(metric, "describe", None)
    return Evaluation(
        metrics=metric.result(),
        clips=told(items) if told else _describe(rows, items),
        confusion=metric.confusion(),
        classes=tuple(classes),
        skipped=rows.failures,
        clamped=rows.clamped,
        per_class=metric.per_class(),
        model=str(getattr(model, "variant", type(model).__name__)),
        split=split,
        views=tuple(getattr(loader.dataset, "views", None) or (1, 1)),
        seconds=time.perf_counter() - started,
    )


def _score(model: nn.Module, task: Task, loader: Any, progress: Progress | None) -> _Rows:
    """This process's rows, in the loader's order."""
    scores, target, index = [], [], []
    rows = _Rows(torch.empty(0), torch.empty(0), torch.empty(0), {}, [], 0)
    started, total = time.perf_counter(), len(loader)
    batches: Iterable[Batch] = loader.epoch(0)
    for done, batch in enumerate(batches, start=1):
        rows.failures += batch.failures
        rows.clamped += batch.clamped
        if batch.clips and len(batch):
            assert isinstance(batch.target, Tensor), "one label set"
            whole = getattr(task, "batch_scores", None)
            scores.append(whole(model, batch) if whole else task.scores(model, *batch.clips))
            target.append(batch.target.float())
            index.append(batch.index)
            rows.keys.update(zip(batch.index.tolist(), batch.keys, strict=True))
        if progress is not None:
            left = (time.perf_counter() - started) / done * max(0, total - done)
            progress({"kind": "eval", "done": done, "total": total, "eta_s": left})
    if scores:
        rows.scores, rows.target, rows.index = map(torch.cat, (scores, target, index))
    return rows


def _gather(rows: _Rows, world: int, device: torch.device) -> _Rows:
    """Rows of all processes by rising index, each video exactly once."""
    widths = rows.scores.shape[1:].numel(), rows.target.shape[1:].numel()
    beside = gather_objects((rows.keys, rows.failures, rows.clamped, widths), world)
    empty = not len(rows.index)
    widest = [max(part[3][k] for part in beside) for k in (0, 1)]
    scores = torch.empty(0, widest[0]) if empty else rows.scores
    target = torch.empty(0, widest[1]) if empty else rows.target
    index = torch.empty(0, dtype=torch.int64) if empty else rows.index
    scores, target, index = (gather_rows(part, world, device) for part in (scores, target, index))
    order = index.argsort()
    index = index[order]
    assert len(index.unique()) == len(index), "a video was scored twice"
    keys = {number: key for share, *_ in beside for number, key in share.items()}
    failures = {failure.source: failure for _, found, *_ in beside for failure in found}
    clamped = sum(part[2] for part in beside)
    ordered = [failures[source] for source in sorted(failures)]
    return _Rows(scores[order], target[order], index, keys, ordered, clamped)


def _reasons(failures: list[Failure]) -> str:
    """The first few failures in one line."""
    if not failures:
        return "it has none"
    shown = "; ".join(f"{f.source}: {f.reason}" for f in failures[:5])
    return shown + (f"; and {len(failures) - 5} more" if len(failures) > 5 else "")


def _describe(rows: _Rows, items: Any) -> list[dict[str, Any]]:
    """One plain row a video; file and times come from the item table where there is one."""
    clips = []
    for number, scores, target in zip(
        rows.index.tolist(), rows.scores.double().numpy(), rows.target.numpy(), strict=True
    ):
        item = items[number] if items is not None else None
        clips.append(
            {
                "key": rows.keys[number],
                "video": item.video if item else rows.keys[number],
                "start_s": item.start_s if item else None,
                "end_s": item.end_s if item else None,
                "target": [int(k) for k in np.flatnonzero(target > 0.5)],
                "scores": [round(float(s), 5) for s in scores],
            }
        )
    return clips


def write_evaluation(run: Path, evaluation: Evaluation) -> Path:
    """Write metrics.json and predictions.json into a run folder; returns the former."""
    import json

    run.mkdir(parents=True, exist_ok=True)
    lines = ",\n ".join(json.dumps(clip, ensure_ascii=False) for clip in evaluation.clips)
    write_whole(run / "predictions.json", f"[\n {lines}\n]\n")
    table = evaluation.confusion
    return write_json(
        run / "metrics.json",
        {
            "model": evaluation.model,
            "split": evaluation.split,
            "views": list(evaluation.views),
            "metrics": evaluation.metrics,
            "classes": list(evaluation.classes),
            "confusion": [] if table is None else table.tolist(),
            "per_class": dict(zip(evaluation.classes, evaluation.per_class, strict=True)),
            "clips": len(evaluation.clips),
            "clamped": evaluation.clamped,
            "skipped": evaluation.skipped,
            "seconds": round(evaluation.seconds, 3),
        },
    )
