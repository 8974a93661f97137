"""The one training loop. It asks the recipe for its parts and never asks which task it runs.

    epoch            for each batch: rate, forward, backward, clip, step, average, log, save
    after an epoch   save; recompute norms; evaluate; keep the best weights; save

A run is a folder, and the same call continues it: on the CPU, with as many processes and threads,
a run that was killed ends with the weights, optimiser and random states of one that was not.
log.jsonl is cut back to the checkpoint; its wall-clock fields (``*_s``) are the only difference.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from marey.choices import ScheduleChoice
from marey.engine import distributed
from marey.engine.calibrate import fit_norms, hold_frozen, precise_statistics
from marey.engine.distributed import Ranks
from marey.engine.evaluate import autocast, evaluate
from marey.engine.folder import RunFolder, TrainingError
from marey.engine.log import Progress, ProgressLine
from marey.engine.multigrid import CLIPS_PER_STATISTIC, Phase, Plan, plan_of
from marey.engine.optim import head_names, lr_scale, set_lr
from marey.engine.schedule import check_schedule, lr_at
from marey.engine.state import Recipe, RunState
from marey.engine.stop import Signals, Stopped
from marey.types import Batch, Failure

__all__ = ["Stopped", "TrainResult", "TrainingError", "train"]


@dataclass(frozen=True)
class TrainResult:
    """A finished run: where it is, how far it went, the last and the best figures (0-1)."""

    out: Path
    steps: int
    epochs: float
    metrics: dict[str, float]
    best: float
    seconds: float
    failures: tuple[Failure, ...] = ()
    clamped: int = 0
    finished: bool = True


def train(recipe: Recipe, out: str | Path, *, progress: Progress | None = None) -> TrainResult:
    """Run a recipe in the folder ``out``, from its last checkpoint if there is one.

    ``progress`` receives every log row, and evaluation's steps, on the main process; without one
    they become a progress line on stderr (``log.silent`` says nothing).
    Raises ValueError for a recipe that cannot run, too many unreadable files, or a loss that is
    no number; Stopped (a SystemExit) after a signal, when all is saved.
    """
    started, run, ranks = time.perf_counter(), recipe.run, distributed.start()
    check_run(recipe, ranks)
    state = RunState.build(recipe, ranks)
    place = {"batch": run.batch // ranks.world, "rank": ranks.rank, "world": ranks.world}
    loader = recipe.build_loader("train", state.model, **place)
    held_out = recipe.build_loader("val", state.model, **place)
    plan = multigrid_plan(recipe, state.model)
    schedule = plan.schedule if plan else recipe.schedule
    pace = Pace(loader, schedule, plan)
    folder = RunFolder(Path(out), recipe, ranks, rows=len(loader.dataset), epochs=schedule.epochs)
    progress = progress or ProgressLine()
    folder.resume(state, progress)

    ending = (closing(loader), closing(held_out or loader))  # workers, however the run ends
    with Signals() as signals, ending[0], ending[1], folder.open_until_end():
        for epoch in range(state.epoch, pace.epochs):
            state.wrapped.train()
            hold_frozen(state.model, norm=run.norm)
            batches = undisturbed(loader.epoch(epoch, state.done))
            batches = islice(batches, pace.steps(epoch) - state.done)
            waiting = time.perf_counter()
            for batch in batches:
                arrived = time.perf_counter()
                folder.inspect(state, batch)
                moment = epoch + state.done / pace.whole(epoch)
                rate = lr_at(schedule, recipe.optim.lr, moment) * lr_scale(recipe.optim, run.batch)
                set_lr(state.optimizer, rate)
                if state.groups is not None:
                    clips = max(1, len(batch) // run.accumulate)
                    fit_norms(state.model, clips, each=CLIPS_PER_STATISTIC, groups=state.groups)

                loss, correct = backward(state, batch)
                if not math.isfinite(loss):
                    raise TrainingError(diverged(state, loss, rate, moment))
                if moment < schedule.head_epochs:
                    hold_body(state.model)
                if recipe.optim.clip_norm:
                    state.scaler.unscale_(state.optimizer)
                    nn.utils.clip_grad_norm_(state.model.parameters(), recipe.optim.clip_norm)
                state.scaler.step(state.optimizer)
                state.scaler.update()
                state.optimizer.zero_grad(set_to_none=True)
                if state.average is not None:
                    state.average.update()

                state.step, state.done = state.step + 1, state.done + 1
                state.meter.add(loss, correct, len(batch))
                state.meter.time(arrived - waiting, time.perf_counter() - arrived)
                if state.step % run.log_steps == 0 or state.done == pace.steps(epoch):
                    moment = epoch + state.done / pace.whole(epoch)
                    left = pace.left(epoch, state.done)
                    folder.training_row(state, epoch=moment, rate=rate, left=left)
                asked = distributed.largest(signals.number, ranks)
                if asked or (run.save_steps and state.step % run.save_steps == 0):
                    folder.save(state)
                if asked:
                    folder.leave(state, asked)
                waiting = time.perf_counter()

            folder.join_failures(state)
            last = epoch + 1 == pace.epochs
            if last or (epoch + 1) % run.evaluate_epochs == 0:
                folder.save(state)
                with state.to_measure() as model:
                    recompute_norms(state, model, loader, epoch)
                    watch = watching(signals, state, folder, progress)
                    measure(state, model, held_out, folder, watch)
            if last:
                folder.summarise(state)
            state.epoch, state.done, state.finished = epoch + 1, 0, last
            folder.save(state)
    return TrainResult(
        out=folder.out,
        steps=state.step,
        epochs=schedule.epochs,
        metrics=state.metrics,
        best=state.best,
        seconds=time.perf_counter() - started,
        failures=state.failures.failures,
        clamped=state.clamped,
    )


def check_run(recipe: Recipe, ranks: Ranks) -> None:
    """Raises ValueError for numbers with which no run can be made, naming the field."""
    run = recipe.run
    check_schedule(recipe.schedule)
    for name in ("batch", "accumulate", "log_steps", "evaluate_epochs", "keep"):
        if getattr(run, name) < 1:
            raise ValueError(f"run.{name} is {getattr(run, name)}; it must be at least 1")
    if run.batch % ranks.world:
        raise ValueError(
            f"run.batch is {run.batch} for {ranks.world} processes; choose a multiple of them"
        )
    if run.accumulate > run.batch // ranks.world:
        raise ValueError(
            f"run.accumulate is {run.accumulate} but a process has {run.batch // ranks.world} "
            "clips a step; it divides the batch, so make it smaller"
        )


def multigrid_plan(recipe: Recipe, model: nn.Module) -> Plan | None:
    """The shapes of the run's clips and their schedule; None where all clips are full."""
    if recipe.schedule.multigrid == "none":
        return None
    spec: Any = model.spec
    return plan_of(recipe.schedule, frames=spec.frames, crop=spec.size)


