"""Textured backgrounds: layered noise, gradients and a few static shapes, one picture a scene."""

from __future__ import annotations

import numpy as np

from marey.data.drawn.pools import Colour, colour, stream
from marey.data.drawn.raster import Stroke, paint, points, radii

PLACES = ("room", "park", "street", "studio")


def value_noise(
    size: tuple[int, int],
    cells: int,
    octaves: int,
    rng: np.random.RandomState,
    *,
    repeats: bool = False,
) -> np.ndarray:
    """Smooth noise (H, W) float32 with mean near 0 and values within -1 and 1.

    With ``repeats`` the far edges fit the near ones.
    """
    height, width = size
    total = np.zeros(size, np.float32)
    weight = 1.0
    for _ in range(octaves):
        grid = rng.uniform(-1, 1, size=(cells + 2, cells * 2 + 2)).astype(np.float32)
        if repeats:
            grid[cells:], grid[:, 2 * cells :] = grid[:2], grid[:, :2]
            grid[cells:, 2 * cells :] = grid[:2, :2]
        total += np.float32(weight) * _stretched(grid, height, width, cells)
        cells, weight = cells * 2, weight * 0.5
    return total / np.float32(2.0)


def _stretched(grid: np.ndarray, height: int, width: int, cells: int) -> np.ndarray:
    y = np.arange(height, dtype=np.float32) / height * cells
    x = np.arange(width, dtype=np.float32) / width * cells * 2
    row, column = y.astype(int), x.astype(int)
    fy, fx = y - row, x - column
    fy, fx = (fy * fy * (3 - 2 * fy))[:, None], (fx * fx * (3 - 2 * fx))[None]
    lines = grid[row] * (1 - fy) + grid[row + 1] * fy
    return lines[:, column] * (1 - fx) + lines[:, column + 1] * fx


def _flat(ink: Colour, size: tuple[int, int]) -> np.ndarray:
    return np.broadcast_to(np.asarray(ink, np.float32)[:, None, None] * 255.0, (3, *size)).copy()


def _floor(picture: np.ndarray, horizon: int, ink: Colour, rng: np.random.RandomState) -> None:
    """Boards or tiles in perspective below the horizon, in place."""
    _, height, width = picture.shape
    depth = np.arange(1, height - horizon + 1, dtype=np.float32)[:, None]
    across = (np.arange(width, dtype=np.float32)[None] - width * rng.uniform(0.35, 0.65)) / depth
    lines = across * rng.uniform(2.0, 3.2)
    share = 0.06 * np.sign(np.sin(lines * np.pi))
    if rng.uniform() < 0.6:
        rows = np.sin(2 * np.pi * (height * rng.uniform(0.5, 0.9)) / depth)
        share = share * np.sign(rows)
    share = share * np.clip(depth / (0.15 * height), 0.0, 1.0)  # fade where lines would flicker
    fade = 0.86 + 0.22 * depth / depth[-1]
    noise = value_noise((height - horizon, width), 9, 3, rng) * 0.07
    below = _flat(ink, (height - horizon, width)) * (fade + share + noise)
    picture[:, horizon:] = below


