"""Anti-aliased strokes painted over many frames at once.

A stroke is an axis that moves in time with a radius at each end: a tapered limb, a slab or a soft
shadow. Its signed distance is evaluated in a small window that follows it, for all frames in one
array operation; only the blending walks through frames, nearest stroke last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from marey.data.drawn.pools import Colour

Kind = Literal["limb", "slab", "shadow"]
Pattern = Literal["plain", "bands", "panel", "cross"]
LIGHT = (-0.35, -0.45)  # where the highlight of a round limb sits, in radii


@dataclass
class Stroke:
    """``start``, ``end`` (T, 2) x, y pixels; ``radius`` (T, 2) at both ends; ``depth`` (T,), larger
    is nearer; ``shown`` (T,) bool or None for always. ``tag`` names the thing it belongs to."""

    start: np.ndarray
    end: np.ndarray
    radius: np.ndarray
    colour: Colour
    depth: np.ndarray
    kind: Kind = "limb"
    pattern: Pattern = "plain"
    second: Colour = (0.0, 0.0, 0.0)
    bands: float = 3.0
    opacity: float = 1.0
    shown: np.ndarray | None = None
    tag: str = ""

    def moved(self, centre: np.ndarray, offset: np.ndarray, zoom: np.ndarray) -> Stroke:
        """As a camera sees it: shifted by ``-offset`` (T, 2), ``zoom`` (T,) about ``centre``."""
        scale = zoom[:, None]
        return replace(
            self,
            start=(self.start - centre - offset) * scale + centre,
            end=(self.end - centre - offset) * scale + centre,
            radius=self.radius * scale,
        )

    def cut(self, view: slice) -> Stroke:
        """The frames of ``view`` only."""
        return replace(
            self,
            start=self.start[view],
            end=self.end[view],
            radius=self.radius[view],
            depth=self.depth[view],
            shown=None if self.shown is None else self.shown[view],
        )


@dataclass
class Patch:
    """A stroke evaluated: ``keep`` (T, h, w) what shows through, ``ink`` (T, 3, h, w) added."""

    left: list[int]
    top: list[int]
    keep: np.ndarray
    ink: np.ndarray
    seen: list[bool]
    tag: str = field(default="")


def track(value: float | np.ndarray, frames: int) -> np.ndarray:
    """A number or an array as a float64 array over ``frames``."""
    return np.broadcast_to(np.asarray(value, np.float64), (frames,)).copy()


def points(x: float | np.ndarray, y: float | np.ndarray, frames: int) -> np.ndarray:
    """(T, 2) from two tracks."""
    return np.stack([track(x, frames), track(y, frames)], axis=1)


def radii(start: float | np.ndarray, end: float | np.ndarray, frames: int) -> np.ndarray:
    """(T, 2) radii of both ends; the same thing as ``points``, named for what it holds."""
    return points(start, end, frames)


def extent(stroke: Stroke) -> np.ndarray:
    """Box of the stroke in each frame, (T, 4) x0, y0, x1, y1 pixels, not clipped to the frame."""
    reach = stroke.radius.max(axis=1, keepdims=True)
    low = np.minimum(stroke.start, stroke.end) - reach
    high = np.maximum(stroke.start, stroke.end) + reach
    return np.concatenate([low, high], axis=1)


def evaluate(stroke: Stroke, size: tuple[int, int]) -> Patch | None:
    """Coverage and colour of a stroke on frames of ``size`` (H, W); None where it is never seen."""
    height, width = size
    box = extent(stroke) + np.array([-1.5, -1.5, 1.5, 1.5])
    seen = (box[:, 2] > 0) & (box[:, 3] > 0) & (box[:, 0] < width) & (box[:, 1] < height)
    if stroke.shown is not None:
        seen &= stroke.shown
    if not seen.any():
        return None
    low = np.floor(box[:, :2]).astype(int)
    span = (np.ceil(box[:, 2:]).astype(int) - low)[seen].max(axis=0)
    wide, tall = min(width, int(span[0])), min(height, int(span[1]))
    left, top = np.clip(low[:, 0], 0, width - wide), np.clip(low[:, 1], 0, height - tall)
    x = (left[:, None] + np.arange(wide) + 0.5 - stroke.start[:, :1]).astype(np.float32)
    y = (top[:, None] + np.arange(tall) + 0.5 - stroke.start[:, 1:]).astype(np.float32)
    alpha, shade, along, across = SHAPES[stroke.kind](stroke, x[:, None, :], y[:, :, None])
    alpha *= np.float32(stroke.opacity)
    ink = _ink(stroke, alpha * shade, along, across)
    return Patch(left.tolist(), top.tolist(), 1.0 - alpha, ink, seen.tolist(), stroke.tag)


def _axis(stroke: Stroke) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    axis = (stroke.end - stroke.start).astype(np.float32)
    length2 = np.maximum((axis**2).sum(axis=1), 1e-6)
    return axis[:, 0, None, None], axis[:, 1, None, None], length2[:, None, None]


Shape = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _limb(stroke: Stroke, x: np.ndarray, y: np.ndarray) -> Shape:
    ax, ay, length2 = _axis(stroke)
    along = np.clip((x * ax + y * ay) / length2, 0.0, 1.0)
    dx, dy = x - along * ax, y - along * ay
    ends = stroke.radius.astype(np.float32)
    radius = ends[:, 0, None, None] + along * (ends[:, 1] - ends[:, 0])[:, None, None]
    alpha = np.clip(radius - np.sqrt(dx * dx + dy * dy) + 0.5, 0.0, 1.0)
    inverse = 1.0 / np.maximum(radius, 0.5)
    dx *= inverse
    dy *= inverse
    shade = 1.1 - 0.24 * ((dx - LIGHT[0]) ** 2 + (dy - LIGHT[1]) ** 2)
    return alpha, shade, along, dx * np.sign(ay) - dy * np.sign(ax)


def _slab(stroke: Stroke, x: np.ndarray, y: np.ndarray) -> Shape:
    ax, ay, length2 = _axis(stroke)
    length = np.sqrt(length2)
    half = stroke.radius[:, 0].astype(np.float32)[:, None, None]
    along = (x * ax + y * ay) / length2
    across = (x * ay - y * ax) / length
    inside = np.minimum(
        half - np.abs(across), (0.5 - np.abs(along - 0.5)) * length
    )  # pixels to the nearest edge
    alpha = np.clip(inside + 0.5, 0.0, 1.0)
    shade = 0.72 + 0.28 * np.clip(inside * 0.8, 0.0, 1.0)
    return alpha, shade, along, across / np.maximum(half, 0.5)


def _shadow(stroke: Stroke, x: np.ndarray, y: np.ndarray) -> Shape:
    ax, ay, length2 = _axis(stroke)
    wide = np.sqrt(length2) * 0.5 + 1e-3
    flat = stroke.radius[:, 0].astype(np.float32)[:, None, None]
    u = (x - 0.5 * ax) / (wide + flat)
    v = (y - 0.5 * ay) / flat
    alpha = np.clip(1.3 * (1.0 - u * u - v * v), 0.0, 1.0)
    return alpha, np.ones((1, 1, 1), np.float32), u, v


SHAPES = {"limb": _limb, "slab": _slab, "shadow": _shadow}


def _ink(stroke: Stroke, lit: np.ndarray, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    first = np.asarray(stroke.colour, np.float32)[None, :, None, None] * 255.0
    if stroke.pattern == "plain":
        return lit[:, None] * first
    other = np.asarray(stroke.second, np.float32)[None, :, None, None] * 255.0
    if stroke.pattern == "bands":
        share = np.clip(0.5 + 2.5 * np.sin(2 * np.pi * stroke.bands * along), 0.0, 1.0)
    elif stroke.pattern == "panel":
        share = ((np.abs(along - 0.5) < 0.34) & (np.abs(across) < 0.68)).astype(np.float32)
    else:
        share = ((np.abs(along - 0.5) < 0.12) | (np.abs(across) < 0.24)).astype(np.float32)
    return lit[:, None] * (first + share.astype(np.float32)[:, None] * (other - first))


def paint(canvas: np.ndarray, strokes: Sequence[Stroke]) -> None:
    """Blend strokes into ``canvas`` (T, 3, H, W) float32 0-255, in place, far ones first."""
    size = (canvas.shape[2], canvas.shape[3])
    for t, patch in _layers(strokes, size, canvas.shape[0]):
        tall, wide = patch.keep.shape[1:]
        top, left = patch.top[t], patch.left[t]
        region = canvas[t, :, top : top + tall, left : left + wide]
        region *= patch.keep[t]
        region += patch.ink[t]


def coverage(strokes: Sequence[Stroke], tag: str, size: tuple[int, int]) -> np.ndarray:
    """Visible share of the thing ``tag`` in each pixel, (T, H, W) 0-1: nearer things hide it."""
    frames = len(strokes[0].depth)
    seen = np.zeros((frames, *size), np.float32)
    for t, patch in _layers(strokes, size, frames):
        tall, wide = patch.keep.shape[1:]
        top, left = patch.top[t], patch.left[t]
        region = seen[t, top : top + tall, left : left + wide]
        region *= patch.keep[t]
        if patch.tag == tag:
            region += 1.0 - patch.keep[t]
    return seen


def _layers(
    strokes: Sequence[Stroke], size: tuple[int, int], frames: int
) -> list[tuple[int, Patch]]:
    """(frame, patch) in painting order, without what is not seen."""
    evaluated = [(s, evaluate(s, size)) for s in strokes]
    drawn = [(s, p) for s, p in evaluated if p is not None]
    if not drawn:
        return []
    order = np.argsort(np.stack([s.depth for s, _ in drawn]), axis=0, kind="stable")
    return [
        (t, drawn[k][1]) for t in range(frames) for k in order[:, t].tolist() if drawn[k][1].seen[t]
    ]
