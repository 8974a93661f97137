"""The arrow of time: six deeds, whose partners are the same frames in reverse order.

Only the first deed of each pair is ever staged. The frames of the second are the first's, read
backwards as a whole, so noise, light, shake and distractors are reversed with it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from marey.data.drawn import figures, motions, props
from marey.data.drawn.stage import Setting, Stage, add_crowd, look_of, skin_of

PAIRS = (
    ("push", "pull"),
    ("rotate cw", "rotate ccw"),
    ("approach", "retreat"),
    ("open", "close"),
    ("sit", "stand"),
    ("pick up", "put down"),
)
CLASSES = tuple(name for pair in PAIRS for name in pair)


def progress(setting: Setting, rng: np.random.RandomState) -> np.ndarray:
    """0 to 1 over nearly the whole clip, smooth at both ends."""
    start, stop = rng.uniform(0.0, 0.1), rng.uniform(0.9, 1.0)
    share = np.clip((setting.times / setting.duration_s - start) / (stop - start), 0.0, 1.0)
    return 0.35 * share + 0.65 * share * share * (3 - 2 * share)


def _ease(share: np.ndarray, start: float, stop: float) -> np.ndarray:
    inside = np.clip((share - start) / (stop - start), 0.0, 1.0)
    return inside * inside * (3 - 2 * inside)


def push(stage: Stage, rng: np.random.RandomState) -> None:
    """A figure shoves a crate along the ground."""
    setting = stage.setting
    share, side = progress(setting, rng), rng.choice([-1.0, 1.0])
    scale, travel = rng.uniform(0.62, 0.72), rng.uniform(0.34, 0.46)
    centre = 0.5 + side * (travel * (share - 0.5) - 0.1)
    place = setting.place(centre, scale)
    cycle = rng.uniform() + travel * share * 2.6
    motion = motions.walk(cycle)
    motion |= figures.pose(setting.frames, arm_swing=62, elbow=12, arm_raise=4)
    for name, value in motions.walk(cycle).items():
        if name.startswith(("leg", "knee")):
            motion[name] = value
    motion["lean"] = np.full(setting.frames, 20.0)
    motion["yaw"] = np.full(setting.frames, side * 85.0)
    size = rng.uniform(0.19, 0.24)
    actor = stage.enter(look_of(setting, "actor"), motion, place)
    ahead = place.x + side * place.scale * (0.39 + size)
    crate_at = np.stack([ahead, place.ground - size * place.scale], axis=1)
    bench = props.Bench(crate_at, place.scale, figures.layer(place) - 1, "prop")
    stage.add(props.crate(bench, skin_of(setting, "prop"), size))
    always = np.ones(setting.frames)
    for hand, height in (("l", 0.5), ("r", 0.2)):
        edge = crate_at + np.stack([-side * size * place.scale, -height * size * place.scale], 1)
        figures.reach(actor.seen, hand, edge, always, side)
    stage.dress(actor, motion, place)


def rotate(stage: Stage, rng: np.random.RandomState) -> None:
    """A figure turns a large wheel by its handle, clockwise."""
    setting = stage.setting
    side, scale = rng.choice([-1.0, 1.0]), rng.uniform(0.62, 0.72)
    size = rng.uniform(0.30, 0.36)
    turns = rng.uniform(0.7, 1.1) * setting.duration_s / 1.28
    angle = rng.uniform(0, 2 * np.pi) - 2 * np.pi * turns * progress(setting, rng)
    place = setting.place(0.5 - side * rng.uniform(0.14, 0.18), scale, near=0.5)
    hub_x = place.x + side * place.scale * (0.26 + 0.55 * size)
    hub = np.stack([hub_x, place.ground - place.scale * 0.62], axis=1)
    motion = motions.idle(setting.drift(rng, 1))
    motion["yaw"] = np.full(setting.frames, side * 40.0)
    actor = stage.enter(look_of(setting, "actor"), motion, place)
    target = props.handle_of(hub, place.scale, angle, size)
    figures.reach(actor.seen, "r" if side < 0 else "l", target, np.ones(setting.frames), side)
    bench = props.Bench(hub, place.scale, figures.layer(place) - 2, "prop")
    stage.add(props.wheel(bench, skin_of(setting, "prop"), angle, size))
    stage.dress(actor, motion, place)


def approach(stage: Stage, rng: np.random.RandomState) -> None:
    """A figure walks towards the camera."""
    setting = stage.setting
    share = progress(setting, rng)
    far, near = rng.uniform(0.24, 0.30), rng.uniform(0.70, 0.80)
    scale = far / (1 - share * (1 - far / near))
    middle = rng.uniform(0.42, 0.58)
    place = setting.place(middle + (share - 0.5) * rng.uniform(-0.16, 0.16), scale)
    motion = motions.walk(rng.uniform() + 2.2 * share)
    motion["yaw"] = np.full(setting.frames, rng.uniform(-22, 22))
    stage.act(look_of(setting, "actor"), motion, place)


def open_door(stage: Stage, rng: np.random.RandomState) -> None:
    """A figure swings a door open."""
    setting = stage.setting
    share, side = progress(setting, rng), rng.choice([-1.0, 1.0])
    scale = rng.uniform(0.62, 0.72)
    angle = np.radians(4 + rng.uniform(70, 80) * share)
    place = setting.place(0.5 - side * rng.uniform(0.10, 0.16), scale, near=0.5)
    sill_x = place.x + side * place.scale * 0.47
    sill = np.stack([sill_x, place.ground - 0.06 * place.scale], axis=1)
    bench = props.Bench(sill, place.scale, figures.layer(place) - 4, "prop")
    leaf = props.door(bench, skin_of(setting, "prop"), angle, side)
    stage.add(leaf)
    motion = motions.idle(setting.drift(rng, 1))
    motion["yaw"] = np.full(setting.frames, side * 60.0)
    motion["lean"] = 4 + 10 * share
    actor = stage.enter(look_of(setting, "actor"), motion, place)
    hand = "l" if side > 0 else "r"
    figures.reach(actor.seen, hand, leaf[-1].start, np.ones(setting.frames), side)
    stage.dress(actor, motion, place)


def sit(stage: Stage, rng: np.random.RandomState) -> None:
    """A figure sits down on a chair."""
    setting = stage.setting
    down, side = _ease(progress(setting, rng), 0.0, 1.0), rng.choice([-1.0, 1.0])
    scale = rng.uniform(0.64, 0.74)
    low = setting.place(rng.uniform(0.4, 0.6), scale)
    place = figures.Place(low.x + side * low.scale * 0.30 * (1 - down), low.ground, low.scale)
    standing = motions.idle(setting.drift(rng, 1))
    sitting = figures.pose(
        setting.frames, leg_swing=86, knee=84, lean=4, arm_swing=30, elbow=40, arm_raise=6
    )
    motion = figures.mix(standing, sitting, down)
    motion["lean"] = motion["lean"] + 38 * np.sin(np.pi * down)
    motion["yaw"] = np.full(setting.frames, side * rng.uniform(70, 85))
    seat = np.stack([low.x - side * 0.02 * low.scale, low.ground], axis=1)
    bench = props.Bench(seat, low.scale, figures.layer(low), "prop")
    stage.add(props.chair(bench, skin_of(setting, "prop"), side))
    stage.act(look_of(setting, "actor"), motion, place)


def pick_up(stage: Stage, rng: np.random.RandomState) -> None:
    """A figure bends down to a thing on the ground and lifts it over its head."""
    setting = stage.setting
    share, side = progress(setting, rng), rng.choice([-1.0, 1.0])
    place = setting.place(rng.uniform(0.42, 0.52) if side > 0 else rng.uniform(0.48, 0.58), 0.0)
    place = setting.place(place.x / setting.size[1], rng.uniform(0.62, 0.72))
    bent, raised = _ease(share, 0.0, 0.40) * (1 - _ease(share, 0.44, 0.86)), _ease(share, 0.44, 1.0)
    motion = motions.idle(setting.drift(rng, 1))
    stoop = figures.pose(
        setting.frames, lean=76, leg_swing=52, knee=80, arm_swing=60, arm_raise=6, nod=-20
    )
    motion = figures.mix(motion, stoop, bent)
    motion["yaw"] = np.full(setting.frames, side * rng.uniform(70, 85))
    actor = stage.enter(look_of(setting, "actor"), motion, place)
    ground = np.stack([place.x + side * 0.36 * place.scale, place.ground - 0.11 * place.scale], 1)
    shoulder = 0.5 * (actor.seen["shoulder_l"] + actor.seen["shoulder_r"])[:, :2]
    above = shoulder + np.stack([side * 0.16 * place.scale, -0.27 * place.scale], axis=1)
    held = ground * (1 - raised)[:, None] + above * raised[:, None]
    held[:, 0] += side * 0.12 * place.scale * np.sin(np.pi * raised)
    grip = np.clip(_ease(share, 0.1, 0.42), 0, 1)
    for hand in figures.SIDES:
        figures.reach(actor.seen, hand, held, grip, side)
    bench = props.Bench(held, place.scale, figures.layer(place) + 0.01, "prop")
    kind, skin = rng.randint(2), skin_of(setting, "prop")
    stage.add(props.ball(bench, skin) if kind else props.crate(bench, skin, 0.12))
    stage.dress(actor, motion, place)


DEEDS: tuple[Callable[[Stage, np.random.RandomState], None], ...] = (
    push,
    rotate,
    approach,
    open_door,
    sit,
    pick_up,
)


def direction(setting: Setting, name: str) -> Stage:
    """The stage of a deed; the caller reverses its frames for the second class of a pair."""
    stage = Stage(setting)
    pair = CLASSES.index(name) // 2
    add_crowd(stage)
    DEEDS[pair](stage, setting.stream("deed"))
    return stage


def is_reversed(name: str) -> bool:
    return CLASSES.index(name) % 2 == 1


def partner(name: str) -> str:
    """The class whose frames are those of ``name`` in reverse order."""
    return CLASSES[CLASSES.index(name) ^ 1]
