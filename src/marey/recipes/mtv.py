"""Published results of MTV as recipes.

    .k400, .k600, .k700   30 epochs from image transformers, one a view, spread over tubelets
    .ssv2                 60 epochs from the Kinetics-400 network
    .epic, .epic_k700     80 epochs of EPIC-Kitchens-100, verbs and nouns, from Kinetics networks

The image start is made by ``marey.zoo.inflate_views`` and saved under the name in ``weights``.
Tests average the logits of views in the authors' code; ours average probabilities.
Source: S. Yan et al., "Multiview Transformers for Video Recognition", CVPR 2022, and
google-research/scenic, projects/mtv (configs and README).
"""

from __future__ import annotations

from dataclasses import replace

from marey.choices import (
    AugmentChoice,
    Claim,
    DataChoice,
    OptimChoice,
    RunChoice,
    ScheduleChoice,
)
from marey.recipe import Origin, Recipe
from marey.recipes.kinetics import accuracy, named
from marey.recipes.smoke import ARROW, smoke

README = "google-research/scenic projects/mtv/README.md"
VIEWS = "4x3 views, 224 crop"
ORIGIN = Origin(
    paper="Multiview Transformers for Video Recognition, CVPR 2022", table="README, results"
)

KINETICS = Recipe(
    augment=AugmentChoice(crop="jitter", flip=0.5, colour=0.8),
    optim=OptimChoice(
        kind="sgd", lr=0.1, reference_batch=64, nesterov=False, weight_decay=0.0, clip_norm=1.0
    ),
    schedule=ScheduleChoice(kind="cosine", epochs=30.0, warmup_epochs=2.5, warmup_start=0.0),
    run=RunChoice(batch=64),
    views=(4, 3),
)
SSV2 = replace(
    KINETICS,
    clip={"frames": 48, "stride": 1},
    augment=AugmentChoice(crop="jitter", flip=0.0, rand_layers=1, rand_magnitude=15, mixup=0.3),
    optim=replace(KINETICS.optim, lr=0.2, reference_batch=256),
    schedule=replace(KINETICS.schedule, epochs=60.0),
    task=replace(KINETICS.task, smoothing=0.2),
    run=RunChoice(batch=256),
)
EPIC = replace(
    SSV2,
    clip={"frames": 64, "stride": 1},
    data=DataChoice(where={"label": "verb+noun"}),
    augment=AugmentChoice(crop="jitter", flip=0.0, rand_layers=3, rand_magnitude=10),
    optim=replace(KINETICS.optim, lr=0.2, reference_batch=128),
    schedule=replace(KINETICS.schedule, epochs=80.0),
    run=RunChoice(batch=128),
    views=(4, 1),
)
B, L = "mtv_b2_s4_ti8", "mtv_l2_b4_s8_ti16"


def _top1(dataset: str, value: float | None) -> tuple[Claim, ...]:
    return accuracy(value, None, README, dataset=dataset, protocol=VIEWS)[:1]


def _actions(value: float) -> tuple[Claim, ...]:
    """Top-1 of verb and noun at once on EPIC-Kitchens-100."""
    claim = Claim(
        dataset="EPIC-Kitchens-100",
        metric="action_top1",
        value=value,
        protocol="4x1 views, 224 crop",
        source=README,
    )
    return (claim,)


_ALL = (
    named(KINETICS, f"{B}.k400", ORIGIN, *_top1("K400", 81.8), weights=f"{B}.in21k.safetensors"),
    named(
        replace(KINETICS, optim=replace(KINETICS.optim, lr=0.2)),
        f"{B}.k600",
        ORIGIN,
        *_top1("K600", 83.8),
        weights=f"{B}.in21k.safetensors",
    ),
    named(
        KINETICS.changed(net={"drop_path": 0.0}),
        f"{B}.k700",
        ORIGIN,
        *_top1("K700", 73.5),
        weights=f"{B}.in21k.safetensors",
    ),
    named(KINETICS, f"{L}.k600", ORIGIN, *_top1("K600", 84.4), weights=f"{L}.in21k.safetensors"),
    named(KINETICS, f"{L}.k700", ORIGIN, *_top1("K700", 75.2), weights=f"{L}.in21k.safetensors"),
    named(SSV2, f"{B}.ssv2", ORIGIN, *_top1("SSv2", None), weights=f"{B}.k400.safetensors"),
    named(EPIC, f"{B}.epic", ORIGIN, *_actions(46.7), weights=f"{B}.k400.safetensors"),
    named(EPIC, f"{B}.epic_k700", ORIGIN, *_actions(48.0), weights=f"{B}.k700.safetensors"),
)
SMALL = {"heads": 2, "depth": 3}
SMOKE = (
    smoke(
        "mtv.smoke",
        B,
        ARROW,
        reached=70.0,
        net={
            "width": None,
            "depths": None,
            "pool": None,
            "frames": 8,
            "crop": 64,
            "views": [
                {**SMALL, "width": 32, "hidden": 64, "tubelet": [4, 8, 8]},
                {**SMALL, "width": 64, "hidden": 128, "tubelet": [2, 8, 8]},
            ],
            "fusion_layers": [1],
            "encoder": {"width": 96, "heads": 4, "hidden": 192, "depth": 2},
            "drop_path": 0.0,
        },
        optim={"lr": 1e-3, "weight_decay": 0.05, "clip_norm": 1.0},
        schedule={"epochs": 20.0, "warmup_epochs": 2.0},
        run={"batch": 16},
    ),
)
RECIPES = {recipe.name: recipe for recipe in (*_ALL, *SMOKE)}
