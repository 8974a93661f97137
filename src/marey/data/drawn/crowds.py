"""Who does what: several figures at once, each with labels of its own every second."""

from __future__ import annotations

import numpy as np

from marey.data.drawn import figures, motions, props
from marey.data.drawn.film import Film
from marey.data.drawn.stage import Figure, Setting, Stage, add_crowd, look_of, skin_of

ACTIONS = tuple(name for name in motions.FINE if name not in ("walk", "turn"))
SCENE_CLASSES = ("stand", *ACTIONS, "shake hands", "carry")
STAY_S = 2.0  # a figure changes what it does every so many seconds


def timed(
    setting: Setting, base: figures.Pose, plan: list[tuple[float, float, str]], phase: float
) -> figures.Pose:
    """``base`` with the actions of ``plan`` (start_s, end_s, name) mixed in between."""
    motion = base
    for start, stop, name in plan:
        action = motions.FINE[name]
        edge = np.minimum(setting.times - start, stop - setting.times)
        ramp = np.clip(edge / min(0.16, 0.25 * (stop - start)), 0.0, 1.0)
        rate = max(action.rate, 1.0 / (stop - start))
        cycle = rate * (setting.times - start) + (phase if rate == action.rate else 0.0)
        doing = action.motion(cycle)
        side = np.sign(base["yaw"][0]) or 1.0
        doing["yaw"] = np.full(setting.frames, side * np.mean(action.yaw))
        motion = figures.mix(motion, doing, ramp)
    return motion


def scenes(setting: Setting) -> Film:
    """2 to 4 figures side by side; labels and boxes at every whole second."""
    stage, rng = Stage(setting), setting.stream("deed")
    add_crowd(stage)
    people = int(rng.randint(2, 5))
    blocks = max(1, int(np.ceil(setting.duration_s / STAY_S)))
    doing = rng.randint(-1, len(ACTIONS), size=(people, blocks))  # -1: standing
    greeting = int(rng.randint(blocks)) if rng.uniform() < 0.6 else -1
    pair = int(rng.randint(people - 1))
    carrier = int(rng.randint(people)) if rng.uniform() < 0.5 else -1
    actors, labels = [], []
    for who in range(people):
        names = ["stand" if k < 0 else ACTIONS[k] for k in doing[who]]
        if greeting >= 0 and who in (pair, pair + 1):
            names[greeting] = "shake hands"
        labels.append(names)
        x = (who + 1) / (people + 1) + rng.uniform(-0.02, 0.02)
        place = setting.place(x, rng.uniform(0.40, 0.50), near=0.1 * who)
        towards = 1.0 if who == pair else -1.0
        actors.append(_person(stage, who, place, names, towards))
        if who == carrier:
            _carry(stage, actors[-1], who, place)
    film = Film(stage)
    for second in range(1, int(np.ceil(setting.duration_s))):
        for who, actor in enumerate(actors):
            wanted = [labels[who][min(int(second // STAY_S), blocks - 1)]]
            wanted += ["carry"] if who == carrier else []
            film.people.append(_row(stage, actor, who, second, wanted))
    return film


def _row(
    stage: Stage, actor: Figure, who: int, second: int, names: list[str]
) -> tuple[float, int, tuple[float, ...], tuple[int, ...]]:
    frame = int(np.argmin(np.abs(stage.setting.times - second)))
    box = tuple(float(v) for v in stage.boxes(actor)[frame])
    return float(second), who, box, tuple(SCENE_CLASSES.index(n) for n in names)


def _person(
    stage: Stage, who: int, place: figures.Place, names: list[str], towards: float
) -> Figure:
    """One figure with its list of actions; it shakes hands ``towards`` 1 right or -1 left."""
    setting, rng = stage.setting, stage.setting.stream(f"person {who}")
    plan = [
        (k * STAY_S, (k + 1) * STAY_S, name) for k, name in enumerate(names) if name in motions.FINE
    ]
    base = motions.idle(0.3 * setting.times + rng.uniform())
    base["yaw"] = np.full(setting.frames, rng.choice([-1.0, 1.0]) * rng.uniform(5, 30))
    motion = timed(setting, base, plan, rng.uniform())
    shake = np.zeros(setting.frames)
    if "shake hands" in names:
        start = names.index("shake hands") * STAY_S
        edge = np.minimum(setting.times - start, start + STAY_S - setting.times)
        shake = np.clip(edge / 0.25, 0.0, 1.0)
        facing = dict(base) | {"yaw": np.full(setting.frames, 75.0 * towards)}
        motion = figures.mix(motion, facing, shake)
    actor = stage.enter(look_of(setting, f"person {who}"), motion, place)
    if shake.any():
        reach = 0.34 * place.scale * towards
        pump = 0.03 * place.scale * np.sin(2 * np.pi * 2.0 * setting.times)
        target = np.stack([place.x + reach, place.ground - 0.62 * place.scale + pump], axis=1)
        figures.reach(actor.seen, "r", target, shake, towards)
    stage.dress(actor, motion, place, tag=f"person {who}")
    return actor


def _carry(stage: Stage, actor: Figure, who: int, place: figures.Place) -> None:
    """A prop in the left hand throughout."""
    setting, hand = stage.setting, actor.seen["hand_l"]
    depth = figures.layer(place) + hand[:, 2] + 0.04
    bench = props.Bench(hand[:, :2].copy(), place.scale, depth, f"prop {who}")
    kind = props.KINDS[setting.stream(f"carried {who}").randint(len(props.KINDS))]
    stage.add(props.DRAWERS[kind](bench, skin_of(setting, f"prop {who}")))
