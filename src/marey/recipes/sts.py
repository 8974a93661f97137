"""Published results of STS as recipes, and a smoke run.

    .k400, .k400_100ep   from weights trained on ImageNet, 50 and 100 epochs on Kinetics-400
    .ssv2                the same on Something-Something v2: one frame in each of eight parts

The starting weights are the authors' ImageNet files of the same networks (in their shared folder);
``marey.load`` reads them, and ``marey.zoo.inflate`` starts from a 2-D ResNet instead. SlowOnly on
Something-Something starts from the middle taps (``inflate(..., taps="thirds")``), all others from
the file as it is.
Source: X. Li et al., "In Defense of Image Pre-Training for Spatiotemporal Recognition", ECCV 2022;
the authors' README and configuration files.
Differs: theirs trains in half precision with a fixed loss scale.
"""

from __future__ import annotations

from dataclasses import replace

from marey.choices import AugmentChoice, OptimChoice, RunChoice, ScheduleChoice
from marey.recipe import Origin, Recipe
from marey.recipes.kinetics import THIRTY, accuracy, named
from marey.recipes.smoke import ARROW, smoke

PAPER = "In Defense of Image Pre-Training for Spatiotemporal Recognition, ECCV 2022"
README = "UCSC-VLAA/Image-Pretraining-for-Video README.md"
ORIGIN = Origin(paper=PAPER, table=f"{README}, Kinetics-400", hardware="8 GPUs")
SSV2_ORIGIN = replace(ORIGIN, table=f"{README}, Something-Something V2")

KINETICS = Recipe(
    augment=AugmentChoice(crop="area", flip=0.5),
    optim=OptimChoice(
        kind="sgd",
        lr=0.01,
        momentum=0.9,
        nesterov=False,
        weight_decay=1e-4,
        norm_weight_decay=1e-4,
        clip_norm=40.0,
    ),
    schedule=ScheduleChoice(kind="cosine", epochs=50.0, warmup_epochs=5.0, warmup_start=1e-3),
    run=RunChoice(batch=128, precision="fp16", precise_bn=200, evaluate_epochs=5),
    views=(10, 3),
)
NO_PRECISE = replace(KINETICS, run=replace(KINETICS.run, precise_bn=0))
FASTER = replace(KINETICS, optim=replace(KINETICS.optim, lr=0.02))
SSV2 = replace(
    NO_PRECISE,
    clip={"sampling": "segment", "frames": 8},
    augment=replace(KINETICS.augment, flip=0.0),
    optim=replace(KINETICS.optim, lr=0.1),
    run=replace(NO_PRECISE.run, batch=64),
    views=(1, 3),
)


X3D_S = replace(
    FASTER,
    optim=replace(FASTER.optim, norm_weight_decay=0.0),
    run=replace(KINETICS.run, batch=256),
)


def longer(recipe: Recipe) -> Recipe:
    """The same over 100 epochs."""
    return replace(recipe, schedule=replace(recipe.schedule, epochs=100.0))


def imagenet(name: str) -> str:
    """The file of ImageNet weights, once saved in our format."""
    return f"{name.split('.')[0]}.in1k.safetensors"


def row(recipe: Recipe, name: str, top1: float) -> Recipe:
    """A row of the README, which gives top-1 alone."""
    claims = accuracy(top1, None, README, protocol=THIRTY)[:1]
    return named(recipe, name, ORIGIN, *claims, weights=imagenet(name))


def something(name: str, top1: float, frames: int = 8) -> Recipe:
    """A row of the README for Something-Something v2."""
    claims = accuracy(top1, None, README, dataset="SSv2", protocol="1x3 views, 256 crop")[:1]
    recipe = replace(SSV2, clip={**SSV2.clip, "frames": frames})
    return named(recipe, name, SSV2_ORIGIN, *claims, weights=imagenet(name))


ROWS = (
    row(FASTER, "sts_slow_r50_8x8.k400", 75.7),
    row(KINETICS, "sts_slowfast_r50_4x16.k400", 76.2),
    row(longer(KINETICS), "sts_slowfast_r50_4x16.k400_100ep", 76.9),
    row(KINETICS, "sts_slowfast_r50_8x8.k400", 77.2),
    row(longer(KINETICS), "sts_slowfast_r50_8x8.k400_100ep", 77.9),
    row(NO_PRECISE, "sts_ircsn_r50.k400", 76.8),
    row(longer(NO_PRECISE), "sts_ircsn_r50.k400_100ep", 76.7),
    row(
        replace(KINETICS, run=replace(KINETICS.run, batch=64)),
        "sts_r2plus1d_34.k400",
        76.2,
    ),
    row(X3D_S, "sts_x3d_s.k400", 72.5),
    row(longer(X3D_S), "sts_x3d_s.k400_100ep", 73.9),
    something("sts_x3d_s.ssv2", 58.3),
    something("sts_slow_r50_8x8.ssv2", 62.7),
    something("sts_slowfast_r50_4x16.ssv2", 57.2, frames=32),
    something("sts_ircsn_r50.ssv2", 61.4),
    something("sts_r2plus1d_34.ssv2", 63.0),
)

SMOKE = (smoke("sts.smoke", "sts_slow_r50_8x8", ARROW, reached=90.0),)

RECIPES = {recipe.name: recipe for recipe in (*ROWS, *SMOKE)}
