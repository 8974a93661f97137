"""Signals are noted, not obeyed at once; the documented batch script passes them on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from marey.engine.stop import Signals, Stopped

PAGE = Path(__file__).parents[2] / "docs" / "slurm.md"


def test_the_first_signal_is_noted_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Signals() as signals:
        assert signals.number == 0
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_interrupt_does_not_wait() -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_forked_worker_is_not_stopped_with_its_parent() -> None:
    with Signals() as signals:
        child = os.fork()
        if child == 0:
            time.sleep(0.5)
            os._exit(7 if signals.number == 0 else 8)
        time.sleep(0.2)
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_other_threads_leave_handlers_alone() -> None:
    before, found = signal.getsignal(signal.SIGTERM), []

    def enter() -> None:
        with Signals() as signals:
            found.append(signals.number)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [0]
    assert signal.getsignal(signal.SIGTERM) is before


def test_stopped_carries_code_and_cure() -> None:
    stopped = Stopped(signal.SIGTERM, 12)
    assert (stopped.code, stopped.step) == (143, 12)
    assert str(stopped) == ("stopped by SIGTERM after step 12; saved, the same command continues")


@pytest.mark.parametrize("asked", [True, False])
def test_the_documented_script_requeues_what_was_stopped(tmp_path: Path, asked: bool) -> None:
    """Under stand-ins for srun and scontrol, in a bash of its own."""
    script = re.search(r"```bash\n(#!/bin/bash.*?)```", PAGE.read_text(), re.DOTALL)
    assert script is not None
    (tmp_path / "train.sbatch").write_text(script.group(1))
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/activate").write_text(f"PATH={tmp_path}:$PATH\n")
    stand_ins = {
        "srun": "trap 'echo saved >> said; exit 143' TERM\necho \"$@\" > said\n"
        + ("touch ready; while :; do sleep 0.05; done" if asked else "exit 2"),
        "scontrol": 'echo scontrol "$@" >> said',
    }
    for name, body in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    names = {**os.environ, "DATA": "drawn:direction", "RUN": "run", "SLURM_JOB_ID": "41"}
    job = subprocess.Popen(["bash", "train.sbatch"], cwd=tmp_path, env=names)
    if asked:
        until = time.monotonic() + 20
        while not (tmp_path / "ready").exists() and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.2)
        job.send_signal(signal.SIGTERM)
    job.wait(20)
    said = (tmp_path / "said").read_text().splitlines()
    assert "marey train drawn:direction --model slowfast_r50_8x8 --out run" in said[0]
    assert said[1:] == (["saved", "scontrol requeue 41"] if asked else [])
    assert job.returncode == (143 if asked else 2)
