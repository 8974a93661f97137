"""Published results of TSN as recipes, and a smoke run.

    .k400            mmaction2 on Kinetics-400; ``dense`` from windows of 64 frames
    .k400_flow       the same on optical flow
    .ssv2            mmaction2 on Something-Something V2
    .ucf101*         tsn-pytorch on UCF101: frames, flow, and differences of frames
    *_caffe          the original solver's settings, iterations counted in epochs of split 1

All start from ImageNet weights of the backbone. Figures for single networks on UCF101 and HMDB51
were not checked and are left empty; with frames, flow and warped flow together the paper gives 94.2
and 69.4, the mean of three splits.
Source: L. Wang et al., "Temporal Segment Networks", ECCV 2016; yjxiong/tsn-pytorch and
temporal-segment-networks; open-mmlab/mmaction2, configs/recognition/tsn.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from marey.choices import (
    AugmentChoice,
    Claim,
    OptimChoice,
    RunChoice,
    ScheduleChoice,
    TaskChoice,
)
from marey.recipe import Origin, Recipe
from marey.recipes.kinetics import EIGHT_GPUS, accuracy, named
from marey.recipes.smoke import POSE, smoke

PAPER = "Temporal Segment Networks, ECCV 2016"
TABLE = "open-mmlab/mmaction2, configs/recognition/tsn/README.md"
PROTOCOL = "25x10 views, 224 crops"
IMAGENET = "resnet50-0676ba61.pth"  # torchvision's first ImageNet weights
IMAGENET_101 = "resnet101-63fe2227.pth"
INCEPTION = "bn_inception-9f5701afb96c8044.pth"  # of yjxiong/tensorflow-model-zoo.torch
UCF101_VIDEOS, HMDB51_VIDEOS = 9_537, 3_570  # training videos of split 1
FLOW_SCALES = (1.0, 0.875, 0.75)

MM = Origin(paper=PAPER, table=TABLE, hardware=EIGHT_GPUS)
AUTHORS = Origin(paper=PAPER, table="yjxiong/tsn-pytorch, README.md", hardware="1 GPU")
CAFFE = Origin(paper=PAPER, table="yjxiong/temporal-segment-networks, models", hardware="4 GPUs")


def steps(epochs: float, *at: float) -> ScheduleChoice:
    """A tenth of the rate at each of ``at``."""
    return ScheduleChoice(kind="steps", epochs=epochs, steps=at, gamma=0.1)


FRAMES = Recipe(
    augment=AugmentChoice(crop="corners"),
    task=TaskChoice(combine="logits"),
    optim=OptimChoice(
        lr=0.01, reference_batch=256, nesterov=False, weight_decay=1e-4, clip_norm=40.0
    ),
    schedule=steps(100.0, 40.0, 80.0),
    run=RunChoice(batch=256, evaluate_epochs=5),
    views=(1, 10),
)
MM_FRAMES = replace(FRAMES, task=TaskChoice())  # mmaction2 averages probabilities of crops
MM_DENSE = replace(MM_FRAMES, optim=replace(FRAMES.optim, lr=0.06), views=(10, 10))
MM_FLOW = replace(
    MM_FRAMES,
    net={"modality": "flow"},
    clip={"mean": [128 / 255, 128 / 255], "std": [128 / 255, 128 / 255]},
    augment=AugmentChoice(crop="area"),
    schedule=steps(110.0, 70.0, 100.0),
)
MM_SSV2 = replace(
    MM_FRAMES,
    augment=replace(FRAMES.augment, flip=0.0),
    optim=replace(FRAMES.optim, clip_norm=20.0),
    schedule=steps(50.0, 20.0, 40.0),
)

# Biases learn twice as fast and are not decayed; every batch norm but the first is frozen.
UCF101 = replace(
    FRAMES,
    net={"dropout": 0.8},
    optim=OptimChoice(
        lr=1e-3,
        reference_batch=128,
        nesterov=False,
        weight_decay=5e-4,
        bias_lr_factor=2.0,
        clip_norm=20.0,
    ),
    schedule=steps(80.0, 30.0, 60.0),
    run=RunChoice(batch=128, norm="partial", evaluate_epochs=5),
)
UCF101_FLOW = replace(
    UCF101,
    net={"dropout": 0.7, "modality": "flow"},
    augment=replace(FRAMES.augment, scales=FLOW_SCALES),
    optim=replace(UCF101.optim, first_lr_factor=5.0),
    schedule=steps(340.0, 190.0, 300.0),
)
UCF101_DIFFERENCE = replace(
    UCF101,
    augment=replace(FRAMES.augment, scales=FLOW_SCALES),
    optim=replace(UCF101.optim, clip_norm=40.0),
    schedule=steps(180.0, 80.0, 160.0),
)


def iterations(base: Recipe, videos: int, total: int, *at: int, **optim: Any) -> Recipe:
    """``base`` with the original solver's steps, counted there in iterations of 128 videos."""
    places = [round(n * 128 / videos, 2) for n in (total, *at)]
    return replace(base, optim=replace(base.optim, **optim), schedule=steps(places[0], *places[1:]))


