"""Dense segments of first-person video: EPIC-Kitchens-100, and the moments of Ego4D.

    EPIC_100_train.csv, EPIC_100_validation.csv    video_id,start_timestamp,stop_timestamp,
                                                   verb_class,noun_class,...
    moments_train.json, moments_val.json           videos > clips > annotations > labels

EPIC, a row a video with its segments: ``where={"label": "noun"}`` takes nouns, "action" pairs of
verb and noun that occur (their number in the original counting is verb * 300 + noun); verbs
otherwise. EPIC, a row a segment in order of time: "verb+noun", whose classes are the verbs and then
the nouns, one of each a row. To anticipate, ``ahead_s`` seconds before an action starts, a row is
the ``observed_s`` seconds (4) that end there instead. Ego4D: a row is a clip, its
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
from marey.data.table import DataSet, ItemTable, build_table

EPIC_LISTS = {"train": "EPIC_100_train.csv", "val": "EPIC_100_validation.csv"}
EGO4D_LISTS = {"train": "moments_train.json", "val": "moments_val.json"}
Row = tuple[str, float, float, int, int]  # video, start and end in seconds, verb, noun
KINDS = ("verb", "noun", "action", "verb+noun")


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
    refuse_where(where, "epic", "label", "ahead_s", "observed_s")
    chosen = {"label": "verb", **(where or {})}
    kind = chosen["label"]
    if kind not in KINDS:
        raise ValueError(f"label is {kind!r}; choose one of {', '.join(KINDS)}")
    lists = _under(path, EPIC_LISTS)
    if not lists:
        raise ValueError(f"{path} has no {EPIC_LISTS['train']}; put the lists there")
    rows = {split: _rows(file) for split, file in lists.items()}
    names = {k: _names(path, k, rows) for k in ("verb", "noun")}
    if "observed_s" in chosen and "ahead_s" not in chosen:
        raise ValueError(
            "observed_s is of anticipation: give ahead_s, the seconds before an action"
        )
    if kind == "verb+noun":
        return _pairs(rows, names, path, chosen)
    if len(chosen) > 1:
        raise ValueError(
            "ahead_s and observed_s are for label=verb+noun, which has a row an action"
        )
    splits: dict[str, dict[str, list[Segment]]] = {}
    numbers = {name: n for n, name in names.get(kind, {}).items()}
    for split, found in rows.items():
        videos = splits.setdefault(split, {})
        for video, start, end, verb, noun in found:
            label = {"verb": names["verb"][verb], "noun": names["noun"][noun]}
            label["action"] = f"{label['verb']} {label['noun']}"
            numbers.setdefault(label[kind], verb * 300 + noun)
            videos.setdefault(video, []).append((start, end, label[kind]))
    classes = tuple(sorted(numbers, key=lambda name: numbers[name]))
    return _located(splits, classes, path, "epic")


def _rows(file: Path) -> list[Row]:
    """The lines of a list. Raises ValueError naming the line that cannot be read."""
    found: list[Row] = []
    with file.open(encoding="utf-8-sig", newline="") as text:
        for line, row in enumerate(csv.DictReader(text), 2):
            try:
                start, end = seconds(row["start_timestamp"]), seconds(row["stop_timestamp"])
                verb, noun = int(row["verb_class"]), int(row["noun_class"])
                found.append((row["video_id"], start, end, verb, noun))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{file} line {line} cannot be read ({error!r})") from None
    return found


def _names(path: Path, kind: str, rows: Mapping[str, list[Row]]) -> dict[int, str]:
    """Number -> name from EPIC_100_KIND_classes.csv, else the number; used or not, so that outputs
    keep their official places.

    Raises ValueError for a label that the list does not have.
    """
    used = {row[3] if kind == "verb" else row[4] for found in rows.values() for row in found}
    found = _under(path, {kind: f"EPIC_100_{kind}_classes.csv"})
    if not found:
        return {n: str(n) for n in range(max(used, default=-1) + 1)}
    with found[kind].open(encoding="utf-8-sig", newline="") as text:
        names = {int(row["id"]): row["key"] for row in csv.DictReader(text)}
    unknown = used - set(names)
    if unknown:
        raise ValueError(f"{kind} {min(unknown)} is used but not in {found[kind]}; get both anew")
    return names


def _pairs(
    rows: Mapping[str, list[Row]],
    names: Mapping[str, Mapping[int, str]],
    path: Path,
    chosen: Mapping[str, str],
) -> DataSet:
    """A row an action, in order of video and time, with its verb and its noun."""
    ahead, observed = _seconds_of(chosen, "ahead_s", 0), _seconds_of(chosen, "observed_s", 4)
    places, classes = _places(names)
    splits, notes = {}, []
    for split, found in rows.items():
        videos: dict[str, list[Row]] = {}
        for row in found:
            videos.setdefault(row[0], []).append(row)
        files, missing = with_files(videos, path, split)
        notes += missing
        kept = [(file, *row[1:]) for file in sorted(files) for row in sorted(files[file])]
        spans = [(start, end) for _, start, end, *_ in kept]
        if "ahead_s" in chosen:
            ends = [max(0.0, start - ahead) for start, _ in spans]
            spans = [(max(0.0, end - observed), end) for end in ends]
        table = build_table(
            [file for file, *_ in kept],
            [[places["verb"][verb], places["noun"][noun]] for *_, verb, noun in kept],
            start_s=[start for start, _ in spans],
            end_s=[end for _, end in spans],
            multi_label=True,
        )
        splits[split] = ItemTable(table, classes, root=path)
    sizes = tuple((kind, len(listed)) for kind, listed in names.items())
    return DataSet(
        splits=splits,
        classes=classes,
        multi_label=True,
        format="epic",
        address=str(path),
        notes=tuple(notes),
        label_sets=sizes,
    )


def _places(
    names: Mapping[str, Mapping[int, str]],
) -> tuple[dict[str, dict[int, int]], tuple[str, ...]]:
    """Where each verb and noun stands among the outputs, and what the outputs are called: a noun
    that is a verb too, and numbers, by their kind besides."""
    places: dict[str, dict[int, int]] = {}
    classes: list[str] = []
    for kind, listed in names.items():
        ordered = sorted(listed)
        places[kind] = {number: len(classes) + i for i, number in enumerate(ordered)}
        taken = set(classes)
        for number in ordered:
            name = listed[number]
            classes.append(f"{kind} {name}" if name.isdigit() or name in taken else name)
    return places, tuple(classes)


def _seconds_of(chosen: Mapping[str, str], name: str, usual: float) -> float:
    text = chosen.get(name, str(usual))
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise ValueError(f"{name} is {text!r}; give seconds, 1 or 0.5")
    return value


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
