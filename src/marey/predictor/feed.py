"""Clips from endless input with bounded delay: webcams, stream addresses, files played as if live.

A reader thread decodes and keeps only the newest frames a clip needs. Whoever takes a clip gets the
newest one; frames that leave unseen because the taker was slow are counted. Nothing queues, so the
delay of an answer is one pass of the network plus the reader's own lag.

    camera or address -> reader thread -> Ring (newest seconds) -> clip
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from marey.predictor.sources import is_endless
from marey.types import Clip, ClipSpec
from marey.video import VideoError, open_video

LAG_S = 1.0  # a reader further behind the clock decodes key frames only, until it has caught up
WAIT_S = 10.0  # seconds without a frame after which an address counts as gone
Timed = tuple[float, np.ndarray]  # seconds, (H, W, 3) uint8


class Clock(Protocol):
    """What of ``time`` a feed uses; tests put their own in its place."""

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float, /) -> None: ...


@dataclass(frozen=True)
class Frame:
    """One frame (H, W, 3) uint8, its time in the stream, and when it arrived by our clock."""

    pixels: np.ndarray
    time_s: float
    arrived_s: float


@dataclass(frozen=True)
class FeedClip:
    """A clip of the newest seconds [start_s, end_s]; its newest frame arrived at ``arrived_s``.

    ``dropped`` frames have left unseen since the feed began.
    """

    clip: Clip
    start_s: float
    end_s: float
    arrived_s: float
    dropped: int


class Ring:
    """The newest ``keep_s`` seconds of frames; older ones leave, and count when nobody saw them."""

    def __init__(self, keep_s: float, *, most: int = 1024) -> None:
        """``most`` frames are kept however close together their times are.

        Raises ValueError for a length that is not positive.
        """
        if not keep_s > 0:
            raise ValueError(f"keep_s is {keep_s}; a ring keeps a positive number of seconds")
        self.keep_s, self.most, self.dropped = keep_s, most, 0
        self._frames: deque[Frame] = deque()
        self._seen_s = float("-inf")
        self._lock = threading.Lock()

    def push(self, frame: Frame) -> None:
        """Add the newest frame. A time that jumps back (a stream begun anew) empties the ring."""
        with self._lock:
            if self._frames and frame.time_s < self._frames[-1].time_s:
                self._leave(len(self._frames))
                self._seen_s = float("-inf")
            self._frames.append(frame)
            stale = 0
            while frame.time_s - self._frames[stale].time_s > self.keep_s:
                stale += 1
            self._leave(max(stale, len(self._frames) - self.most))

    def _leave(self, count: int) -> None:
        for _ in range(count):
            self.dropped += self._frames.popleft().time_s > self._seen_s

    def span(self) -> tuple[float, float] | None:
        """Times of the oldest and the newest frame, None while empty."""
        with self._lock:
            return (self._frames[0].time_s, self._frames[-1].time_s) if self._frames else None

    def take(self) -> list[Frame]:
        """All frames, oldest first; they stay, and count as seen."""
        with self._lock:
            if self._frames:
                self._seen_s = self._frames[-1].time_s
            return list(self._frames)


def clip_seconds(spec: ClipSpec, *, whole_s: float = 3.0) -> float:
    """Seconds of video one clip covers; ``whole_s`` for networks that look at whole videos."""
    whole = spec.sampling in ("segment", "snippet")
    return whole_s if whole else spec.frames * spec.stride / spec.rate


def clip_of(frames: list[Frame], spec: ClipSpec, span_s: float, source: str) -> Clip:
    """A clip of the spec's frames spread evenly over the newest ``span_s`` seconds.

    Each is the last frame at or before its moment; moments before a young stream's first frame
    repeat it. Raises ValueError without frames.
    """
    if not frames:
        raise ValueError("the stream has no frame yet; wait for the first")
    count = spec.length
    times = np.array([frame.time_s for frame in frames])
    moments = times[-1] - span_s + span_s * (np.arange(count) + 1) / count
    picked = np.clip(np.searchsorted(times, moments + 1e-9, side="right") - 1, 0, len(times) - 1)
    pixels = np.stack([frames[i].pixels for i in picked])
    tensor = torch.from_numpy(pixels).permute(0, 3, 1, 2)  # (T, C, H, W)
    return Clip(tensor, torch.from_numpy(times[picked]), source)


class Feed:
    """Iterate over it for the newest clip every ``every_s`` seconds of the stream."""

    def __init__(
        self,
        source: int | str | Path | Iterable[Timed],
        spec: ClipSpec,
        *,
        every_s: float = 1.0,
        max_seconds: float | None = None,
        span_s: float | None = None,
        clock: Clock = time,
    ) -> None:
        """``source``: webcam number, address, file (played at its own pace), or (seconds, frame)
        pairs that block until the next frame is there. ``span_s``: seconds a clip covers, by
        default those of the spec.

        Raises ValueError for seconds that are not positive.
        """
        for name, value in (("every_s", every_s), ("max_seconds", max_seconds)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value}; give a positive number of seconds")
        self.source, self.spec, self.clock = source, spec, clock
        self.every_s, self.max_seconds = every_s, max_seconds
        self.span_s = span_s or clip_seconds(spec)
        self.ring = Ring(self.span_s)
        self._error: Exception | None = None
        self._stop, self._ended = threading.Event(), threading.Event()
        self._fresh = threading.Event()

    @property
    def name(self) -> str:
        """The source as results name it."""
        if not isinstance(self.source, (int, str, Path)):
            return "frames"
        return f"webcam {self.source}" if str(self.source).isdecimal() else str(self.source)

    def stop(self) -> None:
        """Let the iteration end before its next clip; safe from any thread."""
        self._stop.set()
        self._fresh.set()

    def stopped(self) -> bool:
        """Whether it was stopped."""
        return self._stop.is_set()

    def __iter__(self) -> Iterator[FeedClip]:
        """Raises VideoError when the source cannot be opened or breaks off."""
        reader = threading.Thread(target=self._read, name="marey-feed", daemon=True)
        reader.start()
        try:
            yield from self._clips()
        finally:
            self.stop()
            reader.join(timeout=2.0)
        if self._error is not None:
            raise self._error

    def _clips(self) -> Iterator[FeedClip]:
        began, last = self.clock.monotonic(), None
        while not self._stop.is_set():
            now = self.clock.monotonic()
            if self.max_seconds is not None and now - began >= self.max_seconds:
                return
            ended = self._ended.is_set()  # before the span, which may still grow until then
            span = self.ring.span()
            if span is not None and self._is_due(span, last):
                taken = self._take()
                last = taken.end_s
                yield taken
            elif ended:
                if span is not None and last is None and self._error is None:
                    yield self._take()  # a stream shorter than one clip still gets an answer
                return
            else:
                self._fresh.wait(timeout=0.05)
                self._fresh.clear()

    def _is_due(self, span: tuple[float, float], last: float | None) -> bool:
        """The first clip waits until it can be filled, the others for new frames."""
        oldest, newest = span
        if last is None:
            return newest - oldest >= 0.9 * self.span_s
        return newest >= last + self.every_s - 1e-6 or newest < last

    def _take(self) -> FeedClip:
        frames = self.ring.take()
        clip = clip_of(frames, self.spec, self.span_s, self.name)
        newest = frames[-1]
        return FeedClip(clip, frames[0].time_s, newest.time_s, newest.arrived_s, self.ring.dropped)

    def _read(self) -> None:
        try:
            for time_s, pixels in self._frames():
                if self._stop.is_set():
                    break
                small = shrink(pixels, self.spec.short_side)
                self.ring.push(Frame(small, time_s, self.clock.monotonic()))
                self._fresh.set()
        except Exception as error:
            # Handed to the consumer's thread, which raises it.
            known = isinstance(error, ValueError)
            self._error = error if known else VideoError(self.name, "stream", first_line(error))
        finally:
            self._ended.set()
            self._fresh.set()

    def _frames(self) -> Iterator[Timed]:
        if not isinstance(self.source, (int, str, Path)):
            return iter(self.source)
        read = live_frames if is_endless(self.source) else paced_frames
        return read(self.source, self._stop, self.clock)


def shrink(pixels: np.ndarray, short_side: int) -> np.ndarray:
    """The frame with its short side at ``short_side``, untouched when it is no larger."""
    height, width = pixels.shape[:2]
    if min(height, width) <= short_side:
        return pixels
    scale = short_side / min(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    grid: Tensor = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    small = torch.nn.functional.interpolate(grid, size, mode="bilinear", align_corners=False)
    return np.ascontiguousarray(small[0].permute(1, 2, 0).numpy())


def paced_frames(path: int | str | Path, stop: threading.Event, clock: Clock) -> Iterator[Timed]:
    """Frames of a file, each given out when its time has come, as a camera would.

    Raises VideoError for a file that cannot be read.
    """
    with open_video(str(path)) as video:
        began = clock.monotonic()
        for chunk in video.chunks(8):
            frames = chunk.frames.permute(0, 2, 3, 1).numpy()  # (T, H, W, C)
            for time_s, pixels in zip(chunk.times.tolist(), frames, strict=True):
                while not stop.is_set() and (early := began + time_s - clock.monotonic()) > 0:
                    clock.sleep(min(early, 0.1))
                if stop.is_set():
                    return
                yield time_s, pixels


def live_frames(source: int | str | Path, stop: threading.Event, clock: Clock) -> Iterator[Timed]:
    """Frames of a webcam or address as they arrive, times from its first frame.

    When decoding falls behind the clock, only key frames are decoded until it has caught up.
    Raises VideoError when it cannot be opened, or no frame came for ten seconds.
    """
    import av

    name, kind, options = address_of(source)
    try:
        container: Any = av.open(name, format=kind, options=options, timeout=(WAIT_S, WAIT_S))
    except (OSError, av.FFmpegError, ValueError) as error:
        cause = f"cannot be opened ({first_line(error)}); is it there, and free?"
        raise VideoError(str(source), "opening", cause) from None
    with container:
        if not container.streams.video:
            raise VideoError(str(source), "opening", "carries no video")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        first, lead = None, float("inf")
        try:
            for frame in container.decode(stream):
                if stop.is_set():
                    return
                now = clock.monotonic()
                stamp = frame.time if frame.time is not None else now
                first = stamp if first is None else first
                lead = min(lead, now - stamp)
                behind = now - stamp - lead > LAG_S
                stream.codec_context.skip_frame = "NONKEY" if behind else "DEFAULT"
                yield stamp - first, frame.to_ndarray(format="rgb24")
        except (OSError, av.FFmpegError) as error:
            raise VideoError(str(source), "stream", f"broke off: {first_line(error)}") from None


def address_of(source: int | str | Path) -> tuple[str, str | None, dict[str, str]]:
    """(name, FFmpeg input format, options) of a webcam number or address on this system."""
    text = str(source)
    if not text.isdecimal():
        options = {"fflags": "nobuffer", "flags": "low_delay"}
        return text, None, options | ({"rtsp_transport": "tcp"} if text.startswith("rtsp") else {})
    if sys.platform == "darwin":
        return text, "avfoundation", {"framerate": "30"}
    if sys.platform == "win32":
        return f"video={text}", "dshow", {}
    return f"/dev/video{text}", "v4l2", {}


def first_line(error: Exception) -> str:
    """An error's message on one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
