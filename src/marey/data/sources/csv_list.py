"""Lists of clips as text: CSV with a header, and headerless ``path label`` lines.

With a header: ``path,label[,split][,start_s,end_s]``; ``labels`` instead of ``label`` holds
several, separated by semicolons. Further columns select rows through ``where``. Paths with commas
stand in double quotes, as CSV has it.

Without: the last field of a line is the label, so paths may hold spaces; one column is an
unlabelled list; three are path, something ignored (such as a frame count), label.

Relative paths are relative to the list. A ``classes.txt`` beside it fixes names and their order.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from marey.config import nearest
from marey.data.sources.labels import (
    VIDEO_ENDINGS,
    number_labels,
    probe_files,
    read_classes,
    refuse_where,
)
from marey.data.table import DataSet, ItemTable, build_table

_FIRST = 64  # lines looked at before all are


def read_header(path: Path) -> tuple[list[str], str]:
    """Column names of the first line and the separator; no names without a ``path`` column."""
    with path.open("rb") as file:
        first = file.readline(1 << 16).decode("utf-8-sig", errors="replace").strip()
    for separator in (",", ";", "\t"):
        names = [n.strip() for n in next(csv.reader([first], delimiter=separator), [])]
        if len(names) > 1 and any(n.lower() == "path" for n in names):
            return names, separator
    return ([first], ",") if first.lower() == "path" else ([], ",")


def header_files(path: Path) -> list[Path]:
    """The lists with a header that a path means: itself, its labels.csv, or its split lists."""
    if path.is_file():
        known = path.suffix.lower() in (".csv", ".tsv", ".txt", ".lst", ".list", "")
        return [path] if known and read_header(path)[0] else []
    files = [path / "labels.csv"] if (path / "labels.csv").is_file() else list_files(path)
    return [file for file in files if read_header(file)[0]]


def open_csv(path: Path, *, where: Mapping[str, str] | None = None) -> DataSet:
    """The rows of a CSV list with a header, by its ``split`` column, or one list a split.

    Raises ValueError for missing columns, bad times, and a ``where`` that selects nothing.
    """
    files = header_files(path)
    if not files:
        raise ValueError(f"{path} has no header with a 'path' column; begin it with path,label")
    read = [_read_checked(file) for file in files]
    names = read[0].column_names
    if len(files) > 1:
        for file, part in zip(files, read, strict=True):
            if part.column_names != names:
                raise ValueError(f"{file} has other columns than {files[0]}; make them the same")
        stems = [s.stem for s, p in zip(files, read, strict=True) for _ in range(p.num_rows)]
        whole = pa.concat_tables(
            [p.drop_columns(["split"]) if "split" in names else p for p in read]
        )
        table = whole.append_column("split", pa.chunked_array([pa.array(stems, pa.string())]))
    else:
        table = read[0]
    table = _filter(table, where, path)
    plural = "label" not in names
    folder = files[0].parent
    classes, target = _targets(
        table.column("labels" if plural else "label"), path, folder, plural=plural
    )
    times = {n: _seconds(table.column(n), n, path) for n in ("start_s", "end_s") if n in names}
    if times:
        _refuse_empty_spans(times["start_s"], times["end_s"], path)
        if all(t.null_count == len(t) for t in times.values()):
            times = {}
    rows = build_table(table.column("path"), target, multi_label=plural, **times)
    probe_files(rows.column("path"), folder, str(path))
    splits = _trim(table.column("split")) if "split" in table.column_names else None
    tables = {
        name: ItemTable(part, classes, root=folder)
        for name, part in _by_split(rows, splits).items()
    }
    return DataSet(
        splits=tables, classes=classes, multi_label=plural, format="csv", address=str(path)
    )


def open_list(path: Path, *, where: Mapping[str, str] | None = None) -> DataSet:
    """The rows of one headerless list, as a data set without splits."""
    refuse_where(where, "list")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; format 'list' is one file of lines 'path label'")
    rows, classes = _read_list(path)
    items = ItemTable(rows, classes, root=path.parent)
    return DataSet(splits={"": items}, classes=classes, format="list", address=str(path))


def open_list_folder(folder: Path, *, where: Mapping[str, str] | None = None) -> DataSet:
    """PySlowFast's ``train.csv``, ``val.csv``, ``test.csv`` in one folder.

    Labels are class numbers or names, the same in all files.
    """
    refuse_where(where, "lists")
    read = {p.stem: _split_lines(p) for p in list_files(folder)}
    if not read:
        raise ValueError(f"{folder} has no train.csv; format 'lists' is a folder of split lists")
    known = read_classes(folder)
    labels = [labels for _, labels in read.values() if labels is not None]
    classes: tuple[str, ...] = tuple(known or ())
    if labels:
        joined = pa.chunked_array([c for column in labels for c in pa.chunked_array(column).chunks])
        classes, _ = number_labels(joined, known, str(folder))
    tables = {}
    for name, (paths, column) in read.items():
        source = folder / f"{name}.csv"
        target = _numbers(column, classes, source) if column is not None else None
        probe_files(paths, folder, str(source))
        rows = build_table(paths, target if target is not None else pa.nulls(len(paths)))
        tables[name] = ItemTable(rows, classes, root=folder)
    return DataSet(splits=tables, classes=classes, format="lists", address=str(folder))


def list_files(folder: Path) -> list[Path]:
    """The split lists of a folder: ``train``, ``val``, ``test`` ending in .csv or .txt."""
    found = []
    for stem in ("train", "val", "test"):
        found += [p for p in (folder / f"{stem}{e}" for e in (".csv", ".txt")) if p.is_file()][:1]
    return found


def _numbers(column: Any, classes: tuple[str, ...], source: Path) -> pa.Array:
    return number_labels(pa.chunked_array(column), classes, str(source))[1]


def _read_list(path: Path) -> tuple[pa.Table, tuple[str, ...]]:
    paths, labels = _split_lines(path)
    probe_files(paths, path.parent, str(path))
    if labels is None:
        return build_table(paths, pa.nulls(len(paths))), ()
    classes, target = number_labels(pa.chunked_array(labels), read_classes(path.parent), str(path))
    return build_table(paths, target), classes


def _split_lines(path: Path) -> tuple[Any, Any | None]:
    """Paths and labels (None: unlabelled) of a headerless list, by the last-field rule."""
    lines = _read_raw_lines(path)
    if not len(lines):
        raise ValueError(f"{path} is empty; put a line 'path label' in it for every clip")
    if _names_files(lines):
        return _unquote(lines), None
    pairs = _rsplit_space(lines)
    if (pairs is None or _all(pc.match_substring(pairs[1], ","))) and _all(
        pc.match_substring(lines, ",")
    ):
        parts = pc.split_pattern(lines, ",", max_splits=1, reverse=True)
        pairs = (pc.list_element(parts, 0), _trim(pc.list_element(parts, 1)))
    if pairs is None:
        spaced = pc.match_substring(lines, " ")
        if not pc.any(spaced).as_py():
            return _unquote(lines), None
        row = pc.index(spaced, False).as_py()
        raise ValueError(
            f"{path}: {lines[row].as_py()!r} has no label; every line is 'path label', or none is"
        )
    paths, labels = pairs
    if _is_third(_rsplit_space(paths.slice(0, _FIRST)), paths, path.parent):
        second = _rsplit_space(paths)
        if _is_third(second, paths, path.parent):
            assert second is not None
            paths = second[0]
    return _unquote(paths), labels


def _names_files(lines: Any) -> bool:
    """Whether every line ends as a video's name does, so that there is no label after it."""
    pattern = "(" + "|".join(re.escape(e) for e in sorted(VIDEO_ENDINGS)) + ')"?$'
    return all(
        _all(pc.match_substring_regex(part, pattern, ignore_case=True))
        for part in (lines.slice(0, _FIRST), lines)
    )


