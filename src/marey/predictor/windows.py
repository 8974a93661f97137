"""Windows over a video in seconds, as frames of that video."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


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
