"""The table of tasks, and from (task, split, index) to a film."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from marey.config import nearest
from marey.data.drawn import actions, crowds, directions, long_videos, orders, props, textures
from marey.data.drawn.film import Film, Options, frame_times, scene_key
from marey.data.drawn.pools import stream
from marey.data.drawn.stage import Setting, Stage

Kind = Literal["labels", "people", "spans", "events", "flow", "images", "none"]


@dataclass(frozen=True)
class TaskInfo:
    """What a task is. ``frames`` at 25 fps; ``counts`` of train, val and test; ``mirrored`` classes
    trade names when a clip is flipped left to right; keyframes are ``gop`` frames apart at most;
    ``revision`` grows when this task alone is drawn anew, so that older files are not used."""

    classes: tuple[str, ...]
    frames: int
    counts: tuple[int, int, int]
    film: Callable[[str, int, Options], Film]
    kind: Kind = "labels"
    mirrored: tuple[tuple[str, str], ...] = ()
    gop: int | None = None
    summary: str = ""
    revision: int = 0


def chosen_classes(all_classes: tuple[str, ...], options: Options, task: str) -> tuple[str, ...]:
    """The classes asked for, in the task's own order.

    Raises ValueError for a name the task does not have.
    """
    for name in options.classes:
        if name not in all_classes:
            raise ValueError(
                f"{name!r} is not a class of drawn task {task!r}{nearest(name, all_classes)}"
                f" (classes: {', '.join(all_classes)})"
            )
    return tuple(name for name in all_classes if not options.classes or name in options.classes)


def _setting(
    task: str,
    split: str,
    scene: object,
    options: Options,
    *,
    duration_s: float = 0.0,
    halves: bool = False,
) -> Setting:
    key = scene_key(task, split, scene)
    seconds = duration_s or TASKS[task].frames / 25
    times = frame_times(options, seconds, stream(*key, "times"), halves=halves)
    loop_s = float(times[len(times) // 2]) if halves else 0.0
    return Setting(key, split, options.size, times, options.difficulty, loop_s)


def _direction(split: str, index: int, options: Options) -> Film:
    """Partners at neighbouring numbers share their scene."""
    names = chosen_classes(directions.CLASSES, options, "direction")
    name = names[index % len(names)]
    scene = f"{directions.CLASSES.index(name) // 2} {index // len(names)}"
    stage = directions.direction(_setting("direction", split, scene, options), name)
    shown: Literal["drawn", "backwards"] = "backwards" if directions.is_reversed(name) else "drawn"
    return Film(stage, names.index(name), shown)


def _order(split: str, index: int, options: Options) -> Film:
    """Partners of one round over the classes share their scene."""
    names = chosen_classes(orders.CLASSES, options, "order")
    name = names[index % len(names)]
    scene = f"{' '.join(orders.halves(name))} {index // len(names)}"
    stage = orders.order(_setting("order", split, scene, options, halves=True), name)
    shown: Literal["drawn", "exchanged"] = "exchanged" if orders.is_exchanged(name) else "drawn"
    return Film(stage, names.index(name), shown)


def _scenes(split: str, index: int, options: Options) -> Film:
    return crowds.scenes(_setting("scenes", split, index, options))


def _untrimmed(split: str, index: int, options: Options) -> Film:
    duration_s = round(stream("untrimmed", split, index, "length").uniform(30, 120), 1)
    return long_videos.untrimmed(
        _setting("untrimmed", split, index, options, duration_s=duration_s)
    )


def _recall(split: str, index: int, options: Options) -> Film:
    """Long enough for two or more events at the farthest distance."""
    duration_s = max(60.0, 2 * (options.distance_s[1] + 12))
    setting = _setting("recall", split, index, options, duration_s=duration_s)
    return long_videos.recall(setting, options.distance_s)


def _flow(split: str, index: int, options: Options) -> Film:
    names = chosen_classes(textures.CLASSES, options, "flow")
    label = index % len(names)
    film = textures.flow(_setting("flow", split, index, options), names[label])
    film.label = label
    return film


def _image(split: str, index: int, options: Options) -> Film:
    """One frame of ``appearance``, with the masks of its props."""
    names = chosen_classes(actions.APPEARANCE_CLASSES, options, "images")
    label = index % len(names)
    key = scene_key("images", split, index)
    moment = np.array([stream(*key, "times").uniform(0.0, 1.2)])
    setting = Setting(key, split, options.size, moment, options.difficulty)
    stage, kinds = actions.still(setting, names[label])
    film = Film(stage, label)
    for tag, kind in kinds.items():
        mask = stage.mask(tag)[0]
        if mask.sum() >= 12:
            film.things.append((props.KINDS.index(kind), mask))
    return film


def _unlabelled(split: str, index: int, options: Options) -> Film:
    """A film of another task, at a number that task's own data sets do not reach."""
    rng = stream("unlabelled", split, index)
    task = MIXTURE[rng.randint(len(MIXTURE))]
    film = TASKS[task].film(split, 10_000_000 + int(rng.randint(1_000_000)), options)
    film.label = -1
    return film


