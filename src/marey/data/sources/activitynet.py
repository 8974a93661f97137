"""ActivityNet JSON, which FineAction, HACS and many own sets share.

    {"database": {"ID": {"subset": "training", "duration": 120.5,
                         "annotations": [{"segment": [12.5, 17.0], "label": "Throw"}]}}}

Videos are found below the file's folder by their ID, with or without ``v_``, or by ``file`` or
``filename``. Classes come in the order of ``classes`` in the file, of a classes.txt beside it, or
of the alphabet; never in that of the database. A file without a training subset (THUMOS14 as it
circulates in this form) trains on its validation videos and is measured on its test videos; its
``Ambiguous`` segments belong to no class, see thumos14.py.

Source: activitynet/ActivityNet, annotation format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marey.data.sources.labels import read_classes
from marey.data.sources.segments import UNCLEAR, Segment, segment_set, subset_name, with_files
from marey.data.table import DataSet

_HEAD = 4096  # characters looked at to know the format


def annotation_files(path: Path) -> list[Path]:
    """The annotation files a path means: itself, or those of the folder that look like it."""
    files = [path] if path.is_file() else sorted(path.glob("*.json")) if path.is_dir() else []
    return [file for file in files if file.suffix == ".json" and _looks_like(file)]


def _looks_like(file: Path) -> bool:
    with file.open("rb") as text:
        head = text.read(_HEAD).decode("utf-8", errors="replace")
    return '"database"' in head or '"taxonomy"' in head


def open_activitynet(path: Path, *, where: Mapping[str, str] | None = None) -> DataSet:
    """The videos of one file by subset. ``where`` selects annotations by their further fields.

    Raises ValueError for a file that is not of this form, and where no video has a file.
    """
    files = annotation_files(path)
    if len(files) != 1:
        named = ", ".join(file.name for file in files) or "none"
        raise ValueError(f"{path} holds {named} as annotations; name the one JSON file to read")
    source = files[0]
    told = _read(source)
    splits: dict[str, dict[str, list[Segment]]] = {}
    for name, video in told["database"].items():
        if not isinstance(video, Mapping):
            raise ValueError(f"{source}: {name!r} is no table with subset and annotations")
        split = subset_name(str(video.get("subset", "")))
        file = str(video.get("file") or video.get("filename") or name)
        splits.setdefault(split, {})[file] = _segments(video, name, source, where or {})
    if "train" not in splits and {"val", "test"} <= set(splits):
        splits = {"train": splits["val"], "test": splits["test"]}
    notes: list[str] = []
    found = {}
    for split, videos in splits.items():
        found[split], missing = with_files(videos, source.parent, split)
        notes += missing
    labels = {name for v in splits.values() for rows in v.values() for *_, name in rows}
    labels -= {UNCLEAR}
    listed = told.get("classes")
    classes = tuple(listed) if isinstance(listed, list) else read_classes(source.parent)
    if where and classes:
        classes = tuple(name for name in classes if name in labels)
    order = ("train", "val", "test")
    ordered = {name: found[name] for name in sorted(found, key=lambda n: (n not in order, n))}
    return segment_set(
        {name: ordered[name] for name in (*(n for n in order if n in ordered), *ordered)},
        classes or tuple(sorted(labels)),
        source.parent,
        format="activitynet",
        address=source,
        notes=notes,
    )


def _read(source: Path) -> dict[str, Any]:
    try:
        told = json.loads(source.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{source} is not valid JSON ({error}); get the file anew") from None
    if not isinstance(told, dict) or not isinstance(told.get("database"), dict):
        raise ValueError(f"{source} has no table 'database'; it is not an annotation file")
    if not told["database"]:
        raise ValueError(f"{source} has an empty database; there is nothing to read")
    return told


def _segments(
    video: Mapping[str, Any], name: str, source: Path, where: Mapping[str, str]
) -> list[Segment]:
    """The annotations of a video; times may be written as strings."""
    rows = []
    for one in video.get("annotations") or ():
        try:
            start, end = (float(second) for second in one["segment"])
            label = str(one["label"])
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f"{source}: an annotation of {name!r} is {one!r}; it needs "
                "'segment': [start, end] in seconds and 'label'"
            ) from None
        if all(str(one.get(k)) == v for k, v in where.items()):
            rows.append((start, end, label))
    return rows
