"""A run killed at any step and started again equals one that was never stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny_run
import torch

from marey.engine.checkpoint import read_checkpoint
from marey.engine.stop import Stopped
from marey.engine.train import train

SCRIPT = str(Path(__file__).with_name("tiny_run.py"))
EVERYTHING = (
    "optim.kind=adamw",
    "optim.clip_norm=0.5",
    "run.ema=0.9",
    "run.precise_bn=2",
    "run.accumulate=2",
    "run.save_steps=3",
)


def launch(out: Path, *arguments: str, world: int = 1) -> subprocess.CompletedProcess[str]:
    command = [sys.executable]
    if world > 1:
        command += ["-m", "torch.distributed.run", f"--nproc-per-node={world}"]
        command += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--max-restarts=0"]
    return subprocess.run(
        [*command, SCRIPT, str(out), *arguments], capture_output=True, text=True, check=False
    )


def here(out: Path, *arguments: str) -> None:
    """The same run in this process; a subprocess is only needed where one is to die."""
    threads = torch.get_num_threads()
    try:
        tiny_run.main([str(out), *arguments])
    finally:
        torch.set_num_threads(threads)


def rows_of(out: Path) -> list[dict[str, Any]]:
    """Log rows without their wall-clock fields."""
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.endswith("_s")} for row in rows]


def same(a: Any, b: Any, at: str = "") -> None:
    """Every value of two nested states is equal, bit for bit."""
    assert type(a) is type(b), at
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, at
        assert torch.equal(a, b), at
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), at
        for key in a:
            same(a[key], b[key], f"{at}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), at
        for number, pair in enumerate(zip(a, b, strict=True)):
            same(*pair, f"{at}[{number}]")
    else:
        assert a == b, at


def assert_same_run(stopped: Path, whole: Path, steps: int) -> None:
    states = []
    for out in (stopped, whole):
        state = read_checkpoint(out / "checkpoints" / f"step-{steps:08d}.pt")
        assert state["finished"]
        assert state.pop("log_bytes") > 0  # wall-clock digits change the length of rows
        states.append(state)
    same(*states)
    assert rows_of(stopped) == rows_of(whole)
    for name in ("weights.safetensors", "weights_last.safetensors", "predictions.json"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.slow
def test_killed_in_mid_epoch_once_and_again(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    here(whole, *EVERYTHING)
    assert launch(stopped, *EVERYTHING, "die=2").returncode == -9  # before any checkpoint
    assert not list((stopped / "checkpoints").glob("*"))
    assert launch(stopped, *EVERYTHING, "die=9").returncode == -9  # three steps after one
    assert read_checkpoint(stopped / "checkpoints/step-00000006.pt")["done"] == 1
    (stopped / "log.jsonl").open("a").write('{"kind": "tra')  # a row cut off by the kill
    (stopped / "checkpoints/.step-00000009.pt.1.part").write_bytes(b"half")
    here(stopped, *EVERYTHING)
    assert not list((stopped / "checkpoints").glob(".*"))
    assert_same_run(stopped, whole, 15)


@pytest.mark.slow
def test_killed_with_two_processes(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    fields = ("run.save_steps=3", "run.ema=0.9", "length=22")
    done = launch(whole, *fields, world=2)
    assert done.returncode == 0, done.stderr
    assert launch(stopped, *fields, "die=8", world=2).returncode != 0
    assert launch(stopped, *fields, world=2).returncode == 0
    assert_same_run(stopped, whole, 15)
    clips = json.loads((whole / "predictions.json").read_text())
    assert [clip["key"] for clip in clips] == [f"video {i}" for i in range(7)]  # 4 + 3 rows


@pytest.mark.slow
def test_killed_with_loader_workers(tmp_path: Path, videos: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    fields = (f"data.path={videos}", "run.batch=2", "run.save_steps=3")
    here(whole, *fields, "data.workers=1")
    assert launch(stopped, *fields, "data.workers=2", "die=6").returncode == -9
    here(stopped, *fields, "data.workers=2")
    assert_same_run(stopped, whole, 12)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGUSR1", 138), ("SIGINT", 130)])
def test_a_signal_saves_at_the_next_step_and_stops(tmp_path: Path, name: str, code: int) -> None:
    out = tmp_path / "run"
    before = signal.getsignal(getattr(signal, name))
    with pytest.raises(Stopped, match=f"stopped by {name} after step 7; saved") as stopped:
        here(out, f"signal=7:{name}")
    assert stopped.value.code == code
    assert signal.getsignal(getattr(signal, name)) is before
    state = read_checkpoint(out / "checkpoints/step-00000007.pt")
    assert (state["epoch"], state["done"], state["finished"]) == (1, 2, False)


@pytest.mark.slow
def test_a_signal_to_the_whole_group_leaves_the_workers_alone(tmp_path: Path, videos: Path) -> None:
    out, fields = tmp_path / "run", (f"data.path={videos}", "run.batch=2", "data.workers=2")
    process = subprocess.Popen(
        [sys.executable, SCRIPT, str(out), *fields, "signal=4:GROUP"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    told = process.communicate(timeout=120)[1]
    assert process.returncode == 143, told
    assert "stopped by SIGTERM after step" in told
    assert "Traceback" not in told


@pytest.mark.slow
def test_a_stopped_process_exits_with_its_code_and_no_traceback(tmp_path: Path) -> None:
    done = launch(tmp_path / "run", "signal=7:SIGTERM")
    assert done.returncode == 143
    assert "stopped by SIGTERM after step 7; saved, the same command continues" in done.stderr
    assert "Traceback" not in done.stderr


def test_signalled_run_continues_and_a_finished_one_returns_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    here(whole)
    with pytest.raises(Stopped):
        here(stopped, "signal=7:SIGTERM")
    here(stopped)
    assert_same_run(stopped, whole, 15)
    before = (stopped / "log.jsonl").read_bytes()
    here(stopped)
    assert "15 {'top1'" in capsys.readouterr().out.splitlines()[-1]
    assert (stopped / "log.jsonl").read_bytes() == before


def test_stopped_during_validation_it_validates_again(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    here(whole, "run.ema=0.5")
    torch.set_num_threads(1)

    def interrupting(row: Mapping[str, Any]) -> None:
        if row["kind"] == "eval" and row["done"] == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    recipe = tiny_run.TinyRecipe(run__ema=0.5)
    with pytest.raises(Stopped, match="stopped by SIGTERM after step 5; saved"):
        train(recipe, stopped, progress=interrupting)
    state = read_checkpoint(stopped / "checkpoints/step-00000005.pt")
    assert (state["epoch"], state["done"]) == (0, 5)
    here(stopped, "run.ema=0.5")
    assert_same_run(stopped, whole, 15)
