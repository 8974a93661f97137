"""Published names and ours: which of their tensors is each of ours, and nothing left over.

Rules run from our names to theirs (``published/``); here they are applied both ways, with strict
accounting. Tensors whose shape differs only by trailing ones are reshaped, kernels without time
are spread over ours (``inflated``), and statistics that a frozen network does not store are those
of an identity.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from marey.zoo.cards import Family
from marey.zoo.files import State

Shapes = dict[str, tuple[int, ...]]
WRAPPERS = ("module.", "model.")
TWIN = "backbone._model."  # detectors of BasicTAD store their backbone twice
UNUSED = "backbone.blocks.5."  # and its classifier, which they do not ask
COUNT = "num_batches_tracked"
COUNTED = re.compile(r"(last_out_L)\d+(_[wb])")  # a classifier that carries its class count
EPSILON = 1e-5  # of batch norm: the variance of an identity is one less this


def tidy(state: Mapping[str, Tensor]) -> State:
    """Without the prefixes of wrappers, with plain norms where they were split (multigrid), and
    with one backbone where it stands twice."""
    tidied = dict(state)
    for prefix in WRAPPERS * 2:
        if tidied and all(name.startswith(prefix) for name in tidied):
            tidied = {name.removeprefix(prefix): value for name, value in tidied.items()}
    if any(name.startswith("get_feature.") for name in tidied):
        tidied = {_image_trained(name, tidied): value for name, value in tidied.items()}
    tidied = {COUNTED.sub(r"\1#\2", name): value for name, value in tidied.items()}
    if any(".split_bn." in name for name in tidied):
        tidied = {
            re.sub(r"bn\.bn\.(\w+)$", r"bn.\1", name): value
            for name, value in tidied.items()
            if ".split_bn." not in name
        }
    if any(name.startswith(TWIN) for name in tidied):
        tidied = {name.replace(TWIN, "backbone."): value for name, value in tidied.items()}
        tidied = {name: v for name, v in tidied.items() if not name.startswith(UNUSED)}
    return tidied


def _image_trained(name: str, state: Mapping[str, Tensor]) -> str:
    """The video form of a name in the ImageNet files of the STS authors."""
    for theirs, video in (
        ("get_feature.", "backbone."),
        ("classifier.", "cls_head.fc2." if "fc1.weight" in state else "cls_head.fc_cls."),
        ("fc1.", "cls_head.fc1."),
    ):
        if name.startswith(theirs):
            return video + name.removeprefix(theirs)
    return name


def published_names(
    family: Family, layout: str, ours: Iterable[str], config: Any
) -> dict[str, str]:
    """Our name -> theirs, without the tensors that layout does not store."""
    if layout == "marey":
        return {name: name for name in ours}
    rule = family.layouts[layout]
    pairs = ((name, rule(name, config)) for name in ours)
    return {name: theirs for name, theirs in pairs if theirs is not None}


def read_form(family: Family, layout: str, state: Mapping[str, Tensor]) -> State:
    """A tidied state in the shapes of ours, by its published names; empty where of another form."""
    form = family.forms.get(layout)
    return dict(state) if form is None else form.read(state)


def write_form(family: Family, layout: str, state: State, config: Any) -> State:
    """The inverse of ``read_form``."""
    form = family.forms.get(layout)
    return state if form is None else form.write(state, config)


def resize_tables(
    state: Mapping[str, Tensor], names: Mapping[str, str], shapes: Shapes, resize: Any, config: Any
) -> tuple[State, list[str]]:
    """A read state whose tables follow another size of input, and which tensors of ours did.

    ``resize(name, value, shape, config)`` gives the resized tensor, or None for what is no table.
    """
    own, resized = dict(state), []
    for name, theirs in names.items():
        value = state.get(theirs)
        if value is None or tuple(value.shape) == shapes[name]:
            continue
        fitted = resize(name, value, shapes[name], config)
        if fitted is not None:
            own[theirs] = fitted
            resized.append(name)
    return own, resized


def shapes_match(state: Mapping[str, Tensor], names: Mapping[str, str], shapes: Shapes) -> bool:
    """Whether a tidied state has exactly the published tensors, in shapes that mean the same."""
    wanted = {theirs: shapes[ours] for ours, theirs in names.items()}
    left = set(wanted) ^ set(state)
    if left and not all(_is_implied(name, state) for name in left & set(wanted)):
        return False
    if left - set(wanted):
        return False
    return all(_alike(state[n].shape, wanted[n]) for n in wanted if n in state)


def import_state(
    state: Mapping[str, Tensor],
    names: Mapping[str, str],
    shapes: Shapes,
    *,
    where: str,
    without: Iterable[str] = (),
) -> tuple[State, list[str]]:
    """Our tensors from a tidied published state, and which kernels were spread over time.

    ``without`` names tensors of ours that are not asked for; theirs are ignored. Raises ValueError
    naming and counting what is missing, left over or of another shape; ``where`` opens the message.
    """
    skipped = set(without)
    ignored = {names[name] for name in skipped if name in names}
    own: State = {}
    inflated: list[str] = []
    missing, unfit = [], []
    for name, shape in shapes.items():
        if name in skipped:
            continue
        theirs = names.get(name)
        value = state.get(theirs) if theirs is not None else None
        if value is None:
            if theirs is None or _is_implied(theirs, state):
                own[name] = _implied(name, shape)
            else:
                missing.append(theirs)
            continue
        fitted = fit(value, shape)
        if fitted is None:
            unfit.append(f"{theirs} {tuple(value.shape)} for {shape}")
            continue
        own[name] = fitted
        if not _alike(value.shape, shape):
            inflated.append(name)
    surplus = [name for name in state if name not in set(names.values()) | ignored]
    complaints = [
        f"{len(found)} {word} ({_few(found)})"
        for found, word in ((missing, "missing"), (surplus, "left over"), (unfit, "misshapen"))
        if found
    ]
    if complaints:
        raise ValueError(f"{where}: {', '.join(complaints)}; check the model's name and fields")
    return own, inflated


def export_state(state: Mapping[str, Tensor], names: Mapping[str, str]) -> State:
    """Our tensors under their published names; a ``#`` there stands for the number of classes."""
    found = {theirs: state[ours] for ours, theirs in names.items()}
    return {n.replace("#", str(len(v))) if "#" in n else n: v for n, v in found.items()}


