"""Everything that a run is made of and a checkpoint holds.

    on every process alike    model, optimiser, scaler, average, task, place in the run, best figure
    on each process its own   random states, figures since the last log row, files that failed

``RunState.build`` asks the recipe for its parts; ``gathered`` and ``restore`` are the two halves of
a checkpoint. RunState exceeds the cap on fields: they are what a checkpoint must hold.
"""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from marey.choices import AugmentChoice, DataChoice, OptimChoice, RunChoice, ScheduleChoice
from marey.data.failures import FailureLog
from marey.engine import distributed
from marey.engine.average import Average
from marey.engine.calibrate import NormGroups, prepare_norms
from marey.engine.checkpoint import random_state, restore_random, seed_process
from marey.engine.distributed import Ranks
from marey.engine.optim import build_optimizer
from marey.engine.recompute import recompute_stages
from marey.tasks.task import Task
from marey.types import Failure


class Recipe(Protocol):
    """What the engine asks of a recipe."""

    @property
    def optim(self) -> OptimChoice: ...
    @property
    def schedule(self) -> ScheduleChoice: ...
    @property
    def run(self) -> RunChoice: ...
    @property
    def data(self) -> DataChoice: ...
    @property
    def augment(self) -> AugmentChoice: ...
    def build_model(self) -> nn.Module: ...
    def build_task(self, model: nn.Module) -> Task: ...
    def build_loader(
        self, role: Any, model: nn.Module, *, batch: int, rank: int, world: int
    ) -> Any: ...
    def save_model(self, model: nn.Module, path: Any) -> Any: ...
    def to_plain(self) -> dict[str, Any]: ...


@dataclass
class Meter:
    """Sums since the last log row. ``loss`` is weighted by clips; times are wall-clock seconds."""

    loss: float = 0.0
    correct: float = 0.0
    count: float = 0.0
    timed: int = 0
    data_s: float = 0.0
    step_s: float = 0.0

    def add(self, loss: float, correct: float, count: int) -> None:
        """One step's figures."""
        self.loss += loss * count
        self.correct += correct
        self.count += count

    def time(self, data_s: float, step_s: float) -> None:
        """One step's waiting and working."""
        self.data_s, self.step_s, self.timed = (
            self.data_s + data_s,
            self.step_s + step_s,
            self.timed + 1,
        )


