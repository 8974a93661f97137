"""Published results of SlowFast as recipes, and a smoke run.

    .k400              from scratch on Kinetics-400
    .k400_stepwise     the same with steps of the rate; .k400_multigrid with shapes in cycles
    .k600              from scratch on Kinetics-600; its length, twice that of .k400, is not checked
    .ssv2, .charades   from the Kinetics-400 weights named in ``weights``, to be downloaded

Figures that stand only in the paper were not checked and are left empty.
Source: C. Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019; C.-Y. Wu et
al., "A Multigrid Method for Efficiently Training Video Models", CVPR 2020; the authors' configs.
"""

from __future__ import annotations

from dataclasses import replace

from marey.recipe import Origin, Recipe
from marey.recipes.finetuning import (
    CHARADES,
    LEFT_CROP,
    PTV_CHARADES,
    PTV_SSV2,
    SSV2,
    THREE_CROPS,
    mean_precision,
)
from marey.recipes.kinetics import (
    EIGHT_GPUS,
    FROM_SCRATCH,
    PTV,
    STEPWISE,
    ZOO,
    accuracy,
    named,
)
from marey.recipes.smoke import RHYTHM, smoke

PAPER = "SlowFast Networks for Video Recognition, ICCV 2019"
MULTIGRID = "A Multigrid Method for Efficiently Training Video Models, CVPR 2020"
UNCHECKED = "the paper's figure was not checked and is left empty"
K400_WEIGHTS = "SLOWFAST_8x8_R50.pkl"  # of the authors' model zoo
VIEWS = "10x3 views, crop not stated"

KINETICS = Origin(paper=PAPER, table=f"{ZOO}, Kinetics 400 and 600", hardware=EIGHT_GPUS)
PAPER_400 = Origin(paper=PAPER, table="Kinetics-400 in the paper", hardware=EIGHT_GPUS)
PAPER_600 = Origin(paper=PAPER, table="Kinetics-600 in the paper")
GRID_TABLE = Origin(paper=MULTIGRID, table=f"{ZOO}, Multigrid Training", hardware=EIGHT_GPUS)
PTV_TABLE = Origin(paper=PAPER, table=PTV, hardware=EIGHT_GPUS)

TWICE = replace(FROM_SCRATCH, schedule=replace(FROM_SCRATCH.schedule, epochs=392.0))


def multigrid(base: Recipe) -> Recipe:
    """The same recipe trained over the short and the long cycle."""
    return replace(base, schedule=replace(base.schedule, multigrid="both"))


K400 = (
    named(
        FROM_SCRATCH,
        "slowfast_r50_4x16.k400",
        KINETICS,
        *accuracy(75.6, 92.0, ZOO),
        *accuracy(75.34, 91.89, PTV),
    ),
    named(
        FROM_SCRATCH,
        "slowfast_r50_8x8.k400",
        KINETICS,
        *accuracy(77.0, 92.6, ZOO),
        *accuracy(76.94, 92.69, PTV),
    ),
    named(
        STEPWISE,
        "slowfast_r50_8x8.k400_stepwise",
        GRID_TABLE,
        *accuracy(76.8, 92.7, ZOO, protocol=VIEWS),
    ),
    named(
        multigrid(STEPWISE),
        "slowfast_r50_8x8.k400_multigrid",
        GRID_TABLE,
        *accuracy(76.6, 92.7, ZOO, protocol=VIEWS),
    ),
    named(FROM_SCRATCH, "slowfast_r101_full_8x8.k400", PTV_TABLE, *accuracy(77.90, 93.27, PTV)),
    named(FROM_SCRATCH, "slowfast_r101_16x8.k400", PTV_TABLE, *accuracy(78.70, 93.61, PTV)),
)

K400_UNCHECKED = tuple(
    named(FROM_SCRATCH, f"{model}.k400", PAPER_400, *accuracy(None, None, UNCHECKED))
    for model in (
        "slowfast_nl_r50_4x16",
        "slowfast_nl_r50_8x8",
        "slowfast_r101_8x8",
        "slowfast_r101_50_101_8x8",
        "slowfast_nl_r101_16x8",
        "slowfast_nl_r101_16x8_paper",
    )
)

K600 = tuple(
    named(
        TWICE,
        f"{model}.k600",
        PAPER_600,
        *accuracy(None, None, UNCHECKED, dataset="K600"),
    )
    for model in (
        "slowfast_r50_4x16",
        "slowfast_r50_8x8",
        "slowfast_r101_8x8",
        "slowfast_r101_16x8",
        "slowfast_nl_r101_16x8_paper",
    )
)

FINE_TUNED = (
    named(
        SSV2,
        "slowfast_r50_16x8.ssv2",
        GRID_TABLE,
        *accuracy(63.0, 88.5, ZOO, dataset="SSv2", protocol=LEFT_CROP),
        weights=K400_WEIGHTS,
    ),
    named(
        multigrid(SSV2),
        "slowfast_r50_16x8.ssv2_multigrid",
        GRID_TABLE,
        *accuracy(63.5, 88.7, ZOO, dataset="SSv2", protocol=LEFT_CROP),
        weights=K400_WEIGHTS,
    ),
    named(
        PTV_SSV2,
        "slowfast_r50_8x8.ssv2",
        PTV_TABLE,
        *accuracy(61.68, 86.92, PTV, dataset="SSv2", protocol=THREE_CROPS),
        weights=K400_WEIGHTS,
    ),
    named(
        CHARADES,
        "slowfast_r50_16x8.charades",
        GRID_TABLE,
        mean_precision(38.9, ZOO),
        weights=K400_WEIGHTS,
    ),
    named(
        multigrid(CHARADES),
        "slowfast_r50_16x8.charades_multigrid",
        GRID_TABLE,
        mean_precision(38.6, ZOO),
        weights=K400_WEIGHTS,
    ),
    named(
        PTV_CHARADES,
        "slowfast_r50_8x8.charades",
        PTV_TABLE,
        mean_precision(37.24, PTV),
        weights=K400_WEIGHTS,
    ),
)

SMOKE = (
    smoke(
        "slowfast.smoke",
        "slowfast_r50_4x16",
        RHYTHM,
        reached=95.0,
        schedule={"epochs": 12.0},
        net={"alpha": 4, "beta_inverse": 4},
        clip={
            "frames": 32,
            "stride": 1,
            "size": 48,
            "test_size": 48,
            "short_side": 48,
            "jitter": [48, 52],
        },
    ),
)

RECIPES = {recipe.name: recipe for recipe in (*K400, *K400_UNCHECKED, *K600, *FINE_TUNED, *SMOKE)}
