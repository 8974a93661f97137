"""MutualNet as published: what each row reads, costs and claims, and how its tensors are named.

Only the image networks have published code and weights; clip networks take the plain weights of
the network underneath, in its layouts. Multiply-adds are those of the full width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from marey.choices import Claim
from marey.types import ClipSpec
from marey.zoo.cards import Card, Family, WeightsFile
from marey.zoo.published import resnet_names, x3d
from marey.zoo.published.resnet3d import IMAGE

REPOSITORY = "taoyang1122/MutualNet README.md"
FIGURES = "taoyang1122/MutualNet README.md, read off the video figures (within 0.1)"
DRIVE = "https://drive.google.com/open?id="
CENTRE = "centre crop"
LICENCE = "MIT"
AT_224 = "1x224x224"

OWN = re.compile(r"(.+\.norm)\.own\.(\d+)\.(\w+)")
NORM = re.compile(r"(.+\.norm)\.(running_mean|running_var|num_batches_tracked)")
RESIDUAL = re.compile(r"trunk\.res(\d)\.blocks\.(\d+)\.(a|b|c|shortcut)\.(conv|norm)\.(.+)")
MOBILE = re.compile(r"trunk\.stages\.(\d)\.blocks\.(\d+)\.(expand|deep|project)\.(conv|norm)\.(.+)")
ENDS = re.compile(r"trunk\.(stem|tail)\.(conv|norm)\.(.+)")
HEAD = re.compile(r"head\.projection\.(\w+)")
MOBILE_DEPTHS = {1: (1, 2, 2, 6, 2), 2: (1, 2, 3, 4, 3, 3, 1)}


def original(name: str, config: Any) -> str | None:
    """Names of the authors' image networks; statistics of table rows are not stored there."""
    if not hasattr(config, "multiplier") and not is_image_resnet(config):
        raise ValueError(f"{name} has no name in the original layout: it holds image networks only")
    if found := OWN.fullmatch(name):
        narrower = [i for i, width in enumerate(config.widths) if width < 1]
        if int(found.group(2)) >= len(narrower):
            return None
        return f"{_layer(found.group(1), config)}.bn.{narrower[int(found.group(2))]}.{found[3]}"
    if (found := NORM.fullmatch(name)) and ".tail." not in name:
        if 1.0 not in config.widths:
            raise ValueError(f"widths is {config.widths}; the original layout needs 1.0 among them")
        return f"{_layer(found.group(1), config)}.bn.{config.widths.index(1.0)}.{found.group(2)}"
    if found := HEAD.fullmatch(name):
        return f"classifier.0.{found.group(1)}"
    layer, _, leaf = name.rpartition(".")
    return f"{_layer(layer, config)}.{leaf}"


def _layer(name: str, config: Any) -> str:
    """The published name of a convolution or norm."""
    tail = f"{name}."
    if found := ENDS.fullmatch(tail + "x"):
        end, kind, _ = found.groups()
        at = 0 if end == "stem" else sum(MOBILE_DEPTHS[config.version]) + 1
        return f"features.{at}.{int(kind == 'norm')}"
    if found := RESIDUAL.fullmatch(tail + "x"):
        stage, block, part, kind, _ = found.groups()
        at = 1 + sum(config.depths[: int(stage) - 2]) + int(block)
        if part == "shortcut":
            return f"features.{at}.shortcut.{int(kind == 'norm')}"
        return f"features.{at}.body.{'abc'.index(part) * 3 + (kind == 'norm')}"
    if found := MOBILE.fullmatch(tail + "x"):
        stage, block, part, kind, _ = found.groups()
        at = 1 + sum(MOBILE_DEPTHS[config.version][: int(stage)]) + int(block)
        expands = config.version == 2 and at > 1
        parts = ("expand", "deep", "project") if expands else ("deep", "project")
        return f"features.{at}.body.{parts.index(part) * 3 + (kind == 'norm')}"
    raise ValueError(f"{name} has no name in the original layout; keep it in the marey layout")


def is_image_resnet(config: Any) -> bool:
    return hasattr(config, "depths") and not hasattr(config, "pool")


def underneath(layout: str) -> Any:
    """A layout of the plain clip network: it stores no statistics of narrower ones."""

    def rule(name: str, config: Any) -> str | None:
        rules = x3d.LAYOUTS if hasattr(config, "shortcut_norms") else resnet_names.LAYOUTS
        image = hasattr(config, "multiplier") or is_image_resnet(config)
        if image or layout not in rules:
            raise ValueError(f"{name} has no name in the {layout} layout; keep it in marey's own")
        return None if OWN.fullmatch(name) else rules[layout](name, config)

    return rule


def told(state: Mapping[str, Any]) -> dict[str, Any]:
    """The widths with statistics in a published state: those that give all its channel counts.

    Nothing for a state of another layout, or of widths that are no multiples of 0.01.
    """
    from marey.layers.switch import leading

    if plain := x3d.told(state):
        return plain
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    norms = [n.partition(".bn.0.")[0] for n in shapes if n.endswith(".bn.0.running_mean")]
    if not norms or not all(f"{norm}.weight" in shapes for norm in norms):
        return {}
    count = sum(n.startswith(f"{norms[0]}.bn.") and n.endswith(".running_mean") for n in shapes)
    grid = [n / 100 for n in (*range(100, 0, -5), *range(99, 0, -1))]
    full = [(norm, shapes[f"{norm}.weight"][0], _ratio(norm, shapes)) for norm in norms]
    widths: list[float] = []
    for i in range(count):
        found = {norm: shapes.get(f"{norm}.bn.{i}.running_mean") for norm in norms}
        fitting = (w for w in grid if all((leading(c, w, r),) == found[n] for n, c, r in full))
        widths += list(islice(fitting, 1))
    return {"widths": tuple(widths)} if len(widths) == count else {}


