"""torchcodec behind the face of a reader, where a probe decode really worked.

It needs an FFmpeg of its own on the machine and fails in many ways without one, so it is tried once
per process on a small file made in memory. Which frames exist, when they are shown, what is damaged
or turned, and every size but the stored one stay with PyAV.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Sequence
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from marey.video.decoder import PyavFile
from marey.video.index import FrameIndex

Image = NDArray[np.uint8]
BATCH = 32  # frames held at once


@functools.cache
def torchcodec_problem() -> str:
    """Why torchcodec cannot be used in this process, in one line; empty when it can."""
    try:
        from torchcodec.decoders import VideoDecoder

        film = probe_film()
        got = VideoDecoder(film, dimension_order="NHWC", num_ffmpeg_threads=1).get_frames_at([0, 3])
        with av.open(io.BytesIO(film), "r") as container:
            expected = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        if int(np.abs(got.data[1].numpy().astype(int) - expected[3]).max()) > 8:
            return "its probe decode gave another picture"
    except Exception as error:  # an import error, a loader's RuntimeError, anything FFmpeg does
        words = " ".join(str(error).split())
        if "libtorchcodec" in words or "libav" in words:
            return "no FFmpeg libraries that it can load"
        return (words or type(error).__name__)[:100]
    return ""


def probe_film() -> bytes:
    """Four small frames of growing brightness as an MP4 file."""
    film = io.BytesIO()
    with av.open(film, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for level in (40, 90, 140, 190):
            grey = np.full((64, 64, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode(None))
    return film.getvalue()


class TorchcodecFile:
    """A video file read through torchcodec, falling back to PyAV for what it does not suit.

    Raises ValueError when torchcodec does not work here, VideoError for the file.
    """

    def __init__(self, path: str, *, tolerant: bool = True, threads: int = 1) -> None:
        problem = torchcodec_problem()
        if problem:
            raise ValueError(
                f"backend='torchcodec' does not work here: {problem}; use backend='auto'"
            )
        self.source = path
        self._threads = threads
        self._plain = PyavFile(path, tolerant=tolerant, threads=threads)
        self._decoder: Any = None
        if self._suits():
            self._decoder = self._opened()

    @property
    def name(self) -> str:
        """torchcodec, or pyav for a file that it does not suit."""
        return "pyav" if self._decoder is None else "torchcodec"

    @property
    def index(self) -> FrameIndex:
        return self._plain.index

    @property
    def lost(self) -> int:
        return self._plain.lost

    @property
    def shape(self) -> tuple[int, int]:
        return self._plain.shape

    def close(self) -> None:
        """Give back the file and the decoders."""
        self._decoder = None
        self._plain.close()

    def frames(
        self, wanted: Sequence[int], size: tuple[int, int] | None = None
    ) -> Iterator[tuple[int, Image]]:
        """See PyavFile.frames."""
        at = 0
        native = size is None or size == self.shape
        while self._decoder is not None and native and at < len(wanted):
            part = list(wanted[at : at + BATCH])
            images = self._batch(part)
            if images is None:
                self._decoder = None
                break
            yield from zip(part, images, strict=True)
            at += len(part)
        if at < len(wanted):
            yield from self._plain.frames(wanted[at:], size)

    def _suits(self) -> bool:
        """Whether a file is ordinary: nothing damaged, hidden, turned, deep or without stamps."""
        index = self._plain.index
        plain = (
            self._plain.bits == 8
            and not index.decoded
            and not index.hidden
            and index.stamps is not None
        )
        return plain and "://" not in self.source and not self._plain.turned

    def _opened(self) -> Any:
        """A decoder that agrees with our index about the number of frames, or None."""
        from torchcodec.decoders import VideoDecoder

        index = self._plain.index
        even = index.constant_rate() and float(index.times[0]) == 0.0
        try:
            decoder = VideoDecoder(
                self.source,
                stream_index=self._plain.stream_number,
                dimension_order="NHWC",
                num_ffmpeg_threads=self._threads,
                seek_mode="approximate" if even else "exact",
            )
        except Exception:  # whatever it objects to, PyAV has opened the file
            return None
        return decoder if decoder.metadata.num_frames == len(index) else None

    def _batch(self, part: list[int]) -> Image | None:
        """(N, H, W, 3), or None when torchcodec fails or means other frames than we do."""
        try:
            got = self._decoder.get_frames_at(indices=part)
            images: Image = got.data.numpy()
            stamps = got.pts_seconds.numpy()
        except Exception:  # PyAV finds out what is wrong with the file and names it
            return None
        same_time = np.abs(stamps - self.index.times[part]).max() < 0.5 / self.index.fps
        return images if same_time and images.shape[1:3] == self.shape else None
