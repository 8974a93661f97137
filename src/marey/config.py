"""Frozen dataclasses to and from plain data, JSON and YAML, refusing what they do not know."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import os
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean X?`` for the closest known name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def to_plain(value: Any) -> Any:
    """Dataclasses, tuples and mappings as dicts and lists, ready for JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(v) for v in value]
    return value


def from_plain(kind: type[T], values: Mapping[str, Any], *, where: str = "") -> T:
    """Build the dataclass ``kind`` from a mapping; missing fields keep their defaults.

    Raises ValueError for a field it does not have (naming the nearest) or a value of another type.
    """
    hints = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    if not isinstance(values, Mapping):
        raise ValueError(f"{where or kind.__name__} is {values!r}, not a table of fields")
    for name in values:
        if name not in names:
            raise ValueError(
                f"{where + '.' if where else ''}{name} is not a field of {kind.__name__}"
                f"{nearest(name, names)} (fields: {', '.join(names)})"
            )
    for entry in dataclasses.fields(kind):  # type: ignore[arg-type]
        empty = entry.default is dataclasses.MISSING
        if empty and entry.default_factory is dataclasses.MISSING and entry.name not in values:
            raise ValueError(
                f"{where + '.' if where else ''}{entry.name} is missing: {kind.__name__} needs it"
            )
    built = {
        name: _coerce(hints[name], value, f"{where + '.' if where else ''}{name}")
        for name, value in values.items()
    }
    return kind(**built)


def override(config: T, values: Mapping[str, Any], *, where: str = "") -> T:
    """A copy of a dataclass with the fields in ``values`` replaced, nested mappings merged."""
    merged: dict[str, Any] = {}
    for name, value in values.items():
        current = getattr(config, name, None)
        nested = dataclasses.is_dataclass(current) and isinstance(value, Mapping)
        merged[name] = override(current, value, where=name) if nested else value
    kept = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}  # type: ignore[arg-type]
    return from_plain(type(config), {**kept, **merged}, where=where)


def _coerce(hint: Any, value: Any, where: str) -> Any:
    """``value`` as the annotated type, or ValueError naming the field."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _coerce_union(args, value, where)
    if origin is typing.Literal:
        if value in args:
            return value
        options = ", ".join(repr(a) for a in args)
        raise ValueError(f"{where} is {value!r}; choose one of {options}")
    if dataclasses.is_dataclass(hint):
        return (
            value
            if isinstance(value, typing.cast(type, hint))
            else from_plain(typing.cast(type, hint), value, where=where)
        )
    if origin is tuple:
        return _coerce_tuple(args, value, where)
    if origin is list:
        if isinstance(value, (list, tuple)):
            return [_coerce(args[0], v, f"{where}[{i}]") for i, v in enumerate(value)]
        raise ValueError(f"{where} is {value!r}, not a list")
    if origin in (dict, Mapping) or hint is dict:
        if isinstance(value, Mapping):
            return dict(value)
        raise ValueError(f"{where} is {value!r}, not a table")
    if hint is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):  # YAML reads 1e-4 as a word
            return float(value)
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise ValueError(f"{where} is {value!r}, not {getattr(hint, '__name__', hint)}")


def _coerce_union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in args:
        return None
    complaint: ValueError | None = None
    for option in args:
        if option is type(None):
            continue
        try:
            return _coerce(option, value, where)
        except ValueError as error:
            complaint = error
    raise complaint or ValueError(f"{where} is {value!r}")


def _coerce_tuple(args: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{where} is {value!r}, not a list")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_coerce(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if len(value) != len(args):
        raise ValueError(f"{where} has {len(value)} values, needs {len(args)}")
    return tuple(
        _coerce(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True))
    )


def read_mapping(path: str | Path) -> dict[str, Any]:
    """A JSON or YAML file (by its extension) as a dict. Nothing in it is executed."""
    import yaml

    path = Path(path)
    text = path.read_text(encoding="utf-8")
    try:
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(
            f"{path} is not valid {path.suffix[1:].upper() or 'YAML'}: {first}"
        ) from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds {type(values).__name__}, not a table of fields")
    return values


def write_whole(path: str | Path, content: str | bytes) -> Path:
    """Write a file under a temporary name and rename it, so that no half of it is ever seen."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if isinstance(content, str):
            partial.write_text(content, encoding="utf-8")
        else:
            partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def write_json(path: str | Path, value: Any) -> Path:
    """``to_plain(value)`` as indented JSON, written whole."""
    return write_whole(path, json.dumps(to_plain(value), indent=1, ensure_ascii=False) + "\n")