def _plain(
    task: str, classes: tuple[str, ...], draw: Callable[[Setting, str], Stage]
) -> Callable[[str, int, Options], Film]:
    """Films of a task. A round over the classes shares one scene, which so tells nothing."""

    def film(split: str, index: int, options: Options) -> Film:
        names = chosen_classes(classes, options, task)
        scene, label = divmod(index, len(names))
        return Film(draw(_setting(task, split, scene, options), names[label]), label)

    return film


TASKS: Mapping[str, TaskInfo] = {
    "direction": TaskInfo(
        directions.CLASSES,
        32,
        (480, 120, 120),
        _direction,
        mirrored=(("rotate cw", "rotate ccw"),),
        gop=1,
        summary="the arrow of time: each class is its partner's frames in reverse order",
    ),
    "rhythm": TaskInfo(
        actions.RHYTHM_CLASSES,
        64,
        (360, 90, 90),
        _plain("rhythm", actions.RHYTHM_CLASSES, actions.rhythm),
        summary="wave, clap, bounce at three tempos that look equal when sampled slowly",
    ),
    "appearance": TaskInfo(
        actions.APPEARANCE_CLASSES,
        32,
        (360, 120, 120),
        _plain("appearance", actions.APPEARANCE_CLASSES, actions.appearance),
        summary="prop and clothing: one frame tells, motion does not",
    ),
    "both": TaskInfo(
        actions.BOTH_CLASSES,
        64,
        (360, 90, 90),
        _plain("both", actions.BOTH_CLASSES, actions.both),
        summary="prop and tempo: a frame tells one half, fast motion the other",
    ),
    "beside": TaskInfo(
        actions.BOTH_CLASSES,
        64,
        (360, 90, 90),
        _plain("beside", actions.BOTH_CLASSES, actions.beside),
        summary="a prop that stands still and a tempo: motion does not tell the prop",
    ),
    "order": TaskInfo(
        orders.CLASSES,
        64,
        (480, 120, 120),
        _order,
        gop=1,
        summary="one of six short actions, then another: the same frames in either order",
    ),
    "fine": TaskInfo(
        actions.FINE_CLASSES,
        32,
        (300, 100, 100),
        _plain("fine", actions.FINE_CLASSES, actions.fine),
        summary="ten ordinary actions of one figure",
    ),
    "scenes": TaskInfo(
        crowds.SCENE_CLASSES,
        250,
        (48, 12, 12),
        _scenes,
        kind="people",
        summary="who does what, every second, with exact boxes (AVA)",
    ),
    "untrimmed": TaskInfo(
        long_videos.UNTRIMMED_CLASSES,
        1875,
        (24, 8, 8),
        _untrimmed,
        kind="spans",
        gop=50,  # windows begin anywhere
        summary="when actions start and end within minutes of idling (ActivityNet)",
    ),
    "recall": TaskInfo(
        long_videos.RECALL_CLASSES,
        2100,
        (16, 6, 6),
        _recall,
        kind="events",
        gop=50,
        summary="what was taken long ago decides what is used now",
        revision=1,
    ),
    "flow": TaskInfo(
        textures.CLASSES,
        8,
        (90, 30, 30),
        _flow,
        kind="flow",
        summary="textures that shift, turn and grow, with the exact motion of every pixel",
    ),
    "images": TaskInfo(
        actions.APPEARANCE_CLASSES,
        1,
        (600, 120, 120),
        _image,
        kind="images",
        summary="single pictures of appearance, with boxes and masks of props (COCO)",
    ),
    "unlabelled": TaskInfo(
        (),
        32,
        (400, 100, 0),
        _unlabelled,
        kind="none",
        summary="a mixture of the labelled tasks, for pre-training",
    ),
}
MIXTURE = ("direction", "rhythm", "order", "appearance", "both", "fine")


def task_info(task: str) -> TaskInfo:
    """Raises ValueError for a task that is not drawn, naming the nearest."""
    if task not in TASKS:
        raise ValueError(
            f"{task!r} is not a drawn task{nearest(task, TASKS)} (tasks: {', '.join(TASKS)})"
        )
    return TASKS[task]


def film_of(task: str, split: str, index: int, options: Options) -> Film:
    """Film ``index`` of a split: everything about it follows from these and the world's version.

    Raises ValueError for an unknown task, split or class, a negative index or impossible options.
    """
    info = task_info(task)
    options.check()
    if index < 0:
        raise ValueError(f"index is {index}, must be 0 or more")
    return info.film(split, index, options)


def class_names(task: str, options: Options) -> tuple[str, ...]:
    """Names of the class numbers of a task under these options."""
    return chosen_classes(task_info(task).classes, options, task)
