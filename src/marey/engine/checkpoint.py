"""Checkpoints: everything a run needs to go on as if it had never stopped, written whole.

One file a checkpoint, ``checkpoints/step-00000120.pt``, the same for one process or many, sharded
or not: the main process writes what all have gathered. Loadable with ``weights_only=True``.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

BEST = "best.pt"


class Checkpoints:
    """The folder of a run's checkpoints: the last ``keep`` of them, and the best."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        if keep < 1:
            raise ValueError(f"run.keep is {keep}; at least one checkpoint is kept")
        self.folder, self.keep = folder, keep

    def files(self) -> list[Path]:
        """All checkpoints but the best, oldest first."""
        return sorted(self.folder.glob("step-*.pt"))

    def latest(self) -> dict[str, Any] | None:
        """The newest state; None in a fresh run.

        Raises ValueError when there are checkpoints and none can be read.
        """
        files = self.files()
        for path in reversed(files):
            try:
                return read_checkpoint(path)
            except ValueError as error:
                complaint = error
        if files:
            raise ValueError(f"{complaint}; remove {self.folder} to start anew")
        return None

    def save(self, state: dict[str, Any], step: int, *, best: bool = False) -> Path:
        """Write one checkpoint under a temporary name, rename it, then drop what is too old."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{step:08d}.pt"
        _replace(path, lambda partial: torch.save(state, partial))
        if best:
            _replace(self.folder / BEST, lambda partial: _link(path, partial))
        for old in self.files()[: -self.keep]:
            old.unlink()
        return path

    def clean(self) -> None:
        """Remove what a process that was killed while writing has left."""
        for partial in self.folder.glob(".*.part"):
            partial.unlink(missing_ok=True)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The plain values and tensors of a checkpoint; nothing in it is executed.

    Raises ValueError when it cannot be read.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is not a readable checkpoint ({first})") from None
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds {type(state).__name__}, not a checkpoint of a run")
    return state


def _replace(path: Path, write: Any) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(partial)
        with open(partial, "rb") as written:
            os.fsync(written.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def random_state() -> dict[str, Any]:
    """States of every global generator of this process, as plain values and tensors."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": (str(kind), [int(k) for k in keys], int(position), int(has_gauss), float(gauss)),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random(state: dict[str, Any]) -> None:
    """Set every global generator as ``random_state`` found it."""
    torch.set_rng_state(state["torch"])
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    kind, numbers, *rest = state["numpy"]
    np.random.set_state((kind, np.array(numbers, np.uint32), *rest))  # noqa: NPY002
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def seed_process(seed: int, rank: int) -> None:
    """Start every global generator of this process from the run's seed and its rank."""
    own = (seed * 1_000_003 + rank * 7_919 + 1) % 2**32
    torch.manual_seed(own)
    random.seed(own)
    np.random.seed(own)  # noqa: NPY002
