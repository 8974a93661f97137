"""ImageNet ResNets into clip networks: kernels repeated over time and divided by it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from marey.zoo.files import as_tensors
from marey.zoo.names import COUNT, fit, tidy
from marey.zoo.published.resnet_names import caffe2, pyslowfast

BLOCK = re.compile(r"(?:trunk|slow)\.res(\d)\.blocks\.(\d+)\.(a|b|c|shortcut)\.(conv|norm)\.(\w+)")
STEM = re.compile(r"(?:trunk|slow)\.stem\.(conv|norm)\.(\w+)")


@dataclass(frozen=True)
class Inflation:
    """Our tensors that were filled, those left at their start, and theirs that found no place."""

    loaded: tuple[str, ...]
    left: tuple[str, ...]
    unused: tuple[str, ...]


def torchvision_name(name: str) -> str | None:
    """The tensor of a torchvision ResNet that one of ours starts from, or None.

    ``trunk.res2.blocks.0.a.conv.weight`` -> ``layer1.0.conv1.weight``.
    """
    if found := BLOCK.fullmatch(name):
        stage, block, part, kind, leaf = found.groups()
        if part == "shortcut":
            return f"layer{int(stage) - 1}.{block}.downsample.{int(kind == 'norm')}.{leaf}"
        layer = f"{'bn' if kind == 'norm' else 'conv'}{'abc'.index(part) + 1}"
        return f"layer{int(stage) - 1}.{block}.{layer}.{leaf}"
    if found := STEM.fullmatch(name):
        kind, leaf = found.groups()
        return f"{'bn' if kind == 'norm' else 'conv'}1.{leaf}"
    return None


@torch.no_grad()
def inflate(model: nn.Module, state2d: Mapping[str, Any]) -> Inflation:
    """Fill a C2D, I3D, Slow or SlowFast from an ImageNet ResNet, of the same depth.

    The image network may have the tensor names of torchvision, PySlowFast or Caffe2. Every kernel
    is repeated along T and divided by T, so that a still clip gives what the image gave. SlowFast
    fills its slow pathway; its convolutions that take in the fast maps, non-local blocks and every
    classifier keep their start. Raises ValueError when nothing fits, or a kernel that should fit
    has another shape.
    """
    source = tidy(as_tensors(state2d))
    own = model.state_dict()
    body = [name for name in own if STEM.fullmatch(name) or BLOCK.fullmatch(name)]
    rules: tuple[Callable[[str], str | None], ...] = (
        torchvision_name,
        partial(pyslowfast, config=None),
        partial(caffe2, config=None),
    )
    tables = [{name: rule(name) for name in body} for rule in rules]
    table = max(tables, key=lambda names: len(set(names.values()) & set(source)))
    filled: dict[str, Tensor] = {}
    unfit = []
    for name, theirs in table.items():
        if theirs is None or theirs not in source:
            continue
        fitted = fit(source[theirs], tuple(own[name].shape))
        if fitted is not None:
            filled[name] = fitted
        elif not _joins(name, model):
            unfit.append(f"{theirs} {tuple(source[theirs].shape)} for {tuple(own[name].shape)}")
    if unfit or not filled:
        trouble = f"{len(unfit)} misshapen ({unfit[0]})" if unfit else "none of its tensors fits"
        raise ValueError(f"the image network does not inflate: {trouble}; take one of this depth")
    for name, value in filled.items():
        own[name].copy_(value)
    used = {table[name] for name in filled}
    left = [name for name in own if name not in filled and not name.endswith(COUNT)]
    return Inflation(tuple(filled), tuple(left), tuple(n for n in source if n not in used))


def _joins(name: str, model: nn.Module) -> bool:
    """Whether a kernel of a two-pathway network also reads the fast maps."""
    two = any(child == "laterals" for child, _ in model.named_children())
    return two and re.search(r"blocks\.0\.(a|shortcut)\.conv", name) is not None
