"""Flax train states (msgpack) and image-transformer ``.npz`` files, read without JAX.

Only arrays, numbers, strings and maps come out; a file that holds anything else is refused. Names
are the tree's, joined by slashes: ``MultiviewEncoder/posembed_input_view0/pos_embedding``.

Source: the encoding that flax.serialization documents: extension 1 is a packed (shape, dtype name,
bytes in C order), extension 3 a scalar of the same form; large arrays are maps of chunks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ARRAY, SCALAR = 1, 3
CHUNKED = "__msgpack_chunked_array__"
TREES = (("params",), ("optimizer", "target", "params"), ("optimizer", "target"), ("opt", "target"))
TYPES = ("float32", "float16", "float64", "int32", "int64", "uint32", "uint8", "bool")
NUMBERED = re.compile(r"(LayerNorm|MultiHeadDotProductAttention|MlpBlock)_(\d+)$")


def read_msgpack(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The parameters of a train state by name, and the plain values that stand at its top.

    Raises ValueError for a file that is cut, has no parameters, or holds objects.
    """
    import msgpack

    try:
        tree = msgpack.unpackb(
            path.read_bytes(), ext_hook=_extension, strict_map_key=False, raw=False
        )
    except (msgpack.exceptions.UnpackException, msgpack.exceptions.ExtraData, ValueError) as error:
        raise ValueError(f"{path} is broken: {error or type(error).__name__}") from None
    if not isinstance(tree, Mapping):
        raise ValueError(f"{path} holds {type(tree).__name__}, not a train state")
    header = {str(k): v for k, v in tree.items() if isinstance(v, (str, int, float, bool))}
    return dict(_leaves(_parameters(tree), "")), header


def read_npz(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The arrays of a ``.npz`` by name, below ``params`` or ``opt/target`` where they lie there.

    Layers that older files number across kinds (LayerNorm_0, Attention_1, LayerNorm_2, MlpBlock_3)
    are numbered within their kind. Raises ValueError for a file that is broken or holds objects.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            flat = {name: torch.from_numpy(np.array(stored[name])) for name in stored.files}
    except (OSError, EOFError, KeyError) as error:
        raise ValueError(f"{path} is broken: {error}") from None
    for prefix in ("opt/target/", "params/"):
        below = {n.removeprefix(prefix): v for n, v in flat.items() if n.startswith(prefix)}
        flat = below or flat
    return renumbered(flat), {}


def renumbered(flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every block's layers numbered within their kind, in their order."""
    blocks: dict[str, set[tuple[int, str]]] = {}
    for name in flat:
        before, _, _ = name.rpartition("/")
        while before:
            parent, _, own = before.rpartition("/")
            if found := NUMBERED.fullmatch(own):
                blocks.setdefault(parent, set()).add((int(found.group(2)), found.group(1)))
            before = parent
    places: dict[str, str] = {}
    for parent, layers in blocks.items():
        seen: Counter[str] = Counter()
        for number, kind in sorted(layers):
            places[f"{parent}/{kind}_{number}/"] = f"{parent}/{kind}_{seen[kind]}/"
            seen[kind] += 1
    renamed = {}
    for name, value in flat.items():
        place = next((p for p in places if name.startswith(p)), None)
        renamed[name if place is None else places[place] + name.removeprefix(place)] = value
    return renamed


def _parameters(tree: Mapping[Any, Any]) -> Mapping[Any, Any]:
    for path in TREES:
        inner: Any = tree
        for step in path:
            inner = inner.get(step) if isinstance(inner, Mapping) else None
        if isinstance(inner, Mapping) and inner:
            return inner
    return tree


def _leaves(tree: Mapping[Any, Any], before: str) -> Iterator[tuple[str, Tensor]]:
    for key, value in tree.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            if value.get(CHUNKED) is True:
                yield name, _joined(value)
            else:
                yield from _leaves(value, f"{name}/")
        elif isinstance(value, Tensor):
            yield name, value


def _joined(value: Mapping[str, Any]) -> Tensor:
    """The chunks of a large array, in their order, in its shape."""
    shape = [value["shape"][str(i)] for i in range(len(value["shape"]))]
    chunks = [value["chunks"][str(i)].flatten() for i in range(len(value["chunks"]))]
    return torch.cat(chunks).reshape(shape)


def _extension(code: int, data: bytes) -> Any:
    import msgpack

    if code not in (ARRAY, SCALAR):
        raise ValueError(f"it holds an object of kind {code}; only arrays and scalars are read")
    shape, kind, raw = msgpack.unpackb(data, raw=False, strict_map_key=False)
    if isinstance(kind, bytes):
        kind = kind.decode("ascii", "replace")
    if kind == "bfloat16":
        wide = np.frombuffer(raw, np.uint16).astype(np.uint32) << 16
        value = torch.from_numpy(wide.view(np.float32).copy())
    elif kind in TYPES:
        value = torch.from_numpy(np.frombuffer(raw, np.dtype(kind)).astype(_wide(kind)))
    else:
        raise ValueError(f"it holds numbers of type {kind!r} ({', '.join(TYPES)} are read)")
    if value.numel() != prod(shape):
        raise ValueError(f"an array of shape {tuple(shape)} has {value.numel()} numbers")
    return value.item() if code == SCALAR else value.reshape(tuple(shape))


def _wide(kind: str) -> np.dtype[Any]:
    return np.dtype("int64" if kind == "uint32" else kind)
