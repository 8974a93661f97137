"""Folders of images and arrays have the same face as files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from marey.video import VideoError, VideoWarning, open_video


def folder_of(film: SimpleNamespace, path: Path, count: int = 12) -> Path:
    path.mkdir()
    for i in range(count):
        Image.fromarray(film.coded(i)).save(path / f"frame_{i + 1}.png")  # 1, 2, ... 10, 11
    (path / "notes.txt").write_text("not a picture")
    return path


def test_images_are_ordered_by_number(film: SimpleNamespace, tmp_path: Path) -> None:
    video = open_video(folder_of(film, tmp_path / "v"), fps=12.5)
    assert (video.num_frames, video.fps, video.backend) == (12, 12.5, "folder")
    assert (video.height, video.width) == (film.height, film.width)
    assert film.codes(video.frames_at([11, 0, 9, 9]).frames) == [11, 0, 9, 9]
    assert video.frames_at_times([0.17]).times.tolist() == [0.16]
    assert video.frames_at([1], size=(16, 64)).frames.shape == (1, 3, 16, 64)
    assert [len(c.times) for c in video.chunks(5)] == [5, 5, 2]
    assert open_video(tmp_path / "v").fps == 30


def test_a_broken_image_is_left_out(film: SimpleNamespace, tmp_path: Path) -> None:
    path = folder_of(film, tmp_path / "v")
    (path / "frame_5.png").write_bytes(b"broken")
    video = open_video(path)
    with pytest.warns(VideoWarning, match="damaged: 1, left: 11"):
        clip = video.frames_at([3, 4, 5])
    assert film.codes(clip.frames) == [3, 5, 6]
    again = open_video(path)
    with pytest.warns(VideoWarning):
        codes = [c for clip in again.chunks(4) for c in film.codes(clip.frames)]
    assert codes == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]
    with pytest.raises(VideoError, match=r"frame_5.png does not decode .* \(at frame 4\)"):
        open_video(path, tolerant=False).frames_at([4])


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no images"):
        open_video(tmp_path)


def test_arrays_and_tensors(film: SimpleNamespace) -> None:
    array = np.stack([film.coded(i) for i in range(7)])
    video = open_video(array, fps=10)
    assert (video.num_frames, video.duration_s, video.backend) == (7, 0.7, "array")
    assert np.array_equal(video.frames_at([6, 2]).frames.permute(0, 2, 3, 1), array[[6, 2]])
    tensor = torch.from_numpy(array).movedim(-1, 1)
    assert torch.equal(open_video(tensor).frames_at([5]).frames, tensor[5:6])
    assert film.codes(open_video(tensor).frames_at([5, 1], size=(16, 64)).frames) == [5, 1]
    with pytest.raises(ValueError, match=r"need \(T, 3, H, W\)"):
        open_video(torch.zeros(4, 8, 8, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"need \(T, H, W, 3\)"):
        open_video(np.zeros((4, 8, 8, 3)))
    with pytest.raises(VideoError, match="no frames"):
        open_video(np.zeros((0, 8, 8, 3), np.uint8))
