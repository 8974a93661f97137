"""TSM as published: what each row reads, costs and claims, and where its weights are.

Figures are top-1 (and top-5) with the protocol each claim names.
"""

from __future__ import annotations

from dataclasses import replace

from marey.choices import Claim
from marey.zoo.cards import Card, Family, WeightsFile
from marey.zoo.published.frame_names import told_modality, tsm_mmaction2, tsm_original
from marey.zoo.published.resnet3d import pair
from marey.zoo.published.tsn import FLOW, FRAME, weights

README = "mit-han-lab/temporal-shift-module README.md"
TABLE = "open-mmlab/mmaction2 configs/recognition/tsm/README.md"
ONE, TEN = "1x1 view, 224 crop", "1x10 views, 224 crop"
THIRTY, SIX = "10x3 views, full resolution", "2x3 views, full resolution"
EIGHT = replace(FRAME, frames=8, test_frames=0, views=(1, 10))
FULL = replace(EIGHT, test_size=256)


def original(data: str, end: str, tag: str, modality: str = "RGB") -> WeightsFile:
    """A file of the authors' list."""
    name = f"TSM_{data}_{modality}_{end}.pth"
    address = f"https://hanlab18.mit.edu/projects/tsm/models/{name}"
    return WeightsFile(tag=tag, layout="original", address=address, licence="MIT")


def top1(value: float, data: str, protocol: str) -> tuple[Claim, ...]:
    """One figure of the authors' table."""
    return pair({"top1": value}, data, protocol, README)


def mm(config: str, stamp: str, tag: str = "k400") -> WeightsFile:
    """A file of mmaction2's list."""
    return weights("tsm", f"tsm_imagenet-pretrained-{config}-rgb", stamp, tag)


R50 = "resnet50_shift8_blockres_avg_segment"
_R50 = Card(
    spec=EIGHT,
    params_m=24.33,
    gmacs=32.88,
    at="8x224x224",
    modalities={"flow": FLOW},
    source=README,
    licence="MIT",
)
_PLAIN = replace(
    _R50, params_m=None, gmacs=None, at="", source="", note="no published weights or numbers"
)
_MOBILE = replace(_R50, params_m=2.74, gmacs=2.42, modalities={})
_ONLINE = replace(_PLAIN, note="looks back only and runs on a stream; no published weights")

