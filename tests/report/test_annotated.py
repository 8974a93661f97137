"""Annotated videos: size, times, words at the right moment, nothing half-written."""

import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from marey.report.annotated import rows_at, save_annotated, unique_names
from marey.video import VideoError, open_video, write_video

RESULT = {
    "predictions": [
        {"label": "dark", "score": 0.9, "start_s": 0.0, "end_s": 1.0},
        {"label": "light", "score": 0.1, "start_s": 0.0, "end_s": 1.0},
        {"label": "light", "score": 0.8, "start_s": 1.0, "end_s": 2.0},
    ]
}


def frames(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    return [np.full((height, width, 3), 120, dtype=np.uint8) for _ in range(count)]


def test_rows_are_those_of_the_moment() -> None:
    assert rows_at(RESULT, 0.5) == [("dark", 0.9), ("light", 0.1)]
    assert rows_at(RESULT, 1.0) == [("light", 0.8)]
    assert rows_at(RESULT, 9.0) == [("light", 0.8)]  # the last frame lasts
    assert rows_at({"predictions": []}, 0.0) == []
    newer = {"label": "new", "score": 0.2, "start_s": 0.5, "end_s": 1.5}
    overlapping = {"predictions": [*RESULT["predictions"][:1], newer]}
    assert rows_at(overlapping, 0.7) == [("new", 0.2)]  # the newest window speaks


def test_a_small_video_is_enlarged_and_keeps_its_frames(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", frames(40), Fraction(20))
    path = save_annotated(source, RESULT, tmp_path / "out")
    assert path == tmp_path / "out" / "a.mp4"
    with open_video(path) as video:
        assert (video.height, video.width) == (360, 480)
        assert video.num_frames == 40
        assert video.fps == pytest.approx(20)
        first, last = video.frames_at([5, 35]).frames.float()
    assert float((first[:, :200, :300] - 120).abs().max()) < 12
    assert float((first[:, 300:, :280] - last[:, 300:, :280]).abs().max()) > 60
    assert [p.name for p in path.parent.iterdir()] == ["a.mp4"]


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.5, 0.55, 1.2]
    source = write_video(tmp_path / "a.mp4", frames(5), 10, times=times)
    path = save_annotated(source, RESULT, tmp_path / "out", name="b")
    assert path.name == "b.mp4"
    with open_video(path) as video:
        assert video.times.tolist() == pytest.approx(times, abs=1e-3)


def test_refusals_leave_nothing(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", frames(5), 10)
    with pytest.raises(ValueError, match="is the source itself"):
        save_annotated(source, RESULT, tmp_path)
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    with warnings.catch_warnings(), pytest.raises(VideoError, match=r"bad\.mp4"):
        save_annotated(tmp_path / "bad.mp4", RESULT, tmp_path / "out")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_names_do_not_collide(tmp_path: Path) -> None:
    assert unique_names(["x/a.mp4", "y/a.mp4", "b.mp4"]) == ["x_a", "y_a", "b"]
    assert unique_names(["x/a.mp4", "x/a.avi", "array"]) == ["x_a", "x_a_2", "array"]
