"""``marey data check|preview|draw``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, UseAppendAction

from marey.cli.parse import UsageError, echo, pairs
from marey.config import to_plain

DATA_HELP = "folder of videos, CSV list, known data set, or drawn:TASK"


@dataclass(frozen=True, kw_only=True)
class DataCheck:
    """Read every file and report what is wrong; exit code 1 when something is."""

    data: Annotated[Positional[str], tyro.conf.arg(metavar="DATA", help=DATA_HELP)]
    where: UseAppendAction[tuple[str, ...]] = ()
    """COLUMN=VALUE: only such rows of a list"""
    context: float = 0.0
    """seconds added on both sides of timed rows"""
    format: str = ""
    """layout of DATA where it is not recognised"""
    frames: int = 0
    """report videos with fewer frames than this"""
    workers: int = 0
    """reading processes; 0: as many as cores"""
    json: bool = False
    """print the report as one line of JSON"""

    def run(self) -> int:
        """Check and print."""
        from marey.data.check import check_data
        from marey.data.sources import open_data

        where = pairs(self.where, "--where") or None
        found = open_data(self.data, format=self.format, where=where, context_s=self.context)
        report = check_data(found, workers=self.workers, frames=self.frames)
        print(json.dumps(to_plain(report)) if self.json else "\n".join(report.lines()))
        return 1 if report.faults else 0


@dataclass(frozen=True, kw_only=True)
class DataPreview:
    """Contact sheets of a few clips of every class, as one image."""

    data: Annotated[Positional[str], tyro.conf.arg(metavar="DATA", help=DATA_HELP)]
    out: str = "preview.png"
    """image to write"""
    clips: int = 2
    """clips of each class"""
    frames: int = 8
    """frames of each clip"""
    classes: int = 12
    """at most so many classes"""
    split: str = ""
    """split to look at; default train, else the first"""
    where: UseAppendAction[tuple[str, ...]] = ()
    """COLUMN=VALUE: only such rows of a list"""
    context: float = 0.0
    """seconds added on both sides of timed rows"""
    format: str = ""
    """layout of DATA where it is not recognised"""

    def run(self) -> int:
        """Draw the sheet; unreadable files are named."""
        from marey.data.sources import open_data
        from marey.report.preview import preview_sheet

        where = pairs(self.where, "--where") or None
        found = open_data(self.data, format=self.format, where=where, context_s=self.context)
        path, failures = preview_sheet(
            found,
            Path(self.out),
            split=self.split,
            clips=self.clips,
            frames=self.frames,
            classes=self.classes,
        )
        for failure in failures:
            echo(f"{failure.source}: {failure.reason}")
        print(path)
        return 1 if failures else 0


@dataclass(frozen=True, kw_only=True)
class DataDraw:
    """Write a drawn data set: real video files with known answers in a real annotation format."""

    task: Annotated[
        Positional[str], tyro.conf.arg(metavar="TASK", help="direction, rhythm, order, fine, ...")
    ]
    out: str = ""
    """folder to write; default drawn/TASK"""
    train: int | None = None
    """training videos; default what a two-minute run needs"""
    val: int | None = None
    """validation videos"""
    test: int | None = None
    """test videos"""
    difficulty: Literal[0, 1, 2, 3] = 1
    """0 to 3: clutter, distractors, shake, occlusion, compression"""
    width: int = 160
    """pixels"""
    height: int = 120
    """pixels"""
    fps: str = "25"
    """frames a second, or vfr for a variable rate"""
    classes: tuple[str, ...] = ()
    """only these classes"""
    layout: str = ""
    """annotation format to write: csv, folder, kinetics, ssv2, charades, ..."""

    def run(self) -> int:
        """Draw and print the folder."""
        from marey.data import synthetic

        if self.fps != "vfr" and not self.fps.isdecimal():
            raise UsageError(f"--fps {self.fps!r} is neither a number nor vfr")
        out = Path(self.out or f"drawn/{self.task}")
        counts = {"train": self.train, "val": self.val, "test": self.test}
        chosen: dict[str, Any] = {k: v for k, v in counts.items() if v is not None}
        if self.classes:
            chosen["classes"] = self.classes
        folder = synthetic.write_dataset(
            self.task,
            out,
            layout=self.layout,
            difficulty=self.difficulty,
            size=(self.height, self.width),
            fps=self.fps if self.fps == "vfr" else int(self.fps),
            progress=drawing_line,
            **chosen,
        )
        print(folder)
        return 0


def drawing_line(done: int, total: int) -> None:
    """How far drawing is, every tenth of the way, on stderr."""
    if done == total or done % max(1, total // 10) == 0:
        echo(f"drawn {done} of {total}")
