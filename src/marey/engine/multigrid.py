"""Multigrid training: larger batches of coarser clips, the same work per step, fewer steps.

    long cycle    (T, S) in (1/4, .7071), (1/2, .7071), (1/2, 1), (1, 1) of the full clip, one
                  after another between two steps of the learning rate; the batch grows as T S^2
                  shrinks
    short cycle   crops of .5 S0, .7071 S0 and S in turn, step by step; the batch grows as S^2
                  shrinks
    fine-tuning   after the last step only full clips are seen

The stretches between steps are divided among the shapes in proportion to their mean batch factor,
the last stretch is given the same saving of iterations, and everything is stretched so that
training passes 1.5 times the epochs of the plain schedule. The rate of a shape is
``gamma ** step`` times its batch factor; fine-tuning holds the previous rate for its first half.

Source: Wu et al., "A Multigrid Method for Efficiently Training Video Models", CVPR 2020, and the
schedules of the official code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from marey.choices import ScheduleChoice

LONG_CYCLE = ((0.25, 0.5**0.5), (0.5, 0.5**0.5), (0.5, 1.0), (1.0, 1.0))
SHORT_CYCLE = (0.5, 0.5**0.5)
EPOCH_FACTOR = 1.5
CLIPS_PER_STATISTIC = 8


@dataclass(frozen=True)
class Phase:
    """Clips of one long-cycle shape, up to the epoch ``end``; ``batch`` multiplies the batch."""

    end: int
    batch: int
    frames: int
    crop: int
    step: int


@dataclass(frozen=True)
class Plan:
    """A multigrid run: its phases, and the schedule of the learning rate that goes with them."""

    schedule: ScheduleChoice
    phases: tuple[Phase, ...]
    crop: int
    short: bool

    def phase_at(self, epoch: int) -> Phase:
        """The phase an epoch belongs to, the last one after the end."""
        return next((p for p in self.phases if epoch < p.end), self.phases[-1])

    def shape(self, epoch: int, step: int) -> tuple[int, int, int]:
        """Frames, crop and batch factor of one step."""
        phase = self.phase_at(epoch)
        factors = (*SHORT_CYCLE, None) if self.short else (None,)
        factor = factors[step % len(factors)]
        if factor is None:
            return phase.frames, phase.crop, phase.batch
        crop = round(factor * self.crop)
        growth = round((phase.crop / (factor * self.crop)) ** 2)
        return phase.frames, crop, phase.batch * growth

    def shape_of(self, kind: Callable[..., Any]) -> Callable[[int, int], Any]:
        """``shape`` as the loader wants it: ``kind(frames=, size=, batch_factor=)``."""

        def shaped(epoch: int, step: int) -> Any:
            frames, crop, batch = self.shape(epoch, step)
            return kind(frames=frames, size=crop, batch_factor=batch)

        return shaped


def plan_of(choice: ScheduleChoice, *, frames: int, crop: int) -> Plan | None:
    """The multigrid plan for full clips of ``frames`` at ``crop``; None for a plain schedule."""
    if choice.multigrid == "none":
        return None
    short = choice.multigrid in ("short", "both")
    if choice.multigrid == "short":
        return _stretched(choice, frames, crop)
    steps = (0.0, *(s for s in choice.steps if s > 0))
    phases = tuple(_phases(steps, choice.epochs, frames, crop, short=short))
    ends = [phase.end for phase in phases]
    rates = [choice.gamma**phase.step * phase.batch for phase in phases]
    before = ends[-2] if len(ends) > 1 else 0
    schedule = replace(
        choice,
        kind="relative_steps",
        epochs=float(ends[-1]),
        steps=tuple(map(float, (0, *ends[:-1], (before + ends[-1]) // 2))),
        factors=(*rates[:-1], rates[-2], rates[-1]),
    )
    return Plan(schedule=schedule, phases=phases, crop=crop, short=short)


def _stretched(choice: ScheduleChoice, frames: int, crop: int) -> Plan:
    """The short cycle alone: the plain schedule, 1.5 times as long."""
    epochs = choice.epochs * EPOCH_FACTOR
    schedule = replace(choice, epochs=epochs, steps=tuple(s * EPOCH_FACTOR for s in choice.steps))
    whole = Phase(end=int(-(-epochs // 1)), batch=1, frames=frames, crop=crop, step=0)
    return Plan(schedule=schedule, phases=(whole,), crop=crop, short=True)


def _phases(
    steps: tuple[float, ...], epochs: float, frames: int, crop: int, *, short: bool
) -> list[Phase]:
    """Long-cycle phases with their cumulative ends, in order."""
    full = frames * crop**2
    shapes = []
    for time, space in LONG_CYCLE:
        t, s = round(frames * time), round(crop * space)
        crops = [crop * f for f in SHORT_CYCLE] if short else []
        factors = [round(full / (t * side**2)) for side in (*crops, s)]
        shapes.append((t, s, factors[-1], sum(factors) / len(factors)))
    total = sum(mean for *_, mean in shapes)
    spans: list[tuple[int, tuple[int, int, int, float], float]] = []
    for index in range(len(steps) - 1):
        stretch = steps[index + 1] - steps[index]
        spans += [(index, shape, stretch * shape[3] / total) for shape in shapes]
    iterations = sum(span / shape[3] for _, shape, span in spans)
    saving = steps[-1] / iterations
    spans.append((len(steps) - 1, shapes[-1], (epochs - steps[-1]) / saving * shapes[-1][3]))
    scale = epochs * EPOCH_FACTOR / sum(span for *_, span in spans)
    phases, passed = [], 0.0
    for step, (t, s, batch, _), span in spans:
        passed += span * scale
        phases.append(Phase(end=round(passed), batch=batch, frames=t, crop=s, step=step))
    return phases
