"""Published results of MutualNet as recipes.

    .in1k     image networks on ImageNet, as the authors' configuration files have them
    .k400     clip networks on Kinetics-400: the settings of the plain network, whose recipe the
              paper is taken to use (not checked); the curves of accuracy over cost are in its card

Source: T. Yang et al., "MutualNet", ECCV 2020, and taoyang1122/MutualNet, apps/*.yml.
Differs: their weight decay leaves out depth-wise kernels and biases; here only norms are left out.
Their colour jitter and lighting noise are not drawn.
"""

from __future__ import annotations

from dataclasses import replace

from marey.choices import (
    AugmentChoice,
    Claim,
    OptimChoice,
    RunChoice,
    ScheduleChoice,
    TaskChoice,
)
from marey.recipe import Origin, Recipe
from marey.recipes.kinetics import EIGHT_GPUS, FROM_SCRATCH, named
from marey.recipes.smoke import POSE, smoke
from marey.recipes.smoke import SMOKE as SMOKE_BASE
from marey.recipes.x3d import MACHINES
from marey.recipes.x3d import SMALL as X3D

PAPER = "MutualNet: Adaptive ConvNet via Mutual Learning from Network Width and Resolution"
REPOSITORY = "taoyang1122/MutualNet README.md"
FIGURES = "taoyang1122/MutualNet README.md, read off the video figures (within 0.1)"
IMAGES = Origin(paper=f"{PAPER}, ECCV 2020", table="query tables of README.md")
CLIPS = Origin(paper="MutualNet, TPAMI, arXiv:2105.07085", table="video figures of README.md")

MOBILE = Recipe(
    augment=AugmentChoice(crop="area", area=(0.25, 1.0)),
    task=TaskChoice(kind="mutual"),
    optim=OptimChoice(lr=0.5, reference_batch=1024, nesterov=True, weight_decay=1e-4),
    schedule=ScheduleChoice(kind="cosine", epochs=250.0),
    run=RunChoice(batch=1024, evaluate_epochs=10),
    views=(1, 1),
)
RESNET = replace(
    MOBILE,
    net={"widths": [0.9, 1.0], "width_range": [0.9, 1.0]},
    augment=AugmentChoice(crop="area", area=(0.08, 1.0)),
    optim=replace(MOBILE.optim, lr=0.2, reference_batch=512),
    schedule=replace(MOBILE.schedule, epochs=120.0),
    run=replace(MOBILE.run, batch=512),
)
KINETICS = replace(
    FROM_SCRATCH, task=TaskChoice(kind="mutual"), run=replace(FROM_SCRATCH.run, precise_bn=0)
)


def top1(value: float, dataset: str, protocol: str, source: str) -> Claim:
    return Claim(dataset=dataset, metric="top1", value=value, protocol=protocol, source=source)


def image(value: float) -> Claim:
    return top1(value, "ImageNet-1k", "centre crop, full width", REPOSITORY)


def clip(value: float) -> Claim:
    return top1(value, "K400", "10x3 views, 256 crop, full width", FIGURES)


PUBLISHED = (
    named(MOBILE, "mutualnet_mobilenet_v1.in1k", IMAGES, image(72.4)),
    named(MOBILE, "mutualnet_mobilenet_v1_w16.in1k", IMAGES, image(77.1)),
    named(MOBILE, "mutualnet_mobilenet_v2.in1k", IMAGES, image(72.9)),
    named(RESNET, "mutualnet_resnet50.in1k", IMAGES, image(78.6)),
    named(
        KINETICS, "mutualnet_slow_r50_8x8.k400", replace(CLIPS, hardware=EIGHT_GPUS), clip(75.55)
    ),
    named(
        KINETICS,
        "mutualnet_slowfast_r50_4x16.k400",
        replace(CLIPS, hardware=EIGHT_GPUS),
        clip(75.7),
    ),
    named(
        replace(X3D, task=TaskChoice(kind="mutual"), run=replace(X3D.run, precise_bn=0)),
        "mutualnet_x3d_m.k400",
        replace(CLIPS, hardware=MACHINES.hardware),
        top1(75.1, "K400", "10x1 views, centre crop of 224 (views not stated)", FIGURES),
    ),
)

SMOKE = (
    smoke(
        "mutualnet.smoke",
        "mutualnet_slow_r50_8x8",
        POSE,
        reached=90.0,
        net={
            "widths": [0.25, 0.5, 0.75, 1.0],
            "width_range": [0.25, 1.0],
            "sizes": [64, 48],
            "frame_counts": [8, 4],
        },
        task=TaskChoice(kind="mutual"),
        schedule=replace(SMOKE_BASE.schedule, epochs=6.0),
        run=RunChoice(batch=8, evaluate_epochs=3),
    ),
)

RECIPES = {recipe.name: recipe for recipe in (*PUBLISHED, *SMOKE)}
