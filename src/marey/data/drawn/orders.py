"""Long-range order: one short action, then another, of six.

A clip has two halves of equal length, each a pause, an action and a pause; everything that is not
the action repeats with the half. So (B, A) is (A, B) with its halves exchanged: the same frames.
"""

from __future__ import annotations

import numpy as np

from marey.data.drawn import figures, motions
from marey.data.drawn.stage import Setting, Stage, add_crowd, look_of

PAIRS = tuple((a, b) for a in motions.SHORT for b in motions.SHORT if a != b)
CLASSES = tuple(f"{a} then {b}" for a, b in PAIRS)
ACTIONS = tuple(motions.SHORT)


def halves(name: str) -> tuple[str, str]:
    """The two actions of a class, in the order of the table, whichever comes first in the class."""
    first, second = PAIRS[CLASSES.index(name)]
    return (first, second) if ACTIONS.index(first) < ACTIONS.index(second) else (second, first)


def partner(name: str) -> str:
    """The class of the same two actions in the other order."""
    first, second = PAIRS[CLASSES.index(name)]
    return f"{second} then {first}"


def is_exchanged(name: str) -> bool:
    """Whether the class shows the second half of its stage first."""
    return halves(name) != PAIRS[CLASSES.index(name)]


def order(setting: Setting, name: str) -> Stage:
    """The two actions of a class in the table's order; the caller exchanges the halves."""
    stage, rng = Stage(setting), setting.stream("deed")
    add_crowd(stage)
    half = setting.loop_s
    place = setting.place(rng.uniform(0.4, 0.6), rng.uniform(0.64, 0.74))
    motion = motions.neutral(setting.times)
    for k, action in enumerate(halves(name)):
        start = k * half + rng.uniform(0.04, 0.16) * half
        stop = (k + 1) * half - rng.uniform(0.04, 0.16) * half
        progress = (setting.times - start) / (stop - start)
        inside = (progress > 0) & (progress < 1)
        motion = figures.mix(motion, motions.once(motions.SHORT[action], progress), inside * 1.0)
    motion["yaw"] = np.full(setting.frames, rng.choice([-1.0, 1.0]) * rng.uniform(35, 55))
    stage.act(look_of(setting, "actor"), motion, place)
    return stage
