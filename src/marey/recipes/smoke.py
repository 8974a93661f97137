"""The base of smoke runs: a small version of a network on drawn videos, about two minutes.

Each system's page says what it drew and what it reached; ``studies/smoke.py`` runs them all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from marey.choices import Claim, DataChoice, OptimChoice, RunChoice, ScheduleChoice
from marey.recipe import Origin, Recipe

HARDWARE = "two cores of a laptop-class processor"
ARROW = "drawn:direction?train=320&val=64&test=4&difficulty=0&classes=push,pull,approach,retreat"
RHYTHM = "drawn:rhythm?train=360&val=90&test=9&difficulty=0"
POSE = "drawn:direction?train=320&val=64&test=4&difficulty=0&classes=push,approach,open,sit"
DRESSES = "ball_plain,ball_striped,ball_coat"  # what the figure of a picture wears
DRESS = f"drawn:images?train=480&val=96&test=6&difficulty=0&classes={DRESSES}&layout=imagenet"

SMOKE = Recipe(
    net={"width": 16, "depths": [1, 1, 1, 1], "dropout": 0.1, "pool": "global"},
    clip={
        "frames": 8,
        "stride": 4,
        "rate": 25.0,
        "size": 64,
        "test_size": 64,
        "short_side": 64,
        "jitter": [64, 72],
    },
    data=DataChoice(workers=1),
    optim=OptimChoice(kind="adamw", lr=5e-3, weight_decay=0.05),
    schedule=ScheduleChoice(epochs=16.0, warmup_epochs=1.0, warmup_start=1e-4),
    run=RunChoice(batch=8, evaluate_epochs=4),
    views=(1, 1),
)


def smoke(
    name: str,
    model: str,
    path: str,
    *,
    reached: float | None,
    metric: str = "top1",
    **changes: Any,
) -> Recipe:
    """``SMOKE`` for one network and one drawn data set; ``reached`` is the metric in per cent,
    seen; None where no run was finished yet.

    ``changes`` of ``net`` and ``clip`` are merged into those of ``SMOKE``; None takes a field away.
    """
    for table in ("net", "clip"):
        merged = {**getattr(SMOKE, table), **changes.get(table, {})}
        changes[table] = {field: value for field, value in merged.items() if value is not None}
    claim = Claim(
        dataset=path,
        metric=metric,
        value=reached,
        protocol="1x1 view of the val split, at least",
        source="a run of studies/smoke.py",
    )
    bare = replace(SMOKE, net={}, clip={})
    return replace(
        bare.changed(**changes, data={"path": path}),
        name=name,
        model=model,
        origin=Origin(
            paper="a smoke run, not a published result",
            hardware=HARDWARE,
            command=f"marey train '{path}' --recipe {name}",
        ),
        claims=(claim,),
    )
