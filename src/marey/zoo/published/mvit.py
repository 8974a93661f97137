"""MViT as published: what each row reads, costs and claims, and where its weights are.

Parameters and multiply-adds (of one view at the training crop) are those of the authors' code.
"""

from __future__ import annotations

from dataclasses import replace

from marey.choices import Claim
from marey.types import ClipSpec
from marey.zoo.cards import Card, Family, WeightsFile
from marey.zoo.published.mvit_names import FORMS, LAYOUTS, infer

V1 = "H. Fan et al., ICCV 2021"
V2 = "Y. Li et al., CVPR 2022"
ZOO = "facebookresearch/SlowFast MODEL_ZOO.md"
TORCHVISION = "torchvision models.video"

AT_16 = ClipSpec(frames=16, stride=4, test_size=224, views=(5, 1))
AT_32 = replace(AT_16, frames=32, stride=3)
IMAGENET_16 = replace(AT_16, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
AT_40 = replace(
    replace(IMAGENET_16, frames=40, stride=3, views=(5, 3)),
    size=312,
    test_size=312,
    short_side=312,
    jitter=(356, 446),
)
IMAGE = replace(IMAGENET_16, frames=1, stride=1, views=(1, 1))
CLIP_16, CLIP_32, PHOTO = "16x224x224", "32x224x224", "1x224x224"


def scores(
    dataset: str, top1: float, top5: float | None, views: str, source: str
) -> tuple[Claim, ...]:
    """Top-1 and, where given, top-5 in per cent."""
    both = {"top1": top1, "top5": top5}
    return tuple(
        Claim(dataset=dataset, metric=name, value=value, protocol=f"{views} views", source=source)
        for name, value in both.items()
        if value is not None
    )


def imagenet(top1: float, source: str, protocol: str = "1x1 views, 224 crop") -> Claim:
    return Claim(dataset="ImageNet-1k", metric="top1", value=top1, protocol=protocol, source=source)


def clips(spec: ClipSpec, params_m: float, gmacs: float | None, at: str, source: str) -> Card:
    return Card(
        spec=spec, params_m=params_m, gmacs=gmacs, at=at, source=source, licence="Apache-2.0"
    )


def images(params_m: float, gmacs: float | None, source: str) -> Card:
    card = clips(IMAGE, params_m, gmacs, PHOTO if gmacs else "", source)
    return replace(card, classes="")


def mvit_file(file: str, tag: str = "in1k") -> WeightsFile:
    address = f"https://dl.fbaipublicfiles.com/mvit/mvitv2_models/{file}"
    return WeightsFile(tag=tag, layout="mvit", address=address, licence="Apache-2.0")


def torchvision_file(file: str) -> WeightsFile:
    address = f"https://download.pytorch.org/models/{file}"
    return WeightsFile(tag="k400", layout="torchvision", address=address, licence="BSD-3-Clause")


SF = "facebookresearch/SlowFast configs"
IN21K = "ImageNet-21k weights: 19168 classes"

CARDS: dict[str, Card] = {
    "mvit_b_16x4": replace(
        clips(AT_16, 36.61, 70.8, CLIP_16, f"{SF}/Kinetics/MVIT_B_16x4_CONV.yaml"),
        claims=scores("K400", 78.4, 93.5, "5x1", V1)
        + scores("K600", 82.1, 95.7, "5x1", V1)
        + scores("SSv2", 64.7, 89.2, "1x3", V1)
        + scores("K400", 78.477, 93.582, "5x1", TORCHVISION),
        weights=(torchvision_file("mvit_v1_b-dbeb1030.pth"),),
    ),
    "mvit_b_32x3": replace(
        clips(AT_32, 36.61, 170.4, CLIP_32, "facebookresearch/pytorchvideo mvit_base_32x3"),
        claims=scores("K400", 80.2, 94.4, "5x1", V1)
        + scores("K600", 83.4, 96.3, "5x1", V1)
        + scores("SSv2", 67.1, 90.8, "1x3", V1),
    ),
    "mvit_b_64x3": replace(
        clips(replace(AT_32, frames=64, views=(3, 3)), 36.61, 455.0, "64x224x224", V1),
        claims=scores("K400", 81.2, 95.1, "3x3", V1) + scores("SSv2", 67.7, 90.9, "1x3", V1),
    ),
    "mvit_b_24_32x3": replace(
        clips(AT_32, 53.12, 236.3, CLIP_32, f"{SF}/Kinetics/MVIT_B_32x3_CONV.yaml"),
        claims=scores("K600", 83.8, 96.3, "5x1", V1)
        + scores("SSv2", 68.7, 91.5, "1x3", V1)
        + scores("K400", 80.4, 94.8, "5x1", ZOO)
        + scores("K600", 83.9, 96.5, "5x1", ZOO),
        note="kernels of keys and values follow their strides (9, 5, 3)",
    ),
    "mvitv2_s_16x4": replace(
        clips(AT_16, 34.54, 64.5, CLIP_16, f"{SF}/Kinetics/MVITv2_S_16x4.yaml"),
        claims=scores("K400", 81.0, 94.6, "5x1", V2)
        + scores("SSv2", 68.2, 91.4, "1x3", V2)
        + scores("K400", 80.757, 94.665, "5x1", TORCHVISION),
        weights=(torchvision_file("mvit_v2_s-ae3be167.pth"),),
    ),
    "mvitv2_b_32x3": replace(
        clips(AT_32, 51.23, 225.2, CLIP_32, f"{SF}/Kinetics/MVITv2_B_32x3.yaml"),
        claims=scores("K400", 82.9, 95.7, "5x1", V2)
        + scores("K600", 85.5, 97.2, "5x1", V2)
        + scores("K700", 76.6, 93.2, "3x3", V2)
        + scores("SSv2", 70.5, 92.7, "1x3", V2),
    ),
    "mvitv2_l_16x4": replace(
        clips(IMAGENET_16, 213.22, None, "", V2),
        note="where mvitv2_l_40x3 starts from; grow='mlp' makes MaskFeat's form (217.6 M, 377.8 G)",
    ),
    "mvitv2_l_40x3": replace(
        clips(AT_40, 213.39, 2823.0, "40x312x312", f"{SF}/Kinetics/MVITv2_L_40x3_test.yaml"),
        claims=scores("K400", 86.1, 97.0, "5x3", f"{V2}, from ImageNet-21k")
        + scores("K600", 87.5, 97.8, "4x3", f"{V2}, from ImageNet-21k")
        + scores("K700", 79.4, 94.9, "3x3", f"{V2}, from ImageNet-21k")
        + scores("SSv2", 73.3, 94.1, "1x3", f"{V2}, from ImageNet-21k and K400"),
        note="the paper's row pairs the parameters of grow='mlp' (217.7 M) with this cost",
    ),
    "mvit_b_16": replace(
        images(36.98, 7.84, f"{SF}/ImageNet/MVIT_B_16_CONV.yaml"),
        claims=(imagenet(83.0, V1), imagenet(82.9, ZOO)),
    ),
    "mvit_b_24": replace(images(53.52, None, V1), claims=(imagenet(83.4, V1),)),
    "mvit_b_16_ptv": replace(
        images(36.52, 7.84, "facebookresearch/pytorchvideo mvit_base_16"),
        note="separate positions instead of one joint table; 400 classes by default",
    ),
    "mvitv2_t": replace(
        images(24.17, 4.70, f"{SF}/ImageNet/MVITv2_T.yaml"),
        claims=(imagenet(82.3, V2),),
        weights=(mvit_file("MViTv2_T_in1k.pyth"),),
    ),
    "mvitv2_s": replace(
        images(34.87, 7.00, f"{SF}/ImageNet/MVITv2_S.yaml"),
        claims=(imagenet(83.6, V2),),
        weights=(mvit_file("MViTv2_S_in1k.pyth"),),
    ),
    "mvitv2_b": replace(
        images(51.47, 10.16, f"{SF}/ImageNet/MVITv2_B.yaml"),
        claims=(imagenet(84.4, V2),),
        weights=(mvit_file("MViTv2_B_in1k.pyth"),),
    ),
    "mvitv2_l": replace(
        images(217.99, 43.87, "facebookresearch/mvit configs/test/MVITV2_FULL_L_test.yaml"),
        claims=(imagenet(85.3, V2),),
        weights=(mvit_file("MViTv2_L_in1k.pyth"),),
        note="the published weights grow in the MLP",
    ),
    "mvitv2_h": replace(
        images(666.88, 119.9, V2), claims=(imagenet(88.0, f"{V2}, from ImageNet-21k"),)
    ),
    "mvitv2_s_cls": replace(images(34.87, None, "timm mvitv2_small_cls"), note="timm only"),
    "mvitv2_b_cls": replace(
        images(65.44, None, "timm mvitv2_base_cls"),
        weights=(mvit_file("MViTv2_B_in21k.pyth", "in21k"),),
        note=IN21K,
    ),
    "mvitv2_l_cls": replace(
        images(234.58, None, "timm mvitv2_large_cls"),
        weights=(mvit_file("MViTv2_L_in21k.pyth", "in21k"),),
        note=IN21K,
    ),
    "mvitv2_h_cls": replace(
        images(694.80, None, "timm mvitv2_huge_cls"),
        weights=(mvit_file("MViTv2_H_in21k.pyth", "in21k"),),
        note=IN21K,
    ),
}

FAMILY = Family(
    name="mvit",
    module="marey.models.mvit",
    network="MViT",
    cards=CARDS,
    layouts=LAYOUTS,
    shapeless=(
        *("num_classes", "dropout", "residual", "residual_class"),
        *("rule", "drop_path", "head_scale", "attention"),
    ),
    forms=FORMS,
    infer=infer,
    resize="marey.layers.positions.resized",
    start="marey.zoo.token_inflation",
)
