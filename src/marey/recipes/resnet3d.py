"""Published results of C2D, I3D, Slow and their non-local versions as recipes, and smoke runs.

    .k400              from scratch on Kinetics-400
    .k400_in1k         from ImageNet weights, inflated; no figure is published for these settings
    .ssv2, .charades   from the Kinetics-400 weights named in ``weights``
    *_caffe2.k400      the non-local repository: ImageNet weights, iterations counted in epochs; the
                       long clips start from a short-clip run, batch norm frozen

``weights`` names a file to download, or one to make: ``MODEL.in1k.safetensors`` by inflating an
ImageNet ResNet (docs/recipes.md). The non-local long clips start from weights without non-local
blocks, which a strict load refuses: fill and save those by hand too.
Source: X. Wang et al., "Non-local Neural Networks", CVPR 2018, and facebookresearch/
video-nonlocal-net; C. Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019,
and facebookresearch/SlowFast.
Differs: the non-local repository rescales the momentum buffer when the rate steps.
"""

from __future__ import annotations

from dataclasses import replace

from marey.choices import RunChoice, ScheduleChoice
from marey.recipe import Origin, Recipe
from marey.recipes.finetuning import PTV_CHARADES, PTV_SSV2, THREE_CROPS, mean_precision
from marey.recipes.kinetics import (
    EIGHT_GPUS,
    FROM_IMAGENET,
    FROM_SCRATCH,
    PTV,
    THIRTY,
    ZOO,
    accuracy,
    named,
)
from marey.recipes.smoke import ARROW, POSE, smoke

SLOWFAST = "SlowFast Networks for Video Recognition, ICCV 2019"
NONLOCAL = "Non-local Neural Networks, CVPR 2018"
REPOSITORY = "facebookresearch/video-nonlocal-net, README.md"
NO_FIGURE = "facebookresearch/SlowFast, configs/Kinetics; no figure published"
SLOW_WEIGHTS = "SLOWONLY_8x8_R50.pkl"  # of the authors' model zoo
AFFINE_8X8 = "affine_model_400k.pkl"  # of the repository's pretrained_model.tar.gz
AFFINE_32X2 = "i3d_baseline_32x2_IN_pretrain_400k.pkl"
K400_VIDEOS = 234_643  # in the repository's training list

TABLE = Origin(paper=SLOWFAST, table=f"{ZOO}, Kinetics 400 and 600", hardware=EIGHT_GPUS)
PTV_TABLE = Origin(paper=SLOWFAST, table=PTV, hardware=EIGHT_GPUS)
CONFIG = Origin(paper=NONLOCAL, table=NO_FIGURE, hardware=EIGHT_GPUS)
README = Origin(paper=NONLOCAL, table=REPOSITORY, hardware=EIGHT_GPUS)
FOUR_GPUS = Origin(paper=NONLOCAL, table=REPOSITORY, hardware="4 GPUs (GTX 1080)")


def iterations(total: int, *steps: int, batch: int) -> ScheduleChoice:
    """A tenth of the rate at each of ``steps``, in iterations of ``batch`` clips."""
    epochs = [round(n * batch / K400_VIDEOS, 2) for n in (total, *steps)]
    return ScheduleChoice(
        kind="relative_steps",
        epochs=epochs[0],
        steps=(0.0, *epochs[1:]),
        factors=tuple(round(0.1**i, 6) for i in range(len(epochs))),
    )


SHORT = replace(FROM_IMAGENET, schedule=iterations(400_000, 150_000, 300_000, batch=64))
LONG = replace(
    SHORT,
    optim=replace(SHORT.optim, lr=0.0025, reference_batch=16),
    schedule=iterations(400_000, 150_000, 300_000, batch=16),
    run=RunChoice(batch=16, norm="frozen", evaluate_epochs=5),
)
QUICK = replace(SHORT, schedule=iterations(300_000, 150_000, 250_000, batch=64))
ON_FOUR = replace(
    SHORT,
    optim=replace(SHORT.optim, lr=0.005, reference_batch=32),
    run=replace(SHORT.run, batch=32),
    schedule=iterations(600_000, 300_000, 500_000, batch=32),
)
ON_FOUR_QUICK = replace(
    ON_FOUR,
    net={"dropout": 0.0},
    clip={"jitter": [256, 256]},
    schedule=iterations(300_000, 150_000, 250_000, batch=32),
)


def inflated(name: str) -> str:
    """The file that an ImageNet ResNet is inflated into for the network of a recipe."""
    return f"{name.split('.')[0]}.in1k.safetensors"


def published(base: Recipe, name: str, top1: float, top5: float, weights: str = "") -> Recipe:
    """A row of the non-local repository's tables, from ImageNet unless ``weights`` are named."""
    four = base in (ON_FOUR, ON_FOUR_QUICK)
    claims = accuracy(top1, top5, REPOSITORY, protocol=f"{THIRTY}, fully convolutional")
    return named(
        base, name, FOUR_GPUS if four else README, *claims, weights=weights or inflated(name)
    )


