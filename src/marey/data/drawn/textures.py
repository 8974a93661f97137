"""Optical flow with its exact answer: textures that shift, turn or grow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marey.data.drawn import pools
from marey.data.drawn.backdrop import value_noise
from marey.data.drawn.film import Film
from marey.data.drawn.stage import Setting, Stage

CLASSES = ("translation", "rotation", "zoom")
SIDE = 256  # height of a texture, twice as wide, which repeats beyond its edges


@dataclass(frozen=True)
class Sheet:
    """A texture under a motion: at frame t pixel p shows texture point A(t) (p - centre) + b(t).

    ``turn`` (T,) radians, ``zoom`` (T,), ``shift`` (T, 2) texture pixels, ``centre`` (2,) pixels.
    """

    picture: np.ndarray
    turn: np.ndarray
    zoom: np.ndarray
    shift: np.ndarray
    centre: np.ndarray

    def source(self, at: np.ndarray, t: int) -> np.ndarray:
        """Texture points (..., 2) seen at pixels ``at`` (..., 2) x, y in frame ``t``."""
        cos, sin = np.cos(self.turn[t]) / self.zoom[t], np.sin(self.turn[t]) / self.zoom[t]
        x, y = at[..., 0] - self.centre[0], at[..., 1] - self.centre[1]
        return np.stack([cos * x + sin * y, cos * y - sin * x], axis=-1) + self.shift[t]

    def seen(self, points: np.ndarray, t: int) -> np.ndarray:
        """Pixels (..., 2) at which texture points are seen in frame ``t``."""
        cos, sin = np.cos(self.turn[t]) * self.zoom[t], np.sin(self.turn[t]) * self.zoom[t]
        x, y = np.moveaxis(points - self.shift[t], -1, 0)
        return np.stack([cos * x - sin * y, cos * y + sin * x], axis=-1) + self.centre

    def sample(self, at: np.ndarray, t: int) -> np.ndarray:
        """Colours (..., 3) at pixels ``at``, interpolated linearly."""
        points = self.source(at, t)
        low = np.floor(points).astype(int)
        fx, fy = np.moveaxis((points - low).astype(np.float32), -1, 0)[..., None]
        x, y = np.moveaxis(low, -1, 0)
        x0, x1, y0, y1 = x % (2 * SIDE), (x + 1) % (2 * SIDE), y % SIDE, (y + 1) % SIDE
        above = self.picture[y0, x0] * (1 - fx) + self.picture[y0, x1] * fx
        below = self.picture[y1, x0] * (1 - fx) + self.picture[y1, x1] * fx
        return above * (1 - fy) + below * fy


def texture(number: int, name: str) -> np.ndarray:
    """A colourful noise texture (SIDE, 2 SIDE, 3) float32 0-255 of the split's pool, repeating."""
    rng = pools.stream("weave", number, name)
    low = np.asarray(pools.colour(rng.uniform(), 0.6, 0.35), np.float32)
    high = np.asarray(pools.colour(rng.uniform(), 0.5, 0.95), np.float32)
    noise = value_noise((SIDE, 2 * SIDE), 8, 4, rng, repeats=True) * 1.2
    share = np.clip(0.5 + noise, 0, 1)[..., None]
    return (low * (1 - share) + high * share) * np.float32(255.0)


def moving(setting: Setting, name: str, kind: str, centre: np.ndarray) -> Sheet:
    """A sheet that moves steadily in one way, ``kind``, from a random start."""
    rng, frames = setting.stream(f"sheet {name}"), setting.frames
    steps = np.arange(frames)
    unit = setting.size[0] / 120.0
    shift = np.tile(rng.uniform(0, SIDE, size=2), (frames, 1))
    turn, zoom = np.zeros(frames), np.ones(frames)
    if kind == "translation":
        angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(1.0, 4.0) * unit
        shift = shift + steps[:, None] * speed * np.array([np.cos(angle), np.sin(angle)])
    elif kind == "rotation":
        turn = steps * np.radians(rng.uniform(1.5, 4.0)) * rng.choice([-1.0, 1.0])
    else:
        zoom = (1 + rng.uniform(0.015, 0.04)) ** (steps * rng.choice([-1.0, 1.0]))
    number = pools.pick(setting.split, rng)
    return Sheet(texture(number, name), turn, zoom, shift, centre)


def flow(setting: Setting, kind: str) -> Film:
    """Frames and the exact motion of every pixel to the next frame, (T - 1, H, W, 2) x, y pixels.

    From difficulty 1 on a disc of another texture drifts in front, turning.
    """
    height, width = setting.size
    rng = setting.stream("disc")
    middle = np.array([width / 2, height / 2])
    back = moving(setting, "back", kind, middle)
    radius = rng.uniform(0.18, 0.3) * height
    at = middle + rng.uniform(-0.2, 0.2, size=2) * (width, height)
    drift = rng.uniform(-2.0, 2.0, size=2) * height / 120.0
    front = moving(setting, "front", "rotation", at)
    y, x = np.mgrid[:height, :width] + 0.5
    grid = np.stack([x, y], axis=-1)
    frames, fields = [], []
    for t in range(setting.frames):
        colours, field = back.sample(grid, t), _field(back, grid, t)
        if setting.difficulty:
            local = grid - drift * t  # the disc carries its sheet along
            inside = np.linalg.norm(local - at, axis=-1) < radius
            colours[inside] = front.sample(local[inside], t)
            field[inside] = _field(front, local[inside], t) + drift
        frames.append(colours)
        fields.append(field)
    pictures = np.clip(np.stack(frames) + 0.5, 0, 255).astype(np.uint8)
    return Film(
        Stage(setting),
        CLASSES.index(kind),
        flow=np.stack(fields[:-1]).astype(np.float32),
        pictures=pictures,
    )


def _field(sheet: Sheet, at: np.ndarray, t: int) -> np.ndarray:
    following = min(t + 1, len(sheet.turn) - 1)
    return sheet.seen(sheet.source(at, t), following) - at
