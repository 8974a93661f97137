"""Jester from its own files: jester-v1-labels.csv, -train.csv ("ID;label"), frames at 12 fps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from marey.data.sources.labels import refuse_where
from marey.data.sources.something import open_pairs
from marey.data.table import DataSet

_CLIPS = ("20bn-jester-v1", "frames", "videos")


def fits(path: Path) -> bool:
    return (path / "jester-v1-labels.csv").is_file()


def open_jester(path: Path, *, where: Mapping[str, str] | None = None) -> DataSet:
    """Frame folders by number. Left and right gestures are classes: do not mirror them blindly."""
    refuse_where(where, "jester")
    return open_pairs(path, "jester-v1", _CLIPS, format="jester")
