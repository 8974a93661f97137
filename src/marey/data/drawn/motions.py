"""What figures do. A motion is a function of a phase in cycles, (T,), and returns a pose.

``FINE`` holds the ten repeated actions, with the cycles per second of each; ``SHORT`` actions that
begin and end in the neutral pose as their progress runs from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from marey.data.drawn.figures import Pose, mix, pose

Motion = Callable[[np.ndarray], Pose]


def _sine(cycle: np.ndarray) -> np.ndarray:
    return np.sin(2 * np.pi * cycle)


def _pulse(cycle: np.ndarray) -> np.ndarray:
    """0 to 1 and back once a cycle, flat at both ends."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * cycle)


def neutral(cycle: np.ndarray) -> Pose:
    """Standing still."""
    return pose(len(cycle), arm_raise=9.0, elbow=12.0, leg_raise=3.0)


def idle(cycle: np.ndarray) -> Pose:
    """Standing, breathing, shifting a little."""
    sway = _sine(cycle)
    return pose(
        len(cycle), arm_raise=9 + 2 * sway, elbow=14 + 4 * sway, leg_raise=3.0, nod=4 * sway
    )


def walk(cycle: np.ndarray) -> Pose:
    s, other = _sine(cycle), _sine(cycle + 0.25)
    return pose(
        len(cycle),
        leg_swing_l=30 * s,
        leg_swing_r=-30 * s,
        knee_l=8 + 38 * np.clip(other, 0, 1),
        knee_r=8 + 38 * np.clip(-other, 0, 1),
        arm_swing_l=-32 * s,
        arm_swing_r=32 * s,
        elbow=18.0,
        arm_raise=6.0,
        lean=3.0,
    )


def run(cycle: np.ndarray) -> Pose:
    s, other = _sine(cycle), _sine(cycle + 0.25)
    return pose(
        len(cycle),
        leg_swing_l=12 + 48 * s,
        leg_swing_r=12 - 48 * s,
        knee_l=22 + 85 * np.clip(other, 0, 1),
        knee_r=22 + 85 * np.clip(-other, 0, 1),
        arm_swing_l=-55 * s,
        arm_swing_r=55 * s,
        elbow=95.0,
        arm_raise=6.0,
        lean=16.0,
        lift=0.05 * np.abs(other),
    )


def jump(cycle: np.ndarray) -> Pose:
    turn = cycle % 1.0
    crouch = np.clip(1 - np.abs(turn - 0.25) / 0.25, 0, 1)
    air = np.clip(turn - 0.5, 0, None) * 2
    up = 4 * air * (1 - air)
    return pose(
        len(cycle),
        leg_swing=52 * crouch - 6 * up,
        knee=100 * crouch + 10 * up,
        lean=26 * crouch,
        arm_swing=-45 * crouch + 150 * up,
        arm_raise=8.0,
        lift=0.26 * up,
    )


def wave_one(cycle: np.ndarray) -> Pose:
    made = neutral(cycle)
    made["arm_raise_l"] = np.full(len(cycle), 118.0)
    made["elbow_raise_l"] = 40 + 48 * _sine(cycle)
    made["elbow_l"] = np.zeros(len(cycle))
    return made


def wave_two(cycle: np.ndarray) -> Pose:
    s = _sine(cycle)
    return pose(len(cycle), arm_raise=118 + 8 * s, elbow_raise=40 + 48 * s, leg_raise=4.0)


def bend(cycle: np.ndarray) -> Pose:
    down = _pulse(cycle)
    return pose(
        len(cycle),
        lean=88 * down,
        arm_swing=75 * down,
        arm_raise=6.0,
        knee=10 * down,
        nod=10 * down,
    )


def jack(cycle: np.ndarray) -> Pose:
    out = _pulse(cycle)
    hop = np.abs(_sine(cycle))
    return pose(
        len(cycle), arm_raise=10 + 155 * out, leg_raise=2 + 26 * out, lift=0.06 * hop, elbow=4.0
    )


def kick(cycle: np.ndarray) -> Pose:
    turn = cycle % 1.0
    high = np.clip(1 - np.abs(turn - 0.5) / 0.22, 0, 1)
    back = np.clip(1 - np.abs(turn - 0.2) / 0.16, 0, 1)
    return pose(
        len(cycle),
        leg_swing_l=88 * high - 35 * back,
        knee_l=60 * back,
        knee_r=6.0,
        lean=-14 * high + 6 * back,
        arm_swing_l=-25 * high,
        arm_swing_r=35 * high,
        elbow=40.0,
        arm_raise=22.0,
    )


