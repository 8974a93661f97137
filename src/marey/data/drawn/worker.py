"""A process that draws its share of a data set: ``python -m marey.data.drawn.worker``.

A job comes as one line of JSON on standard input; each finished video is answered by one line of
JSON. Being a command of its own it never imports the caller's main module again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from marey.data.drawn import layouts
from marey.data.drawn.film import Options, save
from marey.data.drawn.tasks import class_names, film_of, task_info


def make(job: dict[str, Any], split: str, index: int) -> dict[str, Any]:
    """Draw and save one video of a job; what its annotations need, as plain data."""
    task, options = job["task"], options_of(job["options"])
    film = film_of(task, split, index, options)
    names = class_names(task, options)
    label = names[film.label] if film.label >= 0 else ""
    layout = layouts.layout_of(task, job["layout"], "")
    place = layout.place(task, split, index, label)
    path = Path(job["root"]) / place
    path.parent.mkdir(parents=True, exist_ok=True)
    save(film, path, fps=options.fps, gop=task_info(task).gop)
    return {
        "path": place,
        "split": split,
        "index": index,
        "label": label,
        "seconds": film.stage.setting.duration_s,
    }


def options_of(values: dict[str, Any]) -> Options:
    """Options from plain data; lists become tuples."""
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return Options(**plain)


def main() -> None:
    """Work off the job on standard input."""
    job = json.loads(sys.stdin.readline())
    for split, index in job["items"]:
        print(json.dumps(make(job, split, index)), flush=True)


if __name__ == "__main__":
    main()