CARDS: dict[str, Card] = {
    "tsm_r18_8f": _PLAIN,
    "tsm_r50_8f": replace(
        _R50,
        claims=top1(71.2, "K400", ONE)
        + top1(72.8, "K400", TEN)
        + pair({"top1": 73.18, "top5": 90.56}, "K400", TEN, TABLE)
        + pair({"top1": 73.22, "top5": 90.22}, "K400", TEN, f"{TABLE}, 100 epochs")
        + top1(45.6, "SSv1", ONE)
        + top1(47.2, "SSv1", SIX)
        + top1(61.2, "SSv2", SIX)
        + pair({"top1": 62.72, "top5": 87.70}, "SSv2", "1x3 views", TABLE)
        + pair({"top1": 55.7, "top5": 79.5}, "K400", "1x1 view, flow", README),
        weights=(
            original("kinetics", f"{R50}8_e50", "k400"),
            original("something", f"{R50}8_e45", "ssv1"),
            original("somethingv2", f"{R50}8_e45", "ssv2"),
            original("kinetics", f"{R50}8_e50", "k400", "Flow"),
            mm("r50_8xb16-1x1x8-50e_kinetics400", "20220831-64d69186"),
            mm("r50_8xb16-1x1x8-100e_kinetics400", "20220831-a6db1e5d"),
            mm("r50_8xb16-1x1x8-50e_sthv2", "20230317-be0fc26e", "ssv2"),
        ),
        note="build with modality='flow' for the flow weights",
    ),
    "tsm_r50_16f": replace(
        _R50,
        spec=replace(EIGHT, frames=16),
        twin="tsm_r50_8f",
        gmacs=65.75,
        at="16x224x224",
        claims=top1(72.6, "K400", ONE)
        + top1(73.7, "K400", TEN)
        + pair({"top1": 75.12, "top5": 91.55}, "K400", TEN, TABLE)
        + top1(47.2, "SSv1", ONE)
        + top1(48.4, "SSv1", SIX)
        + top1(63.1, "SSv2", SIX)
        + pair({"top1": 64.16, "top5": 88.61}, "SSv2", "1x3 views", TABLE),
        weights=(
            original("kinetics", f"{R50}16_e50", "k400"),
            original("something", f"{R50}16_e45", "ssv1"),
            original("somethingv2", f"{R50}16_e45", "ssv2"),
            mm("r50_8xb16-1x1x16-50e_kinetics400", "20220831-042b1748"),
            mm("r50_8xb16-1x1x16-50e_sthv2", "20230317-ec6696ad", "ssv2"),
        ),
    ),
    "tsm_r101_8f": replace(
        _R50,
        spec=replace(FULL, views=(2, 3)),
        params_m=42.86,
        gmacs=62.66,
        classes="",
        claims=top1(46.9, "SSv1", ONE)
        + top1(48.7, "SSv1", SIX)
        + top1(63.3, "SSv2", SIX)
        + pair({"top1": 63.70, "top5": 88.28}, "SSv2", "1x3 views", TABLE),
        weights=(
            original("something", "resnet101_shift8_blockres_avg_segment8_e45", "ssv1"),
            original("somethingv2", "resnet101_shift8_blockres_avg_segment8_e45", "ssv2"),
            mm("r101_8xb16-1x1x8-50e_sthv2", "20230320-efcc0d1b", "ssv2"),
        ),
        note="published for Something-Something (174 classes) only",
    ),
    "tsm_dense_r50_8f": replace(
        _R50,
        twin="tsm_r50_8f",
        spec=replace(FULL, sampling="dense", stride=8, views=(10, 3)),
        claims=top1(74.1, "K400", THIRTY)
        + pair({"top1": 73.38, "top5": 90.78}, "K400", "10x10 views", TABLE),
        weights=(
            original("kinetics", f"{R50}8_e100_dense", "k400"),
            mm("r50_8xb16-dense-1x1x8-50e_kinetics400", "20220831-f55d3c2b"),
        ),
        note="a window of 64 frames instead of the whole video",
    ),
    "tsm_nl_r50_8f": replace(
        _R50,
        spec=replace(FULL, sampling="dense", stride=8, views=(10, 3)),
        params_m=31.69,
        gmacs=None,
        at="",
        claims=top1(75.6, "K400", THIRTY),
        weights=(original("kinetics", f"{R50}8_e100_dense_nl", "k400"),),
    ),
    "tsm_mobilenet_v2_8f": replace(_MOBILE, note="no published weights of uniform sampling"),
    "tsm_dense_mobilenet_v2_8f": replace(
        _MOBILE,
        twin="tsm_mobilenet_v2_8f",
        spec=replace(FULL, sampling="dense", stride=8, views=(10, 3)),
        claims=top1(69.5, "K400", THIRTY)
        + pair({"top1": 68.71, "top5": 88.32}, "K400", "10x3 views", TABLE),
        weights=(
            original("kinetics", "mobilenetv2_shift8_blockres_avg_segment8_e100_dense", "k400"),
            mm("mobilenetv2_8xb16-1x1x8-100e_kinetics400", "20230414-401127fd"),
        ),
        note="a window of 64 frames instead of the whole video",
    ),
    "tsm_online_r18_8f": replace(_ONLINE, twin="tsm_r18_8f"),
    "tsm_online_r50_8f": replace(_ONLINE, params_m=24.33, twin="tsm_r50_8f"),
    "tsm_online_mobilenet_v2_8f": replace(
        _ONLINE,
        classes="",
        source=f"{README}, online_demo",
        weights=(
            WeightsFile(
                tag="jester",
                layout="original",
                address="https://hanlab18.mit.edu/projects/tsm/models/"
                "mobilenetv2_jester_online.pth.tar",
                licence="MIT",
            ),
        ),
        note="the network of the authors' demonstration: 27 hand gestures, frame by frame",
    ),
}

FAMILY = Family(
    name="tsm",
    module="marey.models.tsm",
    network="TSM",
    cards=CARDS,
    layouts={"original": tsm_original, "mmaction2": tsm_mmaction2},
    told=told_modality,
    shapeless=("num_classes", "dropout", "frames", "crop", "share", "direction", "place", "halves"),
)
