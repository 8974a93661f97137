"""The camera's motion against drawn videos whose motion is known, and warped flow."""

import importlib.util
import sys

import numpy as np
import pytest

from marey.data import synthetic
from marey.data.synthetic import DrawnClip
from marey.video.camera import camera_motion, steadied
from marey.video.flow import FlowChoice, estimator

needs_opencv = pytest.mark.skipif(
    importlib.util.find_spec("cv2") is None, reason="OpenCV is not installed (extra 'flow')"
)


def moved(motion: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Points (..., 2) under a homography (3, 3)."""
    found = np.concatenate([at, np.ones_like(at[..., :1])], axis=-1) @ motion.T
    return found[..., :2] / found[..., 2:]


def grid(clip: DrawnClip) -> np.ndarray:
    """(H, W, 2) x, y of every pixel."""
    y, x = np.mgrid[: clip.frames.shape[1], : clip.frames.shape[2]].astype(float)
    return np.stack([x, y], axis=-1)


@needs_opencv
@pytest.mark.parametrize("label", range(3))
@pytest.mark.parametrize("difficulty", [0, 1])
def test_motion_of_the_camera_is_that_of_the_background(label: int, difficulty: int) -> None:
    """A texture that shifts, turns or grows; from difficulty 1 on a disc drifts in front."""
    clip = synthetic.draw("flow", "test", label, difficulty=difficulty)
    assert clip.flow is not None
    motion = camera_motion(clip.frames[2], clip.frames[3])
    assert motion is not None
    at = grid(clip)
    errors = np.linalg.norm(moved(motion, at) - at - clip.flow[2], axis=-1)
    assert np.median(errors) < 0.15  # the disc covers less than half of the picture
    assert np.linalg.norm(clip.flow[2], axis=-1).mean() > 1.0


@needs_opencv
def test_warped_flow_is_what_is_left_of_the_motion() -> None:
    """The background stands; the disc moves as it does beside it."""
    clip = synthetic.draw("flow", "test", 0, difficulty=1)
    assert clip.flow is not None
    first, second = clip.frames[2], clip.frames[3]
    motion = camera_motion(first, second)
    assert motion is not None
    found = estimator(FlowChoice())(first, steadied(first, second, motion))
    at = grid(clip)
    wanted = moved(np.linalg.inv(motion), at + clip.flow[2]) - at
    background = np.linalg.norm(clip.flow[2] - np.median(clip.flow[2], axis=(0, 1)), axis=-1) < 0.1
    inner = np.zeros_like(background)
    inner[8:-8, 8:-8] = True
    assert np.linalg.norm(found, axis=-1)[background & inner].mean() < 0.3
    assert np.linalg.norm(clip.flow[2], axis=-1)[background & inner].mean() > 3.0
    disc = ~background & inner
    assert np.linalg.norm(wanted, axis=-1)[disc].mean() > 1.5
    assert np.linalg.norm(found - wanted, axis=-1)[disc].mean() < 1.0


@needs_opencv
def test_beyond_the_second_frame_nothing_moves() -> None:
    rng = np.random.default_rng(0)
    sheet = rng.integers(0, 255, (15, 22, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    first, second = sheet[:, :160], sheet[:, 6:166]  # the camera turns right by 6 pixels
    motion = camera_motion(first, second)
    assert motion is not None
    assert motion[0, 2] == pytest.approx(-6, abs=0.2)
    seen = steadied(first, second, motion)
    assert np.array_equal(seen[:, :5], first[:, :5])
    assert np.abs(seen[20:-20, 20:-20].astype(int) - first[20:-20, 20:-20]).mean() < 4


@needs_opencv
def test_without_corners_there_is_no_motion_to_tell() -> None:
    blank = np.full((60, 80, 3), 90, np.uint8)
    assert camera_motion(blank, blank) is None
    for seed in range(5):
        noise = np.random.default_rng(seed).integers(0, 255, (2, 60, 80, 3), np.uint8)
        assert camera_motion(noise[0], noise[1]) is None
    with pytest.raises(ValueError, match="needs one size"):
        camera_motion(blank, blank[:50])


def test_without_opencv_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    frame = np.zeros((60, 80, 3), np.uint8)
    with pytest.raises(ValueError, match=r"'warped' needs OpenCV.*pip install 'marey\[flow\]'"):
        camera_motion(frame, frame)
