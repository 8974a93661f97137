"""Single figures: the ten actions of ``fine``, and what a single frame tells (``appearance``)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from marey.data.drawn import figures, motions, props
from marey.data.drawn.pools import CLOTHING
from marey.data.drawn.stage import Figure, Setting, Stage, add_crowd, look_of, skin_of

FINE_CLASSES = tuple(motions.FINE)
APPEARANCE_CLASSES = tuple(f"{kind} {dress}" for kind in props.KINDS for dress in CLOTHING)
TEMPOS = ("slow", "medium", "fast")
SLOW_STEP = 9  # frames of 1/25 s between 8 frames spread over the whole clip, ends included
CYCLES = tuple(25 / SLOW_STEP * turn for turn in (0.25, 0.75, 1.25))  # per second
CLOSE = (0.98, 1.08)  # figure heights per frame height: feet outside, as tempo shows in the arms
RHYTHM_CLASSES = tuple(f"{name} {tempo}" for name in motions.RHYTHMIC for tempo in TEMPOS)
BOTH_PROPS = ("ball", "box", "flag")
BOTH_CLASSES = tuple(f"{kind} {tempo}" for kind in BOTH_PROPS for tempo in TEMPOS)
BESIDE = 1.5  # times the usual prop, where it stands beside a figure


def heading(action: motions.Action, rng: np.random.RandomState) -> float:
    """A yaw the action may be seen from, on either side."""
    return float(rng.choice([-1.0, 1.0]) * rng.uniform(*action.yaw))


def stroll(
    action: motions.Action, setting: Setting, rng: np.random.RandomState
) -> tuple[float, np.ndarray]:
    """Yaw, and x as a fraction of the width, of a figure that stays in the frame as it moves."""
    height, width = setting.size
    yaw, scale = heading(action, rng), 0.69
    pace = action.speed * scale * height / width * np.sign(yaw)
    middle = setting.duration_s / 2
    if abs(pace) * setting.duration_s > 0.5:
        pace = np.sign(pace) * 0.5 / setting.duration_s
    return yaw, rng.uniform(0.42, 0.58) + pace * (setting.times - middle)


def fine(setting: Setting, name: str) -> Stage:
    """One figure doing one of the ten actions throughout."""
    stage, rng = Stage(setting), setting.stream("deed")
    action = motions.FINE[name]
    add_crowd(stage)
    yaw, x = stroll(action, setting, rng)
    place = setting.place(x, rng.uniform(0.64, 0.74))
    motion = action.motion(rng.uniform() + action.rate * rng.uniform(0.88, 1.12) * setting.times)
    motion["yaw"] = motion["yaw"] + yaw
    stage.act(look_of(setting, "actor"), motion, place)
    return stage


def rhythm(setting: Setting, name: str) -> Stage:
    """A wave, a clap or a bounce at one of three tempos, from a random phase.

    Seen close and in mittens: what a network learns a tempo from is how much moves between two
    frames, and thin arms far away leave their own width within one.
    """
    stage, rng = Stage(setting), setting.stream("deed")
    kind, tempo = name.rsplit(" ", 1)
    add_crowd(stage)
    action = motions.RHYTHMIC[kind]
    place = setting.place(rng.uniform(0.46, 0.54), rng.uniform(*CLOSE))
    motion = action.motion(rng.uniform() + CYCLES[TEMPOS.index(tempo)] * setting.times)
    motion["yaw"] = np.full(setting.frames, heading(action, rng))
    stage.act(replace(look_of(setting, "actor"), mittens=True), motion, place)
    return stage


def hold(stage: Stage, actor: Figure, place: figures.Place, kind: str, hand: str) -> None:
    """A prop in a hand."""
    at = actor.seen[f"hand_{hand}"][:, :2].copy()
    if kind != "flag":
        at[:, 1] += 0.02 * place.scale
    depth = figures.layer(place) + actor.seen[f"hand_{hand}"][:, 2] + 0.04
    bench = props.Bench(at, place.scale, depth, "prop")
    stage.add(props.DRAWERS[kind](bench, skin_of(stage.setting, "prop")))


def appearance(setting: Setting, name: str) -> Stage:
    """A figure in one of three kinds of clothes with one of four props, moving as it likes."""
    stage, rng = Stage(setting), setting.stream("deed")
    kind, dress = name.rsplit(" ", 1)
    add_crowd(stage)
    action = motions.FINE[FINE_CLASSES[rng.randint(len(FINE_CLASSES))]]
    yaw, x = stroll(action, setting, rng)
    place = setting.place(x, rng.uniform(0.64, 0.74))
    motion = action.motion(rng.uniform() + action.rate * setting.times)
    motion["yaw"] = motion["yaw"] + yaw
    actor = stage.enter(look_of(setting, "actor", clothing=dress), motion, place)
    hold(stage, actor, place, kind, "r" if yaw >= 0 else "l")
    stage.dress(actor, motion, place)
    return stage


def both(setting: Setting, name: str) -> Stage:
    """A prop waved at one of three tempos: the class is the prop and the tempo."""
    stage, rng = Stage(setting), setting.stream("deed")
    kind, tempo = name.rsplit(" ", 1)
    add_crowd(stage)
    place = setting.place(rng.uniform(0.43, 0.50), rng.uniform(0.88, 0.96))
    motion = motions.flap(rng.uniform() + CYCLES[TEMPOS.index(tempo)] * setting.times)
    motion["yaw"] = np.full(setting.frames, rng.uniform(-30, 30))
    actor = stage.enter(look_of(setting, "actor"), motion, place)
    hold(stage, actor, place, kind, "l")
    stage.dress(actor, motion, place)
    return stage


def beside(setting: Setting, name: str) -> Stage:
    """As ``both``, but the prop stands still beside who waves: no motion tells which it is."""
    stage, rng = Stage(setting), setting.stream("deed")
    kind, tempo = name.rsplit(" ", 1)
    add_crowd(stage)
    side = rng.choice([-1.0, 1.0])
    place = setting.place(0.5 - side * rng.uniform(0.08, 0.12), rng.uniform(0.76, 0.84))
    motion = motions.flap(rng.uniform() + CYCLES[TEMPOS.index(tempo)] * setting.times)
    motion["yaw"] = np.full(setting.frames, rng.uniform(-30, 30))
    stage.act(look_of(setting, "actor"), motion, place)
    height, width = setting.size
    spot = ((0.5 + side * rng.uniform(0.2, 0.24)) * width, rng.uniform(0.74, 0.78) * height)
    at = np.tile(np.array(spot), (setting.frames, 1))
    bench = props.Bench(at, BESIDE * place.scale, figures.layer(place) + 1.0, "prop")
    stage.add(props.DRAWERS[kind](bench, skin_of(setting, "prop")))
    return stage


def still(setting: Setting, name: str) -> tuple[Stage, dict[str, str]]:
    """``appearance`` with more props of its kind on the ground; their kinds by their tags."""
    stage, rng = appearance(setting, name), setting.stream("ground")
    kind = name.rsplit(" ", 1)[0]
    kinds = {"prop": kind}
    for k in range(int(rng.randint(3))):
        place = setting.place(rng.uniform(0.08, 0.92), rng.uniform(0.4, 0.68))
        lift = 0.11 if kind != "flag" else 0.1
        at = np.stack([place.x, place.ground - lift * place.scale], axis=1)
        tag = f"ground {k}"
        bench = props.Bench(at, place.scale, figures.layer(place), tag)
        stage.add(props.DRAWERS[kind](bench, skin_of(setting, tag)))
        kinds[tag] = kind
    return stage, kinds
