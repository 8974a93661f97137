"""Which network a state belongs to: by names and shapes alone, or by what its file says."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import torch
import yaml
from torch import Tensor

from marey.zoo.cards import Rows
from marey.zoo.files import State, as_tensors
from marey.zoo.names import Shapes, published_names, read_form, shapes_match, tidy
from marey.zoo.registry import HOMES, card, config_of, construct, list_models, split_name

HEAD = "head.projection.weight"
MAREY = "marey"
ARCHITECTURES = {
    "2d": r"2d_",
    "c2d": r"c2d_(?!nopool)",
    "slow_c2d": r"c2d_nopool_",
    "i3d": r"i3d_",
    "slow_i3d": r"slow_i3d_",
    "slow": r"slow_(?!i3d)",
    "slowfast": r"slowfast_",
    "x3d": r"x3d_",
}


def recognise(state: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The (variant, layout) pairs whose names and shapes are exactly those of a state.

    Where some agree in the number of classes they were published with, only those are given.
    """
    tensors = built_part(tidy(as_tensors(state)))
    exact: list[tuple[str, str]] = []
    other: list[tuple[str, str]] = []
    read = _Readings(tensors)
    for variant in list_models():
        fields = tuple(told_by(variant, tensors).items())
        for layout in own_layouts(variant):
            given = read(variant, layout)
            if _head_name(variant, layout, fields) not in given:
                continue
            signature = _signature(variant, layout, fields)
            if signature is None:
                continue
            names, shapes = signature
            rows = rows_of(variant, config_of(variant))
            classes = classes_in(given, names, rows)
            if classes and shapes_match(given, names, with_classes(shapes, classes, rows)):
                published = config_of(variant).num_classes
                (exact if classes == published else other).append((variant, layout))
    return exact or other


class _Readings:
    """One state as each layout of each family reads it, read once."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.done: dict[tuple[str, str], State] = {}

    def __call__(self, variant: str, layout: str) -> State:
        family = HOMES[variant]
        if layout not in family.forms:
            return self.state
        key = (family.name, layout)
        if key not in self.done:
            self.done[key] = read_form(family, layout, self.state)
        return self.done[key]


def inferred(state: State) -> str | None:
    """The variant that fits with the fewest of its fields changed to what a state tells, if any."""
    read = _Readings(state)
    best: tuple[int, str] | None = None
    for variant in list_models():
        family = HOMES[variant]
        if family.infer is None:
            continue
        for layout in family.layouts:
            given = read(variant, layout)
            config = config_of(variant)
            told = family.infer(given, config) if given else {}
            changed = {n: v for n, v in told.items() if getattr(config, n) != v}
            if not told or (best is not None and len(changed) >= best[0]):
                continue
            try:
                config = replace(config, **changed)
                shapes = shapes_of(variant, config)
                names = published_names(family, layout, shapes, config)
            except ValueError:
                continue
            rows = rows_of(variant, config)
            classes = classes_in(given, names, rows) or config.num_classes
            if shapes_match(given, names, with_classes(shapes, classes, rows)):
                best = len(changed), variant
    return None if best is None else best[1]


def only_variant(state: State, header: Mapping[str, Any], where: str) -> str:
    """The one variant a tidied state fits, with what the file's own settings add.

    Raises ValueError for several, naming them, and for none, naming the nearest.
    """
    found = recognise(state)
    variants = list(dict.fromkeys(variant for variant, _ in found))
    if len(variants) > 1:
        variants = _as_configured(variants, header) or variants
    twins = [name for name in variants if card(name).twin in variants]
    variants = [name for name in variants if name not in twins]
    if len(variants) == 1:
        _tell_twins(variants[0], twins, found, where)
        return variants[0]
    if variants:
        raise ValueError(f"{where} fits {', '.join(variants)}: say which")
    if alike := inferred(state):
        return alike
    raise ValueError(f"{where} fits no model exactly; {_nearest(state)}")


def built_part(state: State) -> State:
    """A tidied state without the tensors of parts that are published with it but not built here."""
    aside = tuple({prefix for family in HOMES.values() for prefix in family.aside})
    return {name: value for name, value in state.items() if not name.startswith(aside)}


def _tell_twins(plain: str, twins: list[str], found: list[tuple[str, str]], where: str) -> None:
    """Warn where a file of the same layout may as well be of another variant."""
    layouts = {layout for variant, layout in found if variant == plain}
    for other in twins:
        if layouts & {layout for variant, layout in found if variant == other}:
            warnings.warn(
                f"{where} has the tensors of {plain} and of {other}: taken for {plain}; "
                f"name the other to get it",
                stacklevel=4,
            )


def shapes_of(variant: str, config: Any) -> Shapes:
    """Our tensors of a network by name, as shapes."""
    family = HOMES[variant]
    plain = type(config)()
    shapeless = {name: getattr(plain, name) for name in family.shapeless}
    shapes = _shapes(variant.split(".")[0], replace(config, **shapeless))
    return with_classes(shapes, config.num_classes, rows_of(variant, config))


def rows_of(variant: str, config: Any) -> Rows:
    """How many rows a network's classifier has for each class, and beside them."""
    return HOMES[split_name(variant)[0]].rows(config)


