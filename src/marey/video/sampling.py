"""Which frames a clip takes: pure functions from (length, rate, spec) to frame indices.

    rule       training                                   test view i of n
    linspace   real start in [0, max(V-L, 0)]             start max(V-L, 0) * i / n
    stride     integer start in [min(V-L,0), max(V-L,0)]  start round(i * max(V-L, 0) / (n-1))
    segment    one random index in each of N parts        the middle of each part
    snippet    n frames from a random place in each part  n from the middle; view i of more at i / n
    dense      64 frames from a random start, thinned     starts spread over [0, V - 64]

V frames in the video, L frames spanned by the clip. Indices outside the video take its first or
last frame. Official arithmetic, truncations included: the effective stride of "8 frames, stride 8"
is 9, and the last of n linspace views does not reach the end of the video.

Source: Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019, official code;
Wang et al., "Temporal Segment Networks", ECCV 2016, tsn-pytorch and its successors.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from marey.types import ClipSpec

TSN_TEST_SEGMENTS = 25


def clip_indices(
    num_frames: int,
    fps: float,
    spec: ClipSpec,
    *,
    generator: torch.Generator | None = None,
    view: int = 0,
    num_views: int = 1,
    span: tuple[int, int] | None = None,
) -> Tensor:
    """Frame indices of one clip, (spec.frames * spec.segment_frames,) int64, never outside.

    A test clip of snippets has ``spec.test_frames`` of them, where that is set.

    ``generator``: a random training draw; without it the deterministic test view ``view`` of
    ``num_views``. ``span``: a half-open interval of frames that is treated as the whole video.

    Raises ValueError for an empty video or span, a bad rate, or a view that does not exist.
    """
    first, length = _inside(num_frames, fps, span)
    if not 0 <= view < num_views:
        raise ValueError(f"view is {view}, must be from 0 to {num_views - 1} (num_views - 1)")
    if spec.sampling == "linspace":
        window = window_length(spec, fps)
        if generator is not None:
            start = draw_real(generator) * max(length - window, 0.0)
        else:
            start = max(length - window, 0.0) * view / num_views
        found = linspace_indices(start, window, spec.frames, length)
    elif spec.sampling == "stride":
        spec = drawn_stride(length, spec, generator)
        room = length - spec.segment_frames + 1  # each place opens so many consecutive frames
        start_at = stride_start(room, spec, generator=generator, view=view, num_views=num_views)
        places = stride_indices(start_at, spec.frames, spec.stride, length)
        found = snippet_indices(places, spec.segment_frames, length)
    elif spec.sampling == "dense":
        drawn = dense_indices(length, spec.frames, generator=generator, views=num_views)
        found = drawn[0 if generator is not None else view]
    elif spec.sampling == "snippet":
        if generator is not None:
            starts = snippet_starts(length, spec.frames, spec.segment_frames, generator=generator)
        else:
            starts = test_starts(length, spec, view=view, num_views=num_views)
        found = snippet_indices(starts, spec.segment_frames, length)
    elif spec.segment_frames == 1:
        found = segment_indices(length, spec.frames, generator=generator)
    else:
        starts = snippet_starts(length, spec.frames, spec.segment_frames, generator=generator)
        found = snippet_indices(starts, spec.segment_frames, length)
    return found + first


def is_clamped(
    num_frames: int, fps: float, spec: ClipSpec, *, span: tuple[int, int] | None = None
) -> bool:
    """Whether the video is shorter than the clip, so that frames must repeat."""
    _, length = _inside(num_frames, fps, span)
    return length < frames_needed(spec, fps)


def frames_needed(spec: ClipSpec, fps: float) -> int:
    """How many frames a video of this rate must have so that no frame of the clip repeats."""
    if spec.sampling == "linspace":
        return int(window_length(spec, fps))
    if spec.sampling == "stride":
        stride = 1 if spec.least_stride else spec.stride
        return (spec.frames - 1) * stride + spec.segment_frames
    if spec.sampling == "dense":
        return spec.frames
    return spec.frames * spec.segment_frames


def clip_length(spec: ClipSpec, *, training: bool) -> int:
    """Stored frames of one clip: those of all its snippets, where it has them."""
    tested = spec.test_frames if spec.sampling == "snippet" and not training else 0
    return (tested or spec.frames) * spec.segment_frames


def window_length(spec: ClipSpec, fps: float) -> float:
    """Source frames that a linspace clip spans: frames * stride at the spec's rate, at least 1."""
    return max(1.0, spec.frames * spec.stride / spec.rate * fps)


