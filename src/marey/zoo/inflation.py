"""Image networks into clip networks: kernels repeated over time and divided by it, or put in its
middle."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from marey.models.mtv import resized
from marey.zoo.files import as_tensors, read_state
from marey.zoo.names import COUNT, fit, published_names, tidy
from marey.zoo.published import mtv_names
from marey.zoo.published.frame_names import image_name
from marey.zoo.published.resnet_names import caffe2, pyslowfast
from marey.zoo.registry import family_of

FIRST = ("conv1.weight", "conv1_7x7_s2.weight")  # the kernel that reads colours
Taps = Literal["mean", "middle", "thirds"]


@dataclass(frozen=True)
class Inflation:
    """Our tensors that were filled, those left at their start, and theirs that found no place."""

    loaded: tuple[str, ...]
    left: tuple[str, ...]
    unused: tuple[str, ...]


@torch.no_grad()
def take(
    own: Mapping[str, Tensor],
    filled: Mapping[str, Tensor],
    unused: Iterable[str],
    unfit: Sequence[str],
    *,
    cure: str,
) -> Inflation:
    """Copy ``filled`` into the tensors of a network, ``own``, in place.

    Raises ValueError with ``cure`` where nothing was filled or ``unfit`` names a misshapen tensor;
    the network is as it was then.
    """
    if unfit or not filled:
        trouble = f"{len(unfit)} misshapen ({unfit[0]})" if unfit else "none of its tensors fits"
        raise ValueError(f"the weights do not start this network: {trouble}; {cure}")
    for name, value in filled.items():
        own[name].copy_(value)
    left = (name for name in own if name not in filled and not name.endswith(COUNT))
    return Inflation(tuple(filled), tuple(left), tuple(unused))


@torch.no_grad()
def inflate(model: nn.Module, state2d: Mapping[str, Any], *, taps: Taps = "mean") -> Inflation:
    """Fill a C2D, I3D, Slow or SlowFast from an ImageNet ResNet, of the same depth.

    The image network may have the tensor names of torchvision (timm's are the same), PySlowFast or
    Caffe2. ``taps`` says what becomes of a kernel along T: ``mean`` repeats it and divides by T,
    so that a still clip gives what the image gave; ``middle`` puts it into the middle and zeros
    around; ``thirds`` gives each of three frames 1/9, 1/3 and 1/9 of it. SlowFast fills its slow
    pathway; its convolutions that take in the fast maps, non-local blocks and every classifier keep
    their start. A network of the zoo may also be filled from the same network trained on images:
    its kernels stay as they are, or are made anew from their middle tap.
    Raises ValueError when nothing fits, or a kernel that should fit has another shape.
    Source of ``thirds``: the code of X. Li et al., "In Defense of Image Pre-Training for
    Spatiotemporal Recognition", ECCV 2022.
    """
    if taps not in get_args(Taps):
        raise ValueError(f"taps is {taps!r}; choose one of {', '.join(get_args(Taps))}")
    source = tidy(as_tensors(state2d))
    own = model.state_dict()
    body = [name for name in own if image_name(name) is not None]
    rules: tuple[Callable[[str], str | None], ...] = (
        image_name,
        partial(pyslowfast, config=None),
        partial(caffe2, config=None),
    )
    tables = [{name: _named(rule, name) for name in body} for rule in rules]
    tables += _own_tables(model, own)
    table = max(tables, key=lambda names: len(set(names.values()) & set(source)))
    filled: dict[str, Tensor] = {}
    unfit = []
    for name, theirs in table.items():
        if theirs is None or theirs not in source:
            continue
        fitted = _spread(source[theirs], tuple(own[name].shape), taps)
        if fitted is None and theirs in FIRST:
            fitted = across_modalities(source[theirs], own[name].shape)
        if fitted is not None:
            filled[name] = fitted
        elif not _joins(name, model):
            unfit.append(f"{theirs} {tuple(source[theirs].shape)} for {tuple(own[name].shape)}")
    used = {table[name] for name in filled}
    unused = [name for name in source if name not in used]
    return take(own, filled, unused, unfit, cure="take an image network of this depth")


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
    network: Any = model
    own = network.state_dict()
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
                fitted = resized(name, fitted, wanted, network.config)
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


def _own_tables(model: nn.Module, own: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """Names of all but the classifier in the published layouts of a network of the zoo."""
    if not hasattr(model, "variant"):
        return []
    family = family_of(model.variant)  # type: ignore[arg-type]
    found: list[dict[str, str | None]] = []
    for layout in family.layouts:
        try:
            names = published_names(family, layout, own, model.config)
        except ValueError:
            continue
        found.append({n: t for n, t in names.items() if not n.startswith("head.projection.")})
    return found


def _spread(value: Tensor, shape: tuple[int, ...], taps: Taps) -> Tensor | None:
    """``value`` in ``shape`` or None, a kernel over time filled as ``taps`` says."""
    fitted = fit(value, shape)
    frames = shape[2] if len(shape) == 5 else 1
    if fitted is None or frames == 1 or taps == "mean" or (taps == "thirds" and frames != 3):
        return fitted
    trained = value.dim() == 5 and value.shape[2] == frames  # a video network's, on images
    middle = fitted[:, :, frames // 2] if trained else fitted.sum(dim=2)
    shares = [0.0] * frames
    if taps == "thirds":
        shares = [1 / 9, 1 / 3, 1 / 9]
    else:
        shares[frames // 2] = 1.0
    return torch.stack([middle * share for share in shares], dim=2)


def _joins(name: str, model: nn.Module) -> bool:
    """Whether a kernel of a two-pathway network also reads the fast maps."""
    two = any(child == "laterals" for child, _ in model.named_children())
    return two and re.search(r"blocks\.0\.(a|shortcut)\.conv", name) is not None
