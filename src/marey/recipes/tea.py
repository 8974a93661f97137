"""Published results of TEA as recipes, and a smoke run.

    .ssv1, .ssv2       the authors' script, from ImageNet weights of Res2Net-50 (26 wide, 4 parts)
    .k400              the same with mirroring; the paper's settings, not checked
    .ucf101, .hmdb51   from TEA trained on Kinetics-400, which nobody released; norms but the first
                       frozen

The paper's figures were not checked and are left empty.
Source: Y. Li et al., "TEA", CVPR 2020; Phoenix1327/tea-action-recognition, scripts.
Differs: the published test draws ten clips at random, ours spreads them evenly.
"""

from __future__ import annotations

from dataclasses import replace

from marey.choices import AugmentChoice, Claim, OptimChoice, RunChoice, TaskChoice
from marey.recipe import Origin, Recipe
from marey.recipes.kinetics import EIGHT_GPUS, named
from marey.recipes.smoke import ARROW, smoke
from marey.recipes.tsn import steps

PAPER = "TEA: Temporal Excitation and Aggregation for Action Recognition, CVPR 2020"
CODE = "Phoenix1327/tea-action-recognition"
TABLE = Origin(paper=PAPER, table=f"{CODE}, scripts", hardware=EIGHT_GPUS)
RES2NET = "res2net50_26w_4s-06e79181.pth"  # of the authors of Res2Net
K400_WEIGHTS = "tea_r50_16f.k400.safetensors"  # to be trained first
ONE, THIRTY = "1x1 view, 224 crop", "10x3 views, 256 crop"

SOMETHING = Recipe(
    augment=AugmentChoice(crop="corners", flip=0.0),
    task=TaskChoice(combine="logits"),
    optim=OptimChoice(
        lr=0.02,
        reference_batch=64,
        nesterov=False,
        weight_decay=5e-4,
        clip_norm=20.0,
        bias_lr_factor=2.0,
        head_lr_factor=5.0,
    ),
    schedule=steps(50.0, 30.0, 40.0, 45.0),
    run=RunChoice(batch=64, evaluate_epochs=5),
    clip={"test_size": 224},
    views=(1, 1),
)
KINETICS = replace(
    SOMETHING, augment=AugmentChoice(crop="corners"), clip={"test_size": 256}, views=(10, 3)
)
FINE_TUNED = replace(
    KINETICS,
    net={"dropout": 0.8},
    optim=replace(SOMETHING.optim, lr=1e-3),
    schedule=steps(25.0, 10.0, 20.0),
    run=RunChoice(batch=64, norm="partial", evaluate_epochs=5),
)


def top1(dataset: str, value: float | None, protocol: str, source: str = PAPER) -> Claim:
    return Claim(dataset=dataset, metric="top1", value=value, protocol=protocol, source=source)


A_USER = top1("SSv1", 48.82, ONE, f"{CODE}, issue 2, a user's run")
PUBLISHED = (
    named(SOMETHING, "tea_r50_8f.ssv1", TABLE, A_USER, weights=RES2NET),
    *(
        named(base, name, TABLE, top1(dataset, None, protocol), weights=RES2NET)
        for base, name, dataset, protocol in (
            (SOMETHING, "tea_r50_16f.ssv1", "SSv1", ONE),
            (SOMETHING, "tea_r50_8f.ssv2", "SSv2", ONE),
            (SOMETHING, "tea_r50_16f.ssv2", "SSv2", ONE),
            (KINETICS, "tea_r50_8f.k400", "K400", THIRTY),
            (KINETICS, "tea_r50_16f.k400", "K400", THIRTY),
        )
    ),
)
SMALL = tuple(
    named(
        FINE_TUNED,
        f"tea_r50_16f.{tag}",
        TABLE,
        top1(tag.upper(), None, THIRTY),
        weights=K400_WEIGHTS,
    )
    for tag in ("ucf101", "hmdb51")
)

SMOKE = (smoke("tea.smoke", "tea_r50_8f", ARROW, reached=95.0, net={"pool": None}),)

RECIPES = {recipe.name: recipe for recipe in (*PUBLISHED, *SMALL, *SMOKE)}
