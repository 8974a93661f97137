"""Published results of TSM as recipes, and a smoke run.

    .k400              uniform sampling, 50 epochs; ``dense`` and ``nl`` windows of 64 frames, 100
    .ssv1, .ssv2       from ImageNet weights, never mirrored
    .ucf101, .hmdb51   from the Kinetics weights named in ``weights``, norms but the first frozen

The rate is for the batch it stands beside and is scaled with it.
Source: J. Lin et al., "TSM", ICCV 2019; mit-han-lab/temporal-shift-module, README.md.
"""

from __future__ import annotations

from dataclasses import replace

from marey.choices import AugmentChoice, Claim, OptimChoice, RunChoice, TaskChoice
from marey.recipe import Origin, Recipe
from marey.recipes.kinetics import EIGHT_GPUS, named
from marey.recipes.smoke import ARROW, smoke
from marey.recipes.tsn import IMAGENET, IMAGENET_101, steps

PAPER = "TSM: Temporal Shift Module for Efficient Video Understanding, ICCV 2019"
README = "mit-han-lab/temporal-shift-module, README.md"
ONE, SIX, THIRTY = "1x1 view, 224 crop", "2x3 views, full resolution", "10x3 views, full resolution"
TABLE = Origin(paper=PAPER, table=README, hardware=EIGHT_GPUS)
K400_WEIGHTS = "TSM_kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e50.pth"


def top1(dataset: str, value: float | None, protocol: str) -> Claim:
    """One figure of the authors' tables; None where they give none."""
    return Claim(dataset=dataset, metric="top1", value=value, protocol=protocol, source=README)


KINETICS = Recipe(
    augment=AugmentChoice(crop="corners"),
    task=TaskChoice(combine="logits"),
    optim=OptimChoice(
        lr=0.02,
        reference_batch=128,
        nesterov=False,
        weight_decay=1e-4,
        clip_norm=20.0,
        bias_lr_factor=2.0,
    ),
    schedule=steps(50.0, 20.0, 40.0),
    run=RunChoice(batch=128, evaluate_epochs=5),
    views=(1, 1),
)
DENSE = replace(KINETICS, schedule=steps(100.0, 40.0, 80.0), views=(10, 3))
SOMETHING = replace(
    KINETICS,
    augment=replace(KINETICS.augment, flip=0.0),
    optim=replace(KINETICS.optim, lr=0.01, reference_batch=64, weight_decay=5e-4),
    run=RunChoice(batch=64, evaluate_epochs=5),
    clip={"test_size": 256},
    views=(2, 3),
)
FINE_TUNED = replace(
    KINETICS,
    net={"dropout": 0.8},
    optim=replace(SOMETHING.optim, lr=1e-3, head_lr_factor=5.0),
    schedule=steps(25.0, 10.0, 20.0),
    run=RunChoice(batch=64, norm="partial", evaluate_epochs=5),
)

PUBLISHED = tuple(
    named(
        base,
        name,
        TABLE,
        top1(dataset, value, protocol),
        weights=IMAGENET_101 if "r101" in name else IMAGENET,
    )
    for base, name, dataset, value, protocol in (
        (KINETICS, "tsm_r50_8f.k400", "K400", 71.2, ONE),
        (KINETICS, "tsm_r50_16f.k400", "K400", 72.6, ONE),
        (DENSE, "tsm_dense_r50_8f.k400", "K400", 74.1, THIRTY),
        (DENSE, "tsm_nl_r50_8f.k400", "K400", 75.6, THIRTY),
        (SOMETHING, "tsm_r50_8f.ssv1", "SSv1", 47.2, SIX),
        (SOMETHING, "tsm_r50_16f.ssv1", "SSv1", 48.4, SIX),
        (SOMETHING, "tsm_r101_8f.ssv1", "SSv1", 48.7, SIX),
        (SOMETHING, "tsm_r50_8f.ssv2", "SSv2", 61.2, SIX),
        (SOMETHING, "tsm_r50_16f.ssv2", "SSv2", 63.1, SIX),
        (SOMETHING, "tsm_r101_8f.ssv2", "SSv2", 63.3, SIX),
    )
)
SMALL = tuple(
    named(
        FINE_TUNED, f"tsm_r50_8f.{tag}", TABLE, top1(tag.upper(), None, ONE), weights=K400_WEIGHTS
    )
    for tag in ("ucf101", "hmdb51")
)

NARROW = {"pool": None, "share": 4, "depths": [2, 2, 2, 2]}  # an eighth of 16 channels is two
SMOKE = (
    smoke("tsm.smoke", "tsm_r18_8f", ARROW, reached=95.0, net=NARROW),
    smoke("tsm_online.smoke", "tsm_online_r18_8f", ARROW, reached=95.0, net={**NARROW, "share": 2}),
)

RECIPES = {recipe.name: recipe for recipe in (*PUBLISHED, *SMALL, *SMOKE)}
