import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from marey import zoo
from marey.zoo.files import as_tensors, read_state, write_own, write_published


def test_a_training_checkpoint_of_pyslowfast(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_epoch_00196.pyth"
    content = {
        "epoch": 195,
        "model_state": {"s1.pathway0_stem.bn.weight": torch.arange(3.0)},
        "optimizer_state": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": []},
        "cfg": "DATA:\n  NUM_FRAMES: 8\n",
        "scaler_state": {"scale": np.float64(1.0)},
    }
    torch.save(content, path)
    state, header = read_state(path)
    assert {n: v.tolist() for n, v in state.items()} == {
        "s1.pathway0_stem.bn.weight": [0.0, 1.0, 2.0]
    }
    assert header == {"epoch": 195, "cfg": content["cfg"]}


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_old_and_new(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=zipped)
    assert read_state(path)[0]["a"].tolist() == [1.0, 1.0]


def test_a_caffe2_pickle_without_its_training_blobs(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    blobs = {
        "conv1_w": np.ones((2, 3), np.float32),
        "conv1_w_momentum": np.zeros((2, 3), np.float32),
        "lr": np.float32(0.1),
        "model_iter": np.array([7]),
    }
    path.write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
    assert list(read_state(path)[0]) == ["conv1_w"]
    path.write_bytes(pickle.dumps(blobs, protocol=2))
    assert list(read_state(path)[0]) == ["conv1_w"], "older files are the blobs themselves"


def test_our_own_format_and_a_run_folder(tmp_path: Path) -> None:
    header = {"variant": "slow_r50_8x8", "classes": ["für Elise"]}
    write_own(tmp_path / "weights_last.safetensors", {"a": torch.zeros(1)}, header)
    assert read_state(tmp_path)[0]["a"].tolist() == [0.0]
    write_own(tmp_path / "weights.safetensors", {"a": torch.ones(1)}, header)
    state, found = read_state(tmp_path)
    assert (state["a"].tolist(), found) == ([1.0], header)
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []


def test_published_layouts_are_written_as_their_publishers_do(tmp_path: Path) -> None:
    state = {"pred_w": torch.ones(2, 3)}
    caffe2 = write_published(tmp_path / "a.pkl", state, "caffe2")
    with caffe2.open("rb") as file:
        assert list(pickle.load(file, encoding="latin1")["blobs"]) == ["pred_w"]
    other = write_published(tmp_path / "a.pyth", state, "pyslowfast")
    assert list(torch.load(other, weights_only=True)) == ["model_state"]


def test_arrays_are_copied_and_tensors_kept() -> None:
    value = np.zeros(2, np.float32)
    made = as_tensors({"a": value, 3: value, "words": "no"})
    made["a"].fill_(1)
    assert list(made) == ["a"]
    assert value.tolist() == [0.0, 0.0]


class Runs:
    def __reduce__(self) -> tuple:
        return print, ("run",)


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_a_file_that_would_run_something_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bad.pt"
    if kind == "torch":
        torch.save({"model_state": Runs()}, path)
    else:
        path.write_bytes(pickle.dumps({"blobs": Runs()}, protocol=2))
    with pytest.raises(ValueError, match="it wants to build .*print, and only"):
        read_state(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no file of weights"),
        (b"hello world, hello", "is no file of weights"),
        (b"PK\x03\x04broken archive", "cannot be read as weights"),
        (b"\x80\x02}q\x00(X", "cannot be read|is broken"),
        (pickle.dumps([1, 2], protocol=2), "holds list, not tensors by name"),
        (pickle.dumps({"a": 1}, protocol=2), "holds no tensors"),
        ((40).to_bytes(8, "little") + b'{"a":' + b" " * 40, "cannot be read as safetensors"),
    ],
)
def test_broken_files_are_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        zoo.read_state(path)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.pt does not exist"):
        read_state(tmp_path / "gone.pt")
    with pytest.raises(ValueError, match=r"folder without weights\.safetensors"):
        read_state(tmp_path)


@pytest.mark.parametrize("kind", ["pickle", "torch", "safetensors"])
def test_damaged_files_end_in_one_line_or_in_tensors(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "weights"
    values = {f"s{i}.weight": np.arange(12, dtype=np.float32).reshape(3, 4) for i in range(4)}
    tensors = as_tensors(values)
    if kind == "pickle":
        write_published(path, tensors, "caffe2")
    elif kind == "torch":
        write_published(path, tensors, "pyslowfast")
    else:
        write_own(path, tensors, {"variant": "slow_r50_8x8"})
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    draw = np.random.default_rng(0)
    complaints = []
    for _ in range(60):
        damaged = whole.copy()
        damaged[draw.integers(0, len(whole), 3)] = draw.integers(0, 256, 3)
        path.write_bytes(damaged[: draw.integers(len(whole) // 2, len(whole) + 1)].tobytes())
        try:
            state, _ = read_state(path)
        except ValueError as error:
            complaints.append(str(error))
        else:
            assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert len(complaints) > 10
    assert all(str(path) in message and "\n" not in message for message in complaints)