def fit(value: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """``value`` in ``shape``, or None. A kernel without time is repeated and divided by T.

    A vector may be stored as a row (1, C), as old copies of BN-Inception have it.
    """
    if tuple(value.shape) == (1, *shape) and len(shape) == 1:
        return value[0]
    if _trim(value.shape) == _trim(shape):
        return value.reshape(shape)
    if len(shape) != 5:
        return None
    if value.dim() == 4 and tuple(value.shape) == shape[:2] + shape[3:]:
        value = value.unsqueeze(2)
    if value.dim() == 5 and tuple(value.shape) == (*shape[:2], 1, *shape[3:]):
        return value.expand(shape) / shape[2]
    return None


def _alike(found: Iterable[int], wanted: tuple[int, ...]) -> bool:
    """Whether two shapes mean the same numbers: trailing ones aside, and a vector as a row."""
    row = len(wanted) == 1 and tuple(found) == (1, *wanted)
    return row or _trim(found) == _trim(wanted)


def _trim(shape: Iterable[int]) -> tuple[int, ...]:
    """A shape without its trailing ones: (400, 2048, 1, 1, 1) is (400, 2048)."""
    kept = list(shape)
    while kept and kept[-1] == 1:
        kept.pop()
    return tuple(kept)


def _is_implied(theirs: str, state: Mapping[str, Tensor]) -> bool:
    """Whether a state may lack a tensor: batch counts, statistics of frozen Caffe2 norms."""
    if theirs.endswith(COUNT):
        return not any(name.endswith(COUNT) for name in state)
    if "conv1_w" not in state or any(name.endswith("_bn_rm") for name in state):
        return False
    return theirs.endswith(("_bn_rm", "_bn_riv")) or _lacks_norm(theirs, state)


def _lacks_norm(theirs: str, state: Mapping[str, Tensor]) -> bool:
    """A non-local block of a frozen network has no norm at all."""
    found = re.fullmatch(r"(nonlocal_conv\d+_\d+_bn)_(s|b)", theirs)
    return found is not None and not any(name.startswith(found.group(1)) for name in state)


def _implied(name: str, shape: tuple[int, ...]) -> Tensor:
    """The tensor of a norm that changes nothing."""
    if name.endswith(COUNT):
        return torch.zeros(shape, dtype=torch.int64)
    if name.endswith("running_var"):
        return torch.full(shape, 1 - EPSILON)
    return torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