def _ratio(norm: str, shapes: Mapping[str, tuple[int, ...]]) -> float:
    """How a published norm rounds: a quarter inside bottlenecks, the expansion in blocks of V2."""
    block, _, at = norm.rpartition(".body.")
    if f"{block}.body.6.weight" not in shapes:
        return 0.25 if norm == "features.0.1" and shapes["features.0.0.weight"][2] == 7 else 1.0
    if shapes[f"{block}.body.3.weight"][1] > 1:
        return 0.25 if at in ("1", "4") else 1.0
    first = shapes[f"{block}.body.0.weight"]
    return first[0] / first[1] if at in ("1", "4") else 1.0


def image(value: float) -> tuple[Claim, ...]:
    return (
        Claim(
            dataset="ImageNet-1k", metric="top1", value=value, protocol=CENTRE, source=REPOSITORY
        ),
    )


def drive(key: str) -> tuple[WeightsFile, ...]:
    return (WeightsFile(tag="in1k", layout="original", address=DRIVE + key, licence=LICENCE),)


def kinetics(value: float) -> tuple[Claim, ...]:
    """A point of a published curve; the number of views is that of the plain network's."""
    views = "10x3 views, 256 crop"
    return (Claim(dataset="K400", metric="top1", value=value, protocol=views, source=FIGURES),)


_IMAGE = Card(
    spec=replace(IMAGE, short_side=256),
    at=AT_224,
    classes="",
    source="taoyang1122/MutualNet",
    licence=LICENCE,
)
_CLIP = Card(
    spec=ClipSpec(),
    source="derived: no code was published for clips",
    licence="Apache-2.0",
    note="full width; weights are those of the plain network until it has learned to narrow",
)

CARDS: dict[str, Card] = {
    "mutualnet_mobilenet_v1": replace(
        _IMAGE,
        params_m=4.23,
        gmacs=0.569,
        claims=image(72.4),
        weights=drive("1A36ZJCrkKXQX8T0vZR9kRN5P1fjIDMu2"),
    ),
    "mutualnet_mobilenet_v1_w16": replace(
        _IMAGE,
        spec=replace(IMAGE, size=288, test_size=288, short_side=328, jitter=(328, 412)),
        params_m=9.76,
        gmacs=2.3,
        at="1x288x288",
        claims=image(77.1),
        weights=drive("1NdygihO3AxEp7f9XyhofoYz_64ki_Sma"),
        note="width 1.6 at 1.3 times the size; its widths count from its own full width here",
    ),
    "mutualnet_mobilenet_v2": replace(
        _IMAGE,
        params_m=3.50,
        gmacs=0.300,
        claims=image(72.9),
        weights=drive("1GIe5Mpbkc2CptvPbqcEgJtPSoP2WYkNm"),
    ),
    "mutualnet_resnet50": replace(
        _IMAGE,
        params_m=25.56,
        gmacs=4.089,
        claims=image(78.6),
        weights=drive("1Br3o58lZqyGzZaqZpqhAfUJhMawFS_Pc"),
        note="published as a single network made better: widths 0.9 to 1",
    ),
    "mutualnet_resnet101": replace(_IMAGE, at="", note="in the authors' code, without results"),
    "mutualnet_resnet152": replace(_IMAGE, at="", note="in the authors' code, without results"),
    "mutualnet_slow_r50_8x8": replace(
        _CLIP,
        spec=ClipSpec(frames=8, stride=8),
        params_m=32.45,
        gmacs=54.5,
        at="8x256x256",
        claims=kinetics(75.55),
    ),
    "mutualnet_slowfast_r50_4x16": replace(
        _CLIP,
        spec=ClipSpec(frames=32, stride=2),
        params_m=34.48,
        gmacs=36.1,
        at="32x256x256",
        claims=kinetics(75.7),
    ),
    "mutualnet_x3d_m": replace(
        _CLIP,
        spec=x3d.M.spec,
        params_m=3.794,
        gmacs=4.732,
        at="16x224x224",
        claims=(
            Claim(
                dataset="K400",
                metric="top1",
                value=75.1,
                protocol="10x1 views, centre crop of 224 (views not stated)",
                source=FIGURES,
            ),
        ),
    ),
}

FAMILY = Family(
    name="mutualnet",
    module="marey.models.mutualnet",
    network="mutualnet",
    cards=CARDS,
    layouts={"original": original, **{name: underneath(name) for name in resnet_names.LAYOUTS}},
    shapeless=(
        *("num_classes", "dropout", "frames", "crop"),
        *("width_range", "sizes", "frame_counts"),
    ),
    told=told,
    borrowed=tuple(resnet_names.LAYOUTS),
    forms=x3d.FAMILY.forms,
)
