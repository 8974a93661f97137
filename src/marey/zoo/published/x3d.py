"""X3D as published: what each row reads, costs and claims, and where its weights are.

Parameters and multiply-adds (at the training crop) are those of the authors' code; the paper counts
parameters without norms, a hundredth less. Accuracies of PySlowFast's zoo are given for ten centre
crops and for thirty views, pytorchvideo's for thirty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from marey.choices import Claim
from marey.types import ClipSpec
from marey.zoo.cards import Card, Family, Form, WeightsFile
from marey.zoo.published.resnet3d import PTV, PTV_ZOO, PYSLOWFAST, SLOWFAST_ZOO

PAPER = "C. Feichtenhofer, CVPR 2020"
CENTRE, THIRTY = "10x1 views, centre crop of the training size", "10x3 views"

BLOCK = re.compile(r"res(\d)\.blocks\.(\d+)\.(a|b|c|shortcut)\.(conv|norm)\.(\w+)")
SQUEEZE = re.compile(r"res(\d)\.blocks\.(\d+)\.squeeze\.(reduce|excite)\.(\w+)")
OTHERS = {  # ours: PySlowFast's, pytorchvideo's (which swaps the stem's names), mmaction2's
    "stem.space": ("s1.pathway0_stem.conv_xy", "blocks.0.conv.conv_t", "backbone.conv1_s.conv"),
    "stem.time.conv": ("s1.pathway0_stem.conv", "blocks.0.conv.conv_xy", "backbone.conv1_t.conv"),
    "stem.time.norm": ("s1.pathway0_stem.bn", "blocks.0.norm", "backbone.conv1_t.bn"),
    "head.inner.conv": ("head.conv_5", "blocks.5.pool.pre_conv", "backbone.conv5.conv"),
    "head.inner.norm": ("head.conv_5_bn", "blocks.5.pool.pre_norm", "backbone.conv5.bn"),
    "head.hidden": ("head.lin_5", "blocks.5.pool.post_conv", "cls_head.fc1"),
    "head.projection": ("head.projection", "blocks.5.proj", "cls_head.fc2"),
}


def pyslowfast(name: str, config: Any) -> str | None:
    """Names of PySlowFast's ``model_state``."""
    if found := BLOCK.fullmatch(name):
        stage, block, part, kind, leaf = found.groups()
        layer = "branch1" if part == "shortcut" else f"branch2.{part}"
        norm = "_bn" if kind == "norm" else ""
        return f"s{stage}.pathway0_res{block}.{layer}{norm}.{leaf}"
    if found := SQUEEZE.fullmatch(name):
        stage, block, part, leaf = found.groups()
        return f"s{stage}.pathway0_res{block}.branch2.se.fc{1 + (part == 'excite')}.{leaf}"
    module, _, leaf = name.rpartition(".")
    return f"{OTHERS[module][0]}.{leaf}"


def pytorchvideo(name: str, config: Any) -> str | None:
    """Names of pytorchvideo's ``blocks``; there a shortcut that keeps the width has no norm."""
    if config.shortcut_norms == "all":
        raise ValueError(
            "pytorchvideo's X3D has no norm on the first shortcut of res2, and no bias to fold it "
            "into; keep this network in the marey or pyslowfast layout"
        )
    if found := BLOCK.fullmatch(name):
        stage, block, part, kind, leaf = found.groups()
        layer = f"branch1_{kind}" if part == "shortcut" else f"branch2.{kind}_{part}"
        tail = ".0" if (part, kind) == ("b", "norm") else ""
        return f"blocks.{int(stage) - 1}.res_blocks.{block}.{layer}{tail}.{leaf}"
    if found := SQUEEZE.fullmatch(name):
        stage, block, part, leaf = found.groups()
        at = f"norm_b.1.block.{2 * (part == 'excite')}"
        return f"blocks.{int(stage) - 1}.res_blocks.{block}.branch2.{at}.{leaf}"
    module, _, leaf = name.rpartition(".")
    return f"{OTHERS[module][1]}.{leaf}"


def mmaction2(name: str, config: Any) -> str | None:
    """Names of mmaction2's X3D and its head."""
    if config.shortcut_norms != "all":
        raise ValueError(
            "mmaction2's X3D norms every shortcut; keep this network in the marey layout"
        )
    if found := BLOCK.fullmatch(name):
        stage, block, part, kind, leaf = found.groups()
        layer = "downsample" if part == "shortcut" else f"conv{'abc'.index(part) + 1}"
        place = f"backbone.layer{int(stage) - 1}.{block}.{layer}"
        return f"{place}.{'bn' if kind == 'norm' else 'conv'}.{leaf}"
    if found := SQUEEZE.fullmatch(name):
        stage, block, part, leaf = found.groups()
        at = f"se_module.fc{1 + (part == 'excite')}"
        return f"backbone.layer{int(stage) - 1}.{block}.{at}.{leaf}"
    module, _, leaf = name.rpartition(".")
    return f"{OTHERS[module][2]}.{leaf}"


