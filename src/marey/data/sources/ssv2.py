"""Something-Something v1 and v2 from their own files.

v2  labels.json  {"Pushing something": "0", ...}           or something-something-v2-labels.json
    train.json   [{"id": "78687", "template": "Pushing [something]"}, ...], validation.json,
    test.json    the same without a template               20bn-something-something-v2/78687.webm
v1  something-something-v1-labels.csv, -train.csv ("ID;label"), ...   frame folders at 12 fps
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marey.data.sources.labels import refuse_where
from marey.data.sources.something import clip_folder, open_pairs, rows_of
from marey.data.table import DataSet, ItemTable

_PREFIXES = ("something-something-v2-", "")
_CLIPS_V2 = ("20bn-something-something-v2", "videos", "frames")
_CLIPS_V1 = ("20bn-something-something-v1", "frames", "videos")
_FRAME_RATE = 30.0  # of the frames that the public preparations extract


def fits_v1(path: Path) -> bool:
    return (path / "something-something-v1-labels.csv").is_file()


def fits_v2(path: Path) -> bool:
    return any(_files(folder) for folder in _places(path))


def open_v1(path: Path, *, where: Mapping[str, str] | None = None) -> DataSet:
    """Something-Something v1, frame folders by number."""
    refuse_where(where, "ssv1")
    return open_pairs(path, "something-something-v1", _CLIPS_V1, format="ssv1")


def open_v2(path: Path, *, where: Mapping[str, str] | None = None) -> DataSet:
    """Something-Something v2; labels are templates without brackets, numbered by the labels file.

    Raises ValueError for a missing file and a template that the labels file does not have.
    """
    refuse_where(where, "ssv2")
    files = next((f for f in map(_files, _places(path)) if f), None)
    if files is None:
        raise ValueError(f"{path} has no labels.json with train.json; give the folder of both")
    numbers = _read(files["labels"], dict)
    classes = tuple(sorted(numbers, key=lambda name: int(numbers[name])))
    if sorted(int(n) for n in numbers.values()) != list(range(len(classes))):
        raise ValueError(f"{files['labels']} does not number its labels 0 to {len(classes) - 1}")
    clips = clip_folder(path, _CLIPS_V2)
    tables: dict[str, ItemTable] = {}
    for split in ("train", "val", "test"):
        if split in files:
            pairs = [(str(row["id"]), _template(row)) for row in _read(files[split], list)]
            tables[split] = rows_of(pairs, classes, clips, files[split], fps=_FRAME_RATE)
    return DataSet(splits=tables, classes=classes, format="ssv2", address=str(path))


def _template(row: Mapping[str, Any]) -> str | None:
    template = row.get("template")
    return None if template is None else template.replace("[", "").replace("]", "")


def _places(path: Path) -> tuple[Path, Path]:
    return path, path / "labels"


def _files(folder: Path) -> dict[str, Path]:
    """The JSON files of one naming scheme, empty unless labels and a training list are there."""
    for prefix in _PREFIXES:
        names = {"labels": "labels", "train": "train", "val": "validation", "test": "test"}
        found = {role: folder / f"{prefix}{name}.json" for role, name in names.items()}
        found = {role: file for role, file in found.items() if file.is_file()}
        if "labels" in found and ("train" in found or "val" in found):
            return found
    return {}


def _read(path: Path, kind: type) -> Any:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(value, kind):
        raise ValueError(f"{path} holds a {type(value).__name__}, not a {kind.__name__}")
    return value