@dataclass
class RunState:
    """A run between two steps: ``done`` of the steps of ``epoch``, ``step`` in all."""

    model: nn.Module  # plain names; sharded in place under FSDP
    wrapped: nn.Module  # what the task calls in training
    task: Task
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ranks: Ranks
    run: RunChoice
    average: Average | None = None
    twin: nn.Module | None = None  # an unsharded copy for evaluation, under FSDP
    groups: NormGroups | None = None  # under multigrid
    epoch: int = 0
    done: int = 0
    step: int = 0
    clamped: int = 0
    clips: int = 0
    best: float = float("-inf")
    finished: bool = False
    metrics: dict[str, float] = field(default_factory=dict)
    meter: Meter = field(default_factory=Meter)
    failures: FailureLog = field(default_factory=FailureLog)

    @classmethod
    def build(cls, recipe: Recipe, ranks: Ranks) -> RunState:
        """The run before its first step; equal on all processes but for their random states."""
        run, multigrid = recipe.run, recipe.schedule.multigrid != "none"
        torch.manual_seed(run.seed)
        model = recipe.build_model()
        task = recipe.build_task(model)
        prepare_norms(model, ranks, norm=run.norm, shared=multigrid)
        model.to(ranks.device)
        sharded = run.parallel == "fsdp" and ranks.world > 1
        twin = copy.deepcopy(model) if sharded else None
        if run.precision != "float32" and not sharded:  # such memory convolves twice as fast
            model.to(memory_format=torch.channels_last_3d)
        if run.checkpointing:
            recompute_stages(model)
        if run.compile:
            model.compile(backend=_compiler(ranks.device))
        wrapped = distributed.parallel(model, ranks, kind=run.parallel)
        half = run.precision == "fp16" and ranks.device.type == "cuda"
        state = cls(
            model=model,
            wrapped=wrapped,
            task=task,
            optimizer=build_optimizer(model, recipe.optim, run.batch),
            scaler=torch.amp.GradScaler(ranks.device.type, enabled=half),
            ranks=ranks,
            run=run,
            average=Average(model, run.ema) if run.ema else None,
            twin=twin,
            groups=NormGroups(ranks) if multigrid else None,
        )
        seed_process(run.seed, ranks.rank)
        return state

    def gathered(self, log_bytes: int) -> dict[str, Any]:
        """The state as plain values and tensors. Every process calls it; all get the same.

        Running statistics are each process's own until here, where all take the main one's.
        """
        statistics = dict(self.model.named_buffers())
        distributed.share(statistics.values(), self.ranks.world)
        if self.average:
            mine = [self.average.tensors[name] for name in statistics]
            distributed.share(mine, self.ranks.world)
        own = {
            "random": random_state(),
            "meter": [self.meter.loss, self.meter.correct, self.meter.count],
            "failures": [(f.source, f.reason) for f in self.failures.failures],
            "clamped": self.clamped,
            "clips": self.clips,
            "task": self.task.own_state() if hasattr(self.task, "own_state") else None,
        }
        names = ("epoch", "done", "step", "best", "finished", "metrics")
        model, optimizer = self._states()
        average = self.average.tensors if self.average else {}
        return {
            **{name: getattr(self, name) for name in names},
            "model": model,
            "optimizer": optimizer,
            "scaler": self.scaler.state_dict(),
            "average": {name: _whole(value) for name, value in average.items()},
            "task": self.task.state_dict(),
            "ranks": distributed.gather_objects(own, self.ranks.world),
            "log_bytes": log_bytes,
        }

    def restore(self, saved: dict[str, Any]) -> bool:
        """Go on where ``saved`` stopped; False when the number of processes has changed, so that
        random states cannot be those of before."""
        for name in ("epoch", "done", "step", "best", "finished", "metrics"):
            setattr(self, name, saved[name])
        self._load_states(saved["model"], saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.task.load_state_dict(saved["task"])
        if self.average:
            for name, value in self.average.tensors.items():
                _fill(value, saved["average"][name])
        others = saved["ranks"]
        same = len(others) == self.ranks.world
        own = others[self.ranks.rank] if same else others[0]
        found = [own] if same else others
        self.failures = FailureLog(Failure(*pair) for part in found for pair in part["failures"])
        self.clamped, self.clips = own["clamped"], own["clips"]
        self.meter = Meter(*own["meter"]) if same else Meter()
        if same:
            restore_random(own["random"])
            if own.get("task") is not None:
                self.task.load_own_state(own["task"])  # type: ignore[attr-defined]
        return same

    def _states(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Model and optimiser state, whole even where they are sharded."""
        if self.twin is None:
            return self.model.state_dict(), self.optimizer.state_dict()
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

        options = StateDictOptions(full_state_dict=True)
        model, optimizer = get_state_dict(self.model, self.optimizer, options=options)
        return dict(model), dict(optimizer)

    def _load_states(self, model: dict[str, Any], optimizer: dict[str, Any]) -> None:
        if self.twin is None:
            self.model.load_state_dict(model)
            self.optimizer.load_state_dict(optimizer)
            return
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

        options = StateDictOptions(full_state_dict=True)
        set_state_dict(
            self.model,
            self.optimizer,
            model_state_dict=model,
            optim_state_dict=optimizer,
            options=options,
        )

    @contextmanager
    def to_measure(self) -> Iterator[nn.Module]:
        """The network as it is evaluated and saved: averaged where there is an average, unsharded,
        undecorated. Statistics set on an averaged network leave the trained one alone."""
        with self.average.applied() if self.average else _nothing(self.model) as model:
            if self.twin is None:
                yield model
                return
            self.twin.load_state_dict(self._states()[0])
            yield self.twin


@contextmanager
def _nothing(model: nn.Module) -> Iterator[nn.Module]:
    yield model


def _whole(value: torch.Tensor) -> torch.Tensor:
    """A tensor, gathered where it is sharded."""
    gather = getattr(value, "full_tensor", None)
    return gather() if gather is not None else value


@torch.no_grad()
def _fill(value: torch.Tensor, saved: torch.Tensor) -> None:
    """Copy a whole tensor into one that may be sharded."""
    mesh = getattr(value, "device_mesh", None)
    if mesh is None:
        value.copy_(saved)
        return
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(value, DTensor)
    value.copy_(distribute_tensor(saved.to(value.device), mesh, value.placements))


def _compiler(device: torch.device) -> str:
    """MAREY_COMPILE, or inductor. Raises ValueError where inductor has no compiler to call."""
    backend = os.environ.get("MAREY_COMPILE", "inductor")
    found = any(shutil.which(name) for name in ("c++", "g++", "clang++", "cl"))
    if backend == "inductor" and device.type == "cpu" and not found:
        raise ValueError(
            "run.compile needs a C++ compiler and none is found; install g++ or omit it"
        )
    return backend
