"""Published results of X3D as recipes, and a smoke run.

    .k400          from scratch on Kinetics-400, thirty views of the larger test crop
    .k400_centre   the same training, ten centre crops of the training size

Batch and rate are those of one machine of 8 GPUs; the published runs used 16 such machines, which
is ``--run.batch 2048`` (1024 for L and XL): the rate follows. Figures that stand only in the paper
were not checked and are left empty.
Source: C. Feichtenhofer, "X3D: Expanding Architectures for Efficient Video Recognition", CVPR 2020;
facebookresearch/SlowFast, configs/Kinetics/X3D_*.yaml and MODEL_ZOO.md.
"""

from __future__ import annotations

from dataclasses import replace

from marey.choices import Claim, RunChoice
from marey.recipe import Origin, Recipe
from marey.recipes.kinetics import FROM_SCRATCH, PTV, ZOO, named
from marey.recipes.smoke import ARROW, smoke

PAPER = "X3D: Expanding Architectures for Efficient Video Recognition, CVPR 2020"
THIRTY = "10x3 views of the test crop"
CENTRE = "10x1 views, centre crop of the training size"
UNCHECKED = "the paper's figure was not checked and is left empty"
MACHINES = Origin(paper=PAPER, table=f"{ZOO}, X3D models", hardware="8 GPUs on each of 16 machines")

SMALL = replace(
    FROM_SCRATCH,
    optim=replace(FROM_SCRATCH.optim, reference_batch=128, weight_decay=5e-5),
    schedule=replace(FROM_SCRATCH.schedule, epochs=300.0, warmup_epochs=35.0),
    run=RunChoice(batch=128, precise_bn=200, evaluate_epochs=10),
)
LARGE = replace(
    SMALL,
    schedule=replace(SMALL.schedule, epochs=256.0),
    run=replace(SMALL.run, batch=64),
)


def top1(value: float | None, source: str, protocol: str = THIRTY) -> Claim:
    """Kinetics-400 top-1 in per cent; None where no figure could be checked."""
    return Claim(dataset="K400", metric="top1", value=value, protocol=protocol, source=source)


def thirty(base: Recipe, model: str, ours: float | None, theirs: tuple[float, float]) -> Recipe:
    """The figures of both model zoos over thirty views."""
    top5 = Claim(dataset="K400", metric="top5", value=theirs[1], protocol=THIRTY, source=PTV)
    return named(base, f"{model}.k400", MACHINES, top1(ours, ZOO), top1(theirs[0], PTV), top5)


def centre(base: Recipe, model: str, value: float, crop: int) -> Recipe:
    """Ten centre crops of the training size, the protocol of the paper's expansion."""
    once = replace(base, views=(10, 1), clip={"test_size": crop})
    return named(once, f"{model}.k400_centre", MACHINES, top1(value, ZOO, CENTRE))


K400 = (
    thirty(SMALL, "x3d_xs", 69.5, (69.12, 88.63)),
    thirty(SMALL, "x3d_s", 73.5, (73.33, 91.27)),
    thirty(SMALL, "x3d_m", 76.2, (75.94, 92.72)),
    thirty(LARGE, "x3d_l", 77.5, (77.44, 93.31)),
    centre(SMALL, "x3d_xs", 68.7, 160),
    centre(SMALL, "x3d_s", 73.1, 160),
    centre(SMALL, "x3d_m", 75.1, 224),
    centre(LARGE, "x3d_l", 76.9, 312),
)

UNCHECKED_K400 = (
    named(
        replace(SMALL, views=(10, 1), clip={"test_size": 112}),
        "x2d.k400",
        MACHINES,
        top1(None, UNCHECKED, CENTRE),
    ),
    named(LARGE, "x3d_xl.k400", MACHINES, top1(None, UNCHECKED)),
)

SMOKE = (
    replace(
        smoke(
            "x3d.smoke",
            "x3d_s",
            ARROW,
            reached=95.0,
            optim={"lr": 4e-3, "clip_norm": 1.0},
            schedule={"epochs": 18.0},
            run={"batch": 16},
            clip={"size": 48, "test_size": 48, "short_side": 48, "jitter": [48, 54]},
        ),
        net={
            "width_factor": 1.0,
            "depth_factor": 1.0,
            "hidden": 64,
            "dropout": 0.1,
            "pool": "global",
        },
    ),
)

RECIPES = {recipe.name: recipe for recipe in (*K400, *UNCHECKED_K400, *SMOKE)}
