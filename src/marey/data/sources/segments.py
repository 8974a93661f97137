"""Labelled segments of videos: the plain CSV of a user's own data, and what such sources share.

    video,start_s,end_s,label[,split]        one line a segment; a video without any has one line
    match.mp4,12.5,17.0,throw,train          with empty times and label
    match.mp4,31.0,33.2,catch,train

One row of the table is one video; its segments are the row's ``intervals``, as they stand in the
file: ``marey data check`` tells which cannot be right, training and measuring leave those out.
Relative paths are relative to the list; a ``classes.txt`` beside it fixes the order of classes.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from marey.data.sources.labels import (
    SPLIT_NAMES,
    index_files,
    is_video,
    number_of,
    probe_files,
    read_classes,
)
from marey.data.table import AMBIGUOUS, DataSet, ItemTable, build_table

HEADER = ("video", "start_s", "end_s", "label")
SUBSETS = {"training": "train", "validation": "val", "testing": "test", "valid": "val"}
Row = TypeVar("Row")
Segment = tuple[float, float, str]  # start and end in seconds, and the class's name
UNCLEAR = "Ambiguous"  # the name of what is no class, in THUMOS14 and files made from it
_NAMED = 3  # missing files told by name


def subset_name(text: str) -> str:
    """``training``, ``Validation`` and the like under our names of splits."""
    lower = text.strip().lower()
    return SUBSETS.get(lower, lower if lower in SPLIT_NAMES else text.strip())


def segment_set(
    splits: Mapping[str, Mapping[str, Sequence[Segment]]],
    classes: Sequence[str],
    root: Path,
    *,
    format: str,
    address: Path,
    notes: Iterable[str] = (),
) -> DataSet:
    """A data set from split -> path of a video, relative to ``root`` -> its segments.

    Those named ``Ambiguous`` belong to no class, unless ``classes`` has one of that name.
    Raises ValueError for a label that ``classes`` does not have.
    """
    numbers = {UNCLEAR: AMBIGUOUS} | {name: i for i, name in enumerate(classes)}
    tables = {}
    for split, videos in splits.items():
        intervals = [
            [
                {"start_s": a, "end_s": b, "label": number_of(name, numbers, str(address))}
                for a, b, name in rows
            ]
            for rows in videos.values()
        ]
        targets = [
            sorted({int(row["label"]) for row in rows if row["label"] != AMBIGUOUS})
            for rows in intervals
        ]
        table = build_table(list(videos), targets, intervals=intervals, multi_label=True)
        tables[split] = ItemTable(table, classes, root=root)
    return DataSet(
        splits=tables,
        classes=tuple(classes),
        multi_label=True,
        format=format,
        address=str(address),
        notes=tuple(notes),
    )


def with_files(
    videos: Mapping[str, Sequence[Row]], root: Path, split: str
) -> tuple[dict[str, Sequence[Row]], list[str]]:
    """Names of videos replaced by the files below ``root``, and a note on those without one.

    A name may be a path, or a stem with or without ``v_`` before it. Raises ValueError when no
    video has a file.
    """
    index = index_files(root)
    found, missing = {}, []
    for name, rows in videos.items():
        stem = Path(name).stem if is_video(name) else name
        tried = (stem, f"v_{stem}", stem.removeprefix("v_"))
        path = next((index[known] for known in tried if known in index), None)
        path = name if (root / name).is_file() else path
        if path is None:
            missing.append(name)
        else:
            found[path] = rows
    if missing and not found:
        raise ValueError(
            f"{split or 'the list'}: none of {len(missing)} videos has a file below {root}, "
            f"{missing[0]!r} first; put the videos there"
        )
    named = ", ".join(missing[:_NAMED]) + (", ..." if len(missing) > _NAMED else "")
    note = f"{split or 'list'}: {len(missing)} of {len(videos)} videos have no file ({named})"
    return found, [note] if missing else []


def header_of(path: Path) -> list[str]:
    """Column names of the first line, lower case; none where it is not such a list."""
    if not path.is_file() or path.suffix.lower() not in (".csv", ".tsv", ".txt"):
        return []
    with path.open("rb") as text:
        first = text.readline(1 << 16).decode("utf-8-sig", errors="replace").strip()
    names = [name.strip().lower() for name in next(csv.reader([first]), [])]
    return names if set(HEADER) <= set(names) else []


def fits(path: Path) -> bool:
    """Whether a file, or a folder's segments.csv, begins with the header."""
    return bool(header_of(_list_of(path)))


def _list_of(path: Path) -> Path:
    return path / "segments.csv" if path.is_dir() else path


def open_segments(path: Path, *, where: Mapping[str, str] | None = None) -> DataSet:
    """The segments of a CSV list with the header above; ``where`` selects by further columns.

    Raises ValueError for a missing header, times that are no numbers, and rows without a label.
    """
    source = _list_of(path)
    if not header_of(source):
        raise ValueError(f"{source} does not begin with {','.join(HEADER)}; add that first line")
    with source.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.DictReader(text)
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
        lines = [(n, row) for n, row in enumerate(reader, 2) if _chosen(row, where, source)]
    splits: dict[str, dict[str, list[Segment]]] = {}
    for number, row in lines:
        split = subset_name(row.get("split") or row.get("subset") or "")
        videos = splits.setdefault(split, {})
        rows = videos.setdefault((row["video"] or "").strip(), [])
        segment = _segment(row, f"{source} line {number}")
        if segment is not None:
            rows.append(segment)
    if not splits:
        raise ValueError(f"{source} has no row that was asked for; check it and --where")
    names = {name for videos in splits.values() for rows in videos.values() for *_, name in rows}
    classes = read_classes(source.parent) or tuple(sorted(names - {UNCLEAR}))
    for videos in splits.values():
        probe_files(list(videos), source.parent, str(source))
    return segment_set(splits, classes, source.parent, format="segments", address=source)


def _chosen(row: Mapping[str, str], where: Mapping[str, str] | None, source: Path) -> bool:
    for name in where or {}:
        if name.lower() not in row:
            raise ValueError(f"where={name!r} is not a column of {source}; it has {', '.join(row)}")
    return all(row[name.lower()] == value for name, value in (where or {}).items())


def _segment(row: Mapping[str, str | None], place: str) -> Segment | None:
    start, end, label = ((row.get(name) or "").strip() for name in HEADER[1:])
    if not (start or end or label):
        return None  # a video in which nothing happens
    if not label:
        raise ValueError(f"{place} has times but no label; name the class, or leave all empty")
    try:
        return float(start), float(end), label
    except ValueError:
        raise ValueError(
            f"{place}: {start!r} to {end!r} are not seconds; write numbers such as 12.5"
        ) from None
