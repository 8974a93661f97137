"""``open_video``: a file, a folder of images or an array as frames by index or by second."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marey.types import Clip, Modality
from marey.video.backends import DEFAULT_FPS, ArrayFrames, Backend, ImageFolder
from marey.video.decoder import PyavFile, Reindexed
from marey.video.error import VideoError, VideoWarning
from marey.video.torchcodec_file import TorchcodecFile

Source = str | Path | NDArray[Any] | Tensor


def open_video(
    source: Source,
    *,
    backend: Literal["auto", "pyav", "torchcodec"] = "auto",
    tolerant: bool = True,
    fps: float | None = None,
    threads: int = 1,
) -> Video:
    """Open a video for reading.

    ``source``: a video file, a folder of images, an array (T, H, W, 3) uint8 or a tensor
    (T, 3, H, W) uint8. ``fps`` is for folders and arrays, which have no rate of their own
    (default 30). ``tolerant``: a damaged file gives the frames it has, with a warning, and
    ``Video.lost`` counts the others; otherwise the first damage raises. ``threads``: decoding
    threads, 0 for one per core; one is right inside loader workers.

    ``backend``: "auto" is PyAV, which decodes the same pixels as torchcodec from the same FFmpeg
    and spends no more time on it (``benchmarks/decode.py``), as it leaves out frames that nothing
    refers to. "torchcodec" uses that where its probe decode worked and the file is an ordinary
    one; ``Video.backend`` says which is at work.

    Raises VideoError for what cannot be read, ValueError for arguments that make no sense.
    """
    if backend not in ("auto", "pyav", "torchcodec"):
        raise ValueError(f"backend is {backend!r}; choose 'auto', 'pyav' or 'torchcodec'")
    if threads < 0:
        raise ValueError(f"threads is {threads}, must be 1 or more, or 0 for one per core")
    if fps is not None and not 0 < fps < float("inf"):
        raise ValueError(f"fps is {fps!r}, must be a positive number")
    if isinstance(source, (np.ndarray, Tensor)):
        return Video(ArrayFrames(source, fps=fps or DEFAULT_FPS))
    path = str(source)
    if Path(path).is_dir():
        return Video(ImageFolder(path, fps=fps or DEFAULT_FPS, tolerant=tolerant))
    if fps is not None:
        raise ValueError(f"fps={fps:g} was given for the file {path}, which has a rate of its own")
    kind = TorchcodecFile if backend == "torchcodec" else PyavFile
    return Video(kind(path, tolerant=tolerant, threads=threads))


class Video:
    """The frames of one source. Frame i is the i-th displayed frame and carries its time.

    Use it as a context manager, or call ``close``. Not for use from several threads at once.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._opened_with = len(backend.index)
        self._warned = False
        self._warn()

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Video({self.source!r}, {self.num_frames} frames, {self.fps:g} fps, {self.backend})"

    def __len__(self) -> int:
        return self.num_frames

    @property
    def source(self) -> str:
        return self._backend.source

    @property
    def backend(self) -> str:
        """Which reader is at work: pyav, torchcodec, folder or array."""
        return self._backend.name

    @property
    def modality(self) -> Modality:
        """``rgb``, or ``flow`` of two channels (see ``flow_files``)."""
        return getattr(self._backend, "modality", "rgb")

    @property
    def num_frames(self) -> int:
        """Frames that can be shown. Shrinks when damage comes to light (see ``lost``)."""
        return len(self._backend.index)

    @property
    def fps(self) -> float:
        """Average frames per second."""
        return self._backend.index.fps

    @property
    def times(self) -> Tensor:
        """(N,) float64: when each frame is shown, in seconds on the file's own clock.

        The first need not be zero: original time stamps are kept.
        """
        return torch.from_numpy(self._backend.index.times.copy())

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame to the end of the last, which lasts one average step."""
        times = self._backend.index.times
        return float(times[-1] - times[0]) + 1.0 / self.fps

    @property
    def height(self) -> int:
        """Rows as displayed, rotation applied."""
        return self._backend.shape[0]

    @property
    def width(self) -> int:
        """Columns as displayed, rotation applied; pixels that are not square stay as stored."""
        return self._backend.shape[1]

    @property
    def lost(self) -> int:
        """Frames known so far to be missing or undecodable."""
        return self._backend.lost

    def close(self) -> None:
        """Give back the file and the decoder."""
        self._backend.close()

    def frames_at(
        self, indices: Sequence[int] | Tensor, *, size: tuple[int, int] | None = None
    ) -> Clip:
        """The frames of these indices, in this order; repeats are allowed.

        ``size`` = (H, W): frames are scaled to it while their colours are converted.
        ``Clip.frames`` is (T, 3, H, W) uint8, stored with channels last.

        Raises ValueError for no indices or one that does not exist, VideoError for damage.
        """
        asked = [int(i) for i in indices]
        self._check(asked)
        check_size(size)
        while True:
            index = self._backend.index
            held = [min(i, len(index) - 1) for i in asked]
            wanted = sorted(set(held))
            try:
                pixels = self._collect(wanted, size)
            except Reindexed:
                self._warn()
                continue
            break
        if held != wanted:
            place = {frame: row for row, frame in enumerate(wanted)}
            pixels = pixels[torch.tensor([place[i] for i in held])]
        times = torch.from_numpy(index.times[held])
        return Clip(pixels.permute(0, 3, 1, 2), times, self.source, self.modality)

    def frames_at_times(
        self, seconds: Sequence[float] | Tensor, *, size: tuple[int, int] | None = None
    ) -> Clip:
        """For each moment the last frame shown by then; the first frame for earlier moments."""
        moments = np.asarray([float(s) for s in seconds])
        if not np.isfinite(moments).all():
            raise ValueError(f"times are {moments.tolist()}, must be finite seconds")
        # Half a microsecond of grace: a time that was printed and read back finds its frame.
        at = np.searchsorted(self._backend.index.times, moments + 5e-7, side="right") - 1
        return self.frames_at(np.maximum(at, 0).tolist(), size=size)

    def chunks(
        self, frames: int, *, size: tuple[int, int] | None = None, start: int = 0
    ) -> Iterator[Clip]:
        """All frames from ``start`` on, ``frames`` at a time, decoded once; the last may be short.

        Memory holds one chunk. A damaged file ends early or skips, and ``lost`` says by how much.
        """
        if frames < 1:
            raise ValueError(f"frames is {frames}, must be at least 1")
        check_size(size)
        self._check([start])
        return self._chunks(frames, size, start)

    def _chunks(self, frames: int, size: tuple[int, int] | None, start: int) -> Iterator[Clip]:
        pixels: list[Tensor] = []
        times: list[float] = []
        while start < self.num_frames:
            due = float(self._backend.index.times[start])
            try:
                for i, image in self._backend.frames(range(start, self.num_frames), size):
                    pixels.append(torch.from_numpy(np.array(image)))
                    times.append(float(self._backend.index.times[i]))
                    start = i + 1
                    if len(pixels) == frames:
                        yield self._clip(pixels, times)
                        pixels, times = [], []
                    if start < self.num_frames:
                        due = float(self._backend.index.times[start])
            except Reindexed:
                self._warn()
                start = int(np.searchsorted(self._backend.index.times, due - 1e-9))
        if pixels:
            yield self._clip(pixels, times)

    def _clip(self, pixels: list[Tensor], times: list[float]) -> Clip:
        stacked = torch.stack(pixels).permute(0, 3, 1, 2)
        seconds = torch.tensor(times, dtype=torch.float64)
        return Clip(stacked, seconds, self.source, self.modality)

    def _collect(self, wanted: list[int], size: tuple[int, int] | None) -> Tensor:
        """(N, H, W, 3) uint8 of increasing indices."""
        pixels = None
        for row, (_, image) in enumerate(self._backend.frames(wanted, size)):
            if pixels is None:
                pixels = torch.empty((len(wanted), *image.shape), dtype=torch.uint8)
                rows = pixels.numpy()
            rows[row] = image
        assert pixels is not None, "no frame came and no error either"
        assert row + 1 == len(wanted)
        return pixels

    def _check(self, asked: list[int]) -> None:
        count = max(self._opened_with, self.num_frames)
        if not asked:
            raise ValueError(f"no frames were asked of {self.source}; give at least one index")
        for i in asked:
            if not 0 <= i < count:
                raise ValueError(
                    f"frame {i} of {self.source} does not exist; choose from 0 to {count - 1}"
                )

    def _warn(self) -> None:
        if self.lost and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.source}: frames missing or damaged: {self.lost}, left: {self.num_frames}",
                VideoWarning,
                stacklevel=3,
            )


def check_size(size: tuple[int, int] | None) -> None:
    """Raises ValueError unless ``size`` is None or two positive numbers (H, W)."""
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ValueError(f"size is {size}, must be (rows, columns) of at least 1")


__all__ = ["Video", "VideoError", "VideoWarning", "open_video"]
