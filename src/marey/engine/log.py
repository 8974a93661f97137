"""What a run says while it works: log.jsonl, TensorBoard events, one line of progress.

A row is one JSON object: ``kind`` is train, val or note. Wall-clock fields (``*_s``) differ from
run to run, all others are reproducible. After a restart the file is cut back to the checkpoint.
Further sinks are named in MAREY_SINKS (``wandb``, ``mlflow``, comma-separated).
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

Progress = Callable[[Mapping[str, Any]], None]
_PLACE = ("kind", "epoch", "step")


class RunLog:
    """Writes rows on the main process, and nothing at all on the others."""

    def __init__(
        self, out: Path, *, at: int, step: int, main: bool, progress: Progress | None = None
    ) -> None:
        """Cut log.jsonl back to its first ``at`` bytes, and events back to ``step``."""
        self._file: Any = None
        self._events: Any = None
        self._sinks: list[Callable[[dict[str, float], int], None]] = []
        self.progress = progress if main else None
        if not main:
            return
        self._sinks = [
            _sink(name, out) for name in os.environ.get("MAREY_SINKS", "").split(",") if name
        ]
        path = out / "log.jsonl"
        path.touch()
        os.truncate(path, min(at, path.stat().st_size))
        self._file = path.open("a", encoding="utf-8")
        self._out, self._start = out, step

    def size(self) -> int:
        """Bytes written so far, all of them on disk."""
        if self._file is None:
            return 0
        self._file.flush()
        return os.fstat(self._file.fileno()).st_size

    def row(self, row: Mapping[str, Any], **beside: Any) -> None:
        """Log one row; ``beside`` goes to the progress line only."""
        if self._file is not None:
            self._file.write(json.dumps(dict(row)) + "\n")
            self._file.flush()
            figures = {
                f"{row['kind']}/{name}": float(value)
                for name, value in row.items()
                if name not in _PLACE and isinstance(value, (int, float))
            }
            if self._events is None:
                self._events = _event_writer(self._out, self._start)
            for name, value in figures.items():
                self._events.add_scalar(name, value, int(row.get("step", 0)))
            for sink in self._sinks:
                sink(figures, int(row.get("step", 0)))
        if self.progress is not None:
            self.progress({**row, **beside})

    def note(self, text: str, *, epoch: float, step: int) -> None:
        """Log one line of text."""
        self.row({"kind": "note", "epoch": epoch, "step": step, "text": text})

    def close(self) -> None:
        """Flush and close what is open."""
        if self._file is not None:
            self._file.close()
        if self._events is not None:
            self._events.close()


def _event_writer(out: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(out), purge_step=step if step else None)


def _sink(name: str, out: Path) -> Callable[[dict[str, float], int], None]:
    """A further place for figures. Raises ValueError for an unknown or missing one."""
    if name not in ("wandb", "mlflow"):
        raise ValueError(f"MAREY_SINKS names {name!r}; choose wandb, mlflow or both")
    try:
        module = importlib.import_module(name)
    except ImportError:
        raise ValueError(
            f"MAREY_SINKS names {name}, which is not installed: pip install {name}"
        ) from None
    if name == "wandb":
        run = module.init(dir=str(out), name=out.name, resume="allow")
        return lambda figures, step: run.log(figures, step=step)
    module.start_run(run_name=out.name)
    return lambda figures, step: module.log_metrics(
        {key.replace("/", "."): value for key, value in figures.items()}, step=step
    )


def duration(seconds: float) -> str:
    """``7 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def describe(row: Mapping[str, Any]) -> str:
    """A row as one line for people."""
    kind = row.get("kind")
    if kind == "note":
        return str(row["text"])
    if kind == "train":
        whole = f"/{row['epochs']:g}" if "epochs" in row else ""
        right = f"accuracy {100 * row['accuracy']:.1f} %  " if "accuracy" in row else ""
        return (
            f"epoch {row['epoch']:.2f}{whole}  step {row['step']}  loss {row['loss']:.4f}  "
            f"{right}data {row['data_s']:.3f} s  "
            f"step {row['step_s']:.3f} s  left {duration(row['eta_s'])}"
        )
    if kind == "eval":
        return f"evaluating {row['done']}/{row['total']}  left {duration(row['eta_s'])}"
    figures = "  ".join(
        f"{name} {100 * value:.1f} %"
        for name, value in row.items()
        if name not in _PLACE and not name.endswith("_s") and isinstance(value, float)
    )
    return f"epoch {row.get('epoch', 0):.2f}  validation  {figures}"


def silent(row: Mapping[str, Any]) -> None:
    """Progress that says nothing."""


class ProgressLine:
    """Rows as one line that rewrites itself on a terminal, as plain lines elsewhere."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self._open = False

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Show one row; validation results and notes stay, steps are overwritten on a terminal."""
        text, passing = describe(row), row.get("kind") in ("train", "eval")
        if self.live:
            start = "\r\x1b[2K" if self._open else ""
            self.stream.write(start + text + ("" if passing else "\n"))
            self._open = passing
        elif row.get("kind") != "eval":
            self.stream.write(text + "\n")
        self.stream.flush()

    def close(self) -> None:
        """End an open line."""
        if self._open:
            self.stream.write("\n")
            self._open = False
