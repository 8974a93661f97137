"""Published results of S3D and I3D on Inception-V1 as recipes, and a smoke run.

    .k400    inflated ImageNet weights, 64 frames in a row at 25 frames a second, 336 clips a batch
    _flow    the same on optical flow (docs/flow.md); scores of both are averaged afterwards

``weights`` names a file to make: nobody publishes an ImageNet Inception-V1 in one of our layouts,
so fill one by hand, kernels over time as identities. Figures that stand only in the paper were not
checked and are left empty.
Source: S. Xie et al., "Rethinking Spatiotemporal Feature Learning", ECCV 2018, and the authors'
code; figures as kylemin/S3D, README.md quotes them.
Differs: the paper tests on 250 frames at once; ours on clips of the training length, averaged.
"""

from __future__ import annotations

from dataclasses import replace

from marey.choices import AugmentChoice, OptimChoice, RunChoice, ScheduleChoice
from marey.recipe import Origin, Recipe
from marey.recipes.kinetics import accuracy, named
from marey.recipes.smoke import ARROW, smoke

PAPER = "Rethinking Spatiotemporal Feature Learning, ECCV 2018"
README = "kylemin/S3D, README.md"
UNCHECKED = "the paper's figure was not checked and is left empty"
WHOLE = "whole video, 224 centre crop"
K400_VIDEOS = 234_643
BATCH = 336  # 6 clips on each of 56 GPUs

ORIGIN = Origin(paper=PAPER, table="Kinetics-400", hardware="56 GPUs")


def epochs(steps: int) -> float:
    """Passes over Kinetics-400 in so many steps of the batch."""
    return round(steps * BATCH / K400_VIDEOS, 2)


FROM_IMAGENET = Recipe(
    clip={
        "frames": 64,
        "stride": 1,
        "rate": 25.0,
        "jitter": [256, 256],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    },
    augment=AugmentChoice(crop="jitter", flip=0.5),
    optim=OptimChoice(kind="sgd", lr=0.1, momentum=0.9, nesterov=False, weight_decay=1e-7),
    schedule=ScheduleChoice(
        kind="relative_steps",
        epochs=epochs(80_000),
        steps=(0.0, epochs(60_000), epochs(70_000)),
        factors=(1.0, 0.1, 0.01),
    ),
    run=RunChoice(batch=BATCH, evaluate_epochs=10),
    views=(10, 1),
)

STILL = 128 / 255  # a stored flow of zero pixels
FLOW = replace(FROM_IMAGENET, clip={**FROM_IMAGENET.clip, "mean": [STILL] * 2, "std": [STILL] * 2})

K400 = (
    named(
        FROM_IMAGENET, "i3d_inception.k400", ORIGIN, *accuracy(71.1, 89.3, README, protocol=WHOLE)
    ),
    named(FROM_IMAGENET, "s3d.k400", ORIGIN, *accuracy(72.2, 90.6, README, protocol=WHOLE)),
    *(
        named(
            FLOW if "flow" in model else FROM_IMAGENET,
            f"{model}.k400",
            ORIGIN,
            *accuracy(None, None, UNCHECKED, protocol=WHOLE),
        )
        for model in ("i2d_inception", "s3dg", "s3dg_flow", "fast_s3d")
    ),
)

SMOKE = (
    smoke(
        "s3d.smoke",
        "s3dg",
        ARROW,
        reached=95.0,
        net={"width": 16, "depths": None},
        clip={"frames": 16, "stride": 2},
        run={"precise_bn": 40},
    ),
)

RECIPES = {recipe.name: recipe for recipe in (*K400, *SMOKE)}
