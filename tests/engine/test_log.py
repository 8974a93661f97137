"""Rows, the cut back to a checkpoint, sinks, and the line of progress."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from marey.engine.log import ProgressLine, RunLog, describe, duration, silent

TRAIN = {
    "kind": "train",
    "epoch": 1.5,
    "step": 30,
    "loss": 0.75,
    "accuracy": 0.5,
    "lr": 0.1,
    "data_s": 0.01,
    "step_s": 0.2,
    "eta_s": 200.0,
}


def test_rows_are_written_at_once_and_cut_back(tmp_path: Path) -> None:
    log = RunLog(tmp_path, at=0, step=0, main=True)
    log.row(TRAIN, epochs=3)
    size = log.size()
    assert size == (tmp_path / "log.jsonl").stat().st_size
    log.note("two files failed", epoch=1.5, step=30)
    log.close()
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows == [
        TRAIN,
        {"kind": "note", "epoch": 1.5, "step": 30, "text": "two files failed"},
    ]
    again = RunLog(tmp_path, at=size, step=30, main=True)
    again.close()
    assert (tmp_path / "log.jsonl").stat().st_size == size


def test_events_can_be_read_back(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = RunLog(tmp_path, at=0, step=0, main=True)
    log.row(TRAIN)
    log.row({"kind": "val", "epoch": 2.0, "step": 40, "top1": 0.25})
    log.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert {"train/loss", "train/lr", "val/top1"} <= set(events.Tags()["scalars"])
    assert [(e.step, e.value) for e in events.Scalars("val/top1")] == [(40, 0.25)]


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    seen: list[Any] = []
    log = RunLog(tmp_path, at=0, step=0, main=False, progress=seen.append)
    log.row(TRAIN)
    log.close()
    assert (log.size(), seen, list(tmp_path.iterdir())) == (0, [], [])


def test_rows_as_lines_for_people() -> None:
    assert describe({**TRAIN, "epochs": 3}) == (
        "epoch 1.50/3  step 30  loss 0.7500  accuracy 50.0 %  data 0.010 s  step 0.200 s  "
        "left 3 min 20 s"
    )
    val = {"kind": "val", "epoch": 2.0, "step": 40, "top1": 0.25, "top5": 1.0, "val_s": 3.0}
    assert describe(val) == "epoch 2.00  validation  top1 25.0 %  top5 100.0 %"
    assert describe({"kind": "eval", "done": 3, "total": 9, "eta_s": 61}) == (
        "evaluating 3/9  left 1 min 01 s"
    )
    assert describe({"kind": "note", "text": "hello"}) == "hello"
    spans = [duration(seconds) for seconds in (-1, 7.4, 59.6, 7500)]
    assert spans == ["0 s", "7 s", "1 min 00 s", "2 h 05 min"]
    silent(TRAIN)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_line_is_rewritten_and_a_file_gets_lines() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        line = ProgressLine(stream)
        line(TRAIN)
        line({"kind": "eval", "done": 1, "total": 2, "eta_s": 0})
        line({"kind": "note", "text": "kept"})
        line(TRAIN)
        line.close()
    shown = describe(TRAIN)
    evaluating = "evaluating 1/2  left 0 s"
    wipe = "\r\x1b[2K"
    assert terminal.getvalue() == f"{shown}{wipe}{evaluating}{wipe}kept\n{shown}\n"
    assert file.getvalue() == f"{shown}\nkept\n{shown}\n"


@pytest.mark.parametrize(
    ("name", "words"),
    [("tensorbord", "names 'tensorbord'; choose wandb"), ("wandb", "pip install wandb")],
)
def test_sinks_must_be_known_and_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    import sys

    monkeypatch.setenv("MAREY_SINKS", name)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=words):
        RunLog(tmp_path, at=0, step=0, main=True)
    assert not list(tmp_path.iterdir())


def test_a_sink_gets_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import SimpleNamespace

    seen: list[Any] = []
    module = SimpleNamespace(
        start_run=lambda run_name: seen.append(run_name),
        log_metrics=lambda figures, step: seen.append((figures, step)),
    )
    monkeypatch.setenv("MAREY_SINKS", "mlflow")
    monkeypatch.setitem(sys.modules, "mlflow", module)
    log = RunLog(tmp_path / "run-7", at=0, step=0, main=False)
    log.close()
    (tmp_path / "run-7").mkdir()
    log = RunLog(tmp_path / "run-7", at=0, step=0, main=True)
    log.row({"kind": "val", "epoch": 2.0, "step": 40, "top1": 0.25})
    log.close()
    assert seen == ["run-7", ({"val.top1": 0.25}, 40)]
