"""Answers of a detector as segments of a video: decoded, joined over windows, thinned out.

    answers (B, N, K + 2) -> candidates of each window, in its frames, clamped to what is real
    candidates of all windows of a video -> suppression -> segments in seconds

A candidate that lies in padding has no length left and is dropped, never scored.

Source: the converters of BasicTAD's code. Differs: it keeps those of no length at the end of the
video, and rounds to 0.1 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from marey.choices import SegmentChoice, SuppressionChoice
from marey.geometry.segments import (
    Found,
    anchors,
    around,
    best_first,
    decode_deltas,
    overlap,
    per_class,
    points,
    suppress,
)
from marey.models.basictad import ANCHOR_BASE, steps_of
from marey.tasks.segment_targets import reaches


@dataclass(frozen=True)
class Grid:
    """Where the candidates of a detector are: of each its place, (N,) in steps of its level, the
    ``stride`` (N,) of that in frames, the ``reach`` (N, 2), or its anchor (N, 2) in frames."""

    place: Tensor
    stride: Tensor
    reach: Tensor
    anchors: Tensor | None

    @classmethod
    def of(cls, candidates: int, config: Any) -> Grid:
        """The grid of a network of this configuration that answers with so many candidates.

        Raises ValueError where its first level does not divide the window.
        """
        sizes = steps_of(candidates, config)
        if config.frames % sizes[0]:
            raise ValueError(
                f"a window of {config.frames} frames becomes {sizes[0]} steps, which are no whole "
                "number of frames; change frames"
            )
        strides = [config.frames // sizes[0] * 2**i for i in range(len(sizes))]
        stride = torch.cat([torch.full((n,), s) for n, s in zip(sizes, strides, strict=True)])
        if config.head != "anchor":
            return cls(points(sizes), stride, reaches(sizes), None)
        boxes = anchors(sizes, strides, base=ANCHOR_BASE, count=config.anchors)
        places = torch.cat([torch.arange(n).float() for n in sizes])
        columns = [x.repeat_interleave(config.anchors, 0) for x in (places, stride, reaches(sizes))]
        return cls(columns[0], columns[1], columns[2], boxes)

    def to(self, device: torch.device) -> Grid:
        """The same on a device."""
        boxes = None if self.anchors is None else self.anchors.to(device)
        return Grid(self.place.to(device), self.stride.to(device), self.reach.to(device), boxes)

    def decode(self, offsets: Tensor) -> Tensor:
        """Segments (..., N, 2) in frames from offsets (..., N, 2)."""
        if self.anchors is not None:
            return decode_deltas(self.anchors, offsets)
        return around(self.place, offsets) * self.stride[:, None]

    def in_padding(self, valid: Tensor) -> Tensor:
        """Whether candidates lie behind the ``valid`` (B,) real frames of their window, (B, N)."""
        return (self.place * self.stride)[None] >= valid[:, None]


def class_scores(logits: Tensor, head: str) -> Tensor:
    """Probabilities (..., K) of the classes."""
    return logits.softmax(-1)[..., 1:] if head == "softmax" else logits.sigmoid()


def candidates_of(segments: Tensor, scores: Tensor, valid: int, choice: SegmentChoice) -> Found:
    """Every (segment, class) of one window above the least score, best first, in its frames.

    ``segments`` (N, 2), ``scores`` (N, K); ends are clamped to the ``valid`` frames.
    """
    clamped = segments.clamp(0, valid)
    real = (clamped[:, 1] > clamped[:, 0])[:, None]
    place, label = ((scores > choice.min_score) & real).nonzero(as_tuple=True)
    found = best_first([Found(clamped[place], scores[place, label], label)], most=choice.candidates)
    return found if choice.inside.kind == "none" else suppress(found, choice.inside)


def join(parts: Sequence[Found], choice: SegmentChoice, pairs: Sequence[tuple[int, int]]) -> Found:
    """Candidates of all windows of a video, in one unit of time, as its segments.

    ``pairs``: classes whose segments also stand for another.
    """
    found = suppress(best_first(parts), choice.joined)
    again = [
        Found(found.segments[own], found.scores[own], torch.full_like(found.labels[own], other))
        for first, other in pairs
        for own in [found.labels == first]
    ]
    found = best_first([found, *again])
    return found if choice.again.kind == "none" else suppress(found, choice.again)


def settled(found: Found, until: float, choice: SuppressionChoice) -> Tensor:
    """Which candidates (N,) nothing that begins at ``until`` or later can still change.

    A candidate that reaches past ``until`` is open, and so is whoever it may suppress or join,
    directly or through others.
    """
    open_ = torch.zeros(len(found.labels), dtype=torch.bool)
    least = choice.threshold if choice.kind in ("hard", "weighted") else 0.0
    groups = per_class(found.labels) if choice.per_class else [torch.arange(len(open_))]
    for place in groups:
        open_[place] = _open(found.segments[place], until, least)
    return ~open_


def _open(segments: Tensor, until: float, least: float) -> Tensor:
    """Which (N,) of one class reach past ``until``, or overlap by ``least`` (0: at all) one that
    is open."""
    starts, ends = segments.unbind(1)
    open_ = ends > until
    fresh = open_
    while fresh.any():
        near = (~open_ & (ends > starts[fresh].min())).nonzero()[:, 0]
        if not len(near):
            break
        asked = segments[fresh & (starts < ends[near].max())]
        shared = overlap(segments[near], asked)
        fresh = torch.zeros_like(open_)
        fresh[near] = (shared >= least if least > 0 else shared > 0).any(1)
        open_ = open_ | fresh
    return open_
