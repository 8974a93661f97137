"""The three published multigrid schedules, exactly."""

from __future__ import annotations

import pytest

from marey.choices import ScheduleChoice
from marey.engine.multigrid import plan_of
from marey.engine.schedule import lr_at


def grid(steps: tuple[float, ...], epochs: float) -> ScheduleChoice:
    factors = tuple(0.1**n for n in range(len(steps)))
    return ScheduleChoice(
        kind="relative_steps", steps=steps, factors=factors, epochs=epochs, multigrid="both"
    )


KINETICS = (
    grid((0, 94, 154, 196), 239),
    32,
    [73, 110, 142, 158, 205, 228, 248, 259, 291, 308, 322, 329, 358],
    [0, 73, 110, 142, 158, 205, 228, 248, 259, 291, 308, 322, 329, 343],
    [8, 4, 2, 1, 0.8, 0.4, 0.2, 0.1, 0.08, 0.04, 0.02, 0.01, 0.01, 0.001],
)
CHARADES = (
    grid((0, 41, 49), 57),
    64,
    [31, 47, 60, 67, 73, 76, 79, 80, 86],
    [0, 31, 47, 60, 67, 73, 76, 79, 80, 83],
    [8, 4, 2, 1, 0.8, 0.4, 0.2, 0.1, 0.1, 0.01],
)
SSV2 = (
    grid((0, 14, 18), 22),
    64,
    [11, 16, 21, 24, 27, 28, 30, 30, 33],
    [0, 11, 16, 21, 24, 27, 28, 30, 30, 31],
    [8, 4, 2, 1, 0.8, 0.4, 0.2, 0.1, 0.1, 0.01],
)


@pytest.mark.parametrize("published", [KINETICS, CHARADES, SSV2], ids=["k400", "charades", "ssv2"])
def test_published_schedules(published: tuple) -> None:  # type: ignore[type-arg]
    choice, frames, ends, steps, factors = published
    plan = plan_of(choice, frames=frames, crop=224)
    assert plan is not None
    assert [phase.end for phase in plan.phases] == ends
    cycle = [
        (8, frames // 4, 158),
        (4, frames // 2, 158),
        (2, frames // 2, 224),
        (1, frames, 224),
    ]
    expected = cycle * ((len(ends) - 1) // 4) + [(1, frames, 224)]
    assert [(p.batch, p.frames, p.crop) for p in plan.phases] == expected
    assert plan.schedule.steps == tuple(steps)
    assert plan.schedule.factors == pytest.approx(factors)
    assert plan.schedule.epochs == ends[-1]
    assert plan.schedule.kind == "relative_steps"


def test_rates_follow_the_plan() -> None:
    plan = plan_of(KINETICS[0], frames=32, crop=224)
    assert plan is not None
    found = [lr_at(plan.schedule, 0.1, epoch) for epoch in (0, 80, 158, 335, 343, 357)]
    assert found == pytest.approx([0.8, 0.4, 0.08, 0.001, 0.0001, 0.0001])


def test_short_cycle_turns_with_every_step() -> None:
    plan = plan_of(KINETICS[0], frames=32, crop=224)
    assert plan is not None
    assert [plan.shape(0, i) for i in range(4)] == [
        (8, 112, 16),
        (8, 158, 8),
        (8, 158, 8),
        (8, 112, 16),
    ]
    assert [plan.shape(330, i) for i in range(3)] == [(32, 112, 4), (32, 158, 2), (32, 224, 1)]


def test_short_cycle_alone_only_stretches_time() -> None:
    choice = ScheduleChoice(kind="steps", steps=(0, 10), epochs=20, multigrid="short")
    plan = plan_of(choice, frames=8, crop=224)
    assert plan is not None
    assert (plan.schedule.steps, plan.schedule.epochs) == ((0, 15), 30)
    assert [plan.shape(29, i) for i in range(3)] == [(8, 112, 4), (8, 158, 2), (8, 224, 1)]


def test_long_cycle_alone_has_one_shape_a_phase() -> None:
    choice = ScheduleChoice(kind="steps", steps=(0, 8, 16), epochs=20, multigrid="long")
    plan = plan_of(choice, frames=8, crop=224)
    assert plan is not None
    assert plan.phases[-1].end == 30
    assert {plan.shape(0, i) for i in range(5)} == {(2, 158, 8)}


def test_no_multigrid_is_no_plan() -> None:
    assert plan_of(ScheduleChoice(), frames=8, crop=224) is None
