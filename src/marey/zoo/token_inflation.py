"""Weights of one MViT as the start of another kind: images to clips, clips to images, and
classifiers to detection backbones.

Kernels without time take the middle frame of ours (``centre``), so that a still clip gives what the
image gave; ``mean`` spreads them over all frames, ``repeat`` does so without dividing, as the
authors' code did. Kernels over time are summed for images.

Source: Y. Li et al., "MViTv2", CVPR 2022, Section 4.2, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from marey.layers.positions import resized
from marey.zoo.files import State, as_tensors
from marey.zoo.inflation import Inflation, take
from marey.zoo.names import read_form, tidy
from marey.zoo.registry import HOMES

Kernels = Literal["centre", "mean", "repeat"]
STEM = {"pyslowfast": "patch_embed.proj.weight", "torchvision": "conv_proj.weight"}
STEM |= {"mvit": STEM["pyslowfast"], "timm": STEM["pyslowfast"]}
STEM |= {"pytorchvideo": "patch_embed.patch_model.weight", "marey": "patch_embed.weight"}


def starts(state: Mapping[str, Tensor], config: Any) -> bool:
    """Whether a tidied state is of another kind of MViT than ``config``."""
    found = _read(state)
    if found is None:
        return False
    layout, given = found
    stem = given.get(STEM[layout])
    of_image = stem is not None and stem.dim() == 5 and stem.shape[2] == 1
    maps = any(name.startswith("scale2_norm") for name in given)
    return stem is not None and (of_image != config.image or (bool(config.pyramid) and not maps))


@torch.no_grad()
def inflate(
    model: nn.Module, source: Mapping[str, Any], *, kernels: Kernels = "centre"
) -> Inflation:
    """Fill an MViT from one of the same blocks for the other kind of input.

    Position tables follow the size; one of time that the source lacks is zero. The classifier, and
    a class token or norms that the source lacks, keep their start. Raises ValueError where nothing
    fits, or a tensor that should fit has another shape.
    """
    network: Any = model
    found = _read(tidy(as_tensors(source)))
    if found is None:
        raise ValueError("these are not the tensors of an MViT in any layout; nothing fits")
    layout, given = found
    theirs_at = _names(layout, network, given)
    own = network.state_dict()
    filled: dict[str, Tensor] = {}
    unfit, used = [], set()
    for name, start in own.items():
        value, taken = _value(name, given, theirs_at)
        if value is None or name.startswith("head."):
            if name.endswith("rel_pos_t"):
                filled[name] = torch.zeros_like(start)
            continue
        fitted = _fitted(name, value, tuple(start.shape), kernels)
        used |= taken
        if fitted is None:
            unfit.append(f"{name} {tuple(value.shape)} for {tuple(start.shape)}")
        else:
            filled[name] = fitted
    unused = [name for name in given if name not in used]
    return take(own, filled, unused, unfit, cure="take its own size")


def _read(state: Mapping[str, Tensor]) -> tuple[str, State] | None:
    """The layout that owns a state, and the state as it reads it."""
    family = HOMES["mvitv2_t"]
    for layout in STEM:
        given = read_form(family, layout, state)
        if given.get(STEM[layout]) is not None:
            return layout, given
    return None


def _names(layout: str, network: Any, given: State) -> dict[str, str]:
    """Our name -> theirs, as the other kind of network would be named."""
    kernel, stride = network.config.patch_kernel, network.config.patch_stride
    flat = layout in ("mvit", "timm")
    other = replace(
        network.config,
        patch_kernel=(1, *kernel[1:]) if flat else (3, *kernel[1:]),
        patch_stride=(1, *stride[1:]) if flat else (2, *stride[1:]),
        class_token=True,
        pyramid="",
    )
    rule = HOMES["mvitv2_t"].layouts.get(layout, lambda name, config: name)
    extra = ("joint", "spatial", "temporal", "class_position", "class_token")
    found = {}
    for name in (*network.state_dict(), *(f"positions.{leaf}" for leaf in extra)):
        try:
            theirs = rule(name, other)
        except ValueError:
            continue
        if theirs is not None:
            found[name] = theirs
    return found


def _value(name: str, given: State, theirs_at: Mapping[str, str]) -> tuple[Tensor | None, set[str]]:
    """The tensor of a source that one of ours starts from, and what was taken for it."""

    def of(leaf: str) -> Tensor | None:
        return given.get(theirs_at.get(f"positions.{leaf}", ""))

    value = given.get(theirs_at.get(name, ""))
    if value is not None:
        return value, {theirs_at[name]}
    joint, space, token = of("joint"), of("spatial"), of("class_position")
    if joint is not None:
        first = 0 if of("class_token") is None else 1
        parts = {
            "positions.spatial": joint[:, first:],
            "positions.class_position": joint[:, :first] if first else None,
            "positions.temporal": joint.new_zeros(1, 1, joint.shape[2]),
        }
        return parts.get(name), {theirs_at["positions.joint"]}
    if name == "positions.joint" and space is not None:
        time = of("temporal")
        grid = space if time is None else space + time.mean(dim=1, keepdim=True)
        taken = {theirs_at[f"positions.{leaf}"] for leaf in ("spatial", "temporal")}
        return grid if token is None else torch.cat([token, grid], dim=1), taken
    return None, set()


def _fitted(name: str, value: Tensor, shape: tuple[int, ...], kernels: Kernels) -> Tensor | None:
    """A tensor in the shape wanted: kernels over time, tables over the grid."""
    if tuple(value.shape) == shape:
        return value
    same = value.dim() == len(shape) == 5 and value.shape[3:] == shape[3:]
    if not same or tuple(value.shape[:2]) != shape[:2]:
        return resized(name, value, shape)
    if shape[2] == 1:
        return value.sum(dim=2, keepdim=True)
    if value.shape[2] != 1:
        return None
    if kernels == "centre":
        spread = value.new_zeros(shape)
        spread[:, :, shape[2] // 2] = value[:, :, 0]
        return spread
    return value.expand(shape) / (shape[2] if kernels == "mean" else 1)
