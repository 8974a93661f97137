"""Published results of MViT as recipes.

    .k400, .k600, .k700   AdamW for 200 epochs, two clips of each video in a batch, mixed clips
    .ssv2                 SGD from Kinetics weights, named in ``weights``
    .in1k                 AdamW for 300 epochs on pictures of 224 pixels

Weights named ``VARIANT.k400.safetensors`` are those of a run of the Kinetics recipe. The published
large networks started from ImageNet-21k, then mvitv2_l_16x4: give those as ``--weights``.
Source: H. Fan et al., "Multiscale Vision Transformers", ICCV 2021; Y. Li et al., "MViTv2", CVPR
2022; facebookresearch/SlowFast configs/Kinetics, SSv2, ImageNet; facebookresearch/mvit.
Differs: learning rates start and end at the published value whatever the batch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from marey.choices import AugmentChoice, Claim, OptimChoice, RunChoice, ScheduleChoice, TaskChoice
from marey.recipe import Origin, Recipe
from marey.recipes.kinetics import ZOO, accuracy, named
from marey.recipes.smoke import ARROW, DRESS, smoke

V1 = Origin(paper="Multiscale Vision Transformers, ICCV 2021", table="Tables 3 to 5 and 9")
V2 = Origin(paper="MViTv2, CVPR 2022", table="Tables 6 to 9")
REVERSED = Origin(paper="Reversible Vision Transformers, CVPR 2022", table=ZOO)

KINETICS = Recipe(
    augment=AugmentChoice(
        crop="area",
        flip=0.5,
        rand_layers=4,
        rand_magnitude=7,
        erasing=0.25,
        repeats=2,
        mixup=0.8,
        cutmix=1.0,
    ),
    task=TaskChoice(smoothing=0.1),
    optim=OptimChoice(kind="adamw", lr=1e-4, reference_batch=32, weight_decay=0.05, clip_norm=1.0),
    schedule=ScheduleChoice(
        kind="cosine",
        epochs=200.0,
        warmup_epochs=30.0,
        warmup_start=1e-6,
        end=1e-6,
        cosine_after_warmup=True,
    ),
    run=RunChoice(batch=512, evaluate_epochs=10),
    views=(5, 1),
)
LARGE = replace(
    KINETICS,
    augment=replace(KINETICS.augment, mixup=0.0, cutmix=0.0),
    optim=replace(KINETICS.optim, lr=1.6e-5, reference_batch=128, weight_decay=1e-8),
    schedule=replace(KINETICS.schedule, epochs=30.0, warmup_epochs=0.0),
    run=RunChoice(batch=128, evaluate_epochs=5, checkpointing=True),
    views=(5, 3),
)
SSV2 = replace(
    KINETICS,
    net={"drop_path": 0.4},
    clip={"sampling": "segment"},
    augment=replace(KINETICS.augment, flip=0.0, repeats=1),
    optim=OptimChoice(
        kind="sgd",
        lr=0.0025,
        reference_batch=16,
        nesterov=True,
        weight_decay=1e-4,
        clip_norm=1.0,
    ),
    schedule=replace(KINETICS.schedule, epochs=100.0, warmup_epochs=3.0, warmup_start=1e-4),
    run=RunChoice(batch=64, evaluate_epochs=5),
    views=(1, 3),
)
SSV2_LARGE = replace(
    SSV2,
    net={"drop_path": 0.75},
    augment=replace(SSV2.augment, mixup=0.0, cutmix=0.0),
    optim=replace(SSV2.optim, lr=0.00125, reference_batch=8, clip_norm=2.0),
    schedule=replace(SSV2.schedule, epochs=40.0),
)
IMAGES = replace(
    KINETICS,
    augment=replace(KINETICS.augment, rand_layers=6, rand_magnitude=9, repeats=1),
    optim=replace(KINETICS.optim, lr=2.5e-4, reference_batch=256),
    schedule=replace(
        KINETICS.schedule, epochs=300.0, warmup_epochs=70.0, warmup_start=1e-8, end=1e-6
    ),
    run=RunChoice(batch=2048, evaluate_epochs=10),
    views=(1, 1),
)
IMAGES_LARGE = replace(IMAGES, optim=replace(IMAGES.optim, weight_decay=0.1))
IMAGES_V1 = replace(
    IMAGES,
    optim=replace(IMAGES.optim, lr=5e-4, reference_batch=512),
    augment=replace(IMAGES.augment, repeats=3),
    schedule=replace(IMAGES.schedule, epochs=100.0, warmup_epochs=20.0),
    run=RunChoice(batch=4096, evaluate_epochs=10),
)
REVERSIBLE = replace(
    KINETICS,
    optim=replace(KINETICS.optim, weight_decay=0.07),
    schedule=replace(KINETICS.schedule, warmup_epochs=50.0),
)
TORCHVISION = "mvit_v2_s-ae3be167.pth"  # Kinetics-400


def clips(top1: float, top5: float, views: str, dataset: str = "K400") -> tuple[Claim, ...]:
    """Figures of the papers."""
    return accuracy(top1, top5, "the paper", dataset=dataset, protocol=f"{views} views, 224 crop")


def pictures(top1: float, source: str = "the paper") -> tuple[Claim, ...]:
    """Top-1 on ImageNet-1k."""
    claims = accuracy(
        top1, None, source, dataset="ImageNet-1k", protocol="1x1 view, 224 crop of 256"
    )
    return claims[:1]


_PUBLISHED = (
    named(KINETICS, "mvit_b_16x4.k400", V1, *clips(78.4, 93.5, "5x1")),
    named(KINETICS, "mvit_b_32x3.k400", V1, *clips(80.2, 94.4, "5x1")),
    named(replace(KINETICS, views=(3, 3)), "mvit_b_64x3.k400", V1, *clips(81.2, 95.1, "3x3")),
    named(
        KINETICS,
        "mvit_b_24_32x3.k400",
        V1,
        *accuracy(80.4, 94.8, ZOO, protocol="5x1 views, 224 crop"),
    ),
    named(KINETICS, "mvit_b_16x4.k600", V1, *clips(82.1, 95.7, "5x1", "K600")),
    named(KINETICS, "mvit_b_32x3.k600", V1, *clips(83.4, 96.3, "5x1", "K600")),
    named(KINETICS, "mvit_b_24_32x3.k600", V1, *clips(83.8, 96.3, "5x1", "K600")),
    named(KINETICS, "mvitv2_s_16x4.k400", V2, *clips(81.0, 94.6, "5x1")),
    named(KINETICS, "mvitv2_b_32x3.k400", V2, *clips(82.9, 95.7, "5x1")),
    named(KINETICS, "mvitv2_b_32x3.k600", V2, *clips(85.5, 97.2, "5x1", "K600")),
    named(
        replace(KINETICS, views=(3, 3)),
        "mvitv2_b_32x3.k700",
        V2,
        *clips(76.6, 93.2, "3x3", "K700"),
    ),
    *(
        named(
            LARGE,
            f"mvitv2_l_40x3.{tag}",
            V2,
            *accuracy(top1, top5, "the paper", dataset=tag.upper(), protocol="312 crop"),
        )
        for tag, top1, top5 in (("k400", 86.1, 97.0), ("k600", 87.5, 97.8), ("k700", 79.4, 94.9))
    ),
    named(
        replace(SSV2, optim=replace(SSV2.optim, lr=0.0025)),
        "mvitv2_s_16x4.ssv2",
        V2,
        *clips(68.2, 91.4, "1x3", "SSv2"),
        weights=TORCHVISION,
    ),
    named(
        replace(SSV2, optim=replace(SSV2.optim, lr=0.0015)),
        "mvitv2_b_32x3.ssv2",
        V2,
        *clips(70.5, 92.7, "1x3", "SSv2"),
        weights="mvitv2_b_32x3.k400.safetensors",
    ),
    named(
        SSV2_LARGE,
        "mvitv2_l_40x3.ssv2",
        V2,
        *accuracy(73.3, 94.1, "the paper", dataset="SSv2", protocol="1x3 views, 312 crop"),
        weights="mvitv2_l_40x3.k400.safetensors",
    ),
    named(IMAGES_V1, "mvit_b_16.in1k", V1, *pictures(83.0)),
    named(IMAGES_V1, "mvit_b_24.in1k", V1, *pictures(83.4)),
    named(IMAGES, "mvitv2_t.in1k", V2, *pictures(82.3)),
    named(IMAGES, "mvitv2_s.in1k", V2, *pictures(83.6)),
    named(IMAGES, "mvitv2_b.in1k", V2, *pictures(84.4)),
    named(IMAGES_LARGE, "mvitv2_l.in1k", V2, *pictures(85.3)),
    named(
        REVERSIBLE,
        "rev_mvit_b_16x4.k400",
        REVERSED,
        *accuracy(78.4, 93.4, ZOO, protocol="5x1 views, 224 crop"),
    ),
    named(IMAGES, "rev_mvit_b_16.in1k", REVERSED, *pictures(82.9, ZOO)),
)

SMALL = {"crop": 64, "width": 32, "depths": [1, 1, 2], "strides": [1, 2, 2], "drop_path": 0.0}
LEARN: dict[str, Any] = {
    "optim": {"lr": 1e-3, "weight_decay": 0.05, "clip_norm": 1.0},
    "schedule": {"epochs": 20.0, "warmup_epochs": 2.0},
    "run": {"batch": 16},
}
CLIPS = {**SMALL, "frames": 8, "kv_stride": 4, "pool": None}
STILLS = {**SMALL, "frames": 1, "pool": None}
ONE = {"frames": 1, "stride": 1}
SMOKE = (
    smoke("mvit.smoke", "mvitv2_s_16x4", ARROW, reached=90.0, net=CLIPS, **LEARN),
    smoke("rev_mvit.smoke", "rev_mvit_b_16x4", ARROW, reached=90.0, net=CLIPS, **LEARN),
    smoke("mvit_image.smoke", "mvitv2_t", DRESS, reached=75.0, net=STILLS, clip=ONE, **LEARN),
)
RECIPES = {recipe.name: recipe for recipe in (*_PUBLISHED, *SMOKE)}
