"""TSN as published: what each row reads, costs and claims, and where its weights are.

Networks of mmaction2 and of tsn-pytorch share their rows: they differ in names, not in arithmetic.
Figures are top-1 / top-5, of 25 snippets and 10 crops (corners, centre, and their mirror images).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from marey.types import ClipSpec
from marey.zoo.cards import Card, Family, WeightsFile
from marey.zoo.published.frame_names import told_modality, tsn_mmaction2, tsn_original
from marey.zoo.published.resnet3d import pair

MMACTION2 = "https://download.openmmlab.com/mmaction/v1.0/recognition"
TABLE = "open-mmlab/mmaction2 configs/recognition/tsn/README.md"
TSM_README = "mit-han-lab/temporal-shift-module README.md"
PROTOCOL = "25x10 views, 224 crop"

FRAME = ClipSpec(
    frames=3,
    stride=1,
    sampling="snippet",
    test_frames=25,
    test_size=224,
    jitter=(256, 256),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    views=(1, 10),
)
FLOW = {"segment_frames": 5, "mean": (0.5, 0.5), "std": (0.226, 0.226)}
DIFFERENCE = {"segment_frames": 6, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
MODALITIES: dict[str, dict[str, Any]] = {"flow": FLOW, "rgb_difference": DIFFERENCE}

# BN-Inception reads BGR bytes less a mean, and flow bytes less 128.
CAFFE: dict[str, Any] = {"value_range": 255.0, "channel_order": "bgr"}
CAFFE_FRAME = replace(FRAME, mean=(104.0, 117.0, 128.0), std=(1.0, 1.0, 1.0), **CAFFE)
CAFFE_FLOW = {
    "segment_frames": 5,
    "mean": (128.0, 128.0),
    "std": (1.0, 1.0),
    "channel_order": "rgb",
}
CAFFE_DIFFERENCE: dict[str, Any] = {"segment_frames": 6}  # means cancel


def weights(system: str, config: str, stamp: str, tag: str) -> WeightsFile:
    """A file of mmaction2's model zoo."""
    address = f"{MMACTION2}/{system}/{config}/{config}_{stamp}.pth"
    return WeightsFile(tag=tag, layout="mmaction2", address=address, licence="Apache-2.0")


def row(config: str, stamp: str, top1: float, top5: float, data: str = "K400") -> dict[str, Any]:
    """Claim and weights of one row of mmaction2's table."""
    tag = {"K400": "k400", "SSv2": "ssv2"}[data]
    return {
        "claims": pair({"top1": top1, "top5": top5}, data, PROTOCOL, TABLE),
        "weights": (weights("tsn", f"tsn_imagenet-pretrained-{config}-rgb", stamp, tag),),
    }


_R50 = Card(
    spec=FRAME,
    params_m=24.33,
    gmacs=12.33,
    at="3x224x224",
    modalities=MODALITIES,
    source=TABLE,
    licence="Apache-2.0",
)
_R18 = replace(_R50, params_m=None, gmacs=None, at="", source="", note="no published weights")
_INCEPTION = Card(
    spec=CAFFE_FRAME,
    params_m=10.37,
    gmacs=6.12,
    at="3x224x224",
    classes="ucf101",
    modalities={"flow": CAFFE_FLOW, "rgb_difference": CAFFE_DIFFERENCE},
    source="yjxiong/tsn-pytorch",
    licence="BSD-2-Clause",
    note="reads BGR bytes less (104, 117, 128); figures of the paper were not re-checked",
)
EIGHT = replace(FRAME, frames=8)