class Pace:
    """How many steps epochs have: the loader's, and fewer in a last epoch that is not whole."""

    def __init__(self, loader: Any, schedule: ScheduleChoice, plan: Plan | None) -> None:
        self.loader, self.length, self.plan = loader, schedule.epochs, plan
        self.epochs = math.ceil(schedule.epochs)
        self._known: dict[Phase | None, int] = {}

    def whole(self, epoch: int) -> int:
        """Steps of a whole epoch; the epochs of one phase are equally long."""
        phase = self.plan.phase_at(epoch) if self.plan else None
        if phase not in self._known:
            self._known[phase] = self.loader.steps(epoch)
        return self._known[phase]

    def steps(self, epoch: int) -> int:
        """Steps taken in an epoch."""
        part = min(1.0, self.length - epoch)
        return max(1, round(part * self.whole(epoch)))

    def left(self, epoch: int, done: int) -> int:
        """Steps until the end, ``done`` of this epoch's being behind."""
        return self.steps(epoch) - done + sum(map(self.steps, range(epoch + 1, self.epochs)))


def undisturbed(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, without what fetching them takes from the global generator: a loader that
    starts workers draws their seed from it, in a resumed run once more than in a whole one."""
    while True:
        before = torch.get_rng_state()
        batch = next(batches, None)
        torch.set_rng_state(before)
        if batch is None:
            return
        yield batch


def pieces(batch: Batch, count: int) -> Iterator[Batch]:
    """A batch in ``count`` consecutive parts (fewer if it is smaller), for accumulation."""
    size = -(-len(batch) // count)
    for first in range(0, len(batch), size):
        part = slice(first, first + size)
        yield replace(
            batch,
            rgb=None if batch.rgb is None else batch.rgb[part],
            flow=None if batch.flow is None else batch.flow[part],
            target=_each(batch.target, itemgetter(part)),
            keys=batch.keys[part],
            times=batch.times[part],
            index=batch.index[part],
        )


def _each(target: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """``change`` applied to the label rows, or to each label set's."""
    if isinstance(target, Mapping):
        return {name: change(rows) for name, rows in target.items()}
    return change(target)


def to_device(batch: Batch, device: Any) -> Batch:
    """The batch with its pixels and targets on a device."""

    def moved(tensor: Tensor) -> Tensor:
        return tensor.to(device, non_blocking=True)

    rgb = None if batch.rgb is None else moved(batch.rgb)
    flow = None if batch.flow is None else moved(batch.flow)
    return replace(batch, rgb=rgb, flow=flow, target=_each(batch.target, moved))


def backward(state: RunState, batch: Batch) -> tuple[float, float]:
    """Gradients of the batch's mean loss, in ``run.accumulate`` pieces; (loss, clips correct)."""
    loss, correct, parts = 0.0, 0.0, list(pieces(batch, state.run.accumulate))
    for number, part in enumerate(parts):
        share = len(part) / len(batch)
        with _gradients_shared(state, last=number + 1 == len(parts)):
            with autocast(state.ranks.device, state.run.precision):
                found = state.task.loss(state.wrapped, to_device(part, state.ranks.device))
            state.scaler.scale(found["loss"] * share).backward()
        loss += float(found["loss"].detach()) * share
        if "count" in found:
            correct += float(found["correct"]) / float(found["count"]) * len(part)
    return loss, correct


def _gradients_shared(state: RunState, *, last: bool) -> AbstractContextManager[Any]:
    """Let processes exchange gradients with the last piece only."""
    if state.twin is not None:
        state.model.set_requires_gradient_sync(last)  # type: ignore[operator]
    elif not last and isinstance(state.wrapped, DistributedDataParallel):
        return state.wrapped.no_sync()
    return nullcontext()


def hold_body(model: nn.Module) -> None:
    """Forget the gradients of all but the classifier, so that nothing else moves or decays."""
    head = head_names(model)
    for name, parameter in model.named_parameters():
        if name not in head:
            parameter.grad = None


def diverged(state: RunState, loss: float, rate: float, epoch: float) -> str:
    """One line: where the loss ceased to be a number, and what helps."""
    half = " or run.precision bf16" if state.run.precision == "fp16" else ""
    return (
        f"the loss is {loss} at step {state.step + 1} "
        f"(epoch {epoch:.2f}, learning rate {rate:.3g}): "
        f"lower optim.lr, lengthen schedule.warmup_epochs, or set optim.clip_norm to 1{half}"
    )


def recompute_norms(state: RunState, model: nn.Module, loader: Any, epoch: int) -> None:
    """Precise statistics over ``run.precise_bn`` batches of training clips, where asked for."""
    if not state.run.precise_bn or state.run.norm == "frozen":
        return

    def forward(network: nn.Module, batch: Batch) -> None:
        clips = [clip.flatten(0, 1).to(state.ranks.device) for clip in batch.clips]
        with autocast(state.ranks.device, state.run.precision):
            network.forward(*clips)

    batches = islice(loader.epoch(epoch), state.run.precise_bn)
    precise_statistics(model, batches, forward, state.ranks)


def measure(
    state: RunState, model: nn.Module, loader: Any, folder: RunFolder, progress: Progress
) -> None:
    """Evaluate, log and keep; without a validation split only the weights are kept."""
    if loader is None:
        folder.keep_unmeasured(model)
        return
    device, precision = state.ranks.device, state.run.precision
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        found = evaluate(
            model, state.task, loader, device=device, precision=precision, progress=progress
        )
    folder.keep(state, found, model)


def watching(signals: Signals, state: RunState, folder: RunFolder, progress: Progress) -> Progress:
    """Progress of an evaluation that leaves at once when asked: the state is already saved."""

    def watch(row: Mapping[str, Any]) -> None:
        if signals.number:
            folder.leave(state, signals.number)
        if state.ranks.main:
            progress(row)

    return watch