def _rsplit_space(lines: Any) -> tuple[Any, Any] | None:
    """(rest, last field) of every line, or None where some line has one field only."""
    parts = pc.utf8_split_whitespace(lines, max_splits=1, reverse=True)
    if not _all(pc.equal(pc.list_value_length(parts), 2)):
        return None
    return pc.utf8_rtrim_whitespace(pc.list_element(parts, 0)), pc.list_element(parts, 1)


def _is_third(split: tuple[Any, Any] | None, whole: Any, root: Path) -> bool:
    """Three columns (an ignored number in the middle) rather than paths that end in a number."""
    if split is None or not _all(pc.match_substring_regex(split[1], r"^-?\d+$")):
        return False
    first_whole = root / _unquote(whole.slice(0, 1))[0].as_py()
    return (root / _unquote(split[0].slice(0, 1))[0].as_py()).exists() or not first_whole.exists()


def _all(mask: Any) -> bool:
    return bool(pc.all(mask).as_py())


def _unquote(paths: Any) -> Any:
    if not pc.any(pc.starts_with(paths, '"')).as_py():
        return paths
    return pc.replace_substring_regex(paths, r'^"(.*)"$', r"\1")


def _trim(values: Any) -> Any:
    return pc.utf8_trim_whitespace(values)


def _read_raw_lines(path: Path) -> pa.ChunkedArray:
    options = {
        "read_options": pacsv.ReadOptions(column_names=["line"]),
        "parse_options": pacsv.ParseOptions(
            delimiter="\x01", quote_char=False, ignore_empty_lines=True
        ),
        "convert_options": pacsv.ConvertOptions(column_types={"line": pa.string()}),
    }
    if path.stat().st_size == 0:
        return pa.chunked_array([pa.array([], pa.string())])
    column = _trim(_arrow_csv(path, options).column("line"))
    blank = pc.equal(column, "")
    return column.filter(pc.invert(blank)) if pc.any(blank).as_py() else column