def _room(size: tuple[int, int], horizon: int, rng: np.random.RandomState) -> np.ndarray:
    height, width = size
    hue = rng.uniform()
    picture = _flat(colour(hue, rng.uniform(0.08, 0.25), rng.uniform(0.72, 0.9)), size)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    period = height * rng.uniform(0.06, 0.14)
    paper = 0.03 * np.sign(np.sin(2 * np.pi * x / period))[None]
    if rng.uniform() < 0.5:
        paper = paper * np.sign(np.sin(2 * np.pi * y / period))
    picture *= 1 + paper + 0.05 * value_noise(size, 6, 3, rng) + 0.1 * (y / height - 0.4)
    wood = colour(rng.uniform(0.05, 0.11), rng.uniform(0.3, 0.5), rng.uniform(0.5, 0.75))
    _floor(picture, horizon, wood, rng)
    board = max(2, height // 40)
    picture[:, horizon - board : horizon] = np.asarray(wood, np.float32)[:, None, None] * 140
    return picture


def _park(size: tuple[int, int], horizon: int, rng: np.random.RandomState) -> np.ndarray:
    height, width = size
    y = np.arange(height, dtype=np.float32)[:, None] / height
    high, low = colour(rng.uniform(0.53, 0.62), 0.45, 0.88), colour(0.55, 0.12, 0.97)
    picture = _flat(high, size) * (1 - y) + _flat(low, size) * y
    clouds = np.clip(value_noise(size, 4, 4, rng) * 2.2, 0, 1) * np.clip(1 - y * 1.6, 0, 1)
    picture += (255 - picture) * clouds * 0.8
    x = np.arange(width, dtype=np.float32) / width
    for step in (0.16, 0.08):
        waves = rng.uniform(1, 3, size=2)
        ridge = (
            np.sin(2 * np.pi * (waves[0] * x + rng.uniform())) * 0.5
            + np.sin(2 * np.pi * (2.3 * waves[1] * x + rng.uniform())) * 0.25
        )
        line = horizon - height * step * (1 + 0.6 * ridge)
        hill = np.arange(height, dtype=np.float32)[:, None] > line[None]
        ink = colour(rng.uniform(0.24, 0.36), 0.3 + 1.2 * (0.16 - step), 0.62 - (0.16 - step))
        picture = np.where(hill[None], _flat(ink, size), picture)
    _floor(picture, horizon, colour(rng.uniform(0.2, 0.3), 0.45, rng.uniform(0.5, 0.68)), rng)
    ground = picture[:, horizon:]
    smooth = ground.mean(axis=(1, 2), keepdims=True)
    ground *= np.float32(0.25)
    ground += smooth * (0.75 + 0.10 * value_noise(ground.shape[1:], 28, 2, rng))
    return picture


def _street(size: tuple[int, int], horizon: int, rng: np.random.RandomState) -> np.ndarray:
    height, width = size
    brick = colour(rng.uniform(0.0, 0.1), rng.uniform(0.2, 0.5), rng.uniform(0.5, 0.72))
    picture = _flat(brick, size)
    tall = height * rng.uniform(0.055, 0.085)
    y, x = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
    row = np.floor(y / tall)
    column = np.floor(x / (2.4 * tall) + 0.5 * (row % 2))
    joint = (y % tall < 1.1) | ((x / (2.4 * tall) + 0.5 * (row % 2)) % 1.0 < 1.1 / (2.4 * tall))
    tone = np.sin(row * 12.9898 + column * 78.233) * 43.7585
    picture *= 0.94 + 0.16 * (tone - np.floor(tone)) + 0.06 * value_noise(size, 8, 2, rng)
    picture += np.where(joint, 0.45, 0.0)[None] * (215 - picture)
    grey = rng.uniform(0.52, 0.72)
    _floor(picture, horizon, (grey, grey, grey * 0.97), rng)
    picture[:, horizon : horizon + max(1, height // 60)] *= 0.55
    return picture.astype(np.float32)


def _studio(size: tuple[int, int], horizon: int, rng: np.random.RandomState) -> np.ndarray:
    height, width = size
    hue, value = rng.uniform(), rng.uniform(0.6, 0.85)
    picture = _flat(colour(hue, rng.uniform(0.1, 0.3), value), size)
    y = np.arange(height, dtype=np.float32)[:, None] / height
    x = np.arange(width, dtype=np.float32)[None] / width
    spot = np.exp(-((x - rng.uniform(0.3, 0.7)) ** 2 * 5 + (y - 0.45) ** 2 * 4))
    edge = 1 / (1 + np.exp(-(y * height - horizon) / (0.03 * height)))
    picture *= 0.72 + 0.42 * spot - 0.14 * edge + 0.05 * value_noise(size, 5, 4, rng)
    return picture


def _decoration(
    kind: str, size: tuple[int, int], horizon: int, rng: np.random.RandomState
) -> list[Stroke]:
    """One static shape: a window or picture indoors, a tree, bush or lamp outdoors."""
    height, width = size
    x = rng.uniform(0.05, 0.95) * width
    unit = height * rng.uniform(0.8, 1.25)
    depth = np.array([rng.uniform()])

    def shape(kind: str, at: tuple[float, float, float, float], r: float, ink: Colour) -> Stroke:
        start, end = points(at[0], at[1], 1), points(at[2], at[3], 1)
        made = Stroke(start, end, radii(r, r, 1), ink, depth)
        made.kind = kind  # type: ignore[assignment]
        return made

    if kind == "park":
        green = colour(rng.uniform(0.24, 0.4), rng.uniform(0.35, 0.6), rng.uniform(0.3, 0.5))
        if rng.uniform() < 0.5:
            return [
                shape("limb", (x + d * unit, horizon, x + d * unit, horizon), r * unit, green)
                for d, r in ((-0.07, 0.055), (0.06, 0.06), (0.0, 0.08))
            ]
        trunk = shape("limb", (x, horizon, x, horizon - 0.2 * unit), 0.016 * unit, (0.3, 0.2, 0.13))
        crown = [
            shape("limb", (x + d * unit, horizon - e * unit) * 2, r * unit, green)
            for d, e, r in ((-0.06, 0.2, 0.07), (0.07, 0.21, 0.07), (0.0, 0.29, 0.085))
        ]
        return [trunk, *crown]
    if kind == "studio":
        ink = colour(rng.uniform(), 0.25, rng.uniform(0.4, 0.75))
        r = 0.07 * unit
        return [shape("slab", (x, horizon + r, x, horizon - rng.uniform(0.5, 3) * r), r, ink)]
    top, tall, half = 0.1 * height + rng.uniform(0, 0.12) * height, 0.22 * unit, 0.09 * unit
    made = shape("slab", (x, top, x, top + tall), half, colour(rng.uniform(), 0.35, 0.45))
    made.pattern = "panel"
    made.second = colour(rng.uniform(0.5, 0.62), rng.uniform(0.1, 0.5), rng.uniform(0.75, 0.98))
    return [made]


DRAWERS = {"room": _room, "park": _park, "street": _street, "studio": _studio}


def backdrop(number: int, size: tuple[int, int], horizon: int, clutter: int) -> np.ndarray:
    """Texture ``number`` of the world as a picture (3, H, W) float32 0-255."""
    rng = stream("texture", number)
    kind = PLACES[rng.randint(len(PLACES))]
    picture = np.ascontiguousarray(DRAWERS[kind](size, horizon, rng), np.float32)
    shapes = [s for _ in range(clutter) for s in _decoration(kind, size, horizon, rng)]
    if shapes:
        picture[None, :, :horizon] = _painted(picture, shapes)[None, :, :horizon]
        if kind == "studio":
            picture[:] = _painted(picture, shapes)
    mean = picture.mean(axis=0, keepdims=True)
    calm = 0.8 * picture + 0.2 * mean  # figures are more colourful than the room they are in
    calm = 0.72 * calm + 0.28 * calm.mean()  # and stand out from it
    return np.clip(calm, 0, 255).astype(np.float32)


def _painted(picture: np.ndarray, shapes: list[Stroke]) -> np.ndarray:
    canvas = picture[None].copy()
    paint(canvas, shapes)
    return canvas[0]
