"""What is written is read back, whole or not at all."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from marey.video import VideoWriter, open_video, write_video
from marey.video.writer import exact_rate


def test_frames_come_back(film: SimpleNamespace, tmp_path: Path) -> None:
    frames = [film.coded(i) for i in range(20)]
    path = write_video(tmp_path / "deep" / "a.mp4", frames, 30)
    video = open_video(path)
    clip = video.frames_at(range(20))
    assert film.codes(clip.frames) == list(range(20))
    back = clip.frames.permute(0, 2, 3, 1).numpy().astype(int)
    assert np.abs(back - np.stack(frames)).mean() < 1.5
    assert video.fps == 30
    assert [p.name for p in path.parent.iterdir()] == ["a.mp4"]


def test_tensors_and_lossless_and_odd_sizes(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    small = torch.randint(0, 256, (5, 3, 7, 9), generator=rng, dtype=torch.uint8)
    frames = small.repeat_interleave(3, 2).repeat_interleave(3, 3)  # 21 x 27
    back = open_video(write_video(tmp_path / "a.mp4", frames, 25, crf=0)).frames_at(range(5))
    assert back.frames.shape == (5, 3, 21, 27)
    assert (back.frames.int() - frames.int()).abs().max() <= 3


def test_every_frame_a_keyframe(film: SimpleNamespace, tmp_path: Path) -> None:
    frames = [film.coded(i) for i in range(12)]
    path = write_video(tmp_path / "a.mp4", frames, 25, gop=1)
    with av.open(str(path)) as container:
        assert all(p.is_keyframe for p in container.demux(video=0) if p.size)
    longer = write_video(tmp_path / "b.mp4", frames, 25, gop=5)
    with av.open(str(longer)) as container:
        assert sum(p.is_keyframe for p in container.demux(video=0) if p.size) == 3


def test_rates_and_times(film: SimpleNamespace, tmp_path: Path) -> None:
    frames = [film.coded(i) for i in range(10)]
    ntsc = open_video(write_video(tmp_path / "a.mp4", frames, 29.97))
    assert ntsc.fps == 30000 / 1001
    times = [0.5, 0.6, 1.0, 1.01, 1.5, 2.0, 2.2, 2.3, 2.4, 4.0]
    uneven = open_video(write_video(tmp_path / "b.mp4", frames, 25, times=times))
    assert np.allclose(uneven.times, times, atol=1e-4)
    assert exact_rate(25) == 25
    assert exact_rate(23.976) == Fraction(24000, 1001)
    assert exact_rate(12.5) == Fraction(25, 2)
    assert exact_rate(Fraction(30000, 1001)) == Fraction(30000, 1001)
    with pytest.raises(ValueError, match="fps is -1"):
        exact_rate(-1)


@pytest.mark.parametrize("name", ["a.mkv", "a.mov", "a.avi"])
def test_other_containers(name: str, film: SimpleNamespace, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, [film.coded(i) for i in range(9)], 25)
    assert film.codes(open_video(path).frames_at([8, 4]).frames) == [8, 4]


def test_a_fall_back_codec(film: SimpleNamespace, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [film.coded(i) for i in range(9)], 25, codec="mpeg4")
    assert film.codes(open_video(path).frames_at([8, 4]).frames) == [8, 4]


def test_streaming_writer(film: SimpleNamespace, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 25) as writer:
        for i in range(6):
            writer.write(film.coded(i))
            assert not (tmp_path / "a.mp4").exists()
    assert open_video(tmp_path / "a.mp4").num_frames == 6


def test_nothing_half_written_is_left(film: SimpleNamespace, tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"

    def breaks() -> object:
        yield film.coded(0)
        raise RuntimeError("the source broke off")

    with pytest.raises(RuntimeError, match="broke off"):
        write_video(target, breaks(), 25)
    with pytest.raises(ValueError, match="no frames were written"):
        write_video(target, [], 25)
    with pytest.raises(ValueError, match="the first was"):
        write_video(target, [film.coded(0), np.zeros((4, 4, 3), np.uint8)], 25)
    with pytest.raises(ValueError, match="does not come after"):
        write_video(target, [film.coded(0), film.coded(1)], 25, times=[1.0, 1.0])
    with pytest.raises(ValueError, match="give one each"):
        write_video(target, [film.coded(0), film.coded(1)], 25, times=[1.0])
    with pytest.raises(ValueError, match="needs"):
        write_video(target, [np.zeros((4, 4), np.uint8)], 25)
    with pytest.raises(ValueError, match="crf is 99"):
        write_video(target, [film.coded(0)], 25, crf=99)
    with pytest.raises(ValueError, match="gop is 0"):
        write_video(target, [film.coded(0)], 25, gop=0)
    assert list(tmp_path.iterdir()) == []


def test_the_same_frames_make_the_same_file(film: SimpleNamespace, tmp_path: Path) -> None:
    frames = [film.coded(i) for i in range(12)]
    one = write_video(tmp_path / "a.mp4", frames, 25).read_bytes()
    assert write_video(tmp_path / "b.mp4", frames, 25).read_bytes() == one
