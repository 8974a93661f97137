"""A run folder as plain data. Everything in it is optional but one of log and metrics."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
WEIGHTS = ("weights.safetensors", "weights_last.safetensors")


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value of a log is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value)


@dataclass(frozen=True)
class RunFolder:
    """What a run left behind. ``rows`` of its log by kind; ``header`` that of its weights file."""

    path: Path
    recipe: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    clips: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    parameters: int | None = None
    unreadable: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """The variant that was trained."""
        named = self.metrics.get("model") or self.recipe.get("model") or self.header.get("variant")
        return str(named or "unnamed network")

    @property
    def dataset(self) -> str:
        """Where its data came from; empty when nothing says so."""
        data = self.recipe.get("data")
        path = data.get("path") if isinstance(data, Mapping) else data
        return str(path or self.metrics.get("data") or "")

    @property
    def classes(self) -> list[str]:
        """Class names in the order of scores."""
        return [str(name) for name in self.metrics.get("classes") or ()]

    @property
    def claims(self) -> list[dict[str, Any]]:
        """The published results the recipe repeats."""
        return [claim for claim in self.recipe.get("claims") or () if isinstance(claim, dict)]

    def class_name(self, number: int) -> str:
        """The name of a class, ``class 12`` where there is none."""
        classes = self.classes
        return classes[number] if 0 <= number < len(classes) else f"class {number}"

    def column(self, kind: str, name: str) -> tuple[list[float], list[float]]:
        """(epochs, values) of one quantity in the log, rows without it left out."""
        rows = [row for row in self.rows.get(kind, ()) if is_number(row.get(name))]
        fallback = "step" if any(not is_number(row.get("epoch")) for row in rows) else "epoch"
        return [float(row.get(fallback, i)) for i, row in enumerate(rows)], [
            float(row[name]) for row in rows
        ]


def read_run(path: str | Path) -> RunFolder:
    """Read a run folder. Files that do not parse are named in ``unreadable`` and left out.

    Raises ValueError when the folder does not exist or holds nothing of a run.
    """
    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"run folder {path} does not exist: name the folder that training wrote")
    broken: list[str] = []
    recipe = _json(path / "recipe.json", dict, broken)
    metrics = _json(path / "metrics.json", dict, broken)
    clips = [
        clip for clip in _json(path / "predictions.json", list, broken) if isinstance(clip, dict)
    ]
    rows = _log(path / "log.jsonl")
    if not (rows or metrics):
        raise ValueError(f"{path} has neither log.jsonl nor metrics.json: it is not a run folder")
    header, parameters = weights_head(path)
    return RunFolder(path, recipe, metrics, clips, rows, header, parameters, tuple(broken))


def _json(path: Path, kind: type, broken: list[str]) -> Any:
    if not path.is_file():
        return kind()
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        value = None
    if not isinstance(value, kind):
        broken.append(path.name)
        return kind()
    return value


def _log(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows by kind. A last line cut short by a killed process is left out."""
    rows: dict[str, list[dict[str, Any]]] = {}
    if not path.is_file():
        return rows
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.setdefault(str(row.get("kind", "train")), []).append(row)
    return rows


def weights_head(path: Path) -> tuple[dict[str, Any], int | None]:
    """What our own weights (a file, or a run's best) say of themselves, and how many values learn.

    Reads the head of the file alone; ({}, None) where there is none of ours.
    """
    for file in [path / name for name in WEIGHTS] if path.is_dir() else [path]:
        try:
            with file.open("rb") as opened:
                (size,) = struct.unpack("<Q", opened.read(8))
                table = json.loads(opened.read(min(size, 100_000_000)))
            header = json.loads(table.pop("__metadata__", {}).get("marey", "{}"))
            shapes = [row["shape"] for key, row in table.items() if not key.endswith(BUFFERS)]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
            continue
        return header, sum(math.prod(shape) for shape in shapes)
    return {}, None