CARDS: dict[str, Card] = {
    "tsn_r18_3seg": _R18,
    "tsn_r18_8seg": replace(_R18, spec=EIGHT, twin="tsn_r18_3seg"),
    "tsn_r50_3seg": replace(
        _R50, **row("r50_8xb32-1x1x3-100e_kinetics400", "20220906-cd10898e", 72.83, 90.65)
    ),
    "tsn_r50_5seg": replace(
        _R50,
        spec=replace(FRAME, frames=5),
        gmacs=20.55,
        at="5x224x224",
        twin="tsn_r50_3seg",
        claims=pair({"top1": 73.80, "top5": 91.21}, "K400", PROTOCOL, TABLE)
        + pair({"top1": 68.8}, "K400", "8 segments, 1x1 view, 224 crop", TSM_README)
        + pair({"top1": 69.9}, "K400", "8 segments, 1x10 views, 224 crop", TSM_README)
        + pair({"top1": 70.6}, "K400", "8 dense frames, 10x3 views, full resolution", TSM_README),
        weights=(
            weights(
                "tsn",
                "tsn_imagenet-pretrained-r50_8xb32-1x1x5-100e_kinetics400-rgb",
                "20220906-65d68713",
                "k400",
            ),
            WeightsFile(
                tag="k400",
                layout="original",
                address="https://hanlab18.mit.edu/projects/tsm/models/"
                "TSM_kinetics_RGB_resnet50_avg_segment5_e50.pth",
                licence="MIT",
            ),
        ),
    ),
    "tsn_r50_8seg": replace(
        _R50,
        spec=EIGHT,
        gmacs=32.88,
        at="8x224x224",
        twin="tsn_r50_3seg",
        claims=pair({"top1": 74.12, "top5": 91.34}, "K400", PROTOCOL, TABLE)
        + pair({"top1": 35.51, "top5": 67.09}, "SSv2", PROTOCOL, TABLE),
        weights=tuple(
            weights("tsn", f"tsn_imagenet-pretrained-r50_8xb32-1x1x8-{run}-rgb", stamp, tag)
            for run, stamp, tag in (
                ("100e_kinetics400", "20220906-2692d16c", "k400"),
                ("50e_sthv2", "20230313-06ad7d03", "ssv2"),
            )
        ),
    ),
    "tsn_r50_16seg": replace(
        _R50,
        spec=replace(FRAME, frames=16),
        params_m=23.86,
        gmacs=65.75,
        at="16x224x224",
        classes="",
        twin="tsn_r50_3seg",
        **row("r50_8xb32-1x1x16-50e_sthv2", "20230221-85bcc1c3", 36.91, 68.77, "SSv2"),
    ),
    "tsn_dense_r50_5seg": replace(
        _R50,
        spec=replace(FRAME, frames=5, sampling="dense", stride=12, test_frames=0, views=(10, 10)),
        gmacs=20.55,
        at="5x224x224",
        twin="tsn_r50_3seg",
        note="a window of 64 frames instead of the whole video",
        **row("r50_8xb32-dense-1x1x5-100e_kinetics400", "20220906-dcbc6e01", 71.37, 89.67),
    ),
    "tsn_r101_3seg": replace(
        _R50, params_m=43.32, gmacs=23.5, note="no published weights", twin="tsn_r101_8seg"
    ),
    "tsn_r101_8seg": replace(
        _R50,
        spec=EIGHT,
        params_m=43.32,
        gmacs=62.66,
        at="8x224x224",
        **row("r101_8xb32-1x1x8-100e_kinetics400", "20220906-23cff032", 75.89, 92.07),
    ),
    "tsn_bninception_3seg": _INCEPTION,
    "tsn_bninception_7seg": replace(
        _INCEPTION,
        spec=replace(CAFFE_FRAME, frames=7, modality="rgb_difference", **CAFFE_DIFFERENCE),
        params_m=10.41,
        gmacs=None,
        at="",
        modalities={},
    ),
}

FAMILY = Family(
    name="tsn",
    module="marey.models.tsn",
    network="TSN",
    cards=CARDS,
    layouts={"mmaction2": tsn_mmaction2, "original": tsn_original},
    shapeless=("num_classes", "dropout", "crop", "top_k"),
    told=told_modality,
)
