"""The table of tasks, and from (task, split, index) to a film."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from marey.config import nearest
from marey.data.drawn import actions, directions
from marey.data.drawn.film import Film, Options, frame_times, scene_key
from marey.data.drawn.stage import Setting, Stage

Kind = Literal["labels", "people", "spans", "flow", "images", "none"]


@dataclass(frozen=True)
class TaskInfo:
    """What a task is. ``frames`` at 25 fps; ``counts`` of train, val and test; ``mirrored`` classes
    trade names when a clip is flipped left to right; ``gop`` distance of keyframes or None."""

    classes: tuple[str, ...]
    frames: int
    counts: tuple[int, int, int]
    film: Callable[[str, int, Options], Film]
    kind: Kind = "labels"
    mirrored: tuple[tuple[str, str], ...] = ()
    gop: int | None = None
    summary: str = ""


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
    task: str, split: str, scene: object, options: Options, *, halves: bool = False
) -> Setting:
    key = scene_key(task, split, scene)
    from marey.data.drawn.pools import stream

    duration_s = TASKS[task].frames / 25
    times = frame_times(options, duration_s, stream(*key, "times"), halves=halves)
    loop_s = 0.0
    if halves:
        half = len(times) // 2
        loop_s = float(times[half])
    return Setting(key, split, options.size, times, options.difficulty, loop_s)


def _direction(split: str, index: int, options: Options) -> Film:
    names = chosen_classes(directions.CLASSES, options, "direction")
    name = names[index % len(names)]
    scene = f"{directions.CLASSES.index(name) // 2} {index // len(names)}"
    stage = directions.direction(_setting("direction", split, scene, options), name)
    order = None
    if directions.is_reversed(name):
        order = np.arange(stage.setting.frames)[::-1]
    return Film(stage, names.index(name), order)


def _plain(
    task: str, classes: tuple[str, ...], draw: Callable[[Setting, str], Stage]
) -> Callable[[str, int, Options], Film]:
    """Films of a task whose every index is a scene of its own."""

    def film(split: str, index: int, options: Options) -> Film:
        names = chosen_classes(classes, options, task)
        label = index % len(names)
        return Film(draw(_setting(task, split, index, options), names[label]), label)

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
    "fine": TaskInfo(
        actions.FINE_CLASSES,
        32,
        (300, 100, 100),
        _plain("fine", actions.FINE_CLASSES, actions.fine),
        summary="ten ordinary actions of one figure",
    ),
}


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
