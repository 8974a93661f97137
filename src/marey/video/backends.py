"""Four readers with one face: PyAV, torchcodec, a folder of images, an array.

The first two have pages of their own, ``decoder`` and ``torchcodec_file``. ``frames`` yields
(index, (H, W, 3) view) for increasing indices.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures
from torch import Tensor

from marey.video.decoder import Reindexed
from marey.video.error import VideoError
from marey.video.index import FrameIndex, without_frame

Image = NDArray[np.uint8]
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
DEFAULT_FPS = 30.0  # of what has no rate of its own: folders and arrays


class Backend(Protocol):
    """What a reader offers."""

    source: str

    @property
    def name(self) -> str: ...
    @property
    def index(self) -> FrameIndex: ...
    @property
    def lost(self) -> int: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    def frames(
        self, wanted: Sequence[int], size: tuple[int, int] | None = None
    ) -> Iterator[tuple[int, Image]]: ...
    def close(self) -> None: ...


def even_index(count: int, fps: float) -> FrameIndex:
    """``count`` frames at an even rate from time zero."""
    rate = Fraction(fps).limit_denominator(100_000)
    return FrameIndex(
        times=np.arange(count) / fps,
        stamps=np.arange(count),
        keys=np.zeros((0, 2), np.int64),
        rate=rate,
    )


class ArrayFrames:
    """Frames that are already in memory: (T, H, W, 3) uint8."""

    name = "array"

    def __init__(self, array: NDArray[Any] | Tensor, *, fps: float = DEFAULT_FPS) -> None:
        self.source = "array"
        self._array = channels_last(array)
        self.index = even_index(len(self._array), fps)

    lost = 0

    @property
    def shape(self) -> tuple[int, int]:
        return self._array.shape[1], self._array.shape[2]

    def frames(
        self, wanted: Sequence[int], size: tuple[int, int] | None = None
    ) -> Iterator[tuple[int, Image]]:
        for i in wanted:
            image = self._array[i]
            if size is not None and size != self.shape:
                image = resized(image, size)
            yield i, image

    def close(self) -> None:
        """Nothing to give back."""


def channels_last(array: NDArray[Any] | Tensor) -> Image:
    """(T, H, W, 3) uint8 from that array, or from a (T, 3, H, W) tensor.

    Raises ValueError for anything else.
    """
    if isinstance(array, Tensor):
        wanted, last = (
            "(T, 3, H, W) uint8",
            array.movedim(1, -1).numpy() if array.ndim == 4 else array,
        )
        frames = np.asarray(last)
    else:
        wanted, frames = "(T, H, W, 3) uint8", array
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(
            f"frames have shape {tuple(array.shape)} and type {array.dtype}, need {wanted}"
        )
    if not len(frames):
        raise VideoError("array", "the first frame", "no frames")
    return frames


def resized(image: Image, size: tuple[int, int]) -> Image:
    """(H, W, 3) at another size, bilinear with a kernel that widens when shrinking."""
    picture = Pictures.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((size[1], size[0]), Pictures.Resampling.BILINEAR))


class ImageFolder:
    """A folder of images, in the order of their names with numbers compared as numbers.

    All frames take the size of the first.
    """

    name = "folder"

    def __init__(self, path: str, *, fps: float = DEFAULT_FPS, tolerant: bool = True) -> None:
        self.source = path
        self.tolerant = tolerant
        self._files = image_files(Path(path))
        if not self._files:
            raise VideoError(path, "the folder", "no images in it")
        self.index = even_index(len(self._files), fps)
        self._shape: tuple[int, int] | None = None

    @property
    def lost(self) -> int:
        return self.index.lost

    @property
    def shape(self) -> tuple[int, int]:
        if self._shape is None:
            self._shape = self._read(0, None).shape[:2]
        return self._shape

    def frames(
        self, wanted: Sequence[int], size: tuple[int, int] | None = None
    ) -> Iterator[tuple[int, Image]]:
        size = size or self.shape
        for i in wanted:
            yield i, self._read(i, size)

    def close(self) -> None:
        """Nothing to give back."""

    def _read(self, i: int, size: tuple[int, int] | None) -> Image:
        path = self._files[i]
        try:
            with Pictures.open(path) as picture:
                image = np.asarray(picture.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Pictures.DecompressionBombError) as error:
            cause = f"{path.name} does not decode ({type(error).__name__})"
            if not self.tolerant or len(self._files) == 1:
                raise VideoError(self.source, f"frame {i}", cause) from None
            del self._files[i]
            self.index = without_frame(self.index, i)
            raise Reindexed from None
        return image if size is None or size == image.shape[:2] else resized(image, size)


def image_files(folder: Path) -> list[Path]:
    """The images directly in a folder, sorted with numbers compared as numbers.

    Pictures of optical flow beside the frames (flow_x_00001.jpg) are no frames.
    """
    found = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES]
    found = [p for p in found if not re.match(r"flow_[xy]_\d+$", p.stem)]
    return sorted(found, key=lambda p: [
        int(part) if part.isdigit() else part for part in re.split(r"(\d+)", p.name)
    ])  # fmt: skip
