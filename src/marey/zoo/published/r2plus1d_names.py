"""How publishers name the tensors of R(2+1)D and its siblings: ours -> theirs.

Each rule takes one of our names (``res3.blocks.0.a.conv.space.weight``) and the configuration, and
gives the published name, or None for a tensor that layout does not store. A rule refuses a network
that its publisher's own code does not compute, so that no file is read as another's.

Source: the checkpoint formats of torchvision's VideoResNet, of facebookresearch/VMZ (PyTorch and
Caffe2 .pkl), mmaction2 and pytorchvideo.
"""

from __future__ import annotations

import re
from typing import Any

BLOCK = re.compile(r"res(\d)\.blocks\.(\d+)\.(a|b|c|shortcut)\.(.+)")
STEM = re.compile(r"stem\.(.+)")
HEAD = re.compile(r"head\.projection\.(\w+)")
PART = re.compile(r"(conv|norm)(?:\.(space|norm|time))?\.(\w+)")
LEAF = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}


def torchvision(name: str, config: Any) -> str | None:
    """Names of torchvision's VideoResNet, for the networks it builds."""
    if config.eps != 1e-5:
        raise _unnamed("a norm with another epsilon than 1e-5", "torchvision")
    if config.mid != "block" or config.stem_mid != 45:
        raise _unnamed(f"mid {config.mid!r} with a stem of {config.stem_mid}", "torchvision")
    return _video_resnet(name, config, "torchvision")


def vmz(name: str, config: Any) -> str | None:
    """Names of VMZ's PyTorch port, which are torchvision's, for the networks of VMZ."""
    _check_vmz(config, "vmz")
    return _video_resnet(name, config, "vmz")


def caffe2(name: str, config: Any) -> str | None:
    """Names of VMZ's Caffe2 blobs; batch counts are not stored there."""
    _check_vmz(config, "caffe2")
    if name.endswith("num_batches_tracked"):
        return None
    if found := BLOCK.fullmatch(name):
        stage, block, part, rest = found.groups()
        number = sum(config.depths[: int(stage) - 2]) + int(block)
        kind, half, leaf = _parts(rest, name, "caffe2")
        if part == "shortcut":
            return f"shortcut_projection_{number}{_tail(kind, leaf, '_spatbn')}"
        middle = "_middle" if half in ("space", "norm") else ""
        at = "abc".index(part) + 1
        if kind == "norm" or half == "norm":
            return f"comp_{number}_spatbn_{at}{middle}_{LEAF[leaf]}"
        return f"comp_{number}_conv_{at}{middle}_w"
    if found := STEM.fullmatch(name):
        kind, half, leaf = _parts(found.group(1), name, "caffe2")
        middle = "_middle" if half in ("space", "norm") else ""
        return f"conv1{middle}{_tail('norm' if half == 'norm' else kind, leaf, '_spatbn_relu')}"
    if found := HEAD.fullmatch(name):
        return f"last_out_L#_{found.group(1)[0]}"  # '#': the number of classes
    raise _unnamed(name, "caffe2")


def mmaction2(name: str, config: Any) -> str | None:
    """Names of mmaction2's ResNet2Plus1d and its head."""
    if not config.factor_shortcut or config.mid != "conv" or config.entry != "pool":
        raise _unnamed("a shortcut that is not split", "mmaction2")
    halves = {"space": "conv_s", "norm": "bn_s", "time": "conv_t"}
    if found := HEAD.fullmatch(name):
        return f"cls_head.fc_cls.{found.group(1)}"
    if found := BLOCK.fullmatch(name):
        stage, block, part, rest = found.groups()
        layer = "downsample" if part == "shortcut" else f"conv{'abc'.index(part) + 1}"
        place = f"backbone.layer{int(stage) - 1}.{block}.{layer}"
    elif found := STEM.fullmatch(name):
        place, rest = "backbone.conv1", found.group(1)
    else:
        raise _unnamed(name, "mmaction2")
    kind, half, leaf = _parts(rest, name, "mmaction2")
    return f"{place}.bn.{leaf}" if kind == "norm" else _join(place, "conv", halves.get(half), leaf)


def pytorchvideo(name: str, config: Any) -> str | None:
    """Names of pytorchvideo's ``blocks``."""
    if config.mid != "width" or config.entry != "stride" or config.block != "bottleneck":
        raise _unnamed(f"mid {config.mid!r}", "pytorchvideo")
    halves = {"space": "conv_xy", "norm": "norm", "time": "conv_t"}
    if found := HEAD.fullmatch(name):
        return f"blocks.5.proj.{found.group(1)}"
    if found := STEM.fullmatch(name):
        return f"blocks.0.{found.group(1)}"
    if found := BLOCK.fullmatch(name):
        stage, block, part, rest = found.groups()
        place = f"blocks.{int(stage) - 1}.res_blocks.{block}"
        kind, half, leaf = _parts(rest, name, "pytorchvideo")
        if part == "shortcut":
            return f"{place}.branch1_{kind}.{leaf}"
        return _join(f"{place}.branch2", f"{kind}_{part}", halves.get(half), leaf)
    raise _unnamed(name, "pytorchvideo")


def _video_resnet(name: str, config: Any, layout: str) -> str:
    if config.factor_shortcut or config.mid == "width":
        raise _unnamed("a split shortcut, or time before space", layout)
    if found := HEAD.fullmatch(name):
        return f"fc.{found.group(1)}"
    halves = {"space": "0", "norm": "1", "time": "3"}
    if found := BLOCK.fullmatch(name):
        stage, block, part, rest = found.groups()
        layer = "downsample" if part == "shortcut" else f"conv{'abc'.index(part) + 1}"
        kind, half, leaf = _parts(rest, name, layout)
        place = f"layer{int(stage) - 1}.{block}.{layer}"
        return _join(place, "01"[kind == "norm"], halves.get(half), leaf)
    if found := STEM.fullmatch(name):
        kind, half, leaf = _parts(found.group(1), name, layout)
        split = config.convs[0] == "2+1d"
        at = halves[half] if half else ("4" if split else "1") if kind == "norm" else "0"
        return f"stem.{at}.{leaf}"
    raise _unnamed(name, layout)


def _parts(rest: str, name: str, layout: str) -> tuple[str, str, str]:
    """``conv.space.weight`` as whole, half ('' where there is none) and leaf."""
    found = PART.fullmatch(rest)
    if found is None:
        raise _unnamed(name, layout)
    kind, half, leaf = found.groups()
    return kind, half or "", leaf


def _join(*parts: str | None) -> str:
    return ".".join(part for part in parts if part)


def _tail(kind: str, leaf: str, norm: str) -> str:
    return f"{norm}_{LEAF[leaf]}" if kind == "norm" else "_w"


def _check_vmz(config: Any, layout: str) -> None:
    if config.eps != 1e-3:
        raise _unnamed("a norm with another epsilon than 1e-3", layout)
    if config.mid != "conv" or config.stem_mid != 45 or config.factor_shortcut:
        raise _unnamed(f"mid {config.mid!r} with a stem of {config.stem_mid}", layout)


def _unnamed(what: str, layout: str) -> ValueError:
    return ValueError(
        f"{what} has no name in the {layout} layout; keep this network in the marey layout"
    )


LAYOUTS = {
    "torchvision": torchvision,
    "vmz": vmz,
    "caffe2": caffe2,
    "mmaction2": mmaction2,
    "pytorchvideo": pytorchvideo,
}
