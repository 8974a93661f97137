"""Weights into networks and back: load, save, convert.

The page exceeds the 400-line cap: what a file may turn out to be is decided in one place.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from marey.config import from_plain, nearest, to_plain
from marey.types import ClipSpec
from marey.zoo.classes import class_names
from marey.zoo.files import State, as_tensors, read_state, write_own, write_published
from marey.zoo.inflation import inflate
from marey.zoo.names import (
    export_state,
    import_state,
    published_names,
    read_form,
    resize_tables,
    tidy,
    write_form,
)
from marey.zoo.recognition import (
    HEAD,
    MAREY,
    built_part,
    classes_in,
    only_variant,
    recognise,
    rows_of,
    shapes_of,
    shared_names,
    told_by,
    with_classes,
)
from marey.zoo.registry import (
    HOMES,
    attach,
    build,
    card,
    config_of,
    construct,
    family_of,
    spec_of,
    split_name,
)

# Of an image ResNet and of BN-Inception: a start, not a network of ours.
IMAGE_NETWORKS = ("layer1.0.conv1.weight", "inception_3a_1x1.weight")


def load(
    name_or_path: str | Path,
    weights: str | Path | Mapping[str, Any] | None = None,
    num_classes: int | None = None,
    **fields: Any,
) -> nn.Module:
    """A network with weights, from a variant's name and a file of any published layout, or a file.

    ``weights`` may be a file, a RUN folder, or arrays by name. The layout is recognised by tensor
    names; without a variant's name, so is the variant. A class count other than the file's drops
    the classifier, with a warning. Raises ValueError for tensors missing, left over or misshapen,
    for an unknown name, and for a file that fits several variants or none.
    """
    given = name_or_path if weights is None else weights
    if weights is None and str(name_or_path).partition(".")[0] in HOMES:
        if not Path(name_or_path).exists():
            raise ValueError(_no_weights(str(name_or_path)))
    elif weights is None and not Path(name_or_path).exists():
        raise ValueError(_no_such(str(name_or_path)))
    header: dict[str, Any] = {}
    if isinstance(given, Mapping):
        state, where = as_tensors(given), "the weights given"
    else:
        (state, header), where = read_state(given), str(given)
    name = None if weights is None else str(name_or_path)
    start = _start(name, state, fields)
    if name is not None and start is not None:
        return _started(name, start, state, num_classes, fields, where)
    if name is not None and _is_backbone_of(name, state, header, fields):
        return _from_backbone(name, state, header, num_classes, fields, where)
    if "variant" in header:
        return _load_own(name, state, header, num_classes, fields, where)
    state = _built(tidy(state), where)
    name = name or only_variant(state, header, where)
    return _load_published(name, state, num_classes, fields, where)


def _start(name: str | None, state: State, fields: Mapping[str, Any]) -> Any:
    """What begins the named network from weights of a related one; None where they are its own."""
    if name is None:
        return None
    if _is_image(name, tidy(state)):
        return inflate
    family = family_of(name)
    if not family.start:
        return None
    module = import_module(family.start)
    return module.inflate if module.starts(tidy(state), config_of(name, **fields)) else None


def _is_image(name: str, state: State) -> bool:
    """Whether a state is an image network, with nothing in it that only a network of ours has."""
    if not any(tensor in state for tensor in IMAGE_NETWORKS):
        return False
    return not any(mark in state for mark in family_of(name).marks)


def _built(state: State, where: str) -> State:
    """The tensors of networks built here; those of other parts are left out, loudly."""
    kept = built_part(state)
    if left := [name for name in state if name not in kept]:
        warnings.warn(
            f"{where}: {len(left)} tensors of a part that is not built here were left out "
            f"({left[0]} first)",
            stacklevel=3,
        )
    return kept


def _started(
    name: str,
    start: Any,
    state: State,
    num_classes: int | None,
    fields: Mapping[str, Any],
    where: str,
) -> nn.Module:
    """A network begun from one for images, or of another kind of input, loudly."""
    sized = dict(fields) if num_classes is None else {**fields, "num_classes": num_classes}
    network = build(name, **sized)
    told = start(network, state)
    kind = "an image network" if start is inflate else f"a network for other input than {name}"
    left = (
        f"{len(told.left)} start at random ({told.left[0]} first)" if told.left else "none is new"
    )
    warnings.warn(
        f"{where} is {kind}: {len(told.loaded)} tensors were taken over, {left}",
        stacklevel=3,
    )
    return network


def _is_backbone_of(
    name: str, state: State, header: Mapping[str, Any], fields: Mapping[str, Any]
) -> bool:
    """Whether a state is that of the network which the named one is built around."""
    outer = config_of(name, **fields)
    if not hasattr(outer, "backbone_net"):
        return False
    wrapped = outer.backbone
    if header.get("variant", wrapped) != wrapped:
        return False
    config = config_of(wrapped, **outer.backbone_net)
    shared = shared_names(wrapped, config, tidy(state))
    return max(shared.values()) > len(state) // 2


def _from_backbone(
    name: str,
    state: State,
    header: Mapping[str, Any],
    num_classes: int | None,
    fields: Mapping[str, Any],
    where: str,
) -> nn.Module:
    """A network whose backbone has weights of its own, such as Kinetics'; the rest starts anew."""
    sized = dict(fields) if num_classes is None else {**fields, "num_classes": num_classes}
    network: Any = build(name, **sized)
    wrapped, net = network.config.backbone, network.config.backbone_net
    own: Any = (
        _load_own(wrapped, state, header, None, net, where)
        if header.get("variant")
        else _load_published(wrapped, tidy(state), None, net, where)
    )
    held = {n: v for n, v in own.state_dict().items() if n not in own.head_parameters()}
    network.backbone.load_state_dict(held)
    left = [n for n in network.state_dict() if not n.startswith("backbone.")]
    network.provenance = where
    warnings.warn(
        f"{where} is the backbone {wrapped}: {len(held)} tensors were loaded, {len(left)} of "
        f"{name} start at random ({left[0]} first)",
        stacklevel=3,
    )
    return network


