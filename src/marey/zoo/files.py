"""Reading and writing files of weights. Nothing in a file is ever executed.

Told apart by their first bytes: safetensors, torch archives (``weights_only``), the Python-2
pickles of Caffe2 (``pickles``), Flax msgpack (``flax_files``). Only ``.npz``, which begins as torch
archives do, goes by its name.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marey.zoo.flax_files import read_msgpack, read_npz
from marey.zoo.pickles import ArrayUnpickler, PickledArray

State = dict[str, Tensor]
NESTED = ("model_state", "model_state_dict", "state_dict", "blobs", "model")
TRAINING = re.compile(r"(^|_)(momentum|lr|model_iter)(_|$)")  # what Caffe2 keeps for training
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
    length = int.from_bytes(start[:8], "little")
    try:
        if start[8:9] == b"{" and 8 + length <= path.stat().st_size:
            return _read_safetensors(path)
        if start[:2] == b"PK" and path.suffix == ".npz":
            return _some(*read_npz(path), path)
        if start[:2] == b"PK" or start.startswith(LEGACY_TORCH):
            return _flatten(_read_torch(path), path)
        if start[:1] in (b"\x80", b"(", b"}", b"]"):
            with path.open("rb") as file:
                return _flatten(ArrayUnpickler(file, encoding="latin1").load(), path)
    except (pickle.UnpicklingError, EOFError, RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read as weights: {_first_line(error)}") from None
    except (LookupError, ValueError, OverflowError, MemoryError, struct.error, OSError) as error:
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path} is broken: {type(error).__name__} {_first_line(error)}") from None
    if start[:1] and (0x81 <= start[0] <= 0x8F or start[0] in (0xDE, 0xDF)):
        return _some(*read_msgpack(path), path)
    raise ValueError(
        f"{path} is no file of weights (safetensors, torch, Caffe2 pickle, Flax msgpack or .npz); "
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
        except pickle.UnpicklingError as error:
            wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
            what = wanted.group(1) if wanted else "more than tensors"
            raise pickle.UnpicklingError(
                f"it wants to build {what}, and only tensors and plain containers may be built; "
                f"save the weights again as tensors"
            ) from None


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
    return _some(as_tensors(content), header, path)


def as_tensors(content: Mapping[Any, Any]) -> State:
    """Arrays and tensors by name as tensors; what Caffe2 keeps for training is left out."""
    state: State = {}
    for name, value in content.items():
        if not isinstance(name, str) or TRAINING.search(name):
            continue
        if isinstance(value, PickledArray):
            value = value.array
        if isinstance(value, Tensor):
            state[name] = value.detach()
        elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            state[name] = torch.from_numpy(np.array(value, order="C"))
    return state


def _some(state: State, header: dict[str, Any], path: Path) -> tuple[State, dict[str, Any]]:
    if not state:
        raise ValueError(f"{path} holds no tensors")
    return state, header


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
