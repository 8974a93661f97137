"""Kinetics-400, 600 and 700 from their own files.

    FOLDER/train.csv  validate.csv  test.csv    label,youtube_id,time_start,time_end,split[,...]
    FOLDER/...                                  the clips, anywhere below

A clip is ``ID_000010_000020`` (times in six digits), ``ID_10_20``, ``ID``, or any of these in a
split or class folder, with any video ending. Rows without a file are left out and counted: videos
vanish from where these sets come from. Test lists carry no labels.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from marey.data.sources.labels import index_files, number_labels, read_classes, refuse_where
from marey.data.table import DataSet, ItemTable, build_table

_NEEDED = ("youtube_id", "time_start", "time_end")
_SPLITS = {"validate": "val", "validation": "val", "valid": "val"}


def annotation_files(path: Path) -> list[Path]:
    """The lists in a folder, or in an ``annotations`` folder below, that have Kinetics' header."""
    if path.is_file():
        return [path] if _has_header(path) else []
    for folder in (path, path / "annotations"):
        found = [p for p in sorted(folder.glob("*.csv")) if _has_header(p)]
        if found:
            return found
    return []


def open_kinetics(path: Path, *, where: Mapping[str, str] | None = None) -> DataSet:
    """The rows of all lists whose clip lies below the folder.

    Raises ValueError when no row has a file.
    """
    refuse_where(where, "kinetics")
    files = annotation_files(path)
    if not files:
        raise ValueError(
            f"{path} has no list with the columns {', '.join(_NEEDED)}; give the folder of "
            "train.csv and validate.csv"
        )
    root = path if path.is_dir() else path.parent
    known = index_files(root)
    read = [_read(file) for file in files]
    columns = [c for t in read if "label" in t.column_names for c in _labels(t)]
    labels = pa.chunked_array(columns, pa.string())
    if not len(labels):
        raise ValueError(f"{path}: none of its lists has a 'label' column; add train.csv")
    classes, _ = number_labels(labels, read_classes(root), str(path))
    parts: dict[str, list[pa.Table]] = {}
    notes: list[str] = []
    for file, table in zip(files, read, strict=True):
        for split, rows in _rows(file, table, known, classes, notes):
            parts.setdefault(split, []).append(rows)
    tables = {s: ItemTable(pa.concat_tables(p), classes, root=root) for s, p in parts.items()}
    if not any(len(t) for t in tables.values()):
        example = f"{read[0].column('youtube_id')[0]}_000000_000010.mp4"
        raise ValueError(f"{path}: no clip of its lists lies below {root} (such as {example})")
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return DataSet(
        splits=tables, classes=classes, format="kinetics", address=str(path), notes=tuple(notes)
    )


def _rows(
    file: Path,
    table: pa.Table,
    known: Mapping[str, str],
    classes: tuple[str, ...],
    notes: list[str],
) -> list[tuple[str, pa.Table]]:
    """(split, rows with a file) of one list."""
    ids, starts, ends = (table.column(n).to_pylist() for n in _NEEDED)
    paths = [_find(*row, known) for row in zip(ids, starts, ends, strict=True)]
    missing = sum(p is None for p in paths)
    if missing:
        notes.append(f"{file.name}: {missing} of {len(paths)} rows have no file and are left out")
    target: Any = pa.nulls(len(paths), pa.int32())
    if "label" in table.column_names:
        target = number_labels(pa.chunked_array(_labels(table)), classes, str(file))[1]
    rows = build_table(pa.array(paths, pa.string()), target)
    has_file = pc.is_valid(rows.column("path"))
    if "split" not in table.column_names:
        stem = file.stem.rsplit("_", 1)[-1]
        return [(_SPLITS.get(stem, stem), rows.filter(has_file))]
    splits = table.column("split")
    return [
        (_SPLITS.get(name, name), rows.filter(pc.and_(has_file, pc.equal(splits, name))))
        for name in pc.unique(splits).to_pylist()
    ]


def _find(name: str, start: str, end: str, known: Mapping[str, str]) -> str | None:
    first, last = int(float(start)), int(float(end))
    for stem in (f"{name}_{first:06d}_{last:06d}", f"{name}_{first}_{last}", name):
        if stem in known:
            return known[stem]
    return None


def _labels(table: pa.Table) -> list[pa.Array]:
    trimmed = pc.utf8_trim_whitespace(table.column("label"))
    return list(trimmed.chunks)


def _has_header(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(4096).decode("utf-8-sig", errors="replace")
    names = [n.strip() for n in first.split(",")]
    return set(_NEEDED) <= set(names)


def _read(path: Path) -> pa.Table:
    wanted = dict.fromkeys(("label", *_NEEDED, "split"), pa.string())
    try:
        return pacsv.read_csv(str(path), convert_options=pacsv.ConvertOptions(column_types=wanted))
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} cannot be read as CSV: {' '.join(str(error).split())}") from None
