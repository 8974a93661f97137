"""Where the files of a drawn data set go, and its annotation files in the formats of real ones.

A layout names the place of each video from (task, split, index, class), then writes the lists.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marey.config import nearest, write_whole


@dataclass(frozen=True)
class Row:
    """One finished video: its path relative to the data set, its split, number and label."""

    path: str
    split: str
    index: int
    label: str
    seconds: float


@dataclass(frozen=True)
class Layout:
    """``place(task, split, index, label)`` gives a relative path; ``lists(root, rows, classes)``
    writes the annotation files."""

    place: Callable[[str, str, int, str], str]
    lists: Callable[[Path, Sequence[Row], tuple[str, ...]], None]
    frames: bool = False  # a folder of JPEG images a video


def table(root: Path, name: str, rows: Sequence[Sequence[object]], delimiter: str = ",") -> None:
    """A CSV file, written whole."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    write_whole(root / name, text.getvalue())


def _label_list(root: Path, rows: Sequence[Row], classes: tuple[str, ...]) -> None:
    table(
        root,
        "labels.csv",
        [("path", "label", "split"), *((r.path, r.label, r.split) for r in rows)],
    )


LAYOUTS: dict[str, Layout] = {
    "csv": Layout(
        lambda task, split, index, label: f"clips/{split}/{task}_{index:05d}.mp4", _label_list
    ),
    "folder": Layout(
        lambda task, split, index, label: f"{split}/{label}/{task}_{index:05d}.mp4", _label_list
    ),
}


def layout_of(task: str, name: str, kind: str) -> Layout:
    """The layout called ``name`` (empty: the task's own).

    Raises ValueError for a layout that does not exist or cannot hold the task.
    """
    known = LAYOUTS
    name = name or "csv"
    if name not in known:
        raise ValueError(
            f"layout {name!r} is not written for drawn task {task!r}{nearest(name, known)}"
            f" (layouts: {', '.join(known)})"
        )
    return known[name]


def write_lists(plan: Mapping[str, Any], root: Path, made: Sequence[dict[str, Any]]) -> None:
    """The annotation files of a data set whose videos are written."""
    rows = [Row(**row) for row in made]
    layout = layout_of(plan["task"], plan["layout"], "")
    layout.lists(root, rows, tuple(sorted({row.label for row in rows})))