def save(
    model: nn.Module,
    path: str | Path,
    *,
    recipe: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write a network of the zoo in our format: tensors, variant, configuration, spec, classes.

    ``recipe`` and ``extra`` are plain data for the header. The file is written whole.
    Raises ValueError for a network that does not come from the zoo.
    """
    if not hasattr(model, "variant"):
        raise ValueError(
            f"{type(model).__name__} carries no variant; save networks made by marey.build or load"
        )
    header = {
        "variant": model.variant,
        "config": to_plain(model.config),
        "spec": to_plain(model.spec),
        "classes": list(model.classes) if model.classes else None,  # type: ignore[arg-type]
        "provenance": model.provenance,
        "recipe": to_plain(recipe) if recipe is not None else None,
        "extra": to_plain(extra) if extra is not None else None,
    }
    return write_own(path, model.state_dict(), header)


def convert(src: str | Path, dst: str | Path, *, model: str | None = None, to: str = MAREY) -> Path:
    """Rewrite a file of weights in our format or in a published layout of its family.

    Raises ValueError for an unknown layout, or one that cannot hold the network.
    """
    network: Any = load(src) if model is None else load(model, src)
    family = HOMES[network.variant]
    if to == MAREY:
        return save(network, dst)
    if to not in family.layouts:
        options = ", ".join((MAREY, *family.layouts))
        raise ValueError(
            f"{to!r} is not a layout of {network.variant}{nearest(to, family.layouts)} ({options})"
        )
    return write_published(dst, published_state(network, to), to)


def published_state(model: Any, layout: str) -> State:
    """The tensors of a network of the zoo under the names of a published layout."""
    own, family = model.state_dict(), HOMES[model.variant]
    named = export_state(own, published_names(family, layout, own, model.config))
    return write_form(family, layout, named, model.config)


def _load_own(
    name: str | None,
    state: State,
    header: Mapping[str, Any],
    num_classes: int | None,
    fields: Mapping[str, Any],
    where: str,
) -> nn.Module:
    stored = header["variant"]
    if stored not in HOMES:
        raise ValueError(f"{where} holds {stored!r}, which this version does not know")
    variant = stored if name is None else split_name(name)[0]
    if variant != stored:
        raise ValueError(f"{where} holds {stored}, not {variant}; leave the name out or change it")
    plain = {**header["config"], **to_plain(fields)}
    config = from_plain(type(config_of(stored)), plain, where="config")
    target = _first(num_classes, fields.get("num_classes"), header["config"]["num_classes"])
    spec = from_plain(ClipSpec, header["spec"], where="spec")
    if config.frames != header["config"]["frames"] or config.crop != header["config"]["crop"]:
        spec = spec_of(stored, config)
    classes = tuple(header["classes"]) if header.get("classes") else None
    network = _filled(variant, config, state, MAREY, target, where)
    if classes is not None and len(classes) != target:
        classes = None
    return attach(network, variant, network.config, spec, classes=classes, provenance=where)


def _load_published(
    name: str, state: State, num_classes: int | None, fields: Mapping[str, Any], where: str
) -> nn.Module:
    variant, tag = split_name(name)
    config = config_of(name, **{**told_by(variant, state), **fields})
    layout = _layout(variant, state, config, where)
    state = read_form(family_of(variant), layout, state)
    config = _as_told(variant, config, state, fields, where)
    rows = rows_of(variant, config)
    found = classes_in(state, published_names(family_of(variant), layout, [HEAD], config), rows)
    asked = _first(num_classes, fields.get("num_classes"), tag.num_classes if tag else None)
    target = _first(asked, found, config.num_classes)
    network = _filled(variant, config, state, layout, target, where)
    classes = None
    if found == target:
        listed = tag.classes if tag else card(name).classes
        names = [listed, "kinetics400", "kinetics600", "kinetics700"] if not tag else [listed]
        fitting = (class_names(n) for n in names if n)
        classes = next((c for c in fitting if len(c) == target), None)
    read = family_of(variant).reads.get(layout, {})
    spec = replace(spec_of(name, network.config), **read)
    provenance = f"{where} ({layout})"
    return attach(network, variant, network.config, spec, classes=classes, provenance=provenance)


def _as_told(variant: str, config: Any, state: State, fields: Mapping[str, Any], where: str) -> Any:
    """The configuration with what a state tells about its network, loudly; ``fields`` stand."""
    infer = family_of(variant).infer
    told = infer(state, config) if infer else {}
    changed = {
        name: value
        for name, value in told.items()
        if name not in fields and getattr(config, name) != value
    }
    if changed:
        listed = ", ".join(f"{name}={value!r}" for name, value in changed.items())
        warnings.warn(
            f"{where} is not quite {variant}: its tensors say {listed}, and so it is built",
            stacklevel=4,
        )
    return replace(config, **changed)


def _filled(
    variant: str, config: Any, state: State, layout: str, num_classes: int, where: str
) -> Any:
    """The network with the state's tensors; a classifier of another size is left out, loudly."""
    family = HOMES[variant]
    shapes = shapes_of(variant, config)
    names = published_names(family, layout, shapes, config)
    rows = rows_of(variant, config)
    found = classes_in(state, names, rows)
    shapes = with_classes(shapes, found or num_classes, rows)
    with torch.device("meta"):
        network: Any = construct(variant, config)
    fresh = found != num_classes and bool(network.head_parameters())
    without = network.head_parameters() if fresh else ()
    if family.resize:
        module, _, function = family.resize.rpartition(".")
        resize = getattr(import_module(module), function)
        state, resized = resize_tables(state, names, shapes, resize, config)
        if resized:
            warnings.warn(
                f"{where}: {len(resized)} tables were resized to the input ({resized[0]} first)",
                stacklevel=4,
            )
    try:
        own, inflated = import_state(
            state,
            names,
            shapes,
            where=f"{where} does not fit {variant} ({layout})",
            without=without,
        )
    except ValueError as error:
        raise ValueError(_of_others(variant, state, where) or str(error)) from None
    if inflated:
        warnings.warn(
            f"{where}: {len(inflated)} kernels without time were spread over it ({inflated[0]} "
            f"first)",
            stacklevel=4,
        )
    dtypes = {name: value.dtype for name, value in network.state_dict().items()}
    own = {name: value.to(dtypes[name], copy=True) for name, value in own.items()}
    network.reset_head(num_classes)
    if fresh:
        warnings.warn(
            f"{where}: its classifier for {found or 'no'} classes was dropped, and a fresh one "
            f"for {num_classes} starts at random",
            stacklevel=4,
        )
        own |= {name: network.get_parameter(name).detach() for name in without}
    network.load_state_dict(own, strict=True, assign=True)
    return network.requires_grad_(True)


def _first(*counts: int | None) -> Any:
    """The first count that was given."""
    return next((count for count in counts if count is not None), None)


def _layout(variant: str, state: State, config: Any, where: str) -> str:
    """The layout most of whose names a state has."""
    shared = shared_names(variant, config, state)
    best = max(shared, key=lambda layout: shared[layout])
    if shared[best] == 0:
        raise ValueError(
            _of_others(variant, state, where)
            or f"{where} has no tensor of {variant} in any layout ({', '.join(shared)}); "
            f"its first is {next(iter(state), '')!r}"
        )
    return best


def _of_others(variant: str, state: State, where: str) -> str:
    """Whose tensors a state that does not fit a variant has instead; empty where nobody's."""
    found = list(dict.fromkeys(name for name, _ in recognise(state) if name != variant))
    others = " or ".join(found[:3])
    return f"{where}: these are the tensors of {others}, not {variant}" if found else ""


def _no_weights(name: str) -> str:
    places = [f"{w.address} ({w.layout}, {w.tag})" for w in card(name).weights]
    published = f"; published at {places[0]}" if places else ""
    return (
        f"{name} names a model but no weights: give weights=FILE{published}; "
        f"marey.build({name!r}) makes one of random weights"
    )


def _no_such(name: str) -> str:
    return f"{name!r} is neither a model{nearest(name, HOMES)} nor a file; name one of both"