def classes_in(state: Mapping[str, Tensor], names: Mapping[str, str], rows: Rows) -> int | None:
    """How many classes the classifier of a state has; None where it has none."""
    value = state.get(names.get(HEAD, ""))
    if value is None or (value.shape[0] - rows[1]) % rows[0]:
        return None
    return int(value.shape[0] - rows[1]) // rows[0]


def with_classes(shapes: Shapes, num_classes: int, rows: Rows) -> Shapes:
    """The shapes of the same network with another class count."""
    heads = {
        name: (num_classes * rows[0] + rows[1], *shape[1:])
        for name, shape in shapes.items()
        if name.startswith("head.projection")  # or projection_quiet, of a second head
    }
    return {**shapes, **heads}


_SHAPES: dict[tuple[type, str], Shapes] = {}


def _shapes(variant: str, config: Any) -> Shapes:
    """Kept by configuration: variants that differ only in frames share theirs."""
    key = (type(config), repr(config))
    if key not in _SHAPES:
        with torch.device("meta"):
            network = construct(variant, config)
        _SHAPES[key] = {n: tuple(value.shape) for n, value in network.state_dict().items()}
    return _SHAPES[key]


def own_layouts(variant: str) -> tuple[str, ...]:
    """The layouts by which a variant is recognised: not those it borrows from another family."""
    family = HOMES[variant]
    return (*(name for name in family.layouts if name not in family.borrowed), MAREY)


def told_by(variant: str, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Fields of the configuration that a state tells by its names and shapes."""
    told = HOMES[variant].told
    fields = told(state) if told is not None else {}
    return {n: v for n, v in fields.items() if hasattr(config_of(variant), n)}


@cache
def _signature(
    variant: str, layout: str, fields: tuple[tuple[str, Any], ...] = ()
) -> tuple[dict[str, str], Shapes] | None:
    """Published names and our shapes of a variant; None where the layout cannot hold it, or the
    variant not what a state tells.
    """
    config = config_of(variant, **dict(fields))
    try:
        shapes = shapes_of(variant, config)
        return published_names(HOMES[variant], layout, shapes, config), shapes
    except ValueError:
        return None


@cache
def _head_name(variant: str, layout: str, fields: tuple[tuple[str, Any], ...]) -> str | None:
    """The classifier's published name, told without building the network; None: no such layout."""
    try:
        return published_names(
            HOMES[variant], layout, [HEAD], config_of(variant, **dict(fields))
        ).get(HEAD)
    except ValueError:
        return None


def _as_configured(variants: list[str], header: Mapping[str, Any]) -> list[str]:
    """Those variants that agree with the settings PySlowFast stores beside its weights."""
    try:
        settings = yaml.safe_load(header.get("cfg") or "")
        frames, stride = settings["DATA"]["NUM_FRAMES"], settings["DATA"]["SAMPLING_RATE"]
        pattern = ARCHITECTURES.get(settings["MODEL"]["ARCH"], "")
    except (yaml.YAMLError, TypeError, KeyError, AttributeError):
        return []
    specs = {variant: card(variant).spec for variant in variants}
    return [
        variant
        for variant, spec in specs.items()
        if (spec.frames, spec.stride) == (frames, stride) and re.match(pattern, variant)
    ]


def _nearest(state: State) -> str:
    """Which variant comes closest, and what stands between."""
    best, best_shared = "", 0
    best_names: dict[str, str] = {}
    read, nearest = _Readings(state), state
    for variant in list_models():
        fields = tuple(told_by(variant, state).items())
        for layout in own_layouts(variant):
            signature = _signature(variant, layout, fields)
            if signature is None:
                continue
            shared = 2 * len(set(signature[0].values()) & set(read(variant, layout))) - len(
                signature[0]
            )
            if not best or shared > best_shared:
                best, best_shared, best_names = f"{variant} ({layout})", shared, signature[0]
                nearest = read(variant, layout)
    missing = [n for n in best_names.values() if n not in nearest]
    if len(missing) == len(best_names):
        return f"its first tensor is {next(iter(state), '')!r}, of no known layout"
    surplus = [n for n in nearest if n not in set(best_names.values())]
    gaps = [
        f"{len(found)} {word} ({found[0]} first)"
        for found, word in ((missing, "missing"), (surplus, "left over"))
        if found
    ]
    return f"nearest is {best}: {', '.join(gaps) or 'same names, other shapes'}; name the model"


def shared_names(variant: str, config: Any, state: State) -> dict[str, int]:
    """How many of its names a state has in each layout that can hold the network."""
    shapes = shapes_of(variant, config)
    shared = {}
    for layout in (*HOMES[variant].layouts, MAREY):
        try:
            names = published_names(HOMES[variant], layout, shapes, config)
        except ValueError:
            continue
        given = read_form(HOMES[variant], layout, state)
        shared[layout] = len(set(names.values()) & set(given))
    return shared
