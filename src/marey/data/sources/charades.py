"""Charades, many labels a video, from its own files or from PySlowFast's lists of frames.

    Charades_v1_classes.txt   c000 Holding some clothes
    Charades_v1_train.csv     id,...,actions,length    actions: "c092 11.90 21.20;c147 0.00 12.60"
    Charades_v1/46GP8.mp4     or Charades_v1_480/..., or frame folders Charades_v1_rgb/46GP8/*.jpg

    train.csv                 original_vido_id video_id frame_id path labels
                              46GP8 0 0 46GP8/46GP8-000001.jpg "92,147"

A row's target is the union of its labels; its intervals let a training clip carry only those that
hold within it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from marey.data.sources.labels import number_of, probe_files, read_lines, refuse_where
from marey.data.sources.something import clip_ending
from marey.data.table import DataSet, ItemTable, build_table

FRAME_RATE = 24.0  # of the published frames
_CLIPS = ("Charades_v1_480", "Charades_v1", "Charades_v1_rgb", "videos", "frames")
_LIST_HEADER = "original_vido_id"  # spelt as the lists spell it
_NUM_CLASSES = 157
Interval = dict[str, float]


def fits(path: Path) -> bool:
    return (path / "Charades_v1_train.csv").is_file() or (path / "Charades_v1_test.csv").is_file()


def frame_lists(path: Path) -> dict[str, Path]:
    """The frame lists of a folder by split; one file stands for itself."""
    files = [path] if path.is_file() else sorted(path.glob("*.csv")) if path.is_dir() else []
    found = {}
    for file in files:
        with file.open("rb") as text:
            if text.readline(512).decode("utf-8-sig", errors="replace").startswith(_LIST_HEADER):
                found["" if path.is_file() else file.stem] = file
    return found


def open_charades(path: Path, *, where: Mapping[str, str] | None = None) -> DataSet:
    """Splits ``train`` and ``test`` of the official annotations.

    Raises ValueError for missing files and labels that the class list does not have.
    """
    refuse_where(where, "charades")
    classes = _read_classes(path / "Charades_v1_classes.txt")
    numbers = {f"c{i:03d}": i for i in range(len(classes))}
    clips = next((path / n for n in _CLIPS if (path / n).is_dir()), None)
    if clips is None:
        raise ValueError(f"{path} has no folder of clips; put them in {path / _CLIPS[0]}")
    ending = clip_ending(clips)
    tables = {}
    for split in ("train", "test"):
        source = path / f"Charades_v1_{split}.csv"
        if not source.is_file():
            continue
        with source.open(encoding="utf-8", newline="") as text:
            rows = list(csv.DictReader(text))
        if rows and not {"id", "actions"} <= set(rows[0]):
            raise ValueError(f"{source} lacks the columns id and actions; use the official file")
        videos = [f"{row['id']}{ending}" for row in rows]
        probe_files(videos, clips, str(source))
        intervals = [_actions(row["actions"], numbers, source) for row in rows]
        tables[split] = _table(videos, intervals, classes, clips)
    return DataSet(
        splits=tables, classes=classes, multi_label=True, format="charades", address=str(path)
    )


def open_frame_lists(path: Path, *, where: Mapping[str, str] | None = None) -> DataSet:
    """PySlowFast's lists of labelled frames: one item for each folder of frames."""
    refuse_where(where, "frame_list")
    lists = frame_lists(path)
    if not lists:
        raise ValueError(f"{path} has no list that begins with {_LIST_HEADER}; give such a file")
    root = path if path.is_dir() else path.parent
    read = {split: _read_frames(file) for split, file in lists.items()}
    highest = max(
        (int(i["label"]) for v in read.values() for r in v.values() for i in r), default=0
    )
    classes = tuple(str(i) for i in range(max(_NUM_CLASSES, highest + 1)))
    tables = {}
    for split, videos in read.items():
        probe_files(list(videos), root, str(lists[split]))
        tables[split] = _table(list(videos), list(videos.values()), classes, root)
    return DataSet(
        splits=tables, classes=classes, multi_label=True, format="frame_list", address=str(path)
    )


def _table(
    videos: list[str], intervals: list[list[Interval]], classes: tuple[str, ...], root: Path
) -> ItemTable:
    targets = [sorted({int(i["label"]) for i in row}) for row in intervals]
    table = build_table(videos, targets, intervals=intervals, multi_label=True)
    return ItemTable(table, classes, root=root, fps=FRAME_RATE)


def _actions(text: str, numbers: Mapping[str, int], source: Path) -> list[Interval]:
    found = []
    for action in filter(None, (a.strip() for a in text.split(";"))):
        parts = action.split()
        if len(parts) != 3:
            raise ValueError(f"{source}: action {action!r} is not 'cNNN START END'; correct it")
        label = number_of(parts[0], numbers, str(source))
        found.append({"start_s": float(parts[1]), "end_s": float(parts[2]), "label": label})
    return found


def _read_frames(path: Path) -> dict[str, list[Interval]]:
    """Folder -> intervals; consecutive frames with one label join."""
    videos: dict[str, list[Interval]] = {}
    with path.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, delimiter=" ", quotechar='"')
        next(reader)
        for row in reader:
            if len(row) != 5 or not row[2].isdigit():
                line = " ".join(row)
                raise ValueError(f"{path}: {line!r} is not 'id number frame path \"labels\"'")
            intervals = videos.setdefault(str(Path(row[3]).parent), [])
            labels = (int(n) for n in row[4].split(",") if n.strip())
            _extend(intervals, int(row[2]), labels)
    return videos


def _extend(intervals: list[Interval], frame: int, labels: Iterable[int]) -> None:
    """Add one frame's labels; half a frame of margin keeps the ends clear of rounding."""
    begin, end = (frame - 0.5) / FRAME_RATE, (frame + 0.5) / FRAME_RATE
    for label in labels:
        for known in intervals:
            if known["label"] == label and abs(known["end_s"] - begin) < 1e-6:
                known["end_s"] = end
                break
        else:
            intervals.append({"start_s": begin, "end_s": end, "label": label})


def _read_classes(path: Path) -> tuple[str, ...]:
    names = []
    for number, line in enumerate(read_lines(path)):
        code, _, name = line.strip().partition(" ")
        if code != f"c{number:03d}":
            raise ValueError(f"{path} line {number + 1} begins with {code!r}, not c{number:03d}")
        names.append(name)
    return tuple(names)
