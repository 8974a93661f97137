"""Item tables: the rows of an annotation file as Arrow columns, and a data set of them by split.

A list of a million Python objects would be copied into every worker; columns are shared. A forked
worker reads the parent's pages; a spawned one maps a temporary Arrow file that the parent writes
once. ``Item`` is a row view made on demand.

    column      type                 meaning
    path        string               the file, relative to ``root`` or absolute
    target      int32 | list<int32>  class number (null: unlabelled), or class numbers
    start_s     float64, optional    null where the row means the whole file
    end_s       float64, optional
    intervals   list<struct<start_s, end_s, label>>, optional: labels that hold for a part only;
                label -2 (AMBIGUOUS) where nobody could say which class it is
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.context import get_spawning_popen
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marey.config import nearest
from marey.types import Item

INTERVALS = pa.list_(
    pa.struct([("start_s", pa.float64()), ("end_s", pa.float64()), ("label", pa.int32())])
)
AMBIGUOUS = -2  # label of a segment whose class nobody could say (THUMOS14); -1: none
_SMALL = 1 << 20  # bytes below which a table travels inside the pickle


class ItemTable:
    """Rows of one split. ``table`` has the columns above; ``fps`` is the rate of frame folders."""

    def __init__(
        self,
        table: pa.Table,
        classes: Sequence[str],
        *,
        root: str | Path = "",
        context_s: float = 0.0,
        fps: float | None = None,
    ) -> None:
        self.classes = tuple(classes)
        self.root = os.path.abspath(root)
        self.context_s = float(context_s)
        self.fps = fps
        self._adopt(table)

    def _adopt(self, table: pa.Table) -> None:
        self._table = table.combine_chunks()
        names = set(table.column_names)
        self._path = self._table.column("path")
        self._target = self._table.column("target")
        self._timed = {"start_s", "end_s"} <= names
        self.multi_label = pa.types.is_list(self._target.type)
        self.has_intervals = "intervals" in names
        self._shared: Path | None = None

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def table(self) -> pa.Table:
        """The Arrow columns; shared, not a copy."""
        return self._table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __repr__(self) -> str:
        return f"ItemTable({len(self)} rows, {self.num_classes} classes, root={self.root!r})"

    def __getitem__(self, index: int) -> Item:
        """Row ``index``: absolute path, and its times widened by ``context_s`` on both sides."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of a table of {len(self)} rows")
        index %= len(self)
        path = self._path[index].as_py()
        start, end = self.times(index)
        key = path if start is None and end is None else f"{path}@{start or 0:g}-{_open_end(end)}"
        if self.context_s and start is not None:
            start = max(0.0, start - self.context_s)
        if self.context_s and end is not None:
            end = end + self.context_s
        return Item(os.path.join(self.root, path), start, end, self.target(index), key)

    def __iter__(self) -> Iterator[Item]:
        return (self[i] for i in range(len(self)))

    def times(self, index: int) -> tuple[float | None, float | None]:
        """``start_s`` and ``end_s`` as the list has them, without context."""
        if not self._timed:
            return None, None
        return (
            self._table.column("start_s")[index].as_py(),
            self._table.column("end_s")[index].as_py(),
        )

    def target(self, index: int) -> tuple[int, ...]:
        """Class numbers of a row; empty where it is unlabelled."""
        value = self._target[index].as_py()
        if value is None:
            return ()
        return tuple(value) if self.multi_label else (value,)

    def target_within(self, index: int, first_s: float, last_s: float) -> tuple[int, ...]:
        """Class numbers that hold at some moment of the closed span [first_s, last_s].

        The row's own target where the table has no intervals.
        """
        if not self.has_intervals:
            return self.target(index)
        rows = self._table.column("intervals")[index].as_py() or []
        return tuple(
            sorted(
                {
                    r["label"]
                    for r in rows
                    if r["label"] >= 0 and r["start_s"] <= last_s and r["end_s"] > first_s
                }
            )
        )

    def intervals(self, index: int) -> list[tuple[float, float, int]]:
        """(start_s, end_s, class number or AMBIGUOUS) of a row's segments, as the list has them."""
        if not self.has_intervals:
            return []
        rows = self._table.column("intervals")[index].as_py() or []
        return [(row["start_s"], row["end_s"], row["label"]) for row in rows]

    @property
    def targets(self) -> np.ndarray:
        """Class number of every row, (N,) int64, -1 unlabelled; single-label tables only."""
        if self.multi_label:
            raise ValueError("targets of a multi-label table are lists; use target(index)")
        filled = pc.fill_null(self._target, -1)
        return np.asarray(filled.to_numpy(), dtype=np.int64)

    def label_counts(self) -> np.ndarray:
        """Rows of each class, (K,) int64; a multi-label row counts once for each of its classes."""
        values = self._target.combine_chunks() if self._target.num_chunks else self._target
        flat = pc.list_flatten(values) if self.multi_label else values
        numbers = np.asarray(pc.drop_null(flat).to_numpy(zero_copy_only=False), dtype=np.int64)
        return np.bincount(numbers, minlength=self.num_classes)

    def select(self, indices: Iterable[int] | np.ndarray) -> ItemTable:
        """The rows at ``indices``, in that order."""
        numbers = np.asarray(list(indices) if not isinstance(indices, np.ndarray) else indices)
        return self._with(self._table.take(pa.array(numbers.astype(np.int64))), self.classes)

    def relabel(self, classes: Sequence[str]) -> ItemTable:
        """The same rows numbered by another list of classes, such as a checkpoint's.

        Names may differ in case, and have underscores for spaces. Classes that are plain numbers
        are taken as places in the list. Raises ValueError for a class that it does not have.
        """
        if tuple(classes) == self.classes:
            return self
        places = class_places(self.classes, classes)
        for i in np.flatnonzero(self.label_counts()):
            if places[i] is None:
                name = self.classes[i]
                raise ValueError(
                    f"class {name!r} of the data is not among the {len(classes)} classes wanted"
                    f"{nearest(name, classes)}; rename it or use another model"
                )
        lookup = pa.array(places, pa.int32())
        table = self._table
        position = table.column_names.index("target")
        table = table.set_column(position, "target", _renumber(self._target, lookup))
        if self.has_intervals:
            rows = table.column("intervals").to_pylist()
            moved = [
                [{**r, "label": places[r["label"]] if r["label"] >= 0 else r["label"]} for r in row]
                for row in rows
            ]
            position = table.column_names.index("intervals")
            table = table.set_column(position, "intervals", pa.array(moved, INTERVALS))
        return self._with(table, classes)

    def with_context(self, context_s: float) -> ItemTable:
        """The same rows with another margin around timed ones, seconds."""
        moved = self._with(self._table, self.classes)
        moved.context_s = float(context_s)
        return moved

    def _with(self, table: pa.Table, classes: Sequence[str]) -> ItemTable:
        return ItemTable(table, classes, root=self.root, context_s=self.context_s, fps=self.fps)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "classes": self.classes,
            "root": self.root,
            "context_s": self.context_s,
            "fps": self.fps,
        }
        if get_spawning_popen() is not None and self._table.nbytes > _SMALL:
            return state | {"file": str(self._share())}
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, self._table.schema) as writer:
            writer.write_table(self._table)
        return state | {"bytes": sink.getvalue().to_pybytes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name in ("classes", "root", "context_s", "fps"):
            setattr(self, name, state[name])
        if "file" in state:
            self._adopt(_mapped(state["file"]))
        else:
            self._adopt(pa.ipc.open_file(pa.py_buffer(state["bytes"])).read_all())

    def _share(self) -> Path:
        """The columns as a file that spawned workers map; it goes when this table does.

        From then on this process maps it too, so that the pages exist once on the machine.
        """
        if self._shared is None:
            folder = tempfile.mkdtemp(prefix="marey-items-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            path = Path(folder) / "items.arrow"
            with (
                pa.OSFile(str(path), "wb") as sink,
                pa.ipc.new_file(sink, self._table.schema) as writer,
            ):
                writer.write_table(self._table)
            self._adopt(_mapped(str(path)))
            self._shared = path
        return self._shared


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Item tables by split, numbered by one list of classes.

    A layout without splits has the one split ``""``, which ``split`` gives for any name asked.
    ``notes`` says what the reader of the annotations should know, such as rows without a file.
    ``label_sets`` names the sets whose classes stand one after the other in ``classes``, and their
    sizes, where a row has one label of each, as verbs and nouns.
    """

    splits: Mapping[str, ItemTable]
    classes: tuple[str, ...]
    multi_label: bool = False
    format: str = ""
    address: str = ""
    notes: tuple[str, ...] = field(default=())
    label_sets: tuple[tuple[str, int], ...] = ()

    def split(self, name: str) -> ItemTable:
        """The rows of a split. ``val`` is also found as validation, valid or test.

        Raises ValueError for a split the data does not have.
        """
        if name in self.splits:
            return self.splits[name]
        if set(self.splits) == {""}:
            return self.splits[""]
        if name == "val":
            for other in ("validation", "valid", "test"):
                if other in self.splits:
                    return self.splits[other]
        known = [s or "(no split)" for s in self.splits]
        raise ValueError(
            f"split {name!r} is not in {self.address}{nearest(name, known)}; "
            f"it has {', '.join(known)}"
        )

    def relabel(self, classes: Sequence[str]) -> DataSet:
        """The same rows numbered by another list of classes; see ``ItemTable.relabel``."""
        moved = {name: items.relabel(classes) for name, items in self.splits.items()}
        return replace(self, splits=moved, classes=tuple(classes))


def _mapped(path: str) -> pa.Table:
    """The table of an Arrow file, its pages mapped and present."""
    with pa.memory_map(path) as source:
        np.frombuffer(source.read_buffer(), np.uint8)[::4096].max(initial=0)
        source.seek(0)
        return pa.ipc.open_file(source).read_all()


def class_places(ours: Sequence[str], theirs: Sequence[str]) -> list[int | None]:
    """Where each of our class names stands in their list, None where it does not."""
    exact = {name: i for i, name in enumerate(theirs)}
    folded: dict[str, int] = {}
    twice = set()
    for i, name in enumerate(theirs):
        if folded.setdefault(_folded(name), i) != i:
            twice.add(_folded(name))
    plain = not any(n in exact for n in ours) and list(ours) == [str(i) for i in range(len(ours))]
    places: list[int | None] = []
    for i, name in enumerate(ours):
        near = None if _folded(name) in twice else folded.get(_folded(name))
        found = i if plain and i < len(theirs) else exact.get(name, near)
        places.append(found)
    return places


def _folded(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def build_table(
    paths: Sequence[str] | pa.Array,
    targets: Sequence[int | None] | Sequence[Sequence[int]] | pa.Array,
    *,
    start_s: Any = None,
    end_s: Any = None,
    intervals: Sequence[Sequence[Mapping[str, float]]] | None = None,
    multi_label: bool = False,
) -> pa.Table:
    """Columns of an item table from sequences or Arrow arrays."""
    kind = pa.list_(pa.int32()) if multi_label else pa.int32()
    columns: dict[str, Any] = {
        "path": _column(paths, pa.string()),
        "target": _column(targets, kind),
    }
    if start_s is not None and end_s is not None:
        columns["start_s"] = _column(start_s, pa.float64())
        columns["end_s"] = _column(end_s, pa.float64())
    if intervals is not None:
        columns["intervals"] = _column(intervals, INTERVALS)
    return pa.table(columns)


def _column(values: Any, kind: pa.DataType) -> Any:
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values if values.type == kind else values.cast(kind)
    return pa.array(values, kind)


def _renumber(values: pa.ChunkedArray, lookup: pa.Array) -> pa.Array:
    """Class numbers looked up in ``lookup``, inside lists where there are lists."""
    array = values.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    if pa.types.is_list(array.type):
        moved = [[lookup[n].as_py() for n in row or []] for row in array.to_pylist()]
        return pa.array(moved, pa.list_(pa.int32()))
    return lookup.take(array)


def _open_end(end: float | None) -> str:
    return "" if end is None else f"{end:g}"
