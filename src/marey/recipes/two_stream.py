"""Two-stream fusion on UCF101 as the authors trained it: each stream alone, then what joins them.

    .ucf101_spatial    VGG-16 on single frames, from ImageNet
    .ucf101_temporal   the same on stacks of ten fields of flow
    .ucf101            fusion over space and time between the two, which keep still below it

The first two are networks of one stream (``--net.streams``); ``zoo.join_streams`` makes the start
of the third from their weights, as docs/recipes.md shows. All read flow from ``--data.flow``.
An epoch of the authors passes over the videos several times, of which one clip each is drawn; here
epochs are passes, and their steps are multiplied.

Source: C. Feichtenhofer et al., CVPR 2016, and feichtenhofer/twostreamfusion.
Differs: tested on three crops of the whole frame, without mirror images.
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
from marey.recipes.kinetics import named
from marey.recipes.smoke import ARROW, smoke

PAPER = "Convolutional Two-Stream Network Fusion for Video Action Recognition, CVPR 2016"
ORIGIN = Origin(paper=PAPER, table="feichtenhofer/twostreamfusion", hardware="1 GPU")
SOURCE = "CVPR 2016, tables of the paper (not re-checked)"
IMAGENET = "vgg16-397923af.pth"  # torchvision's
JOINED = "two_stream_conv3d_vgg16_5f.streams.safetensors"  # of zoo.join_streams


def passes(each: int, *rates: tuple[float, int], head: int = 0) -> ScheduleChoice:
    """Rates over epochs of ``each`` passes: (rate as a share of the first, epochs)."""
    places, at = [0.0], 0
    for _, epochs in rates:
        at += epochs * each
        places.append(float(at))
    return ScheduleChoice(
        kind="relative_steps",
        epochs=places[-1],
        steps=tuple(places[:-1]),
        factors=tuple(share for share, _ in rates),
        head_epochs=float(head * each),
    )


BASE = Recipe(
    augment=AugmentChoice(crop="borders"),
    task=TaskChoice(combine="logits"),
    optim=OptimChoice(
        lr=1e-3,
        reference_batch=128,
        momentum=0.9,
        nesterov=False,
        weight_decay=5e-4,
        bias_lr_factor=2.0,
    ),
    run=RunChoice(batch=128, evaluate_epochs=10),
    views=(1, 3),
)
SPATIAL = replace(
    BASE,
    net={"streams": "spatial", "dropout": 0.85},
    schedule=passes(10, (1.0, 3), (0.5, 5), (0.05, 2), (0.005, 2), head=2),
)
TEMPORAL = replace(
    BASE,
    net={"streams": "temporal", "dropout": 0.9},
    optim=replace(BASE.optim, lr=5e-4),
    schedule=passes(100, (1.0, 10), (0.1, 5), (0.01, 1), head=2),
)
FUSION = replace(
    BASE,
    net={"stop": "relu5"},
    optim=replace(BASE.optim, reference_batch=96),
    schedule=passes(10, (1.0, 2), (0.1, 1), (0.01, 1), (0.001, 1)),
    run=replace(BASE.run, batch=96),
    views=(10, 3),
)


def figure(value: float | None, protocol: str) -> Claim:
    """Mean class accuracy in per cent."""
    return Claim(
        dataset="UCF101", metric="mean_class", value=value, protocol=protocol, source=SOURCE
    )


SPLIT, THREE = "25x2 views, whole frames, split 1", "10x2 views, whole frames, mean of 3 splits"
PUBLISHED = (
    named(
        SPATIAL, "two_stream_vgg16.ucf101_spatial", ORIGIN, figure(82.61, SPLIT), weights=IMAGENET
    ),
    named(
        TEMPORAL, "two_stream_vgg16.ucf101_temporal", ORIGIN, figure(86.25, SPLIT), weights=IMAGENET
    ),
    named(FUSION, "two_stream_conv3d_vgg16_5f.ucf101", ORIGIN, figure(92.5, THREE), weights=JOINED),
)

SMOKE = (
    smoke(
        "two_stream.smoke",
        "two_stream_conv3d_r50_5f",
        ARROW,
        reached=95.0,
        net={"block": "basic", "places": ["res4", "logits"], "pool": "3d", "snippet": 4},
        clip={"frames": 4, "sampling": "snippet", "stride": None, "rate": None},
        augment=AugmentChoice(flip=0.0),
    ),
)

RECIPES = {recipe.name: recipe for recipe in (*PUBLISHED, *SMOKE)}
