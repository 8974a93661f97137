"""Pickles of arrays, read without trusting them.

The unpickler makes text, numbers, lists, tuples, dictionaries and arrays of plain numbers. Where a
pickle names numpy's own makers it gets the stand-ins below, which check what they are handed and
copy the bytes themselves; any other name ends the reading.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from math import prod
from typing import Any

import numpy as np


class PickledType:
    """A type of plain numbers: kind and width from the maker, byte order from the state."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any = None, *_: Any) -> None:
        text = code.decode("latin1") if isinstance(code, bytes) else code
        try:
            self.dtype = np.dtype(text) if isinstance(text, str) else np.dtype(object)
        except TypeError:
            self.dtype = np.dtype(object)
        if self.dtype.kind not in "biufcSU":
            raise pickle.UnpicklingError(f"an array holds {code!r}, not plain numbers")

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "="
        order = order.decode("latin1") if isinstance(order, bytes) else order
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder("<" if order == "<" else ">")


class PickledArray:
    """An array on its way: ``array`` is there once its state has been read."""

    __slots__ = ("array",)

    def __init__(self) -> None:
        self.array = np.zeros((0,), np.uint8)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise pickle.UnpicklingError("an array has no state")
        shape, kind, fortran, raw = state[-4:]
        self.array = _array(raw, kind, shape, "F" if fortran else "C")


class _Maker:
    """A callable without attributes, so that nothing in a pickle can be hung on it."""

    __slots__ = ("make",)
    make: Any

    def __init__(self, make: Any) -> None:
        object.__setattr__(self, "make", make)

    def __setattr__(self, name: str, value: Any) -> None:
        raise pickle.UnpicklingError("it wants to change how arrays are made")

    def __call__(self, *values: Any) -> Any:
        return self.make(*values)


def _array(raw: Any, kind: Any, shape: Any, order: Any = "C") -> np.ndarray:
    """The bytes of a pickle as an array of their own."""
    data = raw.encode("latin1") if isinstance(raw, str) else raw
    sizes = shape if isinstance(shape, tuple) else (shape,)
    plain = isinstance(kind, PickledType) and isinstance(data, (bytes, bytearray))
    if not plain or not all(isinstance(n, int) and n >= 0 for n in sizes):
        raise pickle.UnpicklingError("an array is not made of plain numbers")
    if prod(sizes) * kind.dtype.itemsize != len(data):
        raise pickle.UnpicklingError(f"an array of shape {sizes} holds {len(data)} bytes")
    values = np.frombuffer(data, kind.dtype).reshape(sizes, order="F" if order == "F" else "C")
    return values.astype(kind.dtype.newbyteorder("="), order="C")


def _stored(raw: Any, kind: Any, shape: Any, order: Any = "C") -> PickledArray:
    made = PickledArray()
    made.array = _array(raw, kind, shape, order)
    return made


def _number(kind: Any, raw: Any = b"") -> Any:
    return _array(raw, kind, (1,))[0].item()


def _bytes(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"its bytes are spelt in {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""  # how old pickles spell an empty array


def _named_only(*_: Any) -> Any:
    raise pickle.UnpicklingError("it wants to make an array by its class")


ALLOWED: dict[tuple[str, str], Any] = {
    ("__builtin__", "bytes"): _Maker(_no_bytes),
    ("builtins", "bytes"): _Maker(_no_bytes),
    ("numpy", "ndarray"): _Maker(_named_only),
    ("numpy", "dtype"): _Maker(PickledType),
    ("_codecs", "encode"): _Maker(_bytes),
    ("collections", "OrderedDict"): _Maker(OrderedDict),
}
for _core in ("core", "_core"):
    ALLOWED[f"numpy.{_core}.multiarray", "_reconstruct"] = _Maker(lambda *_: PickledArray())
    ALLOWED[f"numpy.{_core}.multiarray", "scalar"] = _Maker(_number)
    ALLOWED[f"numpy.{_core}.numeric", "_frombuffer"] = _Maker(_stored)


class ArrayUnpickler(pickle.Unpickler):
    """Makes arrays (``PickledArray``), numbers, text and plain containers, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(
                f"it wants to build {module}.{name}, and only arrays and plain containers may be "
                f"built; save the weights again as arrays"
            )
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside the file")
