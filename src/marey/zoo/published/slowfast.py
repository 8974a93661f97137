"""SlowFast as published: what each row reads, costs and claims, and where its weights are.

Parameters and multiply-adds (at the 256-pixel test crop) are those of the authors' code.
"""

from __future__ import annotations

from dataclasses import replace

from marey.types import ClipSpec
from marey.zoo.cards import Card, Family, WeightsFile
from marey.zoo.published.resnet3d import (
    PTV_ZOO,
    PYSLOWFAST,
    SLOWFAST_ZOO,
    VIEWS,
    blocks,
    kinetics,
    pair,
    pickled,
    row,
)
from marey.zoo.published.resnet_names import LAYOUTS

PAPER = "C. Feichtenhofer et al., ICCV 2019 (not re-checked)"
AT_32 = ClipSpec(frames=32, stride=2)
AT_64 = ClipSpec(frames=64, stride=2)
CROP_32, CROP_64 = "32x256x256", "64x256x256"


def multigrid(folder: str, file: str, tag: str) -> WeightsFile:
    address = f"{PYSLOWFAST}/pyslowfast/model_zoo/multigrid/model_zoo/{folder}/{file}"
    return WeightsFile(tag=tag, layout="caffe2", address=address)


_4x16 = row(AT_32, 34.48, 36.1, CROP_32, "Kinetics/c2/SLOWFAST_4x16_R50.yaml")
_8x8 = row(AT_32, 34.57, 65.7, CROP_32, "Kinetics/c2/SLOWFAST_8x8_R50.yaml")
_16x8 = row(AT_64, 34.05, 131.4, CROP_64, "SSv2/SLOWFAST_16x8_R50.yaml")
_R101 = row(AT_32, 53.77, 106.5, CROP_32, "Kinetics/c2/SLOWFAST_8x8_R101_50_50.yaml")
_FULL = row(AT_32, 62.83, 125.9, CROP_32, "Kinetics/c2/SLOWFAST_8x8_R101_101_101.yaml")
_R101_16 = row(AT_64, 53.77, 213.0, CROP_64, "Kinetics/c2/SLOWFAST_16x8_R101_50_50.yaml")
_NL_16 = row(AT_64, 60.08, 242.0, CROP_64, "Kinetics/c2/SLOWFAST_NLN_16x8_R101_50_50.yaml")

CARDS: dict[str, Card] = {
    "slowfast_r50_4x16": replace(
        _4x16,
        claims=kinetics(75.6, 92.0, SLOWFAST_ZOO) + kinetics(75.34, 91.89, PTV_ZOO),
        weights=(pickled("SLOWFAST_4x16_R50.pkl"), blocks("SLOWFAST_4x16_R50.pyth")),
    ),
    "slowfast_r50_8x8": replace(
        _8x8,
        claims=kinetics(77.0, 92.6, SLOWFAST_ZOO)
        + kinetics(76.94, 92.69, PTV_ZOO)
        + kinetics(76.8, 92.7, f"{SLOWFAST_ZOO}, stepwise schedule")
        + kinetics(76.6, 92.7, f"{SLOWFAST_ZOO}, multigrid")
        + pair({"top1": 61.68, "top5": 86.92}, "SSv2", "1x3 views", PTV_ZOO)
        + pair({"mAP": 37.24}, "Charades", VIEWS, PTV_ZOO),
        weights=(
            pickled("SLOWFAST_8x8_R50.pkl"),
            multigrid("Kinetics", "SLOWFAST_8x8_R50_stepwise.pkl", "k400"),
            multigrid("Kinetics", "SLOWFAST_8x8_R50_stepwise_multigrid.pkl", "k400"),
            blocks("SLOWFAST_8x8_R50.pyth"),
            blocks("SLOWFAST_8x8_R50.pyth", "ssv2"),
            blocks("SLOWFAST_8x8_R50.pyth", "charades"),
        ),
    ),
    "slowfast_nl_r50_4x16": row(AT_32, 41.84, 47.9, CROP_32, "Kinetics/SLOWFAST_NLN_4x16_R50.yaml"),
    "slowfast_nl_r50_8x8": row(AT_32, 41.84, 99.1, CROP_32, "Kinetics/SLOWFAST_NLN_8x8_R50.yaml"),
    "slowfast_r50_16x8": replace(
        _16x8,
        spec=replace(AT_64, sampling="segment", views=(1, 1)),
        classes="",
        claims=pair({"top1": 63.0, "top5": 88.5}, "SSv2", "1x1 view", SLOWFAST_ZOO)
        + pair({"top1": 63.5, "top5": 88.7}, "SSv2", "1x1 view", f"{SLOWFAST_ZOO}, multigrid")
        + pair({"mAP": 38.9}, "Charades", VIEWS, SLOWFAST_ZOO)
        + pair({"mAP": 38.6}, "Charades", VIEWS, f"{SLOWFAST_ZOO}, multigrid"),
        weights=tuple(
            multigrid(folder, f"SLOWFAST_16x8_R50{tail}.pkl", tag)
            for folder, tag in (("SSv2", "ssv2"), ("Charades", "charades"))
            for tail in ("", "_multigrid")
        ),
        note="published for Something-Something v2 (174 classes) and Charades (157) only",
    ),
    "slowfast_r101_8x8": replace(_R101, claims=kinetics(None, None, PAPER)),
    "slowfast_r101_50_101_8x8": row(
        AT_32, 53.91, 107.7, CROP_32, "Kinetics/c2/SLOWFAST_8x8_R101_50_101.yaml"
    ),
    "slowfast_r101_full_8x8": replace(
        _FULL,
        claims=kinetics(77.90, 93.27, PTV_ZOO),
        weights=(blocks("SLOWFAST_8x8_R101.pyth"),),
    ),
    "slowfast_r101_16x8": replace(
        _R101_16,
        claims=kinetics(None, None, PAPER) + kinetics(78.70, 93.61, PTV_ZOO),
        weights=(blocks("SLOWFAST_16x8_R101_50_50.pyth"),),
    ),
    "slowfast_nl_r101_16x8": replace(
        _NL_16,
        note="keys pooled (1, 2, 2) as the published configuration has them; the paper's 234 "
        "GMACs belong to slowfast_nl_r101_16x8_paper, pooled (2, 2, 2)",
    ),
    "slowfast_nl_r101_16x8_paper": replace(
        _NL_16, gmacs=234.0, source=PAPER, claims=kinetics(None, None, PAPER)
    ),
    "slowfast_nl_r101_8x8": replace(
        _R101,
        params_m=60.08,
        gmacs=None,
        at="",
        source="facebookresearch/SlowFast configs/AVA/c2/SLOWFAST_32x2_R101_50_50.yaml",
        note="the backbone of the AVA detectors, without their dilated res5",
    ),
}

FAMILY = Family(
    name="slowfast",
    module="marey.models.slowfast",
    network="SlowFast",
    cards=CARDS,
    layouts=LAYOUTS,
    shapeless=(
        *("num_classes", "dropout", "frames", "crop", "pool", "dilation"),
        *("alpha", "nonlocal_pool"),
    ),
)
