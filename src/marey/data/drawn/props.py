"""Things: ball, box, cup, flag, door, chair, wheel. Each is a few strokes around moving points."""

from __future__ import annotations

import numpy as np

from marey.data.drawn.pools import PropSkin
from marey.data.drawn.raster import Kind, Stroke, points, radii, track

KINDS = ("ball", "box", "cup", "flag")
WOOD = (0.45, 0.30, 0.18)


class Bench:
    """The strokes of one prop, in units of ``scale`` (T,) pixels around ``at`` (T, 2)."""

    def __init__(self, at: np.ndarray, scale: np.ndarray, depth: np.ndarray, tag: str) -> None:
        self.at, self.scale, self.depth, self.tag = at, scale, depth, tag
        self.made: list[Stroke] = []

    def add(
        self,
        kind: Kind,
        start: tuple[float | np.ndarray, float | np.ndarray],
        end: tuple[float | np.ndarray, float | np.ndarray],
        radius: float | np.ndarray,
        ink: tuple[float, float, float],
        over: float = 0.0,
    ) -> Stroke:
        """A stroke from ``start`` to ``end``; y points up."""
        frames = len(self.scale)
        stretch = self.scale[:, None] * np.array([1.0, -1.0])
        low, high = points(*start, frames) * stretch, points(*end, frames) * stretch
        size = radii(track(radius, frames) * self.scale, track(radius, frames) * self.scale, frames)
        stroke = Stroke(
            self.at + low, self.at + high, size, ink, self.depth + over, kind, tag=self.tag
        )
        self.made.append(stroke)
        return stroke


def ball(bench: Bench, skin: PropSkin, angle: float | np.ndarray = 0.3) -> list[Stroke]:
    """``at`` is the centre; ``angle`` (radians) turns its stripe."""
    turned = np.asarray(angle)
    dx, dy = 0.052 * np.cos(turned), 0.052 * np.sin(turned)
    bench.add("limb", (0.0, 0.0), (0.0, 0.0), 0.095, skin.first)
    bench.add("limb", (-dx, -dy), (dx, dy), 0.03, skin.second, 0.01)
    return bench.made


def crate(bench: Bench, skin: PropSkin, size: float = 0.11) -> list[Stroke]:
    """A box with crossing bands; ``at`` is its centre."""
    body = bench.add("slab", (0.0, -size), (0.0, size), size, skin.first)
    body.pattern, body.second = "cross", skin.second
    return bench.made


def cup(bench: Bench, skin: PropSkin) -> list[Stroke]:
    """A tapered cup with a handle; ``at`` is its centre."""
    handle = bench.add("limb", (0.075, 0.045), (0.075, -0.03), 0.035, skin.second, -0.01)
    handle.radius = handle.radius * 1.0
    cone = bench.add("limb", (0.0, -0.045), (0.0, 0.06), 0.05, skin.first)
    cone.radius[:, 1] *= 1.5
    bench.add("slab", (-0.078, 0.095), (0.078, 0.095), 0.03, skin.second, 0.01)
    return bench.made


def flag(bench: Bench, skin: PropSkin, wind: float | np.ndarray = 0.0) -> list[Stroke]:
    """A flag on a pole; ``at`` is where the pole is held."""
    bench.add("slab", (0.0, -0.1), (0.0, 0.34), 0.012, WOOD)
    cloth = bench.add(
        "slab", (0.01, 0.25), (0.25, 0.25 + 0.04 * np.sin(wind)), 0.085, skin.first, 0.01
    )
    cloth.pattern, cloth.second, cloth.bands = "bands", skin.second, 1.5
    return bench.made


DRAWERS = {"ball": ball, "box": crate, "cup": cup, "flag": flag}


def door(bench: Bench, skin: PropSkin, angle: np.ndarray, side: float) -> list[Stroke]:
    """A doorway; its leaf, hinged at its ``side`` end, is turned out of the wall by ``angle``
    (radians). ``at`` is the middle of the sill."""
    half, tall = 0.24, 1.02
    bench.add("slab", (0.0, 0.0), (0.0, tall + 0.05), half + 0.05, (0.36, 0.28, 0.22), -8.0)
    bench.add("slab", (0.0, 0.0), (0.0, tall), half, (0.1, 0.09, 0.13), -7.0)
    width = 2 * half * np.cos(angle)
    middle, drop = side * (half - 0.5 * width), 0.10 * np.sin(angle)
    leaf = bench.add("slab", (middle, -drop * 0.5), (middle, tall), 0.5 * width, skin.first, -6.0)
    leaf.pattern, leaf.second = "panel", skin.second
    knob = side * (half - 0.86 * width)
    bench.add("limb", (knob, 0.48), (knob, 0.48), 0.026, (0.95, 0.85, 0.4), 4.0)
    return bench.made


def chair(bench: Bench, skin: PropSkin, side: float) -> list[Stroke]:
    """A chair seen from its side, its back at ``-side``; ``at`` is the ground under the seat."""
    for x in (-0.13, 0.13):
        bench.add("slab", (x, 0.0), (x, 0.24), 0.016, WOOD, -4.0)
    bench.add("slab", (-0.15, 0.235), (0.15, 0.235), 0.025, skin.first, -3.0)
    bench.add("slab", (-0.15 * side, 0.22), (-0.17 * side, 0.62), 0.022, skin.first, -3.0)
    return bench.made


def wheel(bench: Bench, skin: PropSkin, angle: np.ndarray, size: float) -> list[Stroke]:
    """A wheel with three unlike spokes and a handle at its rim; ``at`` is the hub."""
    bench.add("slab", (0.0, -0.95), (0.0, 0.0), 0.03, WOOD, -0.5)
    bench.add("limb", (0.0, 0.0), (0.0, 0.0), size, (0.93, 0.92, 0.88), 0.0)
    inks = (skin.first, skin.second, (0.15, 0.15, 0.2))
    for k, (ink, reach) in enumerate(zip(inks, (0.86, 0.86, 0.86), strict=True)):
        turned = angle + k * 2 * np.pi / 3
        tip = (size * reach * np.cos(turned), size * reach * np.sin(turned))
        spoke = bench.add("limb", (0.0, 0.0), tip, 0.03, ink, 0.1 + 0.01 * k)
        spoke.radius[:, 1] *= 2.2
    bench.add("limb", (0.0, 0.0), (0.0, 0.0), 0.04, WOOD, 0.3)
    return bench.made


def handle_of(at: np.ndarray, scale: np.ndarray, angle: np.ndarray, size: float) -> np.ndarray:
    """Where the tip of the wheel's first spoke is, (T, 2) pixels."""
    reach_px = 0.86 * size * scale
    return at + np.stack([reach_px * np.cos(angle), -reach_px * np.sin(angle)], axis=1)
