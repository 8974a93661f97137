"""Published results of STM as recipes, and a smoke run.

    .k400, .ssv1, .ssv2, .jester   from ImageNet weights
    .ucf101, .hmdb51               from STM trained on Kinetics-400, which nobody released

Only figures that a public listing confirms are given. Weight decay, dropout and the absence of
mirroring on directional labels are TSN's customs; the paper's text does not settle them.
Source: B. Jiang et al., "STM", ICCV 2019, Section 4.
Differs: the published test draws ten clips at random, ours spreads them evenly.
"""

from __future__ import annotations

from dataclasses import replace

from marey.choices import AugmentChoice, Claim, OptimChoice, RunChoice, TaskChoice
from marey.recipe import Origin, Recipe
from marey.recipes.kinetics import EIGHT_GPUS, named
from marey.recipes.smoke import ARROW, smoke
from marey.recipes.tsn import IMAGENET, steps

PAPER = "STM: SpatioTemporal and Motion Encoding for Action Recognition, ICCV 2019"
VIEWS = "10x3 views, 256 crop resized to 224"
TABLE = Origin(paper=PAPER, table="the paper's tables", hardware=EIGHT_GPUS)
K400_WEIGHTS = "stm_r50_16f.k400.safetensors"  # to be trained first

KINETICS = Recipe(
    augment=AugmentChoice(crop="corners"),
    task=TaskChoice(),
    optim=OptimChoice(lr=0.01, reference_batch=64, nesterov=False, weight_decay=5e-4),
    schedule=steps(50.0, 30.0, 40.0, 45.0),
    run=RunChoice(batch=64, evaluate_epochs=5),
    views=(10, 3),
)
DIRECTED = replace(KINETICS, augment=replace(KINETICS.augment, flip=0.0))
FINE_TUNED = replace(
    KINETICS,
    net={"dropout": 0.8},
    optim=replace(KINETICS.optim, lr=1e-3),
    schedule=steps(25.0, 15.0),
)


def top1(dataset: str, value: float | None) -> Claim:
    """One figure of the paper; None where no public listing confirms it."""
    return Claim(dataset=dataset, metric="top1", value=value, protocol=VIEWS, source=PAPER)


PUBLISHED = tuple(
    named(base, name, TABLE, top1(dataset, value), weights=IMAGENET)
    for base, name, dataset, value in (
        (KINETICS, "stm_r50_16f.k400", "K400", 73.7),
        (DIRECTED, "stm_r50_8f.ssv1", "SSv1", None),
        (DIRECTED, "stm_r50_16f.ssv1", "SSv1", 50.7),
        (DIRECTED, "stm_r50_8f.ssv2", "SSv2", None),
        (DIRECTED, "stm_r50_16f.ssv2", "SSv2", 64.2),
        (DIRECTED, "stm_r50_8f.jester", "Jester", None),
        (DIRECTED, "stm_r50_16f.jester", "Jester", 96.7),
    )
)
SMALL = tuple(
    named(FINE_TUNED, f"stm_r50_16f.{tag}", TABLE, top1(tag.upper(), value), weights=K400_WEIGHTS)
    for tag, value in (("ucf101", 96.2), ("hmdb51", 72.2))
)

SMOKE = (smoke("stm.smoke", "stm_r50_8f", ARROW, reached=95.0, net={"pool": None}),)

RECIPES = {recipe.name: recipe for recipe in (*PUBLISHED, *SMALL, *SMOKE)}
