"""Frames back to a file: H.264 in MP4 (any container FFmpeg knows by its suffix), written whole.

Without libx264 in PyAV's FFmpeg the codec is MPEG-4 part 2, and a warning says so.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from marey.video.backends import channels_last
from marey.video.error import VideoWarning

Image = NDArray[np.uint8]
TICKS = 90_000  # per second, the clock of files with times of their own


class VideoWriter:
    """Writes frames one by one; the file appears under its name when ``close`` succeeds.

    ``fps``: frames per second, exact for rationals such as Fraction(30000, 1001). ``crf``: 0
    lossless to 51. ``gop``: largest distance of keyframes, 1 for keyframes only, None for the
    encoder's 250. ``b_frames``: None for the encoder's choice. ``codec``: an FFmpeg encoder;
    empty: libx264. Odd sizes are kept: they are stored without colour subsampling.

    As a context manager: an exception inside leaves no file.
    """

    def __init__(
        self,
        path: str | Path,
        fps: float | Fraction,
        *,
        crf: int = 18,
        gop: int | None = None,
        b_frames: int | None = None,
        codec: str = "",
        preset: str = "veryfast",
    ) -> None:
        self.path = Path(path)
        self._rate = exact_rate(fps)
        if not 0 <= crf <= 51:
            raise ValueError(f"crf is {crf}, must be from 0 (lossless) to 51")
        if gop is not None and gop < 1:
            raise ValueError(f"gop is {gop}, must be at least 1")
        self._codec = codec or default_codec()
        self._options = {"crf": str(crf), "preset": preset}
        self._gop, self._b_frames, self._crf = gop, b_frames, crf
        self._container: Any = None
        self._stream: Any = None
        self._size = (0, 0)
        self._count = 0
        self._last = -1
        self._partial = self.path.with_name(f".{self.path.stem}.{os.getpid()}{self.path.suffix}")

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def write(self, frame: Image, *, time_s: float | None = None) -> None:
        """Add one frame (H, W, 3) uint8, shown from ``time_s`` on (default: count / fps).

        Raises ValueError for another shape than the first, or a time not after the last one.
        """
        frame = np.ascontiguousarray(frame)
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
            raise ValueError(f"frame is {frame.shape} {frame.dtype}, needs (H, W, 3) uint8")
        if self._container is None:
            self._begin(frame.shape[0], frame.shape[1], timed=time_s is not None)
        if frame.shape[:2] != self._size:
            raise ValueError(f"frame is {frame.shape[:2]}, the first was {self._size}")
        stamp = self._count if time_s is None else round(time_s / self._base)
        if stamp <= self._last:
            raise ValueError(f"time {time_s} of frame {self._count} does not come after the last")
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        picture.pts, picture.time_base = stamp, self._base
        self._count, self._last = self._count + 1, stamp
        self._mux(self._stream.encode(picture))

    def close(self) -> Path:
        """Finish the file and give it its name. Raises ValueError when no frame was written."""
        if self._container is None:
            raise ValueError(f"no frames were written to {self.path}; give at least one")
        try:
            self._mux(self._stream.encode(None))
            self._container.close()
            os.replace(self._partial, self.path)
        finally:
            self._partial.unlink(missing_ok=True)
        return self.path

    def discard(self) -> None:
        """Stop and leave no file."""
        if self._container is not None:
            self._container.close()
        self._partial.unlink(missing_ok=True)

    def _begin(self, height: int, width: int, *, timed: bool) -> None:
        self._base = Fraction(1, TICKS) if timed else 1 / self._rate
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._size = (height, width)
        self._container = av.open(str(self._partial), "w")
        stream = self._container.add_stream(self._codec, rate=self._rate)
        stream.width, stream.height = width, height
        odd = height % 2 or width % 2
        stream.pix_fmt = "yuv444p" if odd and self._codec.startswith("libx26") else "yuv420p"
        stream.codec_context.time_base = self._base
        stream.codec_context.thread_count = 1  # the same bytes on every machine
        if self._gop is not None:
            stream.codec_context.gop_size = self._gop
        if self._b_frames is not None:
            stream.codec_context.max_b_frames = self._b_frames
        if self._codec.startswith("libx26"):
            stream.options = self._options
        else:
            stream.codec_context.bit_rate = int(width * height * float(self._rate))
        self._stream = stream

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            self._container.mux(packet)


def write_video(
    path: str | Path,
    frames: Iterable[Image] | Tensor,
    fps: float | Fraction,
    *,
    crf: int = 18,
    gop: int | None = None,
    times: Iterable[float] | None = None,
    codec: str = "",
) -> Path:
    """Write frames, an iterable of (H, W, 3) uint8 or a tensor (T, 3, H, W), to a video file.

    ``times``: seconds at which each frame is shown, increasing, for uneven rates. See VideoWriter
    for the rest. The file is written under another name and renamed when it is whole.

    Raises ValueError for no frames, frames of several shapes, or times that do not increase.
    """
    images = iter(channels_last(frames)) if isinstance(frames, Tensor) else iter(frames)
    moments = None if times is None else iter(times)
    with VideoWriter(path, fps, crf=crf, gop=gop, codec=codec) as writer:
        for i, image in enumerate(images):
            moment = None if moments is None else next(moments, None)
            if moments is not None and moment is None:
                raise ValueError(f"there are {i} times for more than {i} frames; give one each")
            writer.write(image, time_s=None if moment is None else float(moment))
    return Path(path)


def exact_rate(fps: float | Fraction) -> Fraction:
    """A rate as a fraction, with the television rates (29.97 and such) made exact.

    Raises ValueError unless it is positive and finite.
    """
    if not 0 < fps < float("inf"):
        raise ValueError(f"fps is {fps!r}, must be a positive number")
    rate = Fraction(fps).limit_denominator(1001)
    television = Fraction(round(float(fps)) * 1000, 1001)
    return (
        television if abs(float(television) - float(fps)) < 0.004 and rate != round(fps) else rate
    )


def default_codec() -> str:
    """libx264 where PyAV's FFmpeg has it, else mpeg4 with a warning."""
    try:
        av.codec.Codec("libx264", "w")
    except ValueError:
        warnings.warn(
            "PyAV's FFmpeg has no libx264; writing MPEG-4 part 2 instead",
            VideoWarning,
            stacklevel=3,
        )
        return "mpeg4"
    return "libx264"
