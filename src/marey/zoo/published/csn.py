"""ir-CSN and ip-CSN as published: what each reads, costs and claims, and how tensors are named.

Weights of 50 layers are published without figures. Multiply-adds are VMZ's, at 256 pixels, though
its table says 224.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from marey.types import ClipSpec
from marey.zoo.cards import Card, Family
from marey.zoo.published.r2plus1d import VMZ_ZOO, pickled
from marey.zoo.published.r2plus1d_names import BLOCK, HEAD, LEAF, STEM
from marey.zoo.published.resnet3d import pair

PART = re.compile(r"(conv|norm)(?:\.(point|norm|deep))?\.(\w+)")
VIEWS = "10x3(32x2) views, 256 crop"


def vmz(name: str, config: Any) -> str | None:
    """Names of VMZ's PyTorch port."""
    if found := HEAD.fullmatch(name):
        return f"fc.{found.group(1)}"
    if found := STEM.fullmatch(name):
        kind, _, leaf = _parts(found.group(1))
        return f"stem.{int(kind == 'norm')}.{leaf}"
    stage, block, part, (kind, half, leaf) = _block(name)
    layer = "downsample" if part == "shortcut" else f"conv{'abc'.index(part) + 1}"
    inner = f"0.{('point', 'norm', 'deep').index(half)}" if half else int(kind == "norm")
    return f"layer{stage - 1}.{block}.{layer}.{inner}.{leaf}"


def caffe2(name: str, config: Any) -> str | None:
    """Names of VMZ's Caffe2 blobs. The lone depth-wise convolution of ir-CSN counts twice."""
    if name.endswith("num_batches_tracked"):
        return None
    if found := HEAD.fullmatch(name):
        return f"last_out_L#_{found.group(1)[0]}"
    if found := STEM.fullmatch(name):
        kind, _, leaf = _parts(found.group(1))
        return f"conv1_spatbn_relu_{LEAF[leaf]}" if kind == "norm" else "conv1_w"
    stage, block, part, (kind, half, leaf) = _block(name)
    number = sum(config.depths[: stage - 2]) + block
    normed = kind == "norm" or half == "norm"
    if part == "shortcut":
        return f"shortcut_projection_{number}" + (f"_spatbn_{LEAF[leaf]}" if normed else "_w")
    at = "abc".index(part) + 1 + (config.interaction == "reduced" and part != "a")
    middle = "_middle" if half in ("point", "norm") else ""
    layer = f"spatbn_{at}{middle}_{LEAF[leaf]}" if normed else f"conv_{at}{middle}_w"
    return f"comp_{number}_{layer}"


def mmaction2(name: str, config: Any) -> str | None:
    """Names of mmaction2's ResNet3dCSN and its head."""
    if found := HEAD.fullmatch(name):
        return f"cls_head.fc_cls.{found.group(1)}"
    if found := STEM.fullmatch(name):
        kind, _, leaf = _parts(found.group(1))
        return f"backbone.conv1.{'bn' if kind == 'norm' else 'conv'}.{leaf}"
    stage, block, part, (kind, half, leaf) = _block(name)
    layer = "downsample" if part == "shortcut" else f"conv{'abc'.index(part) + 1}"
    if part == "b":
        layer += f".{int(config.interaction == 'preserved' and half not in ('point', 'norm'))}"
    normed = kind == "norm" or half == "norm"
    return f"backbone.layer{stage - 1}.{block}.{layer}.{'bn' if normed else 'conv'}.{leaf}"


def _block(name: str) -> tuple[int, int, str, tuple[str, str, str]]:
    found = BLOCK.fullmatch(name)
    assert found is not None, name
    stage, block, part, rest = found.groups()
    return int(stage), int(block), part, _parts(rest)


def _parts(rest: str) -> tuple[str, str, str]:
    """``conv.deep.weight`` as whole, part ('' where there is none) and leaf."""
    found = PART.fullmatch(rest)
    assert found is not None, rest
    kind, half, leaf = found.groups()
    return kind, half or "", leaf


SPEC = ClipSpec(
    frames=32,
    stride=2,
    mean=(0.43216, 0.394666, 0.37645),
    std=(0.22803, 0.22145, 0.216989),
)
_CSN = Card(spec=SPEC, source="facebookresearch/VMZ", licence="Apache-2.0")


def deep(params_m: float, gmacs: float, *rows: tuple[str, float, float, str]) -> Card:
    """A network of 152 layers: what it was trained on first, top-1, top-5 and the file."""
    claims = tuple(
        claim
        for first, top1, top5, _ in rows
        for claim in pair(
            {"top1": top1, "top5": top5},
            "K400",
            VIEWS.replace("32x2", f"32x2,{first}") if first else VIEWS,
            VMZ_ZOO,
        )
    )
    return replace(
        _CSN,
        params_m=params_m,
        gmacs=gmacs,
        at="32x256x256",
        claims=claims,
        weights=tuple(pickled(file) for *_, file in rows),
    )


CARDS: dict[str, Card] = {
    "ircsn_r50": replace(
        _CSN,
        params_m=13.13,
        weights=(
            pickled("b6o2mvoqrvupatt/irCSN_50_ft_kinetics_from_ig65m_f233743920.pkl"),
            pickled("1cqzndm1zobxvhh/irCSN_50_pretrained_ig65m_f231921860.pkl", "ig65m"),
        ),
    ),
    "ircsn_r152": deep(
        29.70,
        96.7,
        ("", 76.5, 92.1, "46gcm7up60ssx5c/irCSN_152_kinetics_from_scratch_f98268019.pkl"),
        (
            "Sports-1M",
            78.2,
            93.0,
            "zuoj1aqouh6bo6k/irCSN_152_ft_kinetics_from_sports1m_f101599884.pkl",
        ),
        ("IG-65M", 82.6, 95.3, "gmd8r87l3wmkn3h/irCSN_152_ft_kinetics_from_ig65m_f126851907.pkl"),
    ),
    "ipcsn_r152": deep(
        33.02,
        108.8,
        ("", 77.8, 92.8, "3fihu6ti60047mu/ipCSN_152_kinetics_from_scratch_f129594342.pkl"),
        (
            "Sports-1M",
            78.8,
            93.5,
            "ir7cr0hda36knux/ipCSN_152_ft_kinetics_from_sports1m_f111279053.pkl",
        ),
        ("IG-65M", 82.5, 95.3, "zpp3p0vn2i7bibl/ipCSN_152_ft_kinetics_from_ig65m_f133090949.pkl"),
    ),
}

LAYOUTS = {"vmz": vmz, "caffe2": caffe2, "mmaction2": mmaction2}

FAMILY = Family(
    name="csn",
    module="marey.models.csn",
    network="Csn",
    cards=CARDS,
    layouts=LAYOUTS,
    shapeless=("num_classes", "dropout", "frames", "crop", "pool", "eps"),
)
