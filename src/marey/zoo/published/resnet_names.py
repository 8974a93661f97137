"""How publishers name the tensors of the ResNet family and SlowFast: ours -> theirs.

Each rule takes one of our names (``trunk.res3.blocks.0.a.norm.weight``) and the configuration, and
gives the published name, or None for a tensor that layout does not store.

Source: the checkpoint formats of facebookresearch/SlowFast (.pyth and Caffe2 .pkl) and
facebookresearch/pytorchvideo.
"""

from __future__ import annotations

import re
from typing import Any

BLOCK = re.compile(
    r"(trunk|slow|fast)\.res(\d)\.blocks\.(\d+)\.(a|b|c|shortcut)\.(conv|norm)\.(\w+)"
)
ATTENTION = re.compile(r"(trunk|slow)\.res(\d)\.nonlocals\.(\d+)\.(theta|phi|g|out|norm)\.(\w+)")
STEM = re.compile(r"(trunk|slow|fast)\.stem\.(conv|norm)\.(\w+)")
LATERAL = re.compile(r"laterals\.(\d)\.(conv|norm)\.(\w+)")
HEAD = re.compile(r"head\.projection\.(\w+)")
IMAGE = re.compile(
    r"(?:trunk|slow)\.res(\d)\.blocks\.(\d+)\.(?:block\.)?(a|b|c|shortcut|convs)\.(?:(\d)\.)?"
    r"(conv|norm)\.(\w+)"
)
SLOW = ((1,), (1,), (1,), (3,), (3,))  # time kernels of Slow
SUFFIX = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}


def pyslowfast(name: str, config: Any) -> str | None:
    """Names of PySlowFast's ``model_state``."""
    if found := BLOCK.fullmatch(name):
        trunk, stage, block, part, kind, leaf = found.groups()
        layer = "branch1" if part == "shortcut" else f"branch2.{part}"
        norm = "_bn" if kind == "norm" else ""
        return f"s{stage}.pathway{_pathway(trunk)}_res{block}.{layer}{norm}.{leaf}"
    if found := ATTENTION.fullmatch(name):
        _check(name, "pyslowfast", config)
        trunk, stage, block, part, leaf = found.groups()
        layer = "bn" if part == "norm" else f"conv_{part}"
        return f"s{stage}.pathway{_pathway(trunk)}_nonlocal{block}.{layer}.{leaf}"
    if found := STEM.fullmatch(name):
        _check(name, "pyslowfast", config)
        trunk, kind, leaf = found.groups()
        return f"s1.pathway{_pathway(trunk)}_stem.{'bn' if kind == 'norm' else 'conv'}.{leaf}"
    if found := LATERAL.fullmatch(name):
        at, kind, leaf = found.groups()
        return f"s{int(at) + 1}_fuse.{'bn' if kind == 'norm' else 'conv_f2s'}.{leaf}"
    if HEAD.fullmatch(name):
        return name
    raise _unnamed(name, "pyslowfast")


def pytorchvideo(name: str, config: Any) -> str | None:
    """Names of pytorchvideo's ``blocks``; a time pool after res2 is a block of its own there."""
    pooled = hasattr(config, "time_strides") and config.time_strides[2] > 1
    two = hasattr(config, "alpha")
    if found := BLOCK.fullmatch(name):
        trunk, stage, block, part, kind, leaf = found.groups()
        at = int(stage) - 1 + (pooled and int(stage) > 2)
        layer = f"branch1_{kind}" if part == "shortcut" else f"branch2.{kind}_{part}"
        return f"blocks.{at}.{_branch(trunk)}res_blocks.{block}.{layer}.{leaf}"
    if found := STEM.fullmatch(name):
        _check(name, "pytorchvideo", config)
        trunk, kind, leaf = found.groups()
        return f"blocks.0.{_branch(trunk)}{kind}.{leaf}"
    if found := LATERAL.fullmatch(name):
        at_lateral, kind, leaf = found.groups()
        layer = "norm" if kind == "norm" else "conv_fast_to_slow"
        return f"blocks.{at_lateral}.multipathway_fusion.{layer}.{leaf}"
    if found := HEAD.fullmatch(name):
        return f"blocks.{6 if two or pooled else 5}.proj.{found.group(1)}"
    raise _unnamed(name, "pytorchvideo")


