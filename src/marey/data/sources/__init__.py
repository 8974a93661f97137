"""Sources of items: one function a layout, found by what lies on disk or by its name.

``FORMATS`` is the whole list. Recognition looks at file names and first lines only; where two
layouts fit, the caller has to name one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from marey.config import nearest
from marey.data.sources.formats import FORMATS, recognise
from marey.data.table import DataSet, ItemTable

__all__ = ["FORMATS", "DataSet", "ItemTable", "open_data"]


def open_data(
    address: str | Path,
    *,
    format: str = "",
    where: Mapping[str, str] | None = None,
    context_s: float = 0.0,
) -> DataSet:
    """The item tables of a data set: a file or folder whose layout is known, or ``drawn:TASK``.

    ``where`` keeps the rows of a list whose columns have these values; ``context_s`` widens timed
    rows on both sides. Raises ValueError for what does not exist, is empty, or fits no layout.
    """
    if context_s < 0:
        raise ValueError(f"context_s is {context_s:g}; a margin in seconds is 0 or more")
    text = str(address)
    if not text:
        raise ValueError("no data was named; give a file, a folder, or drawn:TASK")
    path = _materialise(text) if text.startswith("drawn:") else Path(text).expanduser()
    if format and format not in FORMATS:
        raise ValueError(
            f"format {format!r} is not known{nearest(format, FORMATS)}; "
            f"choose one of {', '.join(FORMATS)}"
        )
    if not path.exists():
        raise ValueError(f"{path} does not exist; give a file, a folder, or drawn:TASK")
    name = format or recognise(path)
    data = FORMATS[name].open(path, where=where)
    if not any(len(items) for items in data.splits.values()):
        raise ValueError(f"{path} read as {name!r} has no rows; check its files, or name a format")
    if context_s:
        widened = {split: items.with_context(context_s) for split, items in data.splits.items()}
        data = replace(data, splits=widened)
    return replace(data, address=text)


def _materialise(address: str) -> Path:
    """The folder of a drawn data set, drawn now unless it lies in the cache."""
    from marey.data.synthetic import materialise, parse_address

    task, options = parse_address(address)
    return Path(materialise(task, **options))
