"""Several networks as one: the scores of evaluations that are already written, averaged.

How two-stream networks are tested: one looks at frames, one at optical flow, and what counts is the
mean of their class scores. Each is evaluated on its own, with its own input and views; here the
stored scores of the same videos meet, so nothing is computed again.

Source: K. Simonyan, A. Zisserman, "Two-Stream Convolutional Networks", NIPS 2014, Section 5 (fusion
by averaging).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from marey.engine.evaluate import Evaluation
from marey.tasks.classification import ClassificationMetric
from marey.types import Failure


def read_evaluation(folder: str | Path) -> Evaluation:
    """What ``write_evaluation`` wrote into a folder: metrics.json and predictions.json.

    Raises ValueError for a folder without them, for files that are broken, and for predictions that
    are no class scores.
    """
    told, clips = (_json(Path(folder), name) for name in ("metrics.json", "predictions.json"))
    try:
        classes = tuple(str(name) for name in told["classes"])
        for clip in clips:
            if len(clip["scores"]) != len(classes):
                raise ValueError(f"{clip['key']} has {len(clip['scores'])} scores")
        table = np.array(told["confusion"]) if told["confusion"] else None
        return Evaluation(
            metrics=told["metrics"],
            clips=clips,
            confusion=table,
            classes=classes,
            skipped=[Failure(**failure) for failure in told["skipped"]],
            clamped=told["clamped"],
            per_class=list(told["per_class"].values()),
            model=told["model"],
            split=told["split"],
            views=tuple(told["views"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{folder} holds no class scores of videos ({type(error).__name__} {error}); name a "
            f"folder that 'marey evaluate --out' wrote, or a run"
        ) from None


def fuse(parts: Sequence[Evaluation], shares: Sequence[float] = ()) -> Evaluation:
    """One evaluation whose scores are the mean of the parts', weighed by ``shares``.

    Shares need not add up to one; none given: all alike. Raises ValueError unless there are two
    parts or more, of the same videos with the same labels and classes, with a positive share each.
    """
    if len(parts) < 2:
        raise ValueError(f"{len(parts)} evaluation to fuse; name two or more")
    weights = np.array(shares or [1.0] * len(parts), np.float64)
    if len(weights) != len(parts) or not (weights > 0).all():
        raise ValueError(f"shares is {tuple(shares)}; give one above 0 for each of {len(parts)}")
    tables = [{clip["key"]: clip for clip in part.clips} for part in parts]
    for part, table in zip(parts[1:], tables[1:], strict=True):
        _check_alike(parts[0], part, tables[0], table)
    keys = list(tables[0])
    every = np.array([[table[key]["scores"] for key in keys] for table in tables])  # (P, N, K)
    scores = np.average(every, axis=0, weights=weights)
    target = np.zeros_like(scores)
    for row, key in enumerate(keys):
        target[row, tables[0][key]["target"]] = 1
    if not {"top1", "mAP"} & set(parts[0].metrics):
        told = ", ".join(parts[0].metrics)
        raise ValueError(f"scores measured by {told} cannot be fused; only those of one label set")
    metric = ClassificationMetric(multi="mAP" in parts[0].metrics)
    metric.update(torch.from_numpy(scores), torch.from_numpy(target))
    failures = {failure.source: failure for part in parts for failure in part.skipped}
    rows = zip(keys, scores, strict=True)
    return Evaluation(
        metrics=metric.result(),
        clips=[
            {**tables[0][key], "scores": [round(float(value), 5) for value in row]}
            for key, row in rows
        ],
        confusion=metric.confusion(),
        classes=parts[0].classes,
        skipped=[failures[source] for source in sorted(failures)],
        clamped=max(part.clamped for part in parts),
        per_class=metric.per_class(),
        model=" + ".join(part.model for part in parts),
        split=parts[0].split,
        views=parts[0].views,
    )


def _check_alike(
    first: Evaluation, other: Evaluation, ours: Mapping[str, Any], theirs: Mapping[str, Any]
) -> None:
    """Raises ValueError where two evaluations are not of the same videos."""
    if first.classes != other.classes:
        raise ValueError(
            f"{first.model} and {other.model} tell other classes apart: "
            f"{len(first.classes)} ({first.classes[0]} first) and {len(other.classes)} "
            f"({other.classes[0]} first)"
        )
    apart = sorted(set(ours) ^ set(theirs))
    if apart:
        raise ValueError(
            f"{first.model} and {other.model} were not evaluated on the same videos: "
            f"{len(apart)} are in one only ({apart[0]} first); evaluate both on the same split"
        )
    for key, clip in ours.items():
        if clip["target"] != theirs[key]["target"]:
            raise ValueError(f"{key} has other labels in the two evaluations; use the same data")


def _json(folder: Path, name: str) -> Any:
    path = folder / name
    if not path.is_file():
        raise ValueError(
            f"{folder} has no {name}; name a folder that 'marey evaluate --out' wrote, or a run"
        )
    try:
        return json.loads(path.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is broken: {str(error).splitlines()[0]}") from None
