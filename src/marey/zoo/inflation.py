"""ImageNet ResNets into clip networks: kernels repeated over time and divided by it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from marey.zoo.files import as_tensors
from marey.zoo.names import COUNT, fit, tidy

BLOCK = re.compile(r"(?:trunk|slow)\.res(\d)\.blocks\.(\d+)\.(a|b|c|shortcut)\.(conv|norm)\.(\w+)")
STEM = re.compile(r"(?:trunk|slow)\.stem\.(conv|norm)\.(\w+)")


@dataclass(frozen=True)
class Inflation:
    """What an inflation did: our tensors that were filled, those left as they were, and their own
    tensors that found no place (the image classifier)."""

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
    """Fill a C2D, I3D, Slow or SlowFast from an ImageNet ResNet of torchvision's tensor names.

    Every kernel is repeated along T and divided by T, so that a still clip gives what the image
    gave. SlowFast fills its slow pathway only, and stages that take in the fast one keep their
    start. Non-local blocks and the classifier keep their start too. Raises ValueError when nothing
    fits, or a kernel that should fit has another shape.
    """
    source = tidy(as_tensors(state2d))
    own = model.state_dict()
    filled, used, unfit = {}, set(), []
    for name, value in own.items():
        theirs = torchvision_name(name)
        if theirs is None or theirs not in source:
            continue
        fitted = _fit2d(source[theirs], tuple(value.shape))
        if fitted is None:
            unfit.append(f"{theirs} {tuple(source[theirs].shape)} for {tuple(value.shape)}")
            continue
        filled[name] = fitted.to(value.dtype)
        used.add(theirs)
    joined = any(name.startswith("laterals.") for name in own)
    if not filled or (unfit and not joined):
        trouble = f"{len(unfit)} misshapen ({unfit[0]})" if unfit else "none of its tensors fits"
        raise ValueError(f"the image network does not inflate: {trouble}; take the same depth")
    for name, value in filled.items():
        own[name].copy_(value)
    kept = [n for n in own if n not in filled and not n.endswith(COUNT)]
    return Inflation(tuple(filled), tuple(kept), tuple(n for n in source if n not in used))


def _fit2d(value: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor | None:
    if value.dim() == 4 and len(shape) == 5:
        value = value.unsqueeze(2)
    return fit(value, shape)
