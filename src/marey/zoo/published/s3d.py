"""The S3D family as published: what each row reads, costs and claims, and where its weights are.

Parameters and multiply-adds are counted on the published networks where there are any, and on the
tables of the paper else; the paper's own counts agree with no code that was released, and are left
out. Layouts: ``torchvision``; ``kylemin``, a port of the authors' network with tensors of the same
arithmetic; ``pytorch_i3d``, DeepMind's I3D in PyTorch; ``original``, the MIL-NCE release.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from marey.choices import Claim
from marey.types import ClipSpec
from marey.zoo.cards import Card, Family, Form, Tensors, WeightsFile

PAPER = "S. Xie et al., ECCV 2018, as kylemin/S3D README.md quotes it"
TORCHVISION = "pytorch/vision torchvision/models/video/s3d.py"
KYLEMIN = "kylemin/S3D README.md"
AT = "64x224x224"
STILL = 128 / 255  # a stored flow of zero pixels

SPEC = ClipSpec(frames=64, stride=1, rate=25.0, mean=(0.5,) * 3, std=(0.5,) * 3, views=(10, 1))
CENTRE = replace(SPEC, test_size=224)
RGB = replace(
    CENTRE,
    frames=128,
    rate=15.0,
    mean=(0.43216, 0.394666, 0.37645),
    std=(0.22803, 0.22145, 0.216989),
    views=(1, 1),
)
FLOW = replace(CENTRE, modality="flow", mean=(STILL,) * 2, std=(STILL,) * 2)


def claims(dataset: str, protocol: str, source: str, **metrics: float) -> tuple[Claim, ...]:
    return tuple(
        Claim(dataset=dataset, metric=name, value=value, protocol=protocol, source=source)
        for name, value in metrics.items()
    )


def row(params_m: float, gmacs: float | None, note: str = "", **fields: Any) -> Card:
    at = AT if gmacs else ""
    plain = Card(spec=CENTRE, params_m=params_m, gmacs=gmacs, at=at, note=note, source=TF)
    return replace(plain, licence="Apache-2.0", **fields)


TF = "tensorflow/models research/slim/nets/s3dg.py"
WHOLE = "whole video, centre crop"
_I3D = row(
    12.70,
    111.3,
    source="piergiaj/pytorch-i3d pytorch_i3d.py",
    claims=claims("K400", WHOLE, PAPER, top1=71.1, top5=89.3),
)
_TOP = {1: 37.6, 2: 38.0, 3: 41.1, 4: 43.6, 5: 45.5, 6: 47.0, 7: 48.2, 8: 60.7, 9: 66.5, 10: 88.7}
_MILLIONS = (7.45, 8.44, 9.44, 10.22, 10.84, 11.32, 11.69, 12.19, 12.42, 12.64)
_LOW = (6.07, 6.29, 6.52, 7.02, 7.39, 7.87, 8.49, 9.27, 10.26, 11.26)
PORTED = "https://github.com/piergiaj/pytorch-i3d/raw/master/models"

CARDS: dict[str, Card] = {
    "i2d_inception": row(6.01, 37.1, "no convolution spans time; only pooling lets frames meet"),
    "i3d_inception": replace(
        _I3D,
        weights=(
            WeightsFile(
                tag="k400",
                layout="pytorch_i3d",
                address=f"{PORTED}/rgb_imagenet.pt",
            ),
        ),
    ),
    "i3d_flow_inception": replace(
        _I3D,
        spec=FLOW,
        params_m=12.68,
        gmacs=None,
        at="",
        claims=(),
        weights=(
            WeightsFile(
                tag="k400",
                layout="pytorch_i3d",
                address=f"{PORTED}/flow_imagenet.pt",
            ),
        ),
    ),
    **{
        f"i3d_top{k}_inception": row(_MILLIONS[k - 1], _TOP[k], f"3-D in the top {k} units only")
        for k in range(1, 11)
    },
    **{
        f"i3d_bottom{k}_inception": row(_LOW[k - 1], None, f"3-D in the lowest {k} units only")
        for k in range(1, 11)
    },
    "s3d": Card(
        spec=RGB,
        params_m=8.32,
        gmacs=72.3,
        at=AT,
        claims=claims("K400", "1x1 view of 128 frames", TORCHVISION, top1=68.37, top5=88.05)
        + claims("K400", WHOLE, KYLEMIN, top1=72.08, top5=90.35)
        + claims("K400", WHOLE, PAPER, top1=72.2, top5=90.6),
        weights=(
            WeightsFile(
                tag="k400",
                layout="torchvision",
                address="https://download.pytorch.org/models/s3d-d76dad2f.pth",
            ),
            WeightsFile(tag="k400", layout="kylemin", address="https://github.com/kylemin/S3D"),
        ),
        source=TORCHVISION,
        licence="BSD-3-Clause",
    ),
    "s3d_flow": row(8.32, None, spec=FLOW),
    "s3d_stem7": row(8.35, 79.5, "one 7x7x7 convolution as stem"),
    "s3d_stem3": row(8.31, 64.4, "one 3x7x7 convolution as stem"),
    "s3d_tf": row(8.31, 64.4, "as the authors' code: no norm after time"),
    "s3dg": row(
        9.54,
        72.3,
        "no weights were released; the paper's accuracy was not checked and is left out",
    ),
    "s3dg_flow": row(9.54, None, "no weights were released", spec=FLOW),
    "s3dg_tf": row(
        9.53,
        64.4,
        "as the authors' code: no norm after time",
    ),
    "fast_s3d": row(6.86, 37.4, "only the two top blocks span time; which two is not checked"),
    "s3dg_milnce": Card(
        spec=replace(
            SPEC, frames=32, rate=10.0, test_size=224, mean=(0.0,) * 3, std=(1.0,) * 3, views=(4, 1)
        ),
        params_m=9.67,
        gmacs=18.93,
        at="16x224x224",
        classes="",
        weights=(
            WeightsFile(
                tag="howto100m",
                layout="original",
                address="https://www.rocq.inria.fr/cluster-willow/amiech/howto100m/"
                "s3d_howto100m.pth",
                licence="Apache-2.0",
            ),
        ),
        source="antoine77340/S3D_HowTo100M s3dg.py",
        licence="Apache-2.0",
        note="its 512 outputs are an embedding shared with text, not classes; the text tower is "
        "not built; the rate of 10 frames a second is not checked",
    ),
}

MIXED = re.compile(r"mixed(\w\w)\.(b\d)(_in)?(?:\.(space|time))?\.(conv|norm)\.(\w+)")
PLAIN = re.compile(r"(stem|conv2b|conv2c)(?:\.(space|time|fold))?\.(conv|norm)\.(\w+)")
GATE = re.compile(r"(?:mixed(\w\w)\.gates\.(\d)|gate2c)\.mix\.(\w+)")
HEAD = re.compile(r"head\.projection\.(\w+)")
PLACES = dict(
    zip(
        ("stem", "conv2b", "conv2c", "3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"),
        (0, 2, 3, 5, 6, 8, 9, 10, 11, 12, 14, 15),
        strict=True,
    )
)


def torchvision(name: str, config: Any) -> str:
    """``features.5.branch1.1.0.0.weight``: a place, a branch, a step, a half, conv or norm."""
    _only(config, "torchvision", form="torchvision", stem="separable", separable=True, time=(0, 10))
    if found := HEAD.fullmatch(name):
        return f"classifier.1.{found[1]}"
    place, branch, step, half, kind, leaf = _parts(name, "torchvision")
    steps = [
        place,
        *([branch] if branch else []),
        *step,
        *(["01"["st".index(half)]] if half else []),
    ]
    return f"features.{'.'.join(steps)}.{int(kind == 'norm')}.{leaf}"


def kylemin(name: str, config: Any) -> str:
    """``base.5.branch1.1.conv_s.weight``: the same places, conv and norm of a half by letters."""
    _only(config, "kylemin", form="torchvision", stem="separable", separable=True, time=(0, 10))
    if found := HEAD.fullmatch(name):
        return f"fc.0.{found[1]}"
    place, branch, step, half, kind, leaf = _parts(name, "kylemin")
    if branch == "branch0":
        step = ["0"]
    layer = ("bn" if kind == "norm" else "conv") + (f"_{half}" if half else "")
    return ".".join(["base", place, *([branch] if branch else []), *step, layer, leaf])


def pytorch_i3d(name: str, config: Any) -> str:
    """``Mixed_3b.b1a.conv3d.weight``; networks with fewer time kernels have the same names."""
    _only(config, "pytorch_i3d", form="deepmind", stem="joint", separable=False, gating=False)
    if found := HEAD.fullmatch(name):
        return f"logits.conv3d.{found[1]}"
    if found := MIXED.fullmatch(name):
        unit, branch, inside, _, kind, leaf = found.groups()
        letter = "" if branch == "b0" else "a" if inside else "b"
        return f"Mixed_{unit}.{branch}{letter}.{'bn' if kind == 'norm' else 'conv3d'}.{leaf}"
    if found := PLAIN.fullmatch(name):
        layer = {"stem": "1a_7x7", "conv2b": "2b_1x1", "conv2c": "2c_3x3"}[found[1]]
        return f"Conv3d_{layer}.{'bn' if found[3] == 'norm' else 'conv3d'}.{found[4]}"
    raise _unnamed(name, "pytorch_i3d")


def original(name: str, config: Any) -> str:
    """``mixed_3b.conv_b1_b.conv2.weight``, as the MIL-NCE release."""
    _only(config, "original", form="milnce", stem="blocks")
    if found := HEAD.fullmatch(name):
        return f"fc.{found[1]}"
    if found := GATE.fullmatch(name):
        unit, at, leaf = found.groups()
        return f"mixed_{unit}.gating_b{at}.fc.{leaf}" if unit else f"gating.fc.{leaf}"
    if found := MIXED.fullmatch(name):
        unit, branch, inside, half, kind, leaf = found.groups()
        letter = "" if branch == "b0" else "_a" if inside else "_b"
        return f"mixed_{unit}.conv_{branch}{letter}.{_numbered(kind, half)}.{leaf}"
    if found := PLAIN.fullmatch(name):
        part, half, kind, leaf = found.groups()
        module = {"stem": "conv1", "conv2b": "conv_2b", "conv2c": "conv_2c"}[part]
        return f"{module}.{_numbered(kind, half)}.{leaf}"
    raise _unnamed(name, "original")


def _numbered(kind: str, half: str | None) -> str:
    return f"{'bn' if kind == 'norm' else 'conv'}{2 if half == 'time' else 1}"


def _parts(name: str, layout: str) -> tuple[str, str, list[str], str, str, str]:
    """Place in the list of layers, branch, step in it, half (s or t), conv or norm, and leaf."""
    if found := MIXED.fullmatch(name):
        unit, branch, inside, half, kind, leaf = found.groups()
        step = [] if branch == "b0" else ["0" if inside else "1"]
        return str(PLACES[unit]), f"branch{branch[1]}", step, (half or "")[:1], kind, leaf
    if found := PLAIN.fullmatch(name):
        part, half, kind, leaf = found.groups()
        return str(PLACES[part]), "", [], (half or "")[:1], kind, leaf
    raise _unnamed(name, layout)


def _only(config: Any, layout: str, **fields: Any) -> None:
    """Refuse a network whose arithmetic is not that of the layout's own code."""
    for field, value in fields.items():
        if getattr(config, field) != value:
            raise _unnamed(f"{field} {getattr(config, field)!r}", layout)


def _unnamed(name: str, layout: str) -> ValueError:
    return ValueError(
        f"{name} has no name in the {layout} layout; keep this network in the marey layout"
    )


def classifier_kernel(name: str) -> Form:
    """A layout whose classifier is a convolution of one place: our matrix with three axes more."""

    def write(tensors: Tensors, config: Any) -> dict[str, Any]:
        return {**tensors, name: tensors[name][..., None, None, None]}

    return Form(read=dict, write=write)


FAMILY = Family(
    name="s3d",
    module="marey.models.s3d",
    network="S3d",
    cards=CARDS,
    layouts={
        "torchvision": torchvision,
        "kylemin": kylemin,
        "pytorch_i3d": pytorch_i3d,
        "original": original,
    },
    shapeless=("num_classes", "dropout", "frames", "crop", "pool"),
    forms={
        "torchvision": classifier_kernel("classifier.1.weight"),
        "kylemin": classifier_kernel("fc.0.weight"),
        "pytorch_i3d": classifier_kernel("logits.conv3d.weight"),
    },
    aside=("text_module.",),
    reads={"kylemin": {"mean": (0.5,) * 3, "std": (0.5,) * 3, "rate": 25.0}},
)
