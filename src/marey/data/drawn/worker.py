"""A process that draws its share of a data set: ``python -m marey.data.drawn.worker``.

A job comes as one line of JSON on standard input; each finished video is answered by one line of
JSON. Being a command of its own it never imports the caller's main module again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from marey.data.drawn import layouts, official
from marey.data.drawn.film import Film, Options, save, save_frames
from marey.data.drawn.tasks import class_names, film_of, task_info


def make(job: dict[str, Any], split: str, index: int) -> dict[str, Any]:
    """Draw and save one video of a job; its row of the annotations, as plain data."""
    task, options = job["task"], options_of(job["options"])
    film, info = film_of(task, split, index, options), task_info(task)
    layout = layouts.layout_of(task, job["layout"], info.kind)
    label = class_names(task, options)[film.label] if film.label >= 0 else ""
    place = layout.place(split, f"{task}_{index:05d}", label, index)
    path = Path(job["root"]) / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if info.kind == "images":
        save_frames(film, path.parent, path.name)
    elif layout.frames:
        save_frames(film, path, layout.frames)
    else:
        save(film, path, fps=options.fps, gop=info.gop)
    if film.flow is not None:
        fields = Path(job["root"]) / "flow" / split / f"{task}_{index:05d}.npy"
        fields.parent.mkdir(parents=True, exist_ok=True)
        np.save(fields, film.flow)
    return {
        "path": place,
        "split": split,
        "index": index,
        "label": label,
        "seconds": round(film.stage.setting.duration_s, 4),
        "more": _more(film),
    }


def _more(film: Film) -> dict[str, Any]:
    """What is known beyond the label, only where there is something."""
    height, width = film.stage.setting.size
    known: dict[str, Any] = {
        "people": film.people,
        "spans": film.spans,
        "things": [official.thing(kind, mask) for kind, mask in film.things],
    }
    return {**known, "resolution": f"{width}x{height}"}


def options_of(values: dict[str, Any]) -> Options:
    """Options from plain data: lists become tuples, a rate a float."""
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    if "fps" in plain and plain["fps"] != "vfr":
        plain["fps"] = float(plain["fps"])
    return Options(**plain)


def main() -> None:
    """Work off the job on standard input."""
    job = json.loads(sys.stdin.readline())
    for split, index in job["items"]:
        print(json.dumps(make(job, split, index)), flush=True)


if __name__ == "__main__":
    main()
