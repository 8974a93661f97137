"""BasicTAD and PlusTAD as published: what each reads, costs and claims, and its authors' names.

Costs are of one window of 32 s at the training crop. The released files are named for epochs,
``epoch_300_epoch.pth`` (anchor-based) and ``epoch_600_epoch.pth``; the README links to Baidu Pan.
Figures that stand only in the paper were not checked and are left empty.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from marey.choices import Claim, SegmentChoice, SuppressionChoice
from marey.types import ClipSpec
from marey.zoo.cards import Card, Family, Rows
from marey.zoo.published.resnet_names import pytorchvideo

README = "MCG-NJU/BasicTAD README"
PROTOCOL = "THUMOS14 test videos, snapshot chosen on them"
RGB = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375), "value_range": 255.0}
STEP = re.compile(r"neck\.stages\.(\d)\.(conv|norm)\.(\w+)")
PYRAMID = re.compile(r"fpn\.(laterals|outputs)\.(\d)\.(conv|norm)\.(\w+)")
TOWER = re.compile(r"head\.(class|offset)_tower\.(\d)\.0\.(?:(conv|norm|offset|mask)\.)?(\w+)")
LAST = re.compile(r"head\.(projection|offsets)\.(\w+)")
SCALE = re.compile(r"head\.scales\.(\d)")
PROJECTIONS = {
    "anchor": ("retina_cls", "retina_reg"),
    "sigmoid": ("fcos_cls", "fcos_reg"),
    "softmax": ("cls", "reg"),
}
MOVED = {"conv": "conv", "offset": "p_conv", "mask": "m_conv"}


TWIN = (("CliffDiving", "Diving"),)  # the first is also annotated as the second
SEGMENTS = {  # how each published head's answers become segments, without the twins
    "anchor": SegmentChoice(),
    "sigmoid": SegmentChoice(
        joined=SuppressionChoice(kind="weighted", threshold=0.4, most=1200),
    ),
    "softmax": SegmentChoice(
        inside=SuppressionChoice(kind="weighted", threshold=0.6, most=100000),
        joined=SuppressionChoice(kind="hard", threshold=0.6, min_score=0.0),
        again=SuppressionChoice(kind="hard", threshold=0.3, min_score=0.0, most=400),
    ),
}


def segments_of(head: str, classes: Sequence[str]) -> SegmentChoice:
    """How a published head's answers become segments, the twins included where both are told."""
    twins = TWIN if head != "anchor" and set(TWIN[0]) <= set(classes) else ()
    return replace(SEGMENTS[head], repeat_as=twins)


def original(name: str, config: Any) -> str | None:
    """Names of the authors' checkpoints, each tensor once.

    Their files hold the backbone a second time and its unused classifier; reading passes over both.
    """
    if name.startswith("backbone."):
        return f"backbone.{pytorchvideo(name.removeprefix('backbone.'), config)}"
    two = "_" in config.neck
    if found := STEP.fullmatch(name):
        at, kind, leaf = found.groups()
        part = "bn" if kind == "norm" else "conv"
        return f"neck.{'0.' if two else ''}layer{int(at) + 1}.0.{part}.{leaf}"
    if found := PYRAMID.fullmatch(name):
        side, at, kind, leaf = found.groups()
        row = "lateral_convs" if side == "laterals" else "fpn_convs"
        return f"neck.{'1.' if two else ''}{row}.{at}.{'bn' if kind == 'norm' else 'conv'}.{leaf}"
    if found := TOWER.fullmatch(name):
        side, at, part, leaf = found.groups()
        return _tower(side, at, part, leaf, config)
    if found := SCALE.fullmatch(name):
        return f"head.scales.{found.group(1)}.scale"
    if found := LAST.fullmatch(name):
        part, leaf = found.groups()
        return f"head.{PROJECTIONS[config.head][part == 'offsets']}.{leaf}"
    raise ValueError(
        f"{name} has no name in the original layout; keep this network in the marey layout"
    )


def _tower(side: str, at: str, part: str | None, leaf: str, config: Any) -> str:
    tower = "cls_convs" if side == "class" else "reg_convs"
    if config.head != "softmax":
        norm = "bn" if config.head == "anchor" else "gn"
        return f"head.{tower}.{at}.{norm if part == 'norm' else 'conv'}.{leaf}"
    moved = f"{MOVED[part]}." if part else ""
    return f"head.{tower}.{2 * int(at)}.{moved}{leaf}"


def rows(config: Any) -> Rows:
    """Anchors repeat every class; softmax has background before them."""
    return (config.anchors, 0) if config.head == "anchor" else (1, int(config.head == "softmax"))


def mean_precision(*values: float) -> tuple[Claim, ...]:
    """mAP in per cent at overlaps of 0.3 to 0.7, and their mean."""
    names = ("mAP@0.3", "mAP@0.4", "mAP@0.5", "mAP@0.6", "mAP@0.7", "mAP")
    return tuple(
        Claim(dataset="THUMOS14", metric=name, value=value, protocol=PROTOCOL, source=README)
        for name, value in zip(names, values, strict=True)
    )


UNCHECKED = (
    Claim(
        dataset="THUMOS14",
        metric="mAP",
        value=None,
        protocol=PROTOCOL,
        source="the paper's figure was not checked and is left empty",
    ),
)
BASIC = ClipSpec(
    frames=96,
    stride=1,
    rate=3.0,
    size=112,
    test_size=128,
    short_side=128,
    jitter=(128, 128),
    views=(1, 1),
    **RGB,  # type: ignore[arg-type]
)
PLUS = ClipSpec(
    frames=192,
    stride=1,
    rate=6.0,
    size=160,
    test_size=160,
    short_side=180,
    jitter=(180, 180),
    views=(1, 1),
    **RGB,  # type: ignore[arg-type]
)


def _card(spec: ClipSpec, params_m: float, gmacs: float, config: str, *claims: Claim) -> Card:
    return Card(
        spec=spec,
        params_m=params_m,
        gmacs=gmacs,
        at=f"{spec.frames}x{spec.size}x{spec.size}",
        classes="thumos14",
        claims=claims,
        source=f"MCG-NJU/BasicTAD configs/trainval/basictad/thumos14/{config}",
        licence="Apache-2.0",
    )


PAGE = "basictad_slowonly_e700_thumos14_rgb_{}win_anchor_{}.py"
CARDS: dict[str, Card] = {
    "basictad_ab": _card(BASIC, 40.84, 135.8, PAGE.format(96, "based"), *UNCHECKED),
    "basictad_af": _card(BASIC, 132.47, 151.2, PAGE.format(96, "free"), *UNCHECKED),
    "plustad_ab": _card(
        PLUS,
        40.84,
        518.3,
        PAGE.format(192, "based"),
        *mean_precision(72.3, 68.4, 62.0, 52.4, 37.0, 58.4),
    ),
    "plustad_af": _card(
        PLUS,
        132.53,
        532.0,
        PAGE.format(192, "free"),
        *mean_precision(75.1, 70.2, 63.0, 50.6, 38.7, 59.5),
    ),
}

FAMILY = Family(
    name="basictad",
    module="marey.models.basictad",
    network="BasicTAD",
    cards=CARDS,
    layouts={"original": original},
    shapeless=("num_classes", "frames", "crop", "time_pool"),
    rows=rows,
)