def _read_checked(path: Path) -> pa.Table:
    """The columns of one list with a header, after a look at their names."""
    names, separator = read_header(path)
    if "label" not in names and "labels" not in names:
        raise ValueError(
            f"{path} has no 'label' column{nearest('label', names)} (columns: {', '.join(names)}); "
            "a list without labels has no header either"
        )
    if ("start_s" in names) != ("end_s" in names):
        raise ValueError(f"{path} has only one of the columns start_s and end_s; give both")
    return _read_columns(path, names, separator)


def _read_columns(path: Path, names: list[str], separator: str) -> pa.Table:
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise ValueError(f"{path} has two columns named {twice!r}; rename one")
    options = {
        "read_options": pacsv.ReadOptions(column_names=names, skip_rows=1),
        "parse_options": pacsv.ParseOptions(delimiter=separator),
        "convert_options": pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    }
    table = _arrow_csv(path, options)
    if not table.num_rows:
        raise ValueError(f"{path} has a header and no rows; add a row for every clip")
    return table


def _arrow_csv(path: Path, options: dict[str, Any]) -> pa.Table:
    try:
        return pacsv.read_csv(str(path), **options)
    except pa.ArrowInvalid as error:
        reason = " ".join(str(error).split())
        if "Empty CSV" in reason:
            raise ValueError(f"{path} has no rows; add a row for every clip") from None
        cure = "put paths that hold the separator in double quotes"
        if "UTF8" in reason:
            cure = "save it as UTF-8"
        raise ValueError(f"{path} cannot be read as CSV: {reason}; {cure}") from None


def _filter(table: pa.Table, where: Mapping[str, str] | None, path: Path) -> pa.Table:
    names = table.column_names
    for name, value in (where or {}).items():
        if name not in names:
            raise ValueError(
                f"where {name}={value}: {path} has no column {name!r}{nearest(name, names)} "
                f"(columns: {', '.join(names)})"
            )
        column = _trim(table.column(name))
        mask = pc.equal(column, str(value))
        if not pc.any(mask).as_py():
            known = [v for v in pc.unique(column).to_pylist() if v]
            shown = ", ".join(sorted(known)[:12]) + (", ..." if len(known) > 12 else "")
            raise ValueError(
                f"where {name}={value}: no row of {path} has it{nearest(str(value), known)} "
                f"(values: {shown})"
            )
        table = table.filter(mask)
    return table


def _targets(
    column: pa.ChunkedArray, path: Path, folder: Path, *, plural: bool
) -> tuple[tuple[str, ...], pa.Array | list[list[int]]]:
    known = read_classes(folder)
    if not plural:
        return number_labels(_trim(column), known, str(path))
    rows = [[n.strip() for n in row.split(";") if n.strip()] for row in column.to_pylist()]
    flat = pa.chunked_array([pa.array([n for row in rows for n in row], pa.string())])
    classes, numbers = number_labels(flat, known, str(path))
    ordered = iter(numbers.to_pylist())
    return classes, [sorted({next(ordered) for _ in row}) for row in rows]


def _seconds(column: pa.ChunkedArray, name: str, path: Path) -> pa.ChunkedArray:
    text = _trim(column)
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    try:
        return text.cast(pa.float64())
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} column {name}: {error}; times are seconds, or empty") from None


def _refuse_empty_spans(start: pa.ChunkedArray, end: pa.ChunkedArray, path: Path) -> None:
    bad = pc.fill_null(pc.less_equal(end, start), False)
    if pc.any(bad).as_py():
        row = pc.index(bad, True).as_py()
        span = f"{start[row].as_py():g}-{end[row].as_py():g} s"
        raise ValueError(f"{path} row {row + 1}: {span} is empty; end_s must be above start_s")


def _by_split(rows: pa.Table, splits: pa.ChunkedArray | None) -> dict[str, pa.Table]:
    if splits is None:
        return {"": rows}
    return {
        name: rows.filter(pc.equal(splits, name)) for name in sorted(pc.unique(splits).to_pylist())
    }
