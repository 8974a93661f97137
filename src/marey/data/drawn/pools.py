"""Where every random number comes from, and which figures, textures and props each split may use.

A stream is numpy's frozen ``RandomState`` seeded by a hash of the world's version and the names it
is given. Pools are cut by number: figure, texture or skin ``k`` belongs to split ``k % 3``.
"""

from __future__ import annotations

import colorsys
import functools
import hashlib
from dataclasses import dataclass

import numpy as np

WORLD_VERSION = 2
SPLITS = ("train", "val", "test")
POOL = 90  # figures, textures and skins in the world; a third of each per split
HUES = (0.0, 0.03, 0.07, 0.11, 0.15, 0.28, 0.38, 0.47, 0.54, 0.59, 0.64, 0.76, 0.85, 0.93)
CLOTHING = ("plain", "striped", "coat")
SKINS = ((0.98, 0.84, 0.72), (0.91, 0.72, 0.56), (0.76, 0.55, 0.40), (0.55, 0.37, 0.26))
HAIRS = ((0.16, 0.12, 0.10), (0.36, 0.22, 0.12), (0.62, 0.45, 0.20), (0.45, 0.45, 0.47))
Colour = tuple[float, float, float]


def stream(*names: object) -> np.random.RandomState:
    """A generator that depends on the world's version and ``names`` only, on every machine."""
    text = "/".join(str(part) for part in (WORLD_VERSION, *names))
    digest = hashlib.blake2s(text.encode("utf-8"), digest_size=16).digest()
    return np.random.RandomState(np.frombuffer(digest, "<u4").astype(np.uint32))


def members(split: str) -> range:
    """Numbers of the figures, textures and skins of one split.

    Raises ValueError for a split the world does not have.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is not drawn; choose one of {', '.join(SPLITS)}")
    return range(SPLITS.index(split), POOL, len(SPLITS))


def pick(split: str, rng: np.random.RandomState) -> int:
    """A member of the split's pool."""
    pool = members(split)
    return pool[rng.randint(len(pool))]


@dataclass(frozen=True)
class FigureLook:
    """One person of the world: colours (0-1 RGB) and proportions (1 is the average)."""

    number: int
    skin: Colour
    hair: Colour
    shirt: Colour
    second: Colour
    trousers: Colour
    shoes: Colour
    clothing: str
    arm: float
    leg: float
    torso: float
    head: float
    girth: float
    mittens: bool = False


@dataclass(frozen=True)
class PropSkin:
    """Two colours that fit together, for one prop."""

    number: int
    first: Colour
    second: Colour


def vivid(rng: np.random.RandomState) -> Colour:
    """A colour for clothes and props, spread evenly over what the eye tells apart."""
    hue = HUES[rng.randint(len(HUES))] + rng.uniform(-0.015, 0.015)
    green = max(0.0, 1.0 - abs(hue - 0.33) / 0.12)  # full greens glare
    return colour(
        hue, rng.uniform(0.62, 0.88) - 0.15 * green, rng.uniform(0.68, 0.95) - 0.2 * green
    )


def colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return (float(red), float(green), float(blue))


@functools.lru_cache(maxsize=POOL)
def figure_look(number: int) -> FigureLook:
    """Figure ``number`` of the world."""
    rng = stream("figure", number)
    shirt = vivid(rng)
    dark = rng.uniform() < 0.6
    legs = colour(rng.uniform(0.5, 0.75), rng.uniform(0.3, 0.7), rng.uniform(0.2, 0.35))
    pale = colour(rng.uniform(0.05, 0.15), rng.uniform(0.1, 0.35), rng.uniform(0.8, 0.92))
    return FigureLook(
        number=number,
        skin=SKINS[rng.randint(len(SKINS))],
        hair=HAIRS[rng.randint(len(HAIRS))],
        shirt=shirt,
        second=(0.96, 0.95, 0.9) if rng.uniform() < 0.6 else colour(rng.uniform(), 0.6, 0.3),
        trousers=legs if dark else pale,
        shoes=colour(rng.uniform(), 0.5, rng.uniform(0.12, 0.3)),
        clothing=CLOTHING[rng.randint(len(CLOTHING))],
        arm=rng.uniform(0.95, 1.08),
        leg=rng.uniform(0.94, 1.06),
        torso=rng.uniform(0.94, 1.06),
        head=rng.uniform(0.92, 1.15),
        girth=rng.uniform(0.88, 1.25),
    )


@functools.lru_cache(maxsize=POOL)
def prop_skin(number: int) -> PropSkin:
    """Skin ``number`` of the world."""
    rng = stream("skin", number)
    first = vivid(rng)
    hue = colorsys.rgb_to_hsv(*first)[0] + rng.uniform(0.3, 0.7)
    second = colour(hue, rng.uniform(0.1, 0.6), rng.uniform(0.85, 1.0))
    return PropSkin(number=number, first=first, second=second)
