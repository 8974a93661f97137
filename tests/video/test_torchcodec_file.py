"""torchcodec gives PyAV's frames, or is not used."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from marey.video import open_video, torchcodec_file

works = pytest.mark.skipif(
    bool(torchcodec_file.torchcodec_problem()),
    reason=f"torchcodec does not work here: {torchcodec_file.torchcodec_problem()}",
)


@works
@pytest.mark.parametrize(("gop", "b_frames"), [(250, 3), (12, 2), (1, 0)])
def test_frames_are_identical(
    gop: int, b_frames: int, film: SimpleNamespace, tmp_path: Path
) -> None:
    path = film.encode(tmp_path / "a.mp4", 60, gop=gop, b_frames=b_frames, options={"crf": "20"})
    ours, theirs = open_video(path, backend="pyav"), open_video(path, backend="torchcodec")
    assert theirs.backend == "torchcodec"
    for wanted in ([0, 59, 30, 7, 7], list(range(20, 52))):
        one, other = ours.frames_at(wanted), theirs.frames_at(wanted)
        assert torch.equal(one.frames, other.frames)
        assert torch.equal(one.times, other.times)
    small = [v.frames_at([5], size=(16, 64)).frames for v in (ours, theirs)]
    assert torch.equal(*small)
    assert [len(c.times) for c in theirs.chunks(40)] == [40, 20]


@works
def test_odd_files_are_left_to_pyav(film: SimpleNamespace, tmp_path: Path) -> None:
    path = film.encode(tmp_path / "a.mp4", 6, options={"crf": "20"})
    film.patch_box(path, b"tkhd", 40, [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30])
    assert open_video(path, backend="torchcodec").backend == "pyav"


def test_without_it_the_request_is_refused(
    film: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film.encode(tmp_path / "a.mp4", 3, options={"crf": "20"})
    monkeypatch.setattr(torchcodec_file, "torchcodec_problem", lambda: "no FFmpeg")
    with pytest.raises(ValueError, match="no FFmpeg; use backend='auto'"):
        open_video(path, backend="torchcodec")
    assert open_video(path).backend == "pyav"


def test_a_decoder_that_fails_hands_over(
    film: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film.encode(tmp_path / "a.mp4", 8, options={"crf": "20"})

    class Failing:
        metadata = SimpleNamespace(num_frames=8)

        def get_frames_at(self, indices: list[int]) -> None:
            raise RuntimeError("broken inside")

    monkeypatch.setattr(torchcodec_file, "torchcodec_problem", lambda: "")
    monkeypatch.setattr(torchcodec_file.TorchcodecFile, "_opened", lambda self: Failing())
    video = open_video(path, backend="torchcodec")
    assert video.backend == "torchcodec"
    assert film.codes(video.frames_at([7, 1]).frames) == [7, 1]
    assert video.backend == "pyav"
