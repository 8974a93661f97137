"""Tiny real files for the tests of the data floor: frame k is grey, 10 + 8 k, right half bright."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marey.video import write_video

MakeVideo = Callable[..., Path]


def drawn_frame(k: int, height: int, width: int) -> np.ndarray:
    frame = np.full((height, width, 3), 10 + 8 * k, np.uint8)
    frame[:, width // 2 :] = 240
    return frame


@pytest.fixture
def make_video() -> MakeVideo:
    """make_video(path, frames=12, size=(32, 48), fps=25): an H.264 file, folders made as needed."""

    def make(
        path: Path,
        *,
        frames: int = 12,
        size: tuple[int, int] = (32, 48),
        fps: float = 25,
        tint: int = 0,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path if path.suffix == ".mp4" else path.with_suffix(".mp4")
        write_video(written, (drawn_frame(k + tint, *size) for k in range(frames)), fps, crf=4)
        if written != path:
            written.rename(path)
        return path

    return make


@pytest.fixture
def make_frames() -> MakeVideo:
    """make_frames(folder, frames=6, size=(32, 48), name="{:05d}.jpg", first=1): a frame folder."""

    def make(
        folder: Path,
        *,
        frames: int = 6,
        size: tuple[int, int] = (32, 48),
        name: str = "{:05d}.jpg",
        first: int = 1,
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(frames):
            Image.fromarray(drawn_frame(k, *size)).save(folder / name.format(k + first), quality=98)
        return folder

    return make
