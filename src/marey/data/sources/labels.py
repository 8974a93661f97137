"""Class names and numbers, and the files on disk: what every source needs to say about its rows."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from marey.config import nearest

VIDEO_ENDINGS = frozenset(
    {
        *(".mp4", ".m4v", ".mkv", ".webm", ".mov", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
        *(".flv", ".gif", ".wmv", ".3gp", ".ogv", ".vob", ".mxf", ".ivf", ".264", ".h264"),
        *(".hevc", ".h265"),
    }
)
IMAGE_ENDINGS = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"])
SPLIT_NAMES = ("train", "training", "val", "valid", "validation", "test", "testing", "eval")
_PROBES = 16


def read_lines(path: Path) -> list[str]:
    """Lines of a UTF-8 text file without line ends, blank ones left out.

    Raises ValueError when the file is missing or not text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; give the folder that holds it") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from None
    return [line.rstrip("\r") for line in text.split("\n") if line.strip()]


def read_classes(folder: Path) -> tuple[str, ...] | None:
    """``classes.txt`` beside the data: one class a line, in order; None where there is none."""
    path = folder / "classes.txt"
    if not path.is_file():
        return None
    names = tuple(line.strip() for line in read_lines(path))
    twice = next((n for n in names if names.count(n) > 1), None) if len(names) < 5000 else None
    if twice is not None:
        raise ValueError(f"{path} names class {twice!r} twice; class names must differ")
    return names


def number_labels(
    labels: pa.ChunkedArray, known: Sequence[str] | None, source: str
) -> tuple[tuple[str, ...], pa.Array]:
    """Class names in order and the class number of each row, (N,) int32.

    Labels that are all plain integers are class numbers; others are names, sorted, or in the order
    of ``known``. Raises ValueError for a label that ``known`` does not have.
    """
    encoded = labels.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    names = encoded.dictionary.to_pylist()
    if "" in names:
        row = pc.index(labels, "").as_py()
        raise ValueError(f"{source} row {row + 1} has an empty label; label every row")
    numeric = all(re.fullmatch(r"0|[1-9]\d*", n) for n in names)
    if numeric and not (known and set(names) <= set(known)):
        return _plain_numbers(encoded, names, known, source)
    classes = tuple(known) if known else tuple(sorted(names))
    number = {name: i for i, name in enumerate(classes)}
    for name in names:
        if name not in number:
            raise ValueError(
                f"label {name!r} in {source} is not one of the {len(classes)} classes of "
                f"classes.txt{nearest(name, classes)}; correct one of the two files"
            )
    lookup = pa.array([number[n] for n in names], pa.int32())
    return classes, lookup.take(encoded.indices)


def _plain_numbers(
    encoded: pa.DictionaryArray, names: list[str], known: Sequence[str] | None, source: str
) -> tuple[tuple[str, ...], pa.Array]:
    highest = max((int(n) for n in names), default=-1)
    if highest >= 100_000:
        raise ValueError(f"label {highest} in {source} is too large for a class number (100000)")
    if known is not None and highest >= len(known):
        raise ValueError(
            f"label {highest} in {source} is outside the {len(known)} classes of classes.txt; "
            "numbers count from 0"
        )
    classes = tuple(known) if known else tuple(str(i) for i in range(highest + 1))
    return classes, pa.array([int(n) for n in names], pa.int32()).take(encoded.indices)


def number_of(name: str, numbers: Mapping[str, int], source: str) -> int:
    """The number of a class name; ValueError naming the nearest where it has none."""
    if name not in numbers:
        raise ValueError(
            f"label {name!r} in {source} is not one of its {len(numbers)} classes"
            f"{nearest(name, numbers)}; correct the label or the class list"
        )
    return numbers[name]


def refuse_where(where: Mapping[str, str] | None, format_name: str, *allowed: str) -> None:
    """Raises ValueError when rows are to be selected in a format that has no such column."""
    known = ", ".join(repr(name) for name in allowed)
    for name in where or {}:
        if name not in allowed:
            cure = f"; it knows {known}" if allowed else "; only CSV lists with a header can"
            raise ValueError(f"where={name!r} does not select rows of format {format_name!r}{cure}")


def probe_files(paths: Any, root: Path, source: str) -> None:
    """Look at a few of the files, so that a list read from the wrong place fails at once.

    Raises ValueError when none of them exists. Never looks at more than sixteen.
    """
    if not len(paths):
        raise ValueError(f"{source} lists no files; put at least one row in it")
    step = max(1, len(paths) // _PROBES)
    probes = [str(paths[i]) for i in range(0, len(paths), step)][:_PROBES]
    if not any(os.path.exists(os.path.join(root, p)) for p in probes):
        beside = f" (nor {len(probes) - 1} others tried)" if len(probes) > 1 else ""
        raise ValueError(
            f"{source}: no such file {os.path.join(root, probes[0])}{beside}; "
            f"relative paths are taken from {root}"
        )


def index_files(folder: Path, endings: Iterable[str] = VIDEO_ENDINGS) -> dict[str, str]:
    """File stem -> path relative to ``folder``, for every video below it, in sorted order."""
    wanted = frozenset(endings)
    found: dict[str, str] = {}
    for place, folders, files in os.walk(folder):
        folders.sort()
        inside = os.path.relpath(place, folder)
        for name in sorted(files):
            stem, ending = os.path.splitext(name)
            if ending.lower() in wanted:
                relative = name if inside == "." else os.path.join(inside, name)
                found.setdefault(stem, relative)
    return found


def is_video(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in VIDEO_ENDINGS


def is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_ENDINGS
