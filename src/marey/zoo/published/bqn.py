"""BQN as published: what each row reads, costs and claims, and how its tensors are named.

The authors released code and no weights. Parameters and multiply-adds (of one clip, at its training
size) are those of their code. In it the busy pathway is ``path_f`` and the quiet one ``path_c``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from math import ceil
from types import SimpleNamespace
from typing import Any

from marey.choices import Claim
from marey.types import ClipSpec
from marey.zoo.cards import Card, Family
from marey.zoo.published.resnet_names import torchvision
from marey.zoo.published.x3d import LAYOUTS as X3D_LAYOUTS

REPOSITORY = "guoxih/busy-quiet-net"
LISTED = "public listing of the paper's results (not re-checked)"
PATHS = {"quiet": "path_c", "busy": "path_f"}
LATERAL = re.compile(r"exchanges\.(\d+)\.(up|down)\.(band|conv|norm)\.(.+)")
BAND = {"space.weight": "conv_s.weight", "time": "conv_t.weight"}
WIDENING = SimpleNamespace(shortcut_norms="widening")  # as in pytorchvideo's X3D


def original(name: str, config: Any) -> str | None:
    """Names of the authors' code, of ResNets or of X3Ds."""
    if config.pathways != "both":
        raise ValueError(f"pathways {config.pathways!r} has no names in the original layout")
    return f"base_model.{_named(name, config)}"


def _named(name: str, config: Any) -> str:
    if name.startswith("band."):
        return f"mbpf1.{BAND[name.removeprefix('band.')]}"
    if found := LATERAL.fullmatch(name):
        return _lateral(config, *found.groups())
    return _x3d(name, config) if hasattr(config, "depth_factor") else _resnet(name)


def _lateral(config: Any, at: str, way: str, part: str, leaf: str) -> str:
    """The lateral connection after the block of that number."""
    x3d, both = hasattr(config, "depth_factor"), config.laterals == "both"
    stage, block = _place(int(at), config)
    owner = f"blocks.{stage + 1}.res_blocks.{block}" if x3d else f"layer{stage + 1}.{block}"
    if part == "band":
        return f"{owner}.mbpf.{BAND[leaf]}"
    if x3d:
        return f"{owner}.{way}.{1 + (part == 'norm')}.{leaf}"
    if both:
        return f"{owner}.d_{way}.{int(part == 'norm')}.{leaf}"
    return f"{owner}.{way}.1.{leaf}"


def _place(number: int, config: Any) -> tuple[int, int]:
    """Stage and block, from zero, of the block of a number."""
    factor = getattr(config, "depth_factor", None)
    depths = config.depths if factor is None else [ceil(d * factor) for d in (1, 2, 5, 3)]
    for stage, depth in enumerate(depths):
        if number < depth:
            return stage, number
        number -= depth
    raise ValueError(f"exchange {number} is past the last block")


def _resnet(name: str) -> str:
    """A tensor of one of the two ResNets, or the classifier they share."""
    if name.startswith("head.projection."):
        return f"fc.{name.rpartition('.')[2]}"
    path, _, rest = name.partition(".")
    theirs = torchvision(f"trunk.{rest}")
    if path not in PATHS or theirs is None:
        raise _unnamed(name)
    if theirs.startswith(("conv1", "bn1")):
        return f"d_{theirs}" if path == "busy" else theirs
    layer, block, leaf = theirs.split(".", 2)
    return f"{layer}.{block}.{PATHS[path]}.{leaf}"


def _x3d(name: str, config: Any) -> str:
    """A tensor of one of the two X3Ds: pytorchvideo's name with the pathway in it."""
    if found := re.fullmatch(r"head\.(projection(?:_quiet)?|paths\.(\d))\.(.+)", name):
        which, at, leaf = found.groups()
        quiet = which.endswith("_quiet") or at == "1"
        path, plain = ("quiet" if quiet else "busy"), f"head.{'' if at else 'projection.'}{leaf}"
    else:
        path, _, plain = name.partition(".")
    if path not in PATHS:
        raise _unnamed(name)
    theirs = X3D_LAYOUTS["pytorchvideo"](plain, WIDENING)
    assert theirs is not None
    owner = re.match(r"blocks\.\d+(\.res_blocks\.\d+)?", theirs)
    assert owner is not None
    return f"{owner.group()}.{PATHS[path]}{theirs[owner.end() :]}"


def _unnamed(name: str) -> ValueError:
    return ValueError(
        f"{name} has no name in the original layout; keep this network in the marey layout"
    )


def kinetics(top1: float, top5: float) -> tuple[Claim, ...]:
    """Figures of the public listing for thirty views."""
    return tuple(
        Claim(dataset="K400", metric=metric, value=value, protocol=THIRTY, source=LISTED)
        for metric, value in (("top1", top1), ("top5", top5))
    )


def split(dataset: str, value: float | None, metric: str = "top1") -> Claim:
    return Claim(dataset=dataset, metric=metric, value=value, protocol=SIX, source=LISTED)


THIRTY, SIX = "10x3 views, 256 crop", "2x3 views, 256 crop"
IMAGE = ClipSpec(
    frames=16,
    stride=3,
    sampling="stride",
    segment_frames=3,
    size=256,
    test_size=256,
    short_side=256,
    jitter=(256, 256),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    views=(10, 3),
)
SOMETHING = replace(IMAGE, frames=8, stride=1, sampling="snippet", views=(2, 3))
X3D = replace(IMAGE, mean=(0.45,) * 3, std=(0.225,) * 3)

_CARD = Card(spec=IMAGE, source=REPOSITORY, licence="Apache-2.0")
_SSV1 = replace(_CARD, spec=SOMETHING, classes="", note="Something-Something v1 (174 classes)")

CARDS: dict[str, Card] = {
    "bqn_r50_8x3": replace(
        _SSV1,
        params_m=47.68,
        gmacs=60.26,
        at="24x256x256",
        claims=(split("SSv1", None), split("SSv1", None, "top5")),
    ),
    "bqn_r50_16x3": replace(
        _CARD,
        params_m=48.14,
        gmacs=120.53,
        at="48x256x256",
        claims=(*kinetics(77.3, 93.2), split("UCF-101", 97.6), split("HMDB-51", 77.6)),
    ),
    "bqn_r101_16x3": replace(_CARD, note="in the authors' code, without results"),
    "bqn_both_r50_8x3": replace(
        _SSV1,
        spec=replace(SOMETHING, size=224, test_size=224),
        params_m=88.21,
        gmacs=120.5,
        at="24x224x224",
        note="what the released code runs by default; twice the size the paper reports",
    ),
    "bqn_both_r50_16x3": replace(_CARD, spec=replace(IMAGE, size=224, test_size=224)),
    "bqn_x3d_m_16x3": replace(_CARD, spec=X3D, params_m=8.01, gmacs=10.2, at="48x256x256"),
    "bqn_both_x3d_m_16x3": replace(_CARD, spec=X3D, params_m=8.43, gmacs=11.0, at="48x256x256"),
    "bqn_x3d_l_16x3": replace(_CARD, spec=X3D, params_m=13.22),
    "bqn_both_x3d_l_16x3": replace(_CARD, spec=X3D, params_m=14.14),
}

FAMILY = Family(
    name="bqn",
    module="marey.models.bqn",
    network="bqn",
    cards=CARDS,
    layouts={"original": original},
    shapeless=("num_classes", "dropout", "frames", "crop", "share"),
)