def as_linear(state: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """mmaction2's form: the hidden layer before the classifier is a matrix there."""
    hidden = "cls_head.fc1.weight"
    return {n: value.flatten(1) if n == hidden else value for n, value in state.items()}


def told(state: Mapping[str, Any]) -> dict[str, Any]:
    """Weights in pytorchvideo's names make a network without the norm that they lack."""
    shortcut = "blocks.1.res_blocks.0.branch1_"
    lacks = f"{shortcut}conv.weight" in state and f"{shortcut}norm.weight" not in state
    return {"shortcut_norms": "widening"} if lacks else {}


def with_norms(state: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """PySlowFast's form of a network without some norms: each becomes one that changes nothing."""
    whole = dict(state)
    for name, kernel in state.items():
        norm = name.replace(".branch1.weight", ".branch1_bn")
        if norm != name and f"{norm}.weight" not in state:
            ones = kernel.new_ones(len(kernel))
            whole |= {f"{norm}.weight": ones, f"{norm}.bias": 0 * ones}
            whole |= {f"{norm}.running_mean": 0 * ones, f"{norm}.running_var": (1 - 1e-5) * ones}
            whole[f"{norm}.num_batches_tracked"] = kernel.new_zeros(()).long()
    return whole


LAYOUTS = {"pyslowfast": pyslowfast, "pytorchvideo": pytorchvideo, "mmaction2": mmaction2}
LINEAR = Form(read=dict, write=as_linear)


def spec(frames: int, stride: int, crop: int, test: int, longest: int) -> ClipSpec:
    """Thirty views are crops of the larger test size; ten centre ones, of the training size."""
    return ClipSpec(
        frames=frames,
        stride=stride,
        size=crop,
        test_size=test,
        short_side=test,
        jitter=(test, longest),
    )


def published(centre: float, thirty: float, top1: float, top5: float) -> tuple[Claim, ...]:
    """PySlowFast's two figures of a row and pytorchvideo's two, in per cent."""
    rows = (
        ("top1", centre, CENTRE, SLOWFAST_ZOO),
        ("top1", thirty, THIRTY, SLOWFAST_ZOO),
        ("top1", top1, THIRTY, PTV_ZOO),
        ("top5", top5, THIRTY, PTV_ZOO),
    )
    return tuple(
        Claim(dataset="K400", metric=metric, value=value, protocol=protocol, source=source)
        for metric, value, protocol, source in rows
    )


def files(size: str) -> tuple[WeightsFile, ...]:
    """One file at each publisher."""
    ours = f"{PYSLOWFAST}/x3d_models/x3d_{size}.pyth"
    theirs = f"{PTV}/kinetics/X3D_{size.upper()}.pyth"
    return (
        WeightsFile(tag="k400", layout="pyslowfast", address=ours),
        WeightsFile(tag="k400", layout="pytorchvideo", address=theirs),
    )


def row(spec: ClipSpec, params_m: float, gmacs: float, size: str) -> Card:
    crop = f"{spec.frames}x{spec.size}x{spec.size}"
    source = f"facebookresearch/SlowFast configs/Kinetics/X3D_{size}.yaml" if size else PAPER
    return Card(
        spec=spec, params_m=params_m, gmacs=gmacs, at=crop, source=source, licence="Apache-2.0"
    )


def both(size: str, card: Card, *figures: float) -> Card:
    """A row that both zoos publish; ``figures`` are those of ``published``."""
    return replace(card, claims=published(*figures), weights=files(size))


XS = row(spec(4, 12, 160, 182, 228), 3.794, 0.605, "XS")
S = row(spec(13, 6, 160, 182, 228), 3.794, 1.963, "S")
M = row(spec(16, 5, 224, 256, 320), 3.794, 4.732, "M")
L = row(spec(16, 5, 312, 356, 446), 6.153, 18.37, "L")
X2D = row(spec(1, 48, 112, 128, 160), 1.634, 0.02066, "")
XL = row(L.spec, 11.096, 35.84, "")

CARDS: dict[str, Card] = {
    "x2d": replace(X2D, note="the start of the expansion; no weights were published"),
    "x3d_xs": both("xs", XS, 68.7, 69.5, 69.12, 88.63),
    "x3d_s": both("s", S, 73.1, 73.5, 73.33, 91.27),
    "x3d_m": both("m", M, 75.1, 76.2, 75.94, 92.72),
    "x3d_l": both("l", L, 76.9, 77.5, 77.44, 93.31),
    "x3d_xl": replace(
        XL, note="no configuration or weights were published; widths as in pytorchvideo and paper"
    ),
}

FAMILY = Family(
    name="x3d",
    module="marey.models.x3d",
    network="X3D",
    cards=CARDS,
    layouts=LAYOUTS,
    shapeless=("num_classes", "dropout", "frames", "stride", "crop", "pool"),
    told=told,
    forms={"pyslowfast": Form(read=dict, write=with_norms), "mmaction2": LINEAR},
)
