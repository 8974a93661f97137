"""STS networks as published: what each reads, costs and claims, and how its tensors are named.

Tensors are exactly those of the plain networks of mmaction2, so a file without a name is taken for
the plain one (``twin``), with a note. ImageNet files, whose tensors begin with ``get_feature.``,
load into the same networks with a fresh classifier. Multiply-adds are counted at a 224 crop.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from marey.choices import Claim
from marey.types import ClipSpec
from marey.zoo.cards import Card, Family
from marey.zoo.published import csn, r2plus1d_names, resnet_names, x3d
from marey.zoo.published.resnet3d import VIEWS, pair

README = "UCSC-VLAA/Image-Pretraining-for-Video README.md"
SSV2_VIEWS = "1x3 views, 256 crop"


def mmaction2(name: str, config: Any) -> str | None:
    """Names of the authors' fork of mmaction2."""
    if hasattr(config, "interaction"):
        return csn.mmaction2(name, config)
    if hasattr(config, "width_factor"):
        return x3d.mmaction2(name, config)
    if hasattr(config, "factor_shortcut"):
        return r2plus1d_names.mmaction2(name, config)
    return resnet_names.mmaction2(name, config)


def top1(k400: float | None, k400_long: float | None, ssv2: float | None) -> tuple[Claim, ...]:
    """Kinetics-400 after 50 and 100 epochs, and Something-Something v2."""
    rows = (
        (k400, "K400", VIEWS.replace("10x3", "10x3(50ep)", 1)),
        (k400_long, "K400", VIEWS.replace("10x3", "10x3(100ep)", 1)),
        (ssv2, "SSv2", SSV2_VIEWS),
    )
    return tuple(
        claim
        for value, dataset, protocol in rows
        if value is not None
        for claim in pair({"top1": value}, dataset, protocol, README)
    )


def spec(frames: int, stride: int) -> ClipSpec:
    return ClipSpec(
        frames=frames, stride=stride, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )


def x3d_spec() -> ClipSpec:
    """Crops of 160 in training, thirty views of 192 in tests."""
    return replace(spec(13, 6), size=160, test_size=192, short_side=192, jitter=(192, 192))


def card(clip: ClipSpec, params_m: float, claims: tuple[Claim, ...], twin: str) -> Card:
    return Card(
        spec=clip,
        params_m=params_m,
        claims=claims,
        twin=twin,
        source="UCSC-VLAA/Image-Pretraining-for-Video",
        licence="Apache-2.0",
        note=f"the tensors of {twin}; weights are in the authors' shared folder, named there",
    )


_MM = Card(
    spec=spec(32, 2),
    source="open-mmlab/mmaction2 mmaction/models/backbones/resnet3d_slowfast.py",
    licence="Apache-2.0",
    note="lateral convolutions without norm and ReLU; plain, to be compared with its STS twin",
)

CARDS: dict[str, Card] = {
    "sts_slow_r50_8x8": card(spec(8, 8), 32.45, top1(75.7, None, 62.7), "slow_r50_8x8"),
    "sts_slowfast_r50_4x16": card(
        spec(32, 2), 34.48, top1(76.2, 76.9, 57.2), "slowfast_r50_4x16_mm"
    ),
    "sts_slowfast_r50_8x8": card(spec(32, 2), 34.57, top1(77.2, 77.9, None), "slowfast_r50_8x8_mm"),
    "sts_ircsn_r50": card(spec(32, 2), 13.13, top1(76.8, 76.7, 61.4), "ircsn_r50"),
    "sts_x3d_s": replace(
        card(x3d_spec(), 3.79, top1(72.5, 73.9, 58.3), "x3d_s"),
        note="the tensors of x3d_s; published as 50 and 100 epochs, tested on 192 pixels",
    ),
    "sts_r2plus1d_34": card(spec(8, 8), 63.76, top1(76.2, None, 63.0), "r2plus1d_34_mm"),
    "slowfast_r50_4x16_mm": _MM,
    "slowfast_r50_8x8_mm": replace(_MM, spec=spec(32, 2)),
}

FAMILY = Family(
    name="sts",
    module="marey.models.sts",
    network="sts",
    cards=CARDS,
    layouts={"mmaction2": mmaction2},
    shapeless=("num_classes", "dropout", "frames", "crop"),
    forms={"mmaction2": x3d.LINEAR},
)
