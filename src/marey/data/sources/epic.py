"""Dense segments of first-person video: EPIC-Kitchens-100, and the moments of Ego4D.

    EPIC_100_train.csv, EPIC_100_validation.csv    video_id,start_timestamp,stop_timestamp,
                                                   verb_class,noun_class,...
    moments_train.json, moments_val.json           videos > clips > annotations > labels

EPIC: ``where={"label": "noun"}`` takes nouns, "action" pairs of verb and noun that occur (their
number in the original counting is verb * 300 + noun); verbs otherwise. Ego4D: a row is a clip, its
times count from the clip's start; labels not marked ``primary`` are left out, and clips with none.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marey.data.sources.labels import refuse_where
from marey.data.sources.segments import Segment, segment_set, with_files
from marey.data.table import DataSet

EPIC_LISTS = {"train": "EPIC_100_train.csv", "val": "EPIC_100_validation.csv"}
EGO4D_LISTS = {"train": "moments_train.json", "val": "moments_val.json"}
KINDS = ("verb", "noun", "action")


def _under(path: Path, lists: Mapping[str, str]) -> dict[str, Path]:
    """Split -> list, in a folder or its ``annotations``."""
    places = (path, path / "annotations")
    found = {s: next((p / n for p in places if (p / n).is_file()), None) for s, n in lists.items()}
    return {split: file for split, file in found.items() if file is not None}


def fits_epic(path: Path) -> bool:
    """Whether a folder has the lists of EPIC-Kitchens-100."""
    return path.is_dir() and bool(_under(path, EPIC_LISTS))


def fits_ego4d(path: Path) -> bool:
    """Whether a folder has the moments of Ego4D."""
    return path.is_dir() and bool(_under(path, EGO4D_LISTS))


def seconds(text: str) -> float:
    """``HH:MM:SS.ss`` in seconds. Raises ValueError for anything else."""
    hours, minutes, rest = text.strip().split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(rest)


def open_epic(path: Path, *, where: Mapping[str, str] | None = None) -> DataSet:
    """Splits ``train`` and ``val`` of one kind of label.

    Raises ValueError for missing columns, times that are none, and where no video has a file.
    """
    refuse_where(where, "epic", "label")
    kind = (where or {}).get("label", "verb")
    if kind not in KINDS:
        raise ValueError(f"label is {kind!r}; choose one of {', '.join(KINDS)}")
    lists = _under(path, EPIC_LISTS)
    if not lists:
        raise ValueError(f"{path} has no {EPIC_LISTS['train']}; put the lists there")
    names = {k: _class_names(path, k) for k in ("verb", "noun")}
    splits: dict[str, dict[str, list[Segment]]] = {}
    numbers: dict[str, int] = {}
    for split, file in lists.items():
        videos = splits.setdefault(split, {})
        with file.open(encoding="utf-8-sig", newline="") as text:
            for line, row in enumerate(csv.DictReader(text), 2):
                try:
                    start, end = seconds(row["start_timestamp"]), seconds(row["stop_timestamp"])
                    verb, noun = int(row["verb_class"]), int(row["noun_class"])
                    rows = videos.setdefault(row["video_id"], [])
                except (KeyError, TypeError, ValueError) as error:
                    raise ValueError(f"{file} line {line} cannot be read ({error!r})") from None
                label = {
                    "verb": names["verb"].get(verb, str(verb)),
                    "noun": names["noun"].get(noun, str(noun)),
                }
                label["action"] = f"{label['verb']} {label['noun']}"
                numbers[label[kind]] = {"verb": verb, "noun": noun}.get(kind, verb * 300 + noun)
                rows.append((start, end, label[kind]))
    if kind != "action":  # outputs keep their official numbers, used or not
        listed = names[kind] or {n: str(n) for n in range(max(numbers.values()) + 1)}
        numbers = {name: number for number, name in listed.items()}
    classes = tuple(sorted(numbers, key=lambda name: numbers[name]))
    return _located(splits, classes, path, "epic")


def _class_names(path: Path, kind: str) -> dict[int, str]:
    """Number -> name from EPIC_100_KIND_classes.csv, empty where it is not there."""
    found = _under(path, {kind: f"EPIC_100_{kind}_classes.csv"})
    if not found:
        return {}
    with found[kind].open(encoding="utf-8-sig", newline="") as text:
        return {int(row["id"]): row["key"] for row in csv.DictReader(text)}


def open_ego4d(path: Path, *, where: Mapping[str, str] | None = None) -> DataSet:
    """Splits ``train`` and ``val`` of Ego4D's moments, one row a clip.

    Raises ValueError for a file of another form, and where no clip has a file.
    """
    refuse_where(where, "ego4d")
    splits: dict[str, dict[str, list[Segment]]] = {}
    for split, file in _under(path, EGO4D_LISTS).items():
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            clips = [clip for video in told["videos"] for clip in video["clips"]]
            rows = {clip["clip_uid"]: _moments(clip) for clip in clips}
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file} is not a list of moments ({error!r}); get it anew") from None
        splits[split] = {name: found for name, found in rows.items() if found}
    names = {name for v in splits.values() for rows in v.values() for *_, name in rows}
    return _located(splits, tuple(sorted(names)), path, "ego4d")


def _moments(clip: Mapping[str, Any]) -> list[Segment]:
    labels = [label for one in clip["annotations"] for label in one["labels"]]
    return [
        (float(label["start_time"]), float(label["end_time"]), str(label["label"]))
        for label in labels
        if label.get("primary")
    ]


def _located(
    splits: Mapping[str, Mapping[str, list[Segment]]],
    classes: tuple[str, ...],
    path: Path,
    format: str,
) -> DataSet:
    found, notes = {}, []
    for split, videos in splits.items():
        found[split], missing = with_files(videos, path, split)
        notes += missing
    return segment_set(found, classes, path, format=format, address=path, notes=notes)
