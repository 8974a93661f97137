"""Optical flow: its bytes, and what is computed against motion that is known exactly."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from marey.data import synthetic
from marey.video.flow import FlowChoice, dequantise, estimator, quantise

needs_opencv = pytest.mark.skipif(
    importlib.util.find_spec("cv2") is None, reason="OpenCV is not installed (extra 'flow')"
)


def test_bytes_are_those_of_the_field() -> None:
    field = np.array([[0.0, 20.0], [-20.0, 40.0], [-99.0, 0.05], [10.0, -10.0]], np.float32)
    stored = quantise(field)
    assert stored.tolist() == [[128, 255], [0, 255], [0, 128], [191, 64]]
    assert dequantise(np.array([128, 255], np.uint8)).tolist() == [
        0.0,
        pytest.approx(127 * 40 / 255),
    ]
    assert dequantise(np.array([127], np.uint8), zero=127).tolist() == [0.0]
    fine = np.linspace(-19, 19, 777, dtype=np.float32)
    assert np.abs(dequantise(quantise(fine)) - fine).max() <= 40 / 255 + 1e-5
    assert quantise(np.array([5.0], np.float32), bound=10.0).tolist() == [191]


@needs_opencv
@pytest.mark.parametrize(("difficulty", "most"), [(0, 0.15), (1, 0.5)])
def test_end_point_error_against_the_truth(difficulty: int, most: float) -> None:
    """Mean end-point error in pixels, eight from the edge; standing still would err by 2.5."""
    between = estimator(FlowChoice())
    errors, still = [], []
    for index in range(3):
        clip = synthetic.draw("flow", "test", index, difficulty=difficulty)
        assert clip.flow is not None
        found = between(clip.frames[2], clip.frames[3])
        assert found.shape == clip.flow[2].shape
        assert found.dtype == np.float32
        errors.append(np.linalg.norm(found - clip.flow[2], axis=-1)[8:-8, 8:-8].mean())
        still.append(np.linalg.norm(clip.flow[2], axis=-1).mean())
    assert np.mean(errors) < most
    assert np.mean(still) > 1.0


@needs_opencv
def test_tvl1_is_the_closest_where_the_contrib_package_is() -> None:
    import cv2

    if not hasattr(getattr(cv2, "optflow", None), "DualTVL1OpticalFlow_create"):
        pytest.skip("this OpenCV goes without its contrib package")
    clip = synthetic.draw("flow", "test", 0, difficulty=1)
    assert clip.flow is not None
    errors = {}
    for method in ("dis", "tvl1"):
        found = estimator(FlowChoice(method=method))(clip.frames[2], clip.frames[3])
        errors[method] = np.linalg.norm(found - clip.flow[2], axis=-1)[8:-8, 8:-8].mean()
    assert errors["tvl1"] < errors["dis"] < 0.5


@needs_opencv
def test_signs_are_right_and_down() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (20, 28, 3), np.uint8)
    first = noise.repeat(8, axis=0).repeat(8, axis=1)
    second = np.roll(first, (2, 3), axis=(0, 1))  # down by 2, right by 3
    found = estimator(FlowChoice(method="farneback"))(first, second)
    inner = found[40:-40, 40:-40].reshape(-1, 2)
    assert np.median(inner, axis=0) == pytest.approx([3, 2], abs=0.3)


def test_without_opencv_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ValueError, match=r"'dis' needs OpenCV.*pip install 'marey\[flow\]'"):
        estimator(FlowChoice())


@needs_opencv
def test_tvl1_without_the_contrib_package_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    monkeypatch.delattr(cv2, "optflow", raising=False)
    with pytest.raises(ValueError, match=r"contrib package.*or use dis"):
        estimator(FlowChoice(method="tvl1"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"method": "brox"}, "choose dis, farneback, tvl1 or raft"),
        ({"preset": "slow"}, "choose one of ultrafast"),
        ({"bound": 0.0}, "positive number"),
        ({"short_side": 3}, "16 pixels or more"),
        ({"quality": 0}, "1 to 100"),
    ],
)
def test_choices_that_cannot_be_are_refused(fields: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FlowChoice(**fields)


def test_raft_from_a_file_of_weights(tmp_path: Path) -> None:
    from torchvision.models.optical_flow import raft_small

    torch.manual_seed(0)
    torch.save(raft_small(weights=None).state_dict(), tmp_path / "raft.pth")
    between = estimator(FlowChoice(method="raft"), weights=tmp_path / "raft.pth")
    frame = np.random.default_rng(0).integers(0, 255, (60, 70, 3), np.uint8)
    assert between(frame, frame).shape == (60, 70, 2)
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"bad.pth holds no RAFT"):
        estimator(FlowChoice(method="raft"), weights=tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="does not exist"):
        estimator(FlowChoice(method="raft"), weights=tmp_path / "none.pth")
    with pytest.raises(ValueError, match="raft needs its weights"):
        estimator(FlowChoice(method="raft"))
