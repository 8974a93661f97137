"""The table of layouts: how each is recognised and which function reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marey.data.sources import csv_list, folder
from marey.data.sources.labels import is_image, is_video
from marey.data.table import DataSet


@dataclass(frozen=True)
class Format:
    """``fits`` looks at names and first lines; ``open`` takes (path, where=) and reads all."""

    fits: Callable[[Path], bool]
    open: Callable[..., DataSet]
    about: str


def _open_csv(path: Path, **options: Any) -> DataSet:
    return csv_list.open_csv(path / "labels.csv" if path.is_dir() else path, **options)


def _fits_csv(path: Path) -> bool:
    file = path / "labels.csv" if path.is_dir() else path
    return file.is_file() and _is_text(file) and bool(csv_list.read_header(file)[0])


def _fits_list(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in (".csv", ".txt", ".tsv", ".lst", ".list", "")


def _fits_lists(path: Path) -> bool:
    return path.is_dir() and bool(csv_list.list_files(path))


def _fits_folder(path: Path) -> bool:
    return path.is_dir() and folder.layout_of(path) == "folder"


def _fits_images(path: Path) -> bool:
    return path.is_dir() and folder.layout_of(path) == "images"


def _is_text(path: Path) -> bool:
    return path.suffix.lower() in (".csv", ".tsv", ".txt", ".lst", ".list", "")


FORMATS: dict[str, Format] = {
    "csv": Format(_fits_csv, _open_csv, "CSV with a header: path,label[,split][,start_s,end_s]"),
    "list": Format(_fits_list, csv_list.open_list, "lines 'path label'"),
    "lists": Format(_fits_lists, csv_list.open_list_folder, "folder of train.csv, val.csv"),
    "folder": Format(_fits_folder, folder.open_folder, "a folder per class"),
    "images": Format(_fits_images, folder.open_images, "a folder of pictures per class"),
    "unlabelled": Format(lambda _: False, folder.open_unlabelled, "any videos below a folder"),
}
# A layout on the left also looks like those on the right, and is meant.
_BEFORE: dict[str, tuple[str, ...]] = {"csv": ("list",)}


def recognise(path: Path) -> str:
    """The name of the one layout that fits. Raises ValueError where none does, or several do."""
    fitting = [name for name, known in FORMATS.items() if known.fits(path)]
    hidden = {other for name in fitting for other in _BEFORE.get(name, ())}
    names = [name for name in fitting if name not in hidden]
    if len(names) == 1:
        return names[0]
    if names:
        raise ValueError(
            f"{path} could be {' or '.join(names)}; say which with format={names[0]!r}"
        )
    raise ValueError(f"{path} {_why_not(path)}")


def _why_not(path: Path) -> str:
    if path.is_file():
        if is_video(path.name) or is_image(path.name):
            return "is a single clip, not a data set; give the folder of class folders or a list"
        return f"has a layout that is not known (formats: {', '.join(FORMATS)}); name it by format"
    entries = [entry.name for entry in path.iterdir()]
    if not entries:
        return "is an empty folder; put clips in folders named for their classes, or give a list"
    if any(is_video(name) for name in entries):
        return (
            "holds videos but no class folders; put each in a folder named for its class, give a "
            "list, or format='unlabelled'"
        )
    return f"has a layout that is not known (formats: {', '.join(FORMATS)}); name it by format"
