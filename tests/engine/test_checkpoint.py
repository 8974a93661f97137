"""Checkpoints: whole or not at all, the newest and the best, random states of every kind."""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marey.engine.checkpoint import (
    Checkpoints,
    random_state,
    read_checkpoint,
    restore_random,
    seed_process,
)


def state_of(step: int) -> dict[str, Any]:
    return {"step": step, "model": {"w": torch.full((2,), float(step))}, "random": random_state()}


def test_keeps_the_last_and_the_best(tmp_path: Path) -> None:
    files = Checkpoints(tmp_path / "checkpoints", keep=2)
    assert files.latest() is None
    for step in (1, 2, 3, 4):
        files.save(state_of(step), step, best=step == 1)
    assert [path.name for path in files.files()] == ["step-00000003.pt", "step-00000004.pt"]
    latest = files.latest()
    assert latest is not None
    assert latest["step"] == 4
    assert read_checkpoint(tmp_path / "checkpoints/best.pt")["step"] == 1
    assert len(list((tmp_path / "checkpoints").iterdir())) == 3


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    files = Checkpoints(tmp_path, keep=2)
    files.save(state_of(7), 7)
    before = (tmp_path / "step-00000007.pt").read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        files.save({"step": 7, "model": lambda: None}, 7)
    assert (tmp_path / "step-00000007.pt").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_damaged_newest_one_gives_way_to_the_one_before(tmp_path: Path) -> None:
    files = Checkpoints(tmp_path, keep=3)
    files.save(state_of(1), 1)
    (tmp_path / "step-00000002.pt").write_bytes(b"not a checkpoint")
    latest = files.latest()
    assert latest is not None
    assert latest["step"] == 1
    (tmp_path / "step-00000001.pt").write_bytes(b"")
    with pytest.raises(ValueError, match="is not a readable checkpoint.*remove .* to start anew"):
        files.latest()


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "boom",))

    torch.save({"model": Bomb()}, tmp_path / "bad.pt")
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        read_checkpoint(tmp_path / "bad.pt")
    assert not (tmp_path / "boom").exists()
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="holds list, not a checkpoint"):
        read_checkpoint(tmp_path / "list.pt")


def draws() -> tuple[float, float, float]:
    return float(torch.rand(())), random.random(), float(np.random.rand())  # noqa: NPY002


def test_random_states_survive_the_file(tmp_path: Path) -> None:
    seed_process(3, 1)
    random.gauss(0, 1)
    np.random.randn()  # noqa: NPY002
    Checkpoints(tmp_path, keep=1).save(state_of(1), 1)
    expected = draws()
    seed_process(4, 0)
    assert draws() != expected
    restore_random(read_checkpoint(tmp_path / "step-00000001.pt")["random"])
    assert draws() == expected


def test_processes_draw_differently_and_again_the_same() -> None:
    found = []
    for seed, rank in ((0, 0), (0, 1), (1, 0), (0, 0)):
        seed_process(seed, rank)
        found.append(draws())
    assert found[0] == found[3]
    assert len(set(found)) == 3


def test_keeping_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run.keep is 0"):
        Checkpoints(tmp_path, keep=0)
