"""Folders as labels: one folder a class, with or without split folders above.

    ROOT/class/clip.mp4            no splits        ROOT/train/class/clip.mp4     splits
    ROOT/class/clip/00001.jpg      frame folders    ROOT/train/class/clip/*.jpg
    ROOT/class/picture.jpg         images (format "images"): clips of one frame

Classes are the folder names, sorted; ``classes.txt`` in the root fixes another order.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from marey.config import nearest
from marey.data.sources.labels import (
    SPLIT_NAMES,
    is_image,
    is_video,
    read_classes,
    refuse_where,
)
from marey.data.table import DataSet, ItemTable, build_table

# A lone folder of this name holds the clips of annotations that were not understood.
_NO_CLASSES = frozenset({"videos", "video", "clips", "frames", "images", "data"})


def open_folder(
    folder: Path, *, where: Mapping[str, str] | None = None, fps: float | None = None
) -> DataSet:
    """Clips by class folder; a clip is a video file or a folder of images.

    Raises ValueError for an empty folder, files beside class folders, and a class that
    ``classes.txt`` does not have.
    """
    refuse_where(where, "folder")
    return _open(folder, "folder", fps=fps)


def open_images(folder: Path, *, where: Mapping[str, str] | None = None) -> DataSet:
    """ImageNet-style pictures by class folder, each a clip of one frame."""
    refuse_where(where, "images")
    return _open(folder, "images", fps=None)


def open_unlabelled(folder: Path, *, where: Mapping[str, str] | None = None) -> DataSet:
    """Every video below a folder, without labels."""
    refuse_where(where, "unlabelled")
    paths = [
        os.path.relpath(os.path.join(place, name), folder)
        for place, folders, files in os.walk(folder)
        for name in sorted(files)
        if is_video(name) and folders is not None
    ]
    if not paths:
        raise ValueError(f"{folder} holds no videos; give a folder with some below it")
    rows = build_table(sorted(paths), [None] * len(paths))
    items = ItemTable(rows, (), root=folder)
    return DataSet(splits={"": items}, classes=(), format="unlabelled", address=str(folder))


def layout_of(folder: Path) -> str:
    """``folder`` or ``images`` where class folders are found, else an empty string.

    Looks at the first clips only.
    """
    for split in _split_folders(folder) or [folder]:
        names = _folders(split)
        if len(names) == 1 and names[0].lower() in _NO_CLASSES:
            continue
        for name in names:
            entries = _entries(split / name)
            if any(is_video(e) for e, is_folder in entries if not is_folder):
                return "folder"
            if any(is_image(e) for e, is_folder in entries if not is_folder):
                return "images"
            for inner in (e for e, is_folder in entries if is_folder):
                if any(is_image(e) for e, is_dir in _entries(split / name / inner) if not is_dir):
                    return "folder"
    return ""


def _open(folder: Path, kind: str, *, fps: float | None) -> DataSet:
    splits = _split_folders(folder)
    found: dict[str, list[tuple[str, str]]] = {}
    for place in splits or [folder]:
        found[place.name if splits else ""] = _clips(place, folder, kind)
    classes = _classes(folder, splits, found)
    number = {name: i for i, name in enumerate(classes)}
    tables = {}
    for split, clips in found.items():
        rows = build_table([path for path, _ in clips], [number[name] for _, name in clips])
        tables[split] = ItemTable(rows, classes, root=folder, fps=fps)
    if not any(len(t) for t in tables.values()):
        raise ValueError(
            f"{folder} holds no clips; put each in a folder named for its class, or give a list"
        )
    return DataSet(splits=tables, classes=classes, format=kind, address=str(folder))


def _classes(
    folder: Path, splits: list[Path], found: Mapping[str, list[tuple[str, str]]]
) -> tuple[str, ...]:
    names = {name for place in splits or [folder] for name in _folders(place)}
    known = read_classes(folder)
    if known is None:
        used = {name for clips in found.values() for _, name in clips}
        return tuple(sorted(used))
    for name in sorted(names):
        if name not in known:
            raise ValueError(
                f"class folder {name!r} in {folder} is not in its classes.txt"
                f"{nearest(name, known)}; add the line or rename the folder"
            )
    return known


def _clips(place: Path, root: Path, kind: str) -> list[tuple[str, str]]:
    """(path relative to root, class) of every clip below one folder of class folders."""
    clips = []
    for name in _folders(place):
        for entry, is_folder in _entries(place / name):
            relative = os.path.relpath(place / name / entry, root)
            if kind == "images":
                wanted = not is_folder and is_image(entry)
            elif is_folder:
                wanted = any(is_image(e) for e, _ in _entries(place / name / entry))
            else:
                wanted = is_video(entry)
            if wanted:
                clips.append((relative, name))
    return clips


def _split_folders(folder: Path) -> list[Path]:
    """The split folders of a root, or none where its folders are classes."""
    names = _folders(folder)
    if not names or not all(n.lower() in SPLIT_NAMES for n in names):
        return []
    return [folder / n for n in names]


def _folders(folder: Path) -> list[str]:
    return [name for name, is_folder in _entries(folder) if is_folder]


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """(name, is a folder), sorted, hidden ones left out."""
    with os.scandir(folder) as listing:
        found = [(e.name, e.is_dir()) for e in listing if not e.name.startswith(".")]
    return sorted(found)