def box(cycle: np.ndarray) -> Pose:
    left, right = np.clip(_sine(cycle), 0, 1), np.clip(-_sine(cycle), 0, 1)
    return pose(
        len(cycle),
        arm_swing_l=35 + 52 * left,
        arm_swing_r=35 + 52 * right,
        elbow_l=110 - 108 * left,
        elbow_r=110 - 108 * right,
        arm_raise=6.0,
        leg_swing_l=18.0,
        leg_swing_r=-16.0,
        knee=14.0,
        lean=8.0,
    )


def turn(cycle: np.ndarray) -> Pose:
    return pose(len(cycle), yaw=360 * cycle, arm_raise=38.0, leg_raise=5.0, elbow=8.0)


def clap(cycle: np.ndarray) -> Pose:
    """A function of the cosine alone, so that its speed cannot be told from its frames."""
    apart = 0.5 + 0.5 * np.cos(2 * np.pi * cycle)
    return pose(len(cycle), arm_swing=78.0, arm_raise=-12 + 76 * apart, leg_raise=4.0)


def swing(cycle: np.ndarray) -> Pose:
    """Both arms waving wide, a function of the cosine alone."""
    wide = np.cos(2 * np.pi * cycle)
    return pose(len(cycle), arm_raise=98 + 42 * wide, elbow_raise=20 + 30 * wide, leg_raise=4.0)


def flap(cycle: np.ndarray) -> Pose:
    """Both arms from the hips to just over the shoulders, a function of the cosine alone."""
    wide = np.cos(2 * np.pi * cycle)
    return pose(len(cycle), arm_raise=62 + 38 * wide, elbow_raise=10 + 20 * wide, leg_raise=4.0)


def bounce(cycle: np.ndarray) -> Pose:
    """Up and down on both legs, a function of the cosine alone."""
    low = 0.5 + 0.5 * np.cos(2 * np.pi * cycle)
    return pose(
        len(cycle), leg_swing=56 * low, knee=104 * low, lean=14 * low, arm_raise=24.0, elbow=30.0
    )


@dataclass(frozen=True)
class Action:
    """A repeated action: ``rate`` cycles per second, ``speed`` figure heights per second, and the
    yaws it may be seen from (degrees; drawn either side)."""

    motion: Motion
    rate: float
    yaw: tuple[float, float]
    speed: float = 0.0


FINE: dict[str, Action] = {
    "walk": Action(walk, 1.1, (60, 90), 0.45),
    "run": Action(run, 1.9, (60, 90), 1.0),
    "jump": Action(jump, 1.1, (20, 60)),
    "wave one arm": Action(wave_one, 1.6, (0, 30)),
    "wave two arms": Action(wave_two, 1.6, (0, 30)),
    "bend": Action(bend, 0.8, (55, 85)),
    "jack": Action(jack, 1.2, (0, 25)),
    "kick": Action(kick, 1.0, (60, 85)),
    "box": Action(box, 1.5, (60, 85)),
    "turn": Action(turn, 0.75, (0, 180)),
}
RHYTHMIC: dict[str, Action] = {
    "wave": Action(swing, 0.0, (0, 30)),
    "clap": Action(clap, 0.0, (0, 25)),
    "bounce": Action(bounce, 0.0, (40, 70)),
}
SHORT: dict[str, Action] = {
    name: FINE[long]
    for name, long in (
        ("wave", "wave one arm"),
        ("bend", "bend"),
        ("kick", "kick"),
        ("jump", "jump"),
        ("jack", "jack"),
        ("punch", "box"),
    )
}


def once(action: Action, progress: np.ndarray, cycles: float = 1.0) -> Pose:
    """An action done ``cycles`` times while ``progress`` (T,) runs 0 to 1, from rest to rest."""
    inside = np.clip(progress, 0.0, 1.0)
    ramp = np.clip(np.minimum(inside, 1 - inside) / 0.15, 0.0, 1.0)
    return mix(neutral(inside), action.motion(inside * cycles), ramp * ramp * (3 - 2 * ramp))
