"""What a pickle of arrays may build, and that nothing else is ever built."""

import io
import os
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from marey.zoo.pickles import ArrayUnpickler, PickledArray


def read(data: bytes) -> object:
    return ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<i8", "|u1", "<f2", "|b1"])
def test_arrays_of_plain_numbers_come_back(protocol: int, dtype: str) -> None:
    values = np.arange(6).reshape(2, 3).astype(dtype)
    stored = {"c": values, "fortran": np.asfortranarray(values), "none": values[:0]}
    found = read(pickle.dumps(stored, protocol=protocol))
    assert isinstance(found, dict)
    for name, value in stored.items():
        assert isinstance(found[name], PickledArray)
        assert np.array_equal(found[name].array, value)
        assert found[name].array.dtype == value.dtype.newbyteorder("=")


def test_python_2_spelling() -> None:
    """Bytes of Python 2 arrive as text; numpy 1 names its module core."""
    raw = (
        b"\x80\x02}q\x00U\x01aq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\n"
        b"q\x03K\x00\x85U\x01b\x87Rq\x04(K\x01K\x02\x85cnumpy\ndtype\nq\x05U\x02f4K\x00K\x01\x87R"
        b"q\x06(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"U\x08\x00\x00\x80?\x00\x00\x00\xc0tbs."
    )
    pickletools.dis(raw, out=io.StringIO())
    found = read(raw)
    assert isinstance(found, dict)
    assert found["a"].array.tolist() == [1.0, -2.0]


def test_numbers_and_plain_containers() -> None:
    stored = OrderedDict(rate=np.float64(0.5), steps=[1, (2.0, None, "x")])
    assert read(pickle.dumps(stored, protocol=2)) == {"rate": 0.5, "steps": [1, (2.0, None, "x")]}


class Runs:
    """Would create a file when unpickled in the ordinary way."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_nothing_is_run(tmp_path: Path) -> None:
    with pytest.raises(pickle.UnpicklingError, match="wants to build posix.mkdir|nt.mkdir"):
        read(pickle.dumps({"blobs": Runs(tmp_path / "made")}, protocol=2))
    assert not (tmp_path / "made").exists()


OPEN = b"\x80\x02"
HOSTILE = {
    "builtins": OPEN + b"cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
    "getattr": OPEN + b"c__builtin__\ngetattr\n.",
    "numpy loader": OPEN + b"cnumpy\nload\n.",
    "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
    "other codec": OPEN + b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.",
    "objects": OPEN + b"cnumpy\ndtype\nX\x01\x00\x00\x00O\x85R.",
    "records": OPEN + b"cnumpy\ndtype\nX\x05\x00\x00\x00i4,f4\x85R.",
    "array by class": OPEN + b"cnumpy\nndarray\nK\x05\x85R.",
    "maker changed": OPEN + b"cnumpy\nndarray\n}X\x04\x00\x00\x00makeK\x01sb.",
    "too long": OPEN
    + b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01J\x00\x00\x00\x7f\x85"
    + b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R\x89U\x04abcdtb.",
    "elsewhere": OPEN + b"X\x01\x00\x00\x00aQ.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_end_in_an_error(name: str) -> None:
    with pytest.raises((pickle.UnpicklingError, AttributeError, TypeError)):
        read(HOSTILE[name])
