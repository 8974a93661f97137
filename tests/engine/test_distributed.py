"""Two processes agree: gathered rows, shared norms, evaluation, sharded parameters."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_run
import torch

from marey.engine import distributed
from marey.engine.train import check_run

ALONE = distributed.Ranks(rank=0, world=1, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> dict[str, Any]:
    """Findings of ``two_processes.py`` under torchrun."""
    script = Path(__file__).with_name("two_processes.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    command += [str(script), str(tmp_path_factory.mktemp("runs")), str(videos)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("FOUND "))
    read: dict[str, Any] = json.loads(line.removeprefix("FOUND "))
    return read


def test_rows_and_numbers_are_gathered(found: dict[str, Any]) -> None:
    assert found["rows"] == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
    assert found["numbers"] == [[3.0, 1.0], 5]


def test_synchronised_norms_are_one_norm_over_all_clips(found: dict[str, Any]) -> None:
    assert found["shared_norm"] < 1e-5
    assert found["groups_of_norms"] == [[True, 1], [False, 1], [False, 2]]
    assert found["precise"] < 1e-6


def test_every_video_is_scored_once(found: dict[str, Any]) -> None:
    assert found["scores"] == [[f"video {i}" for i in (0, 1, 2, 3, 5, 6)], ["video 0"]]
    assert found["real_scores"] == ["a", "b", "c"]


def test_sharded_parameters_train_and_resume(found: dict[str, Any]) -> None:
    assert found["parallel"]["resumed"] is True
    assert found["parallel"]["from ddp"] < 1e-6


@pytest.mark.parametrize("kind", ["", "fsdp "])
def test_each_process_remembers_its_own_videos(found: dict[str, Any], kind: str) -> None:
    assert found["long_video"]["steps"] == 15
    told = found["long_video"][kind]
    assert told["resumed"] is True
    assert told["apart"] < 1e-5
    assert [len(rows) for rows in told["last"]] == [1, 1]
    assert told["last"][0] != told["last"][1]


def test_a_sharded_transformer_learns_as_one_process_does(found: dict[str, Any]) -> None:
    assert found["transformer"]["apart"] < 1e-5
    assert found["transformer"]["moved"] > 0.9
    assert found["transformer"]["share"] == pytest.approx(0.5, abs=0.05)


def test_alone_there_is_no_group() -> None:
    assert distributed.start("cpu") == ALONE
    assert not torch.distributed.is_initialized()
    assert distributed.gather_objects({"a": 1}, 1) == [{"a": 1}]
    assert distributed.gather_rows(torch.eye(2), 1, ALONE.device).equal(torch.eye(2))
    assert distributed.total([1.5], ALONE) == [1.5]
    assert distributed.largest(3, ALONE) == 3
    distributed.wait(1)
    distributed.stop()
    model = tiny_run.TinyNet()
    assert distributed.parallel(model, ALONE, kind="fsdp") is model


def test_a_batch_that_does_not_divide_is_refused() -> None:
    ranks = distributed.Ranks(rank=0, world=3, device=torch.device("cpu"))
    with pytest.raises(ValueError, match="run.batch is 4 for 3 processes"):
        check_run(tiny_run.TinyRecipe(), ranks)
