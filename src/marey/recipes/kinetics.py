"""The settings the ResNet family was trained with on Kinetics, shared by its recipe pages.

    FROM_SCRATCH    SGD, half a cosine over 196 epochs, warm-up of 34
    STEPWISE        the same by steps over 239 epochs; the base of multigrid
    FROM_IMAGENET   inflated image weights, a tenth of the rate, 118 epochs

A clip is one of 8 on each of 8 GPUs, batch norm per GPU. Claims are percentages, as published.
Source: facebookresearch/SlowFast, configs/Kinetics and MODEL_ZOO.md.
Differs: the published validation during training crops at random; ours takes one centre view.
"""

from __future__ import annotations

from dataclasses import replace

from marey.choices import AugmentChoice, Claim, OptimChoice, RunChoice, ScheduleChoice
from marey.recipe import Origin, Recipe

ZOO = "facebookresearch/SlowFast, MODEL_ZOO.md"
PTV = "facebookresearch/pytorchvideo, model zoo (weights trained there)"
THIRTY = "10x3 views, 256 crops"
EIGHT_GPUS = "8 GPUs"

FROM_SCRATCH = Recipe(
    augment=AugmentChoice(crop="jitter", flip=0.5),
    optim=OptimChoice(
        kind="sgd", lr=0.1, reference_batch=64, momentum=0.9, nesterov=True, weight_decay=1e-4
    ),
    schedule=ScheduleChoice(kind="cosine", epochs=196.0, warmup_epochs=34.0, warmup_start=0.01),
    run=RunChoice(batch=64, precise_bn=200, evaluate_epochs=10),
    views=(10, 3),
)

STEPWISE = replace(
    FROM_SCRATCH,
    schedule=ScheduleChoice(
        kind="relative_steps",
        epochs=239.0,
        warmup_epochs=34.0,
        warmup_start=0.01,
        steps=(0.0, 94.0, 154.0, 196.0),
        factors=(1.0, 0.1, 0.01, 0.001),
    ),
)

FROM_IMAGENET = replace(
    FROM_SCRATCH,
    optim=replace(FROM_SCRATCH.optim, lr=0.01),
    schedule=ScheduleChoice(
        kind="relative_steps",
        epochs=118.0,
        steps=(0.0, 44.0, 88.0, 118.0),
        factors=(1.0, 0.1, 0.01, 0.001),
    ),
)


def accuracy(
    top1: float | None,
    top5: float | None,
    source: str,
    *,
    dataset: str = "K400",
    protocol: str = THIRTY,
) -> tuple[Claim, ...]:
    """Top-1 and top-5 in per cent as two claims; None where no figure could be checked."""
    return tuple(
        Claim(dataset=dataset, metric=metric, value=value, protocol=protocol, source=source)
        for metric, value in (("top1", top1), ("top5", top5))
    )


def named(base: Recipe, name: str, origin: Origin, *claims: Claim, weights: str = "") -> Recipe:
    """``base`` for the network before the dot of ``name``, with its origin, claims and command."""
    from_file = f" --weights {weights}" if weights else ""
    gpus = origin.hardware.split()[0] if origin.hardware else "8"
    command = f"torchrun --nproc-per-node {gpus} -m marey train DATA --recipe {name}{from_file}"
    return replace(
        base,
        name=name,
        model=name.split(".")[0],
        weights=weights,
        origin=replace(origin, command=command),
        claims=claims,
    )
