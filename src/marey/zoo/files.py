"""Reading and writing files of weights. Nothing in a file is ever executed.

Told apart by their first bytes, not their names: safetensors, torch archives (``weights_only``),
and the Python-2 pickles of Caffe2, read by an unpickler that can make nothing but arrays and plain
containers.
"""

from __future__ import annotations

import json
import os
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

State = dict[str, Tensor]
NESTED = ("model_state", "model_state_dict", "state_dict", "blobs", "model")
TRAINING = ("_momentum", "lr", "model_iter")
LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def read_state(path: str | Path) -> tuple[State, dict[str, Any]]:
    """Tensors by name and what else the file says, from any published file or a RUN folder.

    The header of our own files has ``variant``, ``config``, ``spec``, ``classes``; of others, the
    plain values beside the weights. Raises ValueError for a file that is missing, broken, or wants
    to build anything but arrays and plain containers.
    """
    path = _resolve(Path(path))
    with path.open("rb") as file:
        start = file.read(16)
    try:
        if start[:2] == b"PK" or start.startswith(LEGACY_TORCH):
            return _flatten(_read_torch(path), path)
        if start[:1] == b"\x80" or start[:1] in b"(}c]":
            with path.open("rb") as file:
                return _flatten(ArrayUnpickler(file, encoding="latin1").load(), path)
        if len(start) > 8 and start[8:9] == b"{":
            return _read_safetensors(path)
    except (pickle.UnpicklingError, EOFError, RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read as weights: {_first_line(error)}") from None
    except (KeyError, IndexError, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise ValueError(f"{path} is broken: {type(error).__name__} {_first_line(error)}") from None
    raise ValueError(
        f"{path} is no file of weights (safetensors, torch, or Caffe2 pickle); "
        f"its first bytes are {start[:8]!r}"
    )


def write_own(path: str | Path, state: Mapping[str, Tensor], header: Mapping[str, Any]) -> Path:
    """Our format: safetensors with a JSON header, written under another name and then renamed."""
    from safetensors.torch import save_file

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    try:
        save_file(tensors, partial, metadata={"marey": json.dumps(header, ensure_ascii=False)})
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def write_published(path: str | Path, state: Mapping[str, Tensor], layout: str) -> Path:
    """A published layout as its publisher stores it: a Caffe2 pickle, or a torch archive."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if layout == "caffe2":
            blobs = {name: value.detach().cpu().numpy() for name, value in state.items()}
            with partial.open("wb") as file:
                pickle.dump({"blobs": blobs}, file, protocol=2)
        else:
            tensors = {name: value.detach().cpu() for name, value in state.items()}
            torch.save({"model_state": tensors}, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


class _Made:
    """A callable without attributes, so that nothing in a pickle can be hung on it."""

    __slots__ = ()


class _Array(_Made):
    """An empty array of the plain class, to be filled by the pickle's own next step."""

    def __call__(self, kind: object, shape: object, typecode: object) -> np.ndarray:
        if not isinstance(kind, _ArrayType):
            raise pickle.UnpicklingError("a pickled array is of a class other than ndarray")
        return np.ndarray.__new__(np.ndarray, (0,), dtype="b")


class _ArrayType(_Made):
    """Stands for the class ndarray, which the pickle only names."""


class _Number(_Made):
    """One number of a plain type."""

    def __call__(self, dtype: np.dtype, raw: object = b"") -> Any:
        data = raw.encode("latin1") if isinstance(raw, str) else raw
        if not isinstance(data, bytes):
            raise pickle.UnpicklingError("a pickled number holds no bytes")
        return np.frombuffer(data, dtype=dtype, count=1)[0].item()


class _DataType(_Made):
    """A type of plain numbers, always a fresh copy."""

    def __call__(self, code: object, align: bool = False, copy: bool = True) -> np.dtype:
        dtype = np.dtype(str(code)) if isinstance(code, (str, bytes)) else None
        if dtype is None or dtype.kind not in "biufcSU":
            raise pickle.UnpicklingError(f"a pickled array holds {code!r}, not plain numbers")
        return np.dtype(dtype, copy=True)  # type: ignore[call-overload]


class _Latin(_Made):
    """Bytes spelt as text, as Python 3 writes them into old pickles."""

    def __call__(self, text: str, encoding: str = "latin1") -> bytes:
        if encoding.replace("-", "").replace("_", "") not in ("latin1", "iso88591"):
            raise pickle.UnpicklingError(f"bytes in a pickle are spelt in {encoding!r}")
        return text.encode("latin1")


ALLOWED: dict[tuple[str, str], Any] = {
    **{
        (f"numpy.{core}.multiarray", name): made
        for core in ("core", "_core")
        for name, made in (("_reconstruct", _Array()), ("scalar", _Number()))
    },
    ("numpy", "ndarray"): _ArrayType(),
    ("numpy", "dtype"): _DataType(),
    ("_codecs", "encode"): _Latin(),
    ("collections", "OrderedDict"): OrderedDict,
}


class ArrayUnpickler(pickle.Unpickler):
    """Makes numpy arrays, numbers, text, lists, tuples and dictionaries, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(
                f"it wants to build {module}.{name}, and only arrays and plain containers may be "
                f"built; save the weights again as arrays"
            )
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside the file")


def _resolve(path: Path) -> Path:
    if path.is_dir():
        for name in ("weights.safetensors", "weights_last.safetensors"):
            if (path / name).is_file():
                return path / name
        raise ValueError(f"{path} is a folder without weights.safetensors; name a file of weights")
    if not path.is_file():
        raise ValueError(f"{path} does not exist; name a file of weights or a RUN folder")
    return path


def _read_torch(path: Path) -> Any:
    scalar = getattr(np, "_core", None) or np.core
    kinds: list[Any] = [
        scalar.multiarray.scalar,
        np.dtype,
        *(type(np.dtype(code)) for code in ("f4", "f8", "i4", "i8", "b1")),
    ]
    with torch.serialization.safe_globals(kinds):
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path: Path) -> tuple[State, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("marey", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read as safetensors: {_first_line(error)}") from None


def _flatten(content: Any, path: Path) -> tuple[State, dict[str, Any]]:
    """The tensors of a loaded file and the plain values beside them."""
    header: dict[str, Any] = {}
    if isinstance(content, Mapping):
        inner = next((k for k in NESTED if isinstance(content.get(k), Mapping)), None)
        if inner is not None:
            header = {
                str(k): v for k, v in content.items() if isinstance(v, (str, int, float, bool))
            }
            content = content[inner]
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds {type(content).__name__}, not tensors by name")
    state = as_tensors(content)
    if not state:
        raise ValueError(f"{path} holds no tensors")
    return state, header


def as_tensors(content: Mapping[Any, Any]) -> State:
    """Arrays and tensors by name as tensors; what Caffe2 keeps for training is left out."""
    state: State = {}
    for name, value in content.items():
        if not isinstance(name, str) or name.endswith(TRAINING[0]) or name in TRAINING:
            continue
        if isinstance(value, Tensor):
            state[name] = value.detach()
        elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            state[name] = torch.from_numpy(np.array(value, order="C"))
    return state


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