def unchecked(dataset: str) -> tuple[Claim, ...]:
    """A figure that is not known for certain."""
    why = "not re-checked for one network alone"
    return (Claim(dataset=dataset, metric="mean_class", value=None, protocol=PROTOCOL, source=why),)


K400 = tuple(
    named(
        base,
        f"{model}.k400",
        MM,
        *accuracy(top1, top5, TABLE, protocol=PROTOCOL),
        weights=IMAGENET_101 if "r101" in model else IMAGENET,
    )
    for base, model, top1, top5 in (
        (MM_FRAMES, "tsn_r50_3seg", 72.83, 90.65),
        (MM_FRAMES, "tsn_r50_5seg", 73.80, 91.21),
        (MM_FRAMES, "tsn_r50_8seg", 74.12, 91.34),
        (MM_DENSE, "tsn_dense_r50_5seg", 71.37, 89.67),
        (MM_FRAMES, "tsn_r101_8seg", 75.89, 92.07),
    )
)
K400_FLOW = (
    named(MM_FLOW, "tsn_r50_3seg.k400_flow", MM, *accuracy(None, None, TABLE), weights=IMAGENET),
)
SSV2 = tuple(
    named(
        MM_SSV2,
        f"{model}.ssv2",
        MM,
        *accuracy(top1, top5, TABLE, dataset="SSv2", protocol=PROTOCOL),
        weights=IMAGENET,
    )
    for model, top1, top5 in (("tsn_r50_8seg", 35.51, 67.09), ("tsn_r50_16seg", 36.91, 68.77))
)
SMALL = tuple(
    named(base, name, origin, *unchecked(name.split(".")[1][:6].upper()), weights=INCEPTION)
    for base, name, origin in (
        (UCF101, "tsn_bninception_3seg.ucf101", AUTHORS),
        (UCF101_FLOW, "tsn_bninception_3seg.ucf101_flow", AUTHORS),
        (UCF101_DIFFERENCE, "tsn_bninception_7seg.ucf101", AUTHORS),
        (
            iterations(UCF101, UCF101_VIDEOS, 3500, 1500, 3000, clip_norm=40.0),
            "tsn_bninception_3seg.ucf101_caffe",
            CAFFE,
        ),
        (
            iterations(UCF101_FLOW, UCF101_VIDEOS, 18_000, 10_000, 16_000, lr=5e-3),
            "tsn_bninception_3seg.ucf101_flow_caffe",
            CAFFE,
        ),
        (
            iterations(UCF101, HMDB51_VIDEOS, 2500, 1000, 2000, clip_norm=40.0),
            "tsn_bninception_3seg.hmdb51_caffe",
            CAFFE,
        ),
        (
            iterations(UCF101_FLOW, HMDB51_VIDEOS, 7000, 4000, 6000, lr=5e-3),
            "tsn_bninception_3seg.hmdb51_flow_caffe",
            CAFFE,
        ),
    )
)

SMOKE = (smoke("tsn.smoke", "tsn_r18_8seg", POSE, reached=95.0, net={"pool": None}),)

RECIPES = {recipe.name: recipe for recipe in (*K400, *K400_FLOW, *SSV2, *SMALL, *SMOKE)}
