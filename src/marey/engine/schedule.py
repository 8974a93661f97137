"""The learning rate at a fractional epoch, updated every iteration.

    kind             rate before warm-up is considered
    cosine           end + (lr - end) * (cos(pi * e / epochs) + 1) / 2
    steps            lr * gamma ** (number of steps passed)
    relative_steps   lr * factors[index of the last step not after e]
    constant         lr

During warm-up the rate runs in a straight line from ``warmup_start`` to the rate that the schedule
has at its end. The cosine's clock starts at epoch 0 unless ``cosine_after_warmup``, so that it has
already left its peak when warm-up ends. With ``cycles`` it runs that often, from the peak again.

Source: specs of PySlowFast's lr_policy, section 6.1 of its sheet.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from marey.choices import ScheduleChoice
from marey.engine.multigrid import plan_of
from marey.types import ClipSpec

if TYPE_CHECKING:
    from marey.data.dataset import ClipShape


def check_schedule(choice: ScheduleChoice) -> None:
    """Raises ValueError for a schedule that cannot be run, naming the field."""
    if choice.epochs <= 0:
        raise ValueError(f"schedule.epochs is {choice.epochs}; it must be above 0")
    if choice.warmup_epochs < 0 or choice.warmup_epochs >= choice.epochs > 0 < choice.warmup_epochs:
        raise ValueError(
            f"schedule.warmup_epochs is {choice.warmup_epochs} of {choice.epochs} epochs; "
            "warm-up must end before training does"
        )
    if choice.head_epochs < 0:
        raise ValueError(f"schedule.head_epochs is {choice.head_epochs}; it must not be negative")
    if choice.cycles < 1:
        raise ValueError(f"schedule.cycles is {choice.cycles}; the cosine runs at least once")
    if list(choice.steps) != sorted(choice.steps):
        raise ValueError(f"schedule.steps is {choice.steps}; steps must not decrease")
    if choice.kind == "relative_steps":
        if not choice.steps or choice.steps[0] != 0:
            raise ValueError(
                f"schedule.steps is {choice.steps}; relative_steps starts with a step at 0"
            )
        if len(choice.factors) != len(choice.steps):
            raise ValueError(
                f"schedule.factors has {len(choice.factors)} values for {len(choice.steps)} steps; "
                "relative_steps needs one each"
            )
    if choice.multigrid in ("long", "both") and len(choice.steps) < 2:
        raise ValueError(
            f"schedule.steps is {choice.steps}; multigrid's long cycle divides the stretches "
            "between at least two steps, the first at 0"
        )


def _settled(choice: ScheduleChoice, lr: float, epoch: float) -> float:
    """The rate without warm-up."""
    if choice.kind == "cosine":
        start = choice.warmup_epochs if choice.cosine_after_warmup else 0.0
        length = (choice.epochs - start) / choice.cycles
        past = min(max(epoch - start, 0.0) / length, float(choice.cycles))
        done = past % 1.0 if past < choice.cycles else 1.0
        return choice.end + (lr - choice.end) * (math.cos(math.pi * done) + 1) / 2
    if choice.kind == "steps":
        return lr * choice.gamma ** sum(0 < step <= epoch for step in choice.steps)
    if choice.kind == "relative_steps":
        passed = sum(step <= epoch for step in choice.steps)
        return lr * choice.factors[max(passed - 1, 0)]
    return lr


def lr_at(choice: ScheduleChoice, base_lr: float, epoch: float) -> float:
    """Learning rate at a fractional ``epoch``; ``base_lr`` is the rate at factor 1."""
    if epoch < choice.warmup_epochs:
        end = _settled(choice, base_lr, choice.warmup_epochs)
        return choice.warmup_start + (end - choice.warmup_start) * epoch / choice.warmup_epochs
    return _settled(choice, base_lr, epoch)


def clip_shapes(
    choice: ScheduleChoice, spec: ClipSpec, batch: int
) -> Callable[[int, int], ClipShape] | None:
    """Clip shape of (epoch, step) for the loader under multigrid; None where every clip is full.

    Raises ValueError when the smallest crop would vanish.
    """
    from marey.data.dataset import ClipShape

    if choice.multigrid != "none" and (spec.frames < 4 or spec.size < 8 or batch < 1):
        raise ValueError(
            f"multigrid quarters clips of {spec.frames} frames at {spec.size}; "
            "it needs at least 4 frames and a crop of 8"
        )
    plan = plan_of(choice, frames=spec.frames, crop=spec.size)
    return None if plan is None else plan.shape_of(ClipShape)
