"""A two-stream network begun from image networks, or from streams that were trained alone.

    VGG-16 of torchvision      both towers, as far as they go; the first kernel of flow is the mean
                               over colours, for each channel
    one stream, ours           its tower, and its classifier where the classes are as many
    spatial and temporal       ``join_streams``: fusion learns between two that know their part

What fuses keeps its start. ResNets begin as every network over frames does (``inflation``).
Source: C. Feichtenhofer et al., CVPR 2016, Section 4, and the authors' code.
Differs: their code fills the first kernel of a ResNet's flow by mirroring the colours; here too it
is the mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from marey.layers.vgg import FULL, MAPS, PLANS
from marey.zoo.files import State, as_tensors, read_state
from marey.zoo.inflation import Inflation, across_modalities, take

CONV = re.compile(r"(spatial|temporal)\.steps\.(relu\d)\.convs\.(\d)\.(\w+)")
FULLY = re.compile(r"(spatial|temporal)\.steps\.(fc\d)\.full\.(\w+)")
Source = str | Path | Mapping[str, Any]


def starts(state: Mapping[str, Tensor], config: Any) -> bool:
    """Whether a tidied state is an image VGG-16, or one stream where ``config`` has two."""
    towers = {name.partition(".")[0] for name in state} & {"spatial", "temporal"}
    if config.streams == "both" and len(towers) == 1:
        return True
    kinds = {config.spatial, config.temporal}
    return "vgg16" in kinds and "features.28.weight" in state and "classifier.3.weight" in state


@torch.no_grad()
def inflate(model: nn.Module, source: Mapping[str, Any]) -> Inflation:
    """Fill a two-stream network from a state of which ``starts`` is true.

    Raises ValueError where nothing fits, or a tensor that should fit has another shape.
    """
    state = as_tensors(source)
    own = model.state_dict()
    image = "features.28.weight" in state
    names = {n: _image(n, model) if image else n for n in own if not n.startswith("fusions.")}
    return _fill(own, {n: t for n, t in names.items() if t in state}, state)


@torch.no_grad()
def join_streams(model: nn.Module, spatial: Source, temporal: Source) -> Inflation:
    """Fill a network of two streams from one trained on frames and one trained on flow.

    Files, or tensors by name, of networks built with ``streams="spatial"`` and ``"temporal"``. A
    classifier of another class count keeps its start, as does what fuses.
    Raises ValueError for a file without that tower, or one of another shape.
    """
    own, joined = model.state_dict(), State()
    for name, given in (("spatial", spatial), ("temporal", temporal)):
        read = as_tensors(given) if isinstance(given, Mapping) else read_state(given)[0]
        tower = {n: v for n, v in read.items() if n.startswith(f"{name}.")}
        if not tower:
            raise ValueError(
                f"the {name} stream has no {name} tower (its first tensor is {next(iter(read))!r}):"
                f" train it with --net.streams {name}"
            )
        joined |= tower
        mine = "head.projection" if name == "spatial" else "head.projection_temporal"
        for leaf in ("weight", "bias"):
            value = read.get(f"head.projection.{leaf}")
            if value is not None and own.get(f"{mine}.{leaf}", value[:0]).shape == value.shape:
                joined[f"{mine}.{leaf}"] = value
    return _fill(own, {n: n for n in own if n in joined}, joined)


def _fill(own: State, names: Mapping[str, str | None], state: Mapping[str, Tensor]) -> Inflation:
    """Fill ``own`` from ``state`` by their names for ours; a first kernel may change modality."""
    unfit, filled = [], dict[str, Tensor]()
    for name, theirs in names.items():
        value, wanted = state[str(theirs)], own[name].shape
        fitted: Tensor | None = value if value.shape == wanted else None
        if fitted is None and value.dim() == 4:
            fitted = across_modalities(value, wanted)
        if fitted is not None:
            filled[name] = fitted
        elif not name.startswith("head."):
            unfit.append(f"{theirs} {tuple(value.shape)} for {tuple(wanted)}")
    used = {names[name] for name in filled}
    unused = [name for name in state if name not in used]
    return take(own, filled, unused, unfit, cure="check its fields")


def _image(name: str, model: Any) -> str | None:
    """The tensor of torchvision's VGG-16 that one of ours starts from, or None."""
    if found := CONV.fullmatch(name):
        tower, step, at, leaf = found.groups()
        if getattr(model.config, tower) != "vgg16":
            return None
        before = sum(2 * len(convs) + 1 for convs in PLANS["vgg16"].convs[: MAPS.index(step)])
        return f"features.{before + 2 * int(at)}.{leaf}"
    if found := FULLY.fullmatch(name):
        tower, step, leaf = found.groups()
        if getattr(model.config, tower) != "vgg16":
            return None
        return f"classifier.{3 * FULL.index(step)}.{leaf}"
    return None
