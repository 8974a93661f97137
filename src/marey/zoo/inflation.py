"""Image networks into clip networks: kernels repeated over time and divided by it, or put in its
middle."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from marey.models.mtv import resized
from marey.zoo.files import as_tensors, read_state
from marey.zoo.names import COUNT, fit, tidy
from marey.zoo.published import mtv_names
from marey.zoo.published.frame_names import image_name
from marey.zoo.published.resnet_names import caffe2, pyslowfast

FIRST = ("conv1.weight", "conv1_7x7_s2.weight")  # the kernel that reads colours


@dataclass(frozen=True)
class Inflation:
    """Our tensors that were filled, those left at their start, and theirs that found no place."""

    loaded: tuple[str, ...]
    left: tuple[str, ...]
    unused: tuple[str, ...]


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
    body = [name for name in own if image_name(name) is not None]
    rules: tuple[Callable[[str], str | None], ...] = (
        image_name,
        partial(pyslowfast, config=None),
        partial(caffe2, config=None),
    )
    tables = [{name: _named(rule, name) for name in body} for rule in rules]
    table = max(tables, key=lambda names: len(set(names.values()) & set(source)))
    filled: dict[str, Tensor] = {}
    unfit = []
    for name, theirs in table.items():
        if theirs is None or theirs not in source:
            continue
        fitted = fit(source[theirs], tuple(own[name].shape))
        if fitted is None and theirs in FIRST:
            fitted = across_modalities(source[theirs], own[name].shape)
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


@torch.no_grad()
def inflate_views(model: nn.Module, images: Sequence[str | Path | Mapping[str, Any]]) -> Inflation:
    """Fill each view of an MTV from an image transformer of its size, longest tubelet first.

    ``images`` are ``.npz`` files of google-research/vision_transformer, or arrays by name. A patch
    kernel goes to the middle frame of the tubelet and the other frames are zero, so that each view
    starts as its image network on middle frames. Cross attention, the global encoder and the
    classifier keep their start. Raises ValueError for another number of images than views, and
    where an image lacks a tensor or has another shape.
    Source: S. Yan et al., "Multiview Transformers for Video Recognition", CVPR 2022.
    """
    own = model.state_dict()
    views = {int(name.split(".")[1]) for name in own if name.startswith("tubelets.")}
    if len(images) != len(views):
        raise ValueError(f"{len(images)} images for {len(views)} views; give one a view, in order")
    filled: dict[str, Tensor] = {}
    unused: list[str] = []
    for view, image in enumerate(images):
        state = as_tensors(image) if isinstance(image, Mapping) else read_state(image)[0]
        names = {n: their for n in own if (their := mtv_names.image_name(n, view)) is not None}
        absent = [their for their in names.values() if their not in state]
        if absent:
            raise ValueError(f"image {view + 1} lacks {absent[0]} (and {len(absent) - 1} more)")
        for name, theirs in names.items():
            value = mtv_names.turned(theirs, state[theirs])
            wanted = tuple(own[name].shape)
            fitted = mtv_names.spread(name, value, wanted)
            if tuple(fitted.shape) != wanted and name.endswith("positions"):
                fitted = resized(name, fitted, wanted)
            if tuple(fitted.shape) != wanted:
                raise ValueError(
                    f"image {view + 1}: {theirs} is {tuple(value.shape)} for {name} {wanted}; "
                    f"take the size that view {view} has"
                )
            filled[name] = fitted
        unused += [f"{view}:{theirs}" for theirs in state if theirs not in names.values()]
    for name, value in filled.items():
        own[name].copy_(value)
    left = [name for name in own if name not in filled]
    return Inflation(tuple(filled), tuple(left), tuple(unused))


def across_modalities(kernel: Tensor, shape: Sequence[int]) -> Tensor | None:
    """A first kernel for stacks of flow or differences: its mean over colours, for each channel.

    (W, 3, H, W) -> ``shape`` (W, C, H, W), not rescaled; None where more than channels differ.
    Source: L. Wang et al., "Temporal Segment Networks", ECCV 2016, Section 3.2.
    """
    if len(shape) != 4 or (kernel.shape[0], *kernel.shape[2:]) != (shape[0], *shape[2:]):
        return None
    return kernel.mean(dim=1, keepdim=True).expand(*shape)


def _named(rule: Callable[[str], str | None], name: str) -> str | None:
    """What a rule calls a tensor; None where its layout has no such network."""
    try:
        return rule(name)
    except ValueError:
        return None


def _joins(name: str, model: nn.Module) -> bool:
    """Whether a kernel of a two-pathway network also reads the fast maps."""
    two = any(child == "laterals" for child, _ in model.named_children())
    return two and re.search(r"blocks\.0\.(a|shortcut)\.conv", name) is not None
