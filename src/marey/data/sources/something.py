"""Files that 20BN's data sets share: clips named by a number, as videos or frame folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from marey.data.sources.labels import is_image, is_video, number_of, probe_files, read_lines
from marey.data.table import DataSet, ItemTable, build_table


def clip_folder(root: Path, names: Sequence[str]) -> Path:
    """The folder of clips: the first of ``names`` that exists, or a lone folder of clips.

    Raises ValueError where there is none.
    """
    for name in names:
        if (root / name).is_dir():
            return root / name
    others = [p for p in sorted(root.iterdir()) if p.is_dir() and _holds_clips(p)]
    if len(others) == 1:
        return others[0]
    raise ValueError(
        f"{root} has no folder of clips; put them in {root / names[0]}, as ID.webm or ID/00001.jpg"
    )


def clip_ending(folder: Path) -> str:
    """What follows a clip's number: a video ending, or nothing for frame folders."""
    for entry in sorted(folder.iterdir())[:64]:
        if entry.is_dir():
            return ""
        if is_video(entry.name):
            return entry.suffix
    raise ValueError(f"{folder} holds neither videos nor frame folders; put the clips in it")


def rows_of(
    pairs: Sequence[tuple[str, str | None]],
    classes: Sequence[str],
    clips: Path,
    source: Path,
    *,
    fps: float,
) -> ItemTable:
    """(id, label or None) pairs as items of a clip folder."""
    numbers = {name: i for i, name in enumerate(classes)}
    ending = clip_ending(clips)
    paths = [f"{name}{ending}" for name, _ in pairs]
    probe_files(paths, clips, str(source))
    targets = [None if n is None else number_of(n, numbers, str(source)) for _, n in pairs]
    table = build_table(paths, pa.array(targets, pa.int32()))
    return ItemTable(table, classes, root=clips, fps=fps)


def read_pairs(path: Path) -> list[tuple[str, str | None]]:
    """``ID;label`` lines; ``ID`` alone in a test list."""
    pairs: list[tuple[str, str | None]] = []
    for number, line in enumerate(read_lines(path), 1):
        name, found, label = line.strip().partition(";")
        if not name.strip():
            raise ValueError(f"{path} line {number} has no clip number; write ID;label")
        pairs.append((name.strip(), label.strip() if found else None))
    return pairs


def open_pairs(root: Path, prefix: str, clip_folders: Sequence[str], *, format: str) -> DataSet:
    """PREFIX-labels.csv, PREFIX-train.csv, PREFIX-validation.csv and frames at 12 per second."""
    classes = tuple(line.strip() for line in read_lines(root / f"{prefix}-labels.csv"))
    clips = clip_folder(root, clip_folders)
    tables = {}
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        path = root / f"{prefix}-{name}.csv"
        if path.is_file():
            tables[split] = rows_of(read_pairs(path), classes, clips, path, fps=12.0)
    if not tables:
        raise ValueError(f"{root} has {prefix}-labels.csv but no {prefix}-train.csv; add the lists")
    return DataSet(splits=tables, classes=classes, format=format, address=str(root))


def _holds_clips(folder: Path) -> bool:
    for entry in sorted(folder.iterdir())[:8]:
        if is_video(entry.name):
            return True
        if entry.is_dir() and any(is_image(p.name) for p in entry.iterdir()):
            return True
    return False
