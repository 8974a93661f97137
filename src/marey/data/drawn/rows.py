"""What the annotation files are made from: one row a finished video."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marey.config import write_whole


@dataclass(frozen=True)
class Row:
    """One finished video: its path relative to the data set, its split, number, label and length;
    ``more`` holds spans, people, things and resolution where the task has them."""

    path: str
    split: str
    index: int
    label: str
    seconds: float
    more: dict[str, Any] = field(default_factory=dict)


def table(root: Path, name: str, rows: Sequence[Sequence[object]], delimiter: str = ",") -> None:
    """A CSV file, written whole."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    write_whole(root / name, text.getvalue())


def lines(root: Path, name: str, rows: Sequence[str]) -> None:
    """A text file, written whole."""
    write_whole(root / name, "".join(f"{row}\n" for row in rows))


def label_list(root: Path, rows: Sequence[Row], classes: tuple[str, ...]) -> None:
    """``labels.csv`` with path, label, split, and the order of the classes in ``classes.txt``."""
    table(
        root,
        "labels.csv",
        [("path", "label", "split"), *((r.path, r.label, r.split) for r in rows)],
    )
    lines(root, "classes.txt", classes)
