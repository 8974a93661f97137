"""Minutes of video: actions that start and end, and events that decide what comes much later."""

from __future__ import annotations

import numpy as np

from marey.data.drawn import figures, motions, pools, props
from marey.data.drawn.crowds import ACTIONS, timed
from marey.data.drawn.film import Film
from marey.data.drawn.pools import PropSkin
from marey.data.drawn.stage import Setting, Stage, add_crowd, look_of, skin_of

UNTRIMMED_CLASSES = ACTIONS
RECALL_PROPS = ("ball", "cup")
RECALL_CLASSES = ("wait", "take ball", "take cup", "use ball", "use cup")
TAKE_S, USE_S = 2.4, 2.4
LARGE = 2.0  # times the usual prop: what is asked is memory, not sharp eyes
RECALL_HUES = (0.02, 0.6)  # red balls and blue cups, for the same reason


def segments(duration_s: float, rng: np.random.RandomState) -> list[tuple[float, float, int]]:
    """3 to 10 segments (start_s, end_s, class number) of 0.5 to 8 s that do not touch."""
    count = int(rng.randint(3, 11))
    lengths = np.round(np.exp(rng.uniform(np.log(0.5), np.log(8.0), size=count)), 2)
    room = 0.92 * duration_s
    while lengths.sum() + 0.5 * (count + 1) > room and count > 1:
        count -= 1
        lengths = lengths[:count]
    lengths = np.minimum(lengths, np.round(0.5 * room, 2))
    gaps = rng.uniform(0.2, 1.0, size=count + 1)
    gaps = 0.4 + gaps / gaps.sum() * max(duration_s - lengths.sum() - 0.4 * (count + 1), 0.0)
    starts = np.round(np.cumsum(gaps[:-1] + np.concatenate([[0.0], lengths[:-1]])), 2)
    names = rng.randint(len(ACTIONS), size=count)
    return [
        (float(s), float(round(s + d, 2)), int(k))
        for s, d, k in zip(starts, lengths, names, strict=True)
    ]


def untrimmed(setting: Setting) -> Film:
    """One figure that idles, and now and then does one of eight actions, among the same props."""
    stage, rng = Stage(setting), setting.stream("deed")
    add_crowd(stage)
    spans = segments(setting.duration_s, rng)
    place = setting.place(rng.uniform(0.4, 0.6) + 0.03 * setting.drift(rng, 2), 0.66)
    base = motions.idle(0.25 * setting.times + rng.uniform())
    base["yaw"] = np.full(setting.frames, rng.choice([-1.0, 1.0]) * rng.uniform(15, 50))
    plan = [(start, stop, ACTIONS[k]) for start, stop, k in spans]
    stage.act(look_of(setting, "actor"), timed(setting, base, plan, 0.0), place)
    for k, side in enumerate((-1.0, 1.0)):
        still = setting.place(0.5 + side * rng.uniform(0.26, 0.4), rng.uniform(0.5, 0.6))
        at = np.stack([still.x, still.ground - 0.1 * still.scale], axis=1)
        bench = props.Bench(at, still.scale, figures.layer(still), f"prop {k}")
        kind = ("ball", "box", "cup")[rng.randint(3)]
        stage.add(props.DRAWERS[kind](bench, skin_of(setting, f"prop {k}")))
    return Film(stage, spans=spans)


def recall_plan(
    duration_s: float, distance_s: tuple[float, float], rng: np.random.RandomState
) -> list[tuple[float, float, int]]:
    """(take_s, use_s, prop number) of each event: taking begins at take_s, using at use_s."""
    plan: list[tuple[float, float, int]] = []
    now = rng.uniform(1.0, 3.0)
    while True:
        use = now + TAKE_S + rng.uniform(*distance_s)
        if use + USE_S + 0.5 > duration_s:
            return plan
        plan.append((round(now, 2), round(use, 2), int(rng.randint(len(RECALL_PROPS)))))
        now = use + USE_S + rng.uniform(1.5, 4.0)


def recall_skin(setting: Setting, number: int, kind: int) -> PropSkin:
    """The colours of a prop that is taken: its kind shows in its hue."""
    rng = setting.stream(f"skin of prop {number}")
    hue = RECALL_HUES[kind] + rng.uniform(-0.02, 0.02)
    first = pools.colour(hue, rng.uniform(0.75, 0.9), rng.uniform(0.8, 0.95))
    second = pools.colour(hue, rng.uniform(0.1, 0.3), rng.uniform(0.85, 1.0))
    return PropSkin(number, first, second)


def recall(setting: Setting, distance_s: tuple[float, float]) -> Film:
    """A figure takes a prop out of the air and puts it away; much later it uses what it took.

    While it uses it nothing tells which prop it was: both props make the same picture.
    """
    stage, rng = Stage(setting), setting.stream("deed")
    add_crowd(stage)
    plan = recall_plan(setting.duration_s, distance_s, rng)
    place = setting.place(rng.uniform(0.42, 0.58), 0.68)
    motion = motions.idle(0.25 * setting.times + rng.uniform())
    times, spans = setting.times, []
    for take, use, kind in plan:
        doing = (times >= use) & (times < use + USE_S)
        rub = motions.clap(1.6 * (times - use))
        motion = figures.mix(motion, rub, doing * 1.0)
        spans += [(take, take + TAKE_S, 1 + kind), (use, use + USE_S, 3 + kind)]
    motion["yaw"] = np.full(setting.frames, rng.uniform(-25, 25))
    actor = stage.enter(look_of(setting, "actor"), motion, place)
    pocket = actor.seen["pelvis"][:, :2].copy()
    for number, (take, _, kind) in enumerate(plan):
        share = np.clip((times - take) / TAKE_S, 0.0, 1.0)
        shown = (times >= take) & (times < take + TAKE_S)
        high = np.stack([place.x + 0.34 * place.scale, place.ground - 0.95 * place.scale], axis=1)
        held = high + (pocket - high) * (share**2)[:, None]
        grip = np.clip(np.minimum(share, 1 - share) / 0.15, 0.0, 1.0) * shown
        figures.reach(actor.seen, "l", held, grip, 1.0)
        scale = LARGE * place.scale
        bench = props.Bench(held, scale, figures.layer(place) + 1, f"prop {number}")
        skin = recall_skin(setting, number, kind)
        for stroke in props.DRAWERS[RECALL_PROPS[kind]](bench, skin):
            stroke.shown = shown & (share < 0.92)
            stage.add([stroke])
    stage.dress(actor, motion, place)
    film = Film(stage, spans=spans)
    boxes = stage.boxes(actor)
    for second in range(1, int(np.ceil(setting.duration_s))):
        labels = [k for start, stop, k in spans if start <= second < stop] or [0]
        frame = int(np.argmin(np.abs(times - second)))
        box = tuple(float(v) for v in boxes[frame])
        film.people.append((float(second), 0, box, tuple(labels)))
    return film
