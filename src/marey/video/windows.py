"""Cutting a long video into windows, in frames or in seconds, and joining what was said of each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


def sliding_windows(num_frames: int, window: int, step: int, *, cover: bool = True) -> Tensor:
    """Half-open frame intervals, (N, 2) int64, increasing, each ``window`` frames wide.

    A video no longer than the window is one interval, all of it. ``cover``: when the last full
    window stops short of the end, one more is laid against the end.

    Raises ValueError for numbers below 1.
    """
    for name, value in (("num_frames", num_frames), ("window", window), ("step", step)):
        if value < 1:
            raise ValueError(f"{name} is {value}, must be at least 1")
    if num_frames <= window:
        return torch.tensor([[0, num_frames]])
    starts = list(range(0, num_frames - window + 1, step))
    if cover and starts[-1] + window < num_frames:
        starts.append(num_frames - window)
    begin = torch.tensor(starts)
    return torch.stack([begin, begin + window], dim=1)


def padded_windows(num_frames: int, window: int, step: int) -> Tensor:
    """Half-open frame intervals, (N, 2) int64, ``step`` apart until one reaches the end.

    All are ``window`` frames wide: the last may reach past the end, where its frames are padding.
    """
    count = max(0, -(-(num_frames - window) // step)) + 1
    begin = torch.arange(count) * step
    return torch.stack([begin, begin + window], dim=1)


def join_scores(scores: Tensor, windows: Tensor, num_frames: int) -> Tensor:
    """Scores of each frame, (num_frames, K): the mean over the windows that hold it.

    ``scores`` (N, K) of ``windows`` (N, 2). Frames in no window are NaN.

    Raises ValueError when the counts differ or a window leaves the video.
    """
    if scores.ndim != 2 or windows.ndim != 2 or windows.shape[1] != 2:
        raise ValueError(
            f"scores {tuple(scores.shape)}, windows {tuple(windows.shape)}; need (N, K) and (N, 2)"
        )
    if len(scores) != len(windows):
        raise ValueError(f"{len(scores)} scores for {len(windows)} windows; give one row each")
    if len(windows) and (int(windows.min()) < 0 or int(windows.max()) > num_frames):
        raise ValueError(f"windows reach outside the {num_frames} frames of the video")
    # Sums over prefixes: each window adds its row at its start and takes it away at its end.
    change = torch.zeros(num_frames + 1, scores.shape[1] + 1, dtype=torch.float64)
    rows = torch.cat([scores.double(), torch.ones(len(scores), 1, dtype=torch.float64)], dim=1)
    change.index_add_(0, windows[:, 0].long(), rows)
    change.index_add_(0, windows[:, 1].long(), -rows)
    total = change.cumsum(0)[:num_frames]
    count = total[:, -1:].round()
    mean = torch.where(count > 0, total[:, :-1] / count, torch.nan)
    return mean.to(scores.dtype if scores.is_floating_point() else torch.float32)


def window_times(windows: Tensor, times: Tensor, *, step_s: float) -> Tensor:
    """(N, 2) float64 seconds: a window's first frame until its last frame ends.

    ``times`` (num_frames,) seconds of every frame; the very last frame lasts ``step_s``.
    """
    ends = torch.cat([times[1:], times[-1:] + step_s])
    return torch.stack([times[windows[:, 0]], ends[windows[:, 1] - 1]], dim=1)


def spans_where(on: Tensor) -> Tensor:
    """Half-open intervals of frames in which ``on`` (num_frames,) is true, (N, 2) int64."""
    padded = torch.cat([torch.zeros(1), on.float(), torch.zeros(1)]).diff()
    starts, ends = (padded > 0).nonzero(), (padded < 0).nonzero()
    return torch.cat([starts, ends], dim=1)


@dataclass(frozen=True)
class Window:
    """Frames [first, after) of a video, which lie in [start_s, end_s)."""

    first: int
    after: int
    start_s: float
    end_s: float


def windows_of(
    times: Tensor, duration_s: float, window_s: float, step_s: float
) -> Iterator[Window]:
    """Windows over frames at ``times`` (N,) seconds, increasing; each has at least one frame.

    The first begins with the first frame, the last is moved back to end with the video; a video
    shorter than a window is one window.
    Raises ValueError for lengths that are not positive, or no frames.
    """
    if not (window_s > 0 and step_s > 0):
        raise ValueError(f"window {window_s} s every {step_s} s; both must be positive")
    if not len(times):
        raise ValueError("the video has no frames to cut into windows")
    begin, last = float(times[0]), max(duration_s - window_s, 0.0)
    for place in range(math.ceil(last / step_s - 1e-9) + 1):
        start = begin + min(place * step_s, last)
        end = min(start + window_s, begin + duration_s)
        edges = torch.tensor([start, end], dtype=torch.float64) - 1e-9
        first, after = torch.searchsorted(times.double(), edges).tolist()
        first = min(first, len(times) - 1)
        yield Window(first, max(after, first + 1), start, end)
