"""Articulated figures: a pose in body coordinates, turned about the vertical, drawn as limbs.

A pose maps each name in ``JOINTS_DEG`` to degrees over T frames (``lift`` to figure heights). Body
axes: x to the figure's left, y up, z forward; one unit is the figure's height. ``yaw`` 0 faces the
camera, 90 faces right. Whatever the legs do, the lower foot stands on the ground, plus ``lift``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marey.data.drawn.pools import Colour, FigureLook
from marey.data.drawn.raster import Stroke, extent, points, radii, track

SIDES = ("l", "r")
PAIRED = ("arm_swing", "arm_raise", "elbow", "elbow_raise", "leg_swing", "leg_raise", "knee")
JOINTS_DEG = ("yaw", "lean", "nod", "lift") + tuple(f"{p}_{s}" for p in PAIRED for s in SIDES)
Pose = dict[str, np.ndarray]
Joints = dict[str, np.ndarray]


def pose(frames: int, **values: float | np.ndarray) -> Pose:
    """A pose over ``frames``; a name without its side sets both sides, what is not named is 0.

    Raises ValueError for a joint that does not exist.
    """
    made = {name: np.zeros(frames) for name in JOINTS_DEG}
    for name, value in values.items():
        names = [f"{name}_{side}" for side in SIDES] if name in PAIRED else [name]
        for each in names:
            if each not in made:
                raise ValueError(f"{each!r} is not a joint; choose one of {', '.join(JOINTS_DEG)}")
            made[each] = track(value, frames)
    return made


def mix(first: Pose, second: Pose, share: np.ndarray) -> Pose:
    """``second`` where ``share`` (T,) is 1, ``first`` where it is 0."""
    return {name: first[name] * (1 - share) + second[name] * share for name in first}


@dataclass
class Place:
    """Where a figure stands: ``x`` and ``ground`` (T,) pixels, ``scale`` (T,) pixels per height,
    ``near`` a number that orders things standing on one line."""

    x: np.ndarray
    ground: np.ndarray
    scale: np.ndarray
    near: float = 0.0


def _limb(swing: np.ndarray, raised: np.ndarray, side: float) -> np.ndarray:
    """Direction (T, 3) of a limb hanging down, swung forward and raised sideways by degrees."""
    a, b = np.radians(swing), np.radians(raised)
    return np.stack([side * np.sin(b), -np.cos(b) * np.cos(a), np.cos(b) * np.sin(a)], axis=1)


def body_joints(look: FigureLook, motion: Pose) -> Joints:
    """Joint positions (T, 3) in body axes before yaw, the lower foot at height ``lift``."""
    lean = np.radians(motion["lean"])
    up = np.stack([np.zeros_like(lean), np.cos(lean), np.sin(lean)], axis=1)
    pelvis = np.zeros_like(up)
    chest = pelvis + up * (0.30 * look.torso)
    bow = lean + np.radians(motion["nod"])
    brow = np.stack([np.zeros_like(bow), np.cos(bow), np.sin(bow)], axis=1)
    found = {"pelvis": pelvis, "chest": chest, "neck": chest + up * 0.03}
    found["head"] = found["neck"] + brow * (0.055 + 0.06 * look.head)
    for name, side in (("l", 1.0), ("r", -1.0)):
        lateral = np.array([side, 0.0, 0.0])
        arm, leg = 0.165 * look.arm, 0.235 * look.leg
        swing, raised = motion[f"arm_swing_{name}"], motion[f"arm_raise_{name}"]
        shoulder = chest + lateral * (0.105 * look.girth) - up * 0.01
        elbow = shoulder + _limb(swing, raised, side) * arm
        bent = (swing + motion[f"elbow_{name}"], raised + motion[f"elbow_raise_{name}"])
        found |= {f"shoulder_{name}": shoulder, f"elbow_{name}": elbow}
        found[f"hand_{name}"] = elbow + _limb(*bent, side) * arm * 0.95
        swing, raised = motion[f"leg_swing_{name}"], motion[f"leg_raise_{name}"]
        hip = pelvis + lateral * 0.058 * look.girth
        knee = hip + _limb(swing, raised, side) * leg
        shin = _limb(swing - motion[f"knee_{name}"], raised, side)
        ankle = knee + shin * leg
        level = np.radians(np.clip(swing - motion[f"knee_{name}"], -80, 50) * 0.7)
        toe = np.stack([np.full_like(level, side * 0.012), np.sin(level), np.cos(level)], axis=1)
        found |= {f"hip_{name}": hip, f"knee_{name}": knee, f"ankle_{name}": ankle}
        found[f"toe_{name}"] = ankle + toe * 0.075
    lowest = np.minimum(found["ankle_l"][:, 1], found["ankle_r"][:, 1]) - 0.028
    for name in found:
        found[name] = found[name] + np.stack(
            [np.zeros_like(lowest), motion["lift"] - lowest, np.zeros_like(lowest)], axis=1
        )
    return found


def project(body: Joints, yaw: np.ndarray, place: Place) -> Joints:
    """Joints as (T, 3): x and y pixels, and depth in figure heights (larger is nearer)."""
    cos, sin = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    seen = {}
    for name, at in body.items():
        x = place.x + place.scale * (at[:, 0] * cos + at[:, 2] * sin)
        y = place.ground - place.scale * (at[:, 1] - 0.12 * (at[:, 2] * cos - at[:, 0] * sin))
        seen[name] = np.stack([x, y, at[:, 2] * cos - at[:, 0] * sin], axis=1)
    return seen


def reach(seen: Joints, side: str, target: np.ndarray, share: np.ndarray, sign: float) -> None:
    """Move a hand to ``target`` (T, 2) pixels where ``share`` (T,) is 1, in place.

    A target out of reach is approached with a straight arm. ``sign`` picks the side of the bend.
    """
    shoulder = seen[f"shoulder_{side}"][:, :2]
    upper = np.linalg.norm(seen["chest"][:, :2] - seen["pelvis"][:, :2], axis=1) * 0.55
    away = target - shoulder
    distance = np.maximum(np.linalg.norm(away, axis=1), 1e-6)
    held = np.minimum(distance, 1.96 * upper)
    along = away / distance[:, None]
    rise = np.sqrt(np.maximum(upper**2 - (held / 2) ** 2, 0.0))
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1) * sign
    bend = shoulder + along * (held / 2)[:, None] + normal * rise[:, None]
    hand = shoulder + along * held[:, None]
    weight = share[:, None]
    for name, goal in ((f"elbow_{side}", bend), (f"hand_{side}", hand)):
        seen[name][:, :2] = seen[name][:, :2] * (1 - weight) + goal * weight


def layer(place: Place) -> np.ndarray:
    """Depth of a thing on the ground, (T,): nearer ground lines are drawn later."""
    return place.ground * 10.0 + place.near


class Wardrobe:
    """Which colour each part of a look has."""

    def __init__(self, look: FigureLook) -> None:
        striped, coat = look.clothing == "striped", look.clothing == "coat"
        self.pattern = "bands" if striped else "plain"
        self.torso: Colour = look.shirt
        self.sleeve: Colour = look.shirt
        self.forearm: Colour = look.shirt if coat else look.skin
        self.second: Colour = look.second
        self.skirt = coat


def strokes_of(look: FigureLook, seen: Joints, yaw: np.ndarray, place: Place) -> list[Stroke]:
    """All limbs of a figure, its hair and face, and its shadow."""
    frames, scale = len(place.x), place.scale
    base = layer(place)
    made: list[Stroke] = [_shadow(seen, place, base)]

    def limb(a: str, b: str, width: tuple[float, float], ink: Colour, over: float = 0.0) -> Stroke:
        start, end = seen[a], seen[b]
        depth = base + 0.5 * (start[:, 2] + end[:, 2]) + over
        size = radii(width[0] * scale, width[1] * scale, frames)
        stroke = Stroke(start[:, :2], end[:, :2], size, ink, depth)
        made.append(stroke)
        return stroke

    wear, girth = Wardrobe(look), look.girth
    for side in SIDES:
        limb(f"hip_{side}", f"knee_{side}", (0.058 * girth, 0.044), look.trousers, -0.02)
        limb(f"knee_{side}", f"ankle_{side}", (0.042, 0.031), look.trousers, -0.02)
        limb(f"ankle_{side}", f"toe_{side}", (0.031, 0.024), look.shoes, -0.01)
        arm = limb(f"shoulder_{side}", f"elbow_{side}", (0.046 * girth, 0.036), wear.sleeve, 0.02)
        arm.pattern, arm.second, arm.bands = wear.pattern, wear.second, 2.0  # type: ignore[assignment]
        limb(f"elbow_{side}", f"hand_{side}", (0.033, 0.026), wear.forearm, 0.05)
        palm, ink = (0.085, look.second) if look.mittens else (0.034, look.skin)
        limb(f"hand_{side}", f"hand_{side}", (palm, palm), ink, 0.06)
    facing = np.abs(np.cos(np.radians(yaw)))
    body = limb("chest", "pelvis", (0.0, 0.0), wear.torso)
    top, low = (0.074 + 0.034 * facing) * girth, (0.070 + 0.016 * facing) * girth
    body.radius = radii(top * scale, low * scale, frames)
    body.pattern, body.second, body.bands = wear.pattern, wear.second, 3.0  # type: ignore[assignment]
    if wear.skirt:
        made.append(_skirt(seen, wear.torso, scale * girth, base))
    limb("neck", "head", (0.034, 0.034), look.skin, 0.0)
    made.extend(_head(look, seen["head"], yaw, place))
    return made


def _shadow(seen: Joints, place: Place, base: np.ndarray) -> Stroke:
    frames = len(place.x)
    feet = np.stack([seen[f"ankle_{s}"][:, 0] for s in SIDES] + [seen["pelvis"][:, 0]])
    reach_px = 0.07 * place.scale
    start = points(feet.min(axis=0) - reach_px, place.ground, frames)
    end = points(feet.max(axis=0) + reach_px, place.ground, frames)
    flat = radii(0.05 * place.scale, 0.05 * place.scale, frames)
    return Stroke(start, end, flat, (0.05, 0.05, 0.08), base - 5, kind="shadow", opacity=0.42)


def _skirt(seen: Joints, ink: Colour, scale: np.ndarray, base: np.ndarray) -> Stroke:
    knees = 0.5 * (seen["knee_l"] + seen["knee_r"])
    pelvis = seen["pelvis"]
    hem = pelvis + (knees - pelvis) * 0.75
    size = np.stack([0.082 * scale, 0.105 * scale], axis=1)
    depth = base + np.maximum(seen["knee_l"][:, 2], seen["knee_r"][:, 2]) + 0.005
    return Stroke(pelvis[:, :2], hem[:, :2], size, ink, depth)


def _head(look: FigureLook, head: np.ndarray, yaw: np.ndarray, place: Place) -> list[Stroke]:
    """The head, hair on its top and back, and the eyes where they face the camera."""
    frames, scale = len(place.x), place.scale
    size = 0.068 * look.head
    cos, sin = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    depth = layer(place) + head[:, 2] + 0.1
    at = head[:, :2]

    def dot(dx: np.ndarray, dy: float, radius: float, ink: Colour, over: np.ndarray) -> Stroke:
        centre = at + np.stack([dx * scale, np.full(frames, dy) * scale], axis=1)
        span = radii(radius * scale, radius * scale, frames)
        return Stroke(centre, centre, span, ink, depth + over)

    level = np.zeros(frames)
    behind = np.where(cos > -0.3, -0.01, 0.03)
    made = [
        dot(-0.3 * size * sin, -0.30 * size, size * 1.02, look.hair, behind),
        dot(0.1 * size * sin, 0.08 * size, size * 0.97, look.skin, level),
    ]
    for side in (-0.42, 0.42):
        eye = dot(
            size * (0.75 * sin + side * cos), 0.0, size * 0.17, (0.08, 0.07, 0.1), level + 0.02
        )
        eye.shown = cos - side * 1.6 * sin > -0.15
        made.append(eye)
    return made


def box_of(strokes: list[Stroke]) -> np.ndarray:
    """Box around the visible parts of a figure or prop, (T, 4) pixels, without its shadow."""
    boxes = np.stack([extent(s) for s in strokes if s.kind != "shadow"])
    return np.concatenate([boxes[..., :2].min(axis=0), boxes[..., 2:].max(axis=0)], axis=1)