K400 = (
    named(FROM_SCRATCH, "c2d_nopool_r50_8x8.k400", TABLE, *accuracy(67.2, 87.8, ZOO)),
    named(FROM_SCRATCH, "c2d_r50_8x8.k400", PTV_TABLE, *accuracy(71.46, 89.68, PTV)),
    named(
        FROM_SCRATCH,
        "i3d_r50_8x8.k400",
        TABLE,
        *accuracy(73.5, 90.8, ZOO),
        *accuracy(73.27, 90.70, PTV),
    ),
    named(FROM_SCRATCH, "i3d_nl_r50_8x8.k400", TABLE, *accuracy(74.0, 91.1, ZOO)),
    named(
        FROM_SCRATCH,
        "slow_r50_4x16.k400",
        TABLE,
        *accuracy(72.7, 90.3, ZOO),
        *accuracy(72.40, 90.18, PTV),
    ),
    named(
        FROM_SCRATCH,
        "slow_r50_8x8.k400",
        TABLE,
        *accuracy(74.8, 91.6, ZOO),
        *accuracy(74.58, 91.63, PTV),
    ),
)

K400_NO_FIGURE = tuple(
    named(FROM_SCRATCH, f"{model}.k400", CONFIG, *accuracy(None, None, NO_FIGURE))
    for model in (
        "c2d_nl_r50_8x8",
        "i3d_r101_8x8",
        "i3d_nl_r101_8x8",
        "slow_nl_r50_4x16",
        "slow_nl_r50_8x8",
    )
)

IN1K = tuple(
    named(
        FROM_IMAGENET,
        f"{model}.k400_in1k",
        CONFIG,
        *accuracy(None, None, NO_FIGURE),
        weights=inflated(model),
    )
    for model in ("c2d_r50_8x8", "c2d_nl_r50_8x8", "i3d_r50_8x8", "i3d_nl_r50_8x8")
)

FINE_TUNED = (
    named(
        PTV_SSV2,
        "slow_r50_8x8.ssv2",
        PTV_TABLE,
        *accuracy(60.04, 85.19, PTV, dataset="SSv2", protocol=THREE_CROPS),
        weights=SLOW_WEIGHTS,
    ),
    named(
        PTV_CHARADES,
        "slow_r50_8x8.charades",
        PTV_TABLE,
        mean_precision(34.72, PTV),
        weights=SLOW_WEIGHTS,
    ),
)

CAFFE2 = (
    published(SHORT, "c2d_r50_32x2_caffe2.k400", 72.0, 90.0),
    published(SHORT, "c2d_nl_r50_32x2_caffe2.k400", 73.9, 91.0),
    published(SHORT, "i3d_r50_32x2_caffe2.k400", 73.6, 90.8),
    published(SHORT, "i3d_nl_r50_32x2_caffe2.k400", 74.9, 91.6),
    published(LONG, "i3d_r50_128x1_caffe2.k400", 75.2, 92.0, AFFINE_32X2),
    published(LONG, "i3d_nl_r50_128x1_caffe2.k400", 76.5, 92.7, AFFINE_32X2),
    published(SHORT, "c2d_r50_8x8_caffe2.k400", 71.9, 90.0),
    published(SHORT, "c2d_nl_r50_8x8_caffe2.k400", 74.4, 91.4),
    published(SHORT, "i3d_r50_8x8_caffe2.k400", 73.4, 90.9),
    published(SHORT, "i3d_nl_r50_8x8_caffe2.k400", 74.7, 91.6),
    published(LONG, "i3d_r50_32x4_caffe2.k400", 75.5, 92.0, AFFINE_8X8),
    published(LONG, "i3d_nl_r50_32x4_caffe2.k400", 76.5, 92.6, AFFINE_8X8),
    published(QUICK, "i3d_r50_8x8_caffe2.k400_300k", 73.2, 90.8),
    published(ON_FOUR, "i3d_r50_8x8_caffe2.k400_4gpu_600k", 73.0, 90.4),
    published(ON_FOUR_QUICK, "i3d_r50_8x8_caffe2.k400_4gpu_300k", 72.0, 90.1),
)

SMOKE = (
    smoke("c2d.smoke", "c2d_r18_8x8", POSE, reached=90.0),
    smoke("i3d.smoke", "i3d_r18_8x8", ARROW, reached=95.0),
    smoke("slow.smoke", "slow_r18_8x8", ARROW, reached=95.0),
    smoke(
        "nonlocal.smoke",
        "i3d_nl_r50_8x8",
        ARROW,
        reached=90.0,
        net={"width": 8, "nonlocals": [[], [0], [0], []]},
    ),
)

RECIPES = {
    recipe.name: recipe for recipe in (*K400, *K400_NO_FIGURE, *IN1K, *FINE_TUNED, *CAFFE2, *SMOKE)
}
