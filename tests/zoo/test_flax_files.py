"""Flax files: arrays come out as they went in, chunked or not, and nothing else does."""

from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import torch

from marey.zoo.files import read_state
from marey.zoo.flax_files import renumbered

EXAMPLE = {
    "embedding_view0/kernel": (2, 4, 4, 3, 8),
    "embedding_view0/bias": (8,),
    "cls_view0": (1, 2, 1, 8),
    "MultiviewEncoder/encoderblock_0_view0/LayerNorm_0/scale": (8,),
    "MultiviewEncoder/encoderblock_0_view0/MultiHeadDotProductAttention_0/query/kernel": (8, 2, 4),
    "output_projection/kernel": (40, 5),
}


def packed(value: np.ndarray, kind: str | None = None) -> msgpack.ExtType:
    body = (value.shape, kind or value.dtype.name, value.tobytes())
    return msgpack.ExtType(1, msgpack.packb(body))


def written(path: Path, tree: Any) -> Path:
    path.write_bytes(msgpack.packb(tree))
    return path


def test_the_published_form_with_chunks(filling: dict[str, Any], golden: Path) -> None:
    state, header = read_state(golden / "flax_checkpoint_example.msgpack")
    assert {name: tuple(value.shape) for name, value in state.items()} == EXAMPLE
    for name, value in state.items():
        assert np.array_equal(value.numpy(), filling["tensor"](name, EXAMPLE[name])), name
    assert header["global_step"] == 7


def test_the_older_tree_is_found(tmp_path: Path) -> None:
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    tree = {"optimizer": {"target": {"params": {"a": {"kernel": packed(kernel)}}}}}
    state, _ = read_state(written(tmp_path / "old", tree))
    assert torch.equal(state["a/kernel"], torch.from_numpy(kernel))


def test_bfloat16_is_widened(tmp_path: Path) -> None:
    exact = np.array([1.5, -2.0, 0.0], np.float32)
    narrow = (exact.view(np.uint32) >> 16).astype(np.uint16)
    state, _ = read_state(written(tmp_path / "w", {"params": {"b": packed(narrow, "bfloat16")}}))
    assert torch.equal(state["b"], torch.from_numpy(exact))


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"params": {"a": msgpack.ExtType(2, b"x")}}, "object of kind 2"),
        ({"params": {"a": packed(np.zeros(2, np.float32), "object")}}, "type 'object'"),
        ({"params": {"a": 3}}, "holds no tensors"),
    ],
)
def test_what_is_no_array_is_refused(tmp_path: Path, tree: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_state(written(tmp_path / "w", tree))


def test_a_cut_file_names_itself(tmp_path: Path, golden: Path) -> None:
    whole = (golden / "flax_checkpoint_example.msgpack").read_bytes()
    (tmp_path / "cut.msgpack").write_bytes(whole[:4000])
    with pytest.raises(ValueError, match="cut.msgpack is broken"):
        read_state(tmp_path / "cut.msgpack")


def test_arrays_of_npz_files_and_their_older_numbers(tmp_path: Path) -> None:
    names = ("LayerNorm_0/scale", "MultiHeadDotProductAttention_1/out/bias", "LayerNorm_2/scale")
    arrays = {f"opt/target/T/block_0/{n}": np.full(2, i) for i, n in enumerate(names)}
    np.savez(tmp_path / "vit.npz", **arrays)
    state, _ = read_state(tmp_path / "vit.npz")
    assert {n: int(v[0]) for n, v in state.items()} == {
        "T/block_0/LayerNorm_0/scale": 0,
        "T/block_0/MultiHeadDotProductAttention_0/out/bias": 1,
        "T/block_0/LayerNorm_1/scale": 2,
    }
    np.savez(tmp_path / "bad.npz", a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="bad.npz is broken"):
        read_state(tmp_path / "bad.npz")


def test_names_already_in_order_stay() -> None:
    flat = {f"b/{n}/scale": torch.zeros(1) for n in ("LayerNorm_0", "LayerNorm_1")}
    assert list(renumbered(flat)) == list(flat)
