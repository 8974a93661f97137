"""The settings Kinetics weights were carried to Something-Something V2 and Charades with.

    SSV2, CHARADES           64 frames, steps of the rate, batch of 16 (the authors' own code)
    PTV_SSV2, PTV_CHARADES   8x8 networks, half a cosine, batch of 64 (pytorchvideo)

Source: facebookresearch/SlowFast, configs/SSv2 and configs/Charades.
Differs: published runs share batch statistics among 4 GPUs, ours among all processes; the official
loader of Something-Something takes the left crop for its only view, ours the centre.
"""

from __future__ import annotations

from dataclasses import replace

from marey.choices import Claim, RunChoice, ScheduleChoice, TaskChoice
from marey.recipes.kinetics import FROM_SCRATCH

LEFT_CROP = "1x1 view, 256 crop, the left one"
THREE_CROPS = "1x3 views, 256 crops"

SSV2 = replace(
    FROM_SCRATCH,
    clip={"sampling": "segment"},
    augment=replace(FROM_SCRATCH.augment, flip=0.0, inverse_uniform=True),
    optim=replace(FROM_SCRATCH.optim, lr=0.03, reference_batch=16, weight_decay=1e-6),
    schedule=ScheduleChoice(
        kind="relative_steps",
        epochs=22.0,
        warmup_epochs=0.19,
        warmup_start=1e-4,
        steps=(0.0, 14.0, 18.0),
        factors=(1.0, 0.1, 0.01),
    ),
    run=RunChoice(batch=16, norm="sync", precise_bn=200, evaluate_epochs=2),
    views=(1, 1),
)

CHARADES = replace(
    FROM_SCRATCH,
    clip={"sampling": "stride", "jitter": [256, 340]},
    augment=replace(FROM_SCRATCH.augment, inverse_uniform=True),
    task=TaskChoice(labels="multi", combine="max"),
    optim=replace(FROM_SCRATCH.optim, lr=0.0375, reference_batch=16),
    schedule=ScheduleChoice(
        kind="relative_steps",
        epochs=57.0,
        warmup_epochs=4.0,
        warmup_start=1e-4,
        steps=(0.0, 41.0, 49.0),
        factors=(1.0, 0.1, 0.01),
    ),
    run=RunChoice(batch=16, norm="sync", precise_bn=200, evaluate_epochs=6),
)

PTV_SSV2 = replace(
    SSV2,
    optim=replace(FROM_SCRATCH.optim, lr=0.1),
    schedule=ScheduleChoice(kind="cosine", epochs=30.0, warmup_epochs=3.0, warmup_start=0.08),
    run=RunChoice(batch=64, precise_bn=150, evaluate_epochs=2),
    views=(1, 3),
)

PTV_CHARADES = replace(
    CHARADES,
    clip={},
    optim=replace(FROM_SCRATCH.optim, lr=0.25),
    schedule=ScheduleChoice(
        kind="cosine", epochs=60.0, warmup_epochs=5.0, warmup_start=1e-4, end=1e-6
    ),
    run=RunChoice(batch=64, evaluate_epochs=6),
)


def mean_precision(value: float | None, source: str) -> Claim:
    """Charades mAP in per cent, by the rule the authors' code measures with."""
    return Claim(
        dataset="Charades",
        metric="mAP_slowfast",
        value=value,
        protocol="10x3 views, largest score",
        source=source,
    )