def caffe2(name: str, config: Any) -> str | None:
    """Names of Caffe2 blobs; batch counts are not stored there."""
    if name.endswith("num_batches_tracked"):
        return None
    if found := BLOCK.fullmatch(name):
        trunk, stage, block, part, kind, leaf = found.groups()
        layer = "branch1" if part == "shortcut" else f"branch2{part}"
        return f"{_t(trunk)}res{stage}_{block}_{layer}{_tail(kind, leaf)}"
    if found := ATTENTION.fullmatch(name):
        _check(name, "caffe2", config)
        _, stage, block, part, leaf = found.groups()
        tail = f"bn_{SUFFIX[leaf]}" if part == "norm" else f"{part}_{leaf[0]}"
        return f"nonlocal_conv{stage}_{block}_{tail}"
    if found := STEM.fullmatch(name):
        trunk, kind, leaf = found.groups()
        return f"{_t(trunk)}{'res_conv1' if kind == 'norm' else 'conv1'}{_tail(kind, leaf)}"
    if found := LATERAL.fullmatch(name):
        at, kind, leaf = int(found.group(1)), found.group(2), found.group(3)
        below = "pool1" if at == 0 else f"res{at + 1}_{config.depths[at - 1] - 1}_branch2c_bn"
        return f"t_{below}_subsample{_tail(kind, leaf)}"
    if found := HEAD.fullmatch(name):
        return f"pred_{found.group(1)[0]}"
    raise _unnamed(name, "caffe2")


def torchvision(name: str) -> str | None:
    """The tensor of an image ResNet (or Res2Net) that one of ours is, or None.

    ``trunk.res2.blocks.0.a.conv.weight`` -> ``layer1.0.conv1.weight``.
    """
    if found := IMAGE.fullmatch(name):
        stage, block, part, at, kind, leaf = found.groups()
        if part == "shortcut":
            layer = f"downsample.{int(kind == 'norm')}"
        elif part == "convs":
            layer = f"{'bns' if kind == 'norm' else 'convs'}.{at}"
        else:
            layer = f"{'bn' if kind == 'norm' else 'conv'}{'abc'.index(part) + 1}"
        return f"layer{int(stage) - 1}.{block}.{layer}.{leaf}"
    if found := STEM.fullmatch(name):
        trunk, kind, leaf = found.groups()
        return None if trunk == "fast" else f"{'bn' if kind == 'norm' else 'conv'}1.{leaf}"
    return None


def mmaction2(name: str, config: Any) -> str | None:
    """Names of mmaction2's ResNet3dSlowOnly and ResNet3dSlowFast, whose laterals have no norm.

    Its other networks of these names stride elsewhere, and are not ours.
    """
    if getattr(config, "kernels", SLOW) != SLOW or getattr(config, "block", "") == "basic":
        raise _unnamed(f"kernels {config.kernels} in {config.block} blocks", "mmaction2")
    if getattr(config, "time_strides", (1, 1, 1)) != (1, 1, 1):
        raise _unnamed(f"time_strides {config.time_strides}", "mmaction2")
    if found := BLOCK.fullmatch(name):
        trunk, stage, block, part, kind, leaf = found.groups()
        layer = "downsample" if part == "shortcut" else f"conv{'abc'.index(part) + 1}"
        place = f"{_path(trunk)}layer{int(stage) - 1}.{block}.{layer}"
        return f"{place}.{'bn' if kind == 'norm' else 'conv'}.{leaf}"
    if found := STEM.fullmatch(name):
        _check(name, "mmaction2", config)
        trunk, kind, leaf = found.groups()
        return f"{_path(trunk)}conv1.{'bn' if kind == 'norm' else 'conv'}.{leaf}"
    found = LATERAL.fullmatch(name)
    if found and found.group(2) == "conv":
        at, _, leaf = found.groups()
        layer = f"layer{at}" if int(at) else "conv1"
        return f"{_path('slow')}{layer}_lateral.conv.{leaf}"
    if found := HEAD.fullmatch(name):
        return f"cls_head.fc_cls.{found.group(1)}"
    raise _unnamed(name, "mmaction2")


def _path(trunk: str) -> str:
    return "backbone." if trunk == "trunk" else f"backbone.{trunk}_path."


def _pathway(trunk: str) -> int:
    return 1 if trunk == "fast" else 0


def _branch(trunk: str) -> str:
    return "" if trunk == "trunk" else f"multipathway_blocks.{_pathway(trunk)}."


def _t(trunk: str) -> str:
    return "t_" if trunk == "fast" else ""


def _tail(kind: str, leaf: str) -> str:
    return f"_bn_{SUFFIX[leaf]}" if kind == "norm" else "_w"


def _check(name: str, layout: str, config: Any) -> None:
    """Refuse what a layout's own code cannot compute."""
    if "nonlocals" in name and config.pairwise not in ("embedded_gaussian", "dot_product"):
        raise _unnamed(f"pairwise {config.pairwise!r}", layout)
    if getattr(config, "pool_padding", 1) == 0 and layout != "caffe2":
        raise _unnamed("pool_padding 0", layout)


def _unnamed(name: str, layout: str) -> ValueError:
    return ValueError(
        f"{name} has no name in the {layout} layout; keep this network in the marey layout"
    )


LAYOUTS = {"pyslowfast": pyslowfast, "pytorchvideo": pytorchvideo, "caffe2": caffe2}