def linspace_indices(start: float, window: float, frames: int, num_frames: int) -> Tensor:
    """``frames`` indices spread evenly from ``start`` to ``start + window - 1``, truncated.

    In float32, as the official code does it: the truncation depends on it.
    """
    spread = torch.linspace(start, start + window - 1, frames)
    return spread.clamp(0, num_frames - 1).long()


def drawn_stride(length: int, spec: ClipSpec, generator: torch.Generator | None) -> ClipSpec:
    """The spec with the stride of one clip: drawn where ``least_stride`` is set, in training.

    There a video that is too short for it has a smaller one, at least 1, in tests as well.
    """
    if spec.least_stride < 1:
        return spec
    fits = max((length - spec.segment_frames) // max(spec.frames - 1, 1), 1)
    stride = spec.stride
    if generator is not None:
        stride = draw_integer(generator, spec.least_stride, spec.stride + 1)
    return replace(spec, stride=min(stride, fits))


def stride_start(
    num_frames: int,
    spec: ClipSpec,
    *,
    generator: torch.Generator | None = None,
    view: int = 0,
    num_views: int = 1,
) -> int:
    """Where a clip of plain stride starts; negative draws occur when it is longer than the video.

    A single test view stands in the middle.
    """
    room = num_frames - ((spec.frames - 1) * spec.stride + 1)
    if generator is not None:
        return draw_integer(generator, min(room, 0), max(room, 0) + 1)
    if num_views == 1:
        return max(room, 0) // 2
    return round(view * max(room, 0) / (num_views - 1))


def stride_indices(start: int, frames: int, stride: int, num_frames: int) -> Tensor:
    """``start``, ``start + stride``, ... clamped to the video, (frames,) int64."""
    return (start + torch.arange(frames) * stride).clamp(0, num_frames - 1)


def segment_indices(
    num_frames: int, segments: int, *, generator: torch.Generator | None = None
) -> Tensor:
    """One index in each of ``segments`` equal parts: random, or the middle, (segments,) int64.

    Part i runs from round(i * (V-1)/N) to round((i+1) * (V-1)/N), both ends included.
    """
    width = (num_frames - 1) / segments
    found = []
    for i in range(segments):
        start, end = round(width * i), round(width * (i + 1))
        if generator is not None:
            found.append(draw_integer(generator, start, end + 1))
        else:
            found.append((start + end) // 2)
    return torch.tensor(found, dtype=torch.int64)


def snippet_starts(
    num_frames: int, segments: int, length: int, *, generator: torch.Generator | None = None
) -> Tensor:
    """First frames of one snippet of ``length`` frames per segment, (segments,) int64 from zero.

    Training draws one place in each of ``segments`` equal parts, or sorted random places when the
    parts are shorter than a frame, or zeros when the video is that short. Testing takes the
    middles, or zeros.
    """
    room = num_frames - length + 1
    if generator is not None:
        part = room // segments
        if part > 0:
            drawn = [draw_integer(generator, 0, part) for _ in range(segments)]
            return torch.arange(segments) * part + torch.tensor(drawn, dtype=torch.int64)
        if num_frames > segments and room > 0:
            drawn = [draw_integer(generator, 0, room) for _ in range(segments)]
            return torch.tensor(sorted(drawn), dtype=torch.int64)
        return torch.zeros(segments, dtype=torch.int64)
    if num_frames > segments + length - 1:
        return centre_starts(num_frames, segments, length)
    return torch.zeros(segments, dtype=torch.int64)


def centre_starts(num_frames: int, segments: int, length: int = 1) -> Tensor:
    """The middle of each part with no rule for short videos, (segments,) int64: TSN's test."""
    tick = (num_frames - length + 1) / segments
    return torch.tensor([max(int(tick / 2 + tick * i), 0) for i in range(segments)])


def test_starts(num_frames: int, spec: ClipSpec, *, view: int, num_views: int) -> Tensor:
    """Where the snippets of one test view start, (test_frames or frames,) int64: the middles.

    Of two views the second takes the first frames of the parts, as TSM's; of more each takes its
    own place in them.
    Differs: published tests of ten clips draw these places at random.
    """
    segments = spec.test_frames or spec.frames
    if num_views == 1 or (num_views == 2 and view == 0):
        return centre_starts(num_frames, segments, spec.segment_frames)
    share = 0.0 if num_views == 2 else (view + 0.5) / num_views
    tick = (num_frames - spec.segment_frames + 1) / segments
    return torch.tensor([max(int(tick * (i + share)), 0) for i in range(segments)])


def stack_indices(frames: Tensor, length: int, fields: int) -> Tensor:
    """The ``length`` fields of flow around each frame, (len(frames) * length,) int64.

    Frame t has t - length // 2 and those after it; outside the ``fields`` there are, the nearest.
    Source: C. Feichtenhofer et al., CVPR 2016, the authors' code.
    """
    steps = torch.arange(length) - length // 2
    return (frames[:, None] + steps).clamp(0, fields - 1).flatten()


def spaced_starts(num_frames: int, segments: int = TSN_TEST_SEGMENTS, length: int = 1) -> Tensor:
    """The Caffe test rule: 0, step, 2 step, ... with step = (V - length) // (segments - 1)."""
    step = max((num_frames - length) // max(segments - 1, 1), 0)
    return torch.arange(segments) * step


def snippet_indices(starts: Tensor, length: int, num_frames: int) -> Tensor:
    """``length`` consecutive frames from each start; past the end the last frame repeats."""
    grid = starts[:, None] + torch.arange(length)
    return grid.clamp(0, num_frames - 1).flatten()


def dense_indices(
    num_frames: int, segments: int, *, generator: torch.Generator | None = None, views: int = 10
) -> Tensor:
    """A window of 64 frames thinned to ``segments``; past the end the video starts again.

    Training: one random start, (1, segments). Test: ``views`` starts spread over the video,
    (views, segments).
    """
    steps = torch.arange(segments) * (64 // segments)
    last = max(1, num_frames - 63) - 1
    if generator is not None:
        starts = torch.tensor([draw_integer(generator, 0, last) if last > 0 else 0])
    else:
        starts = torch.linspace(0, last, views, dtype=torch.float64).long()
    return (starts[:, None] + steps) % num_frames


def draw_real(generator: torch.Generator) -> float:
    """One uniform number in [0, 1)."""
    return float(torch.rand((), generator=generator, dtype=torch.float64))


def draw_integer(generator: torch.Generator, low: int, high: int) -> int:
    """One uniform whole number in [low, high)."""
    return int(torch.randint(low, high, (), generator=generator))


def _inside(num_frames: int, fps: float, span: tuple[int, int] | None) -> tuple[int, int]:
    """First frame and number of frames to sample from, checked."""
    if num_frames < 1:
        raise ValueError(f"num_frames is {num_frames}, must be at least 1: nothing to sample from")
    if not 0 < fps < float("inf"):
        raise ValueError(f"fps is {fps}, must be a positive number")
    first, end = (0, num_frames) if span is None else span
    first, end = max(int(first), 0), min(int(end), num_frames)
    if end <= first:
        raise ValueError(
            f"span {span} holds no frame of a video with {num_frames}; give (first, end) inside it"
        )
    return first, end - first
