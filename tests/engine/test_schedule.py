"""The sheet's check values of warm-up and cosine, and the other rules in numbers."""

from __future__ import annotations

from typing import Any

import pytest

from marey.choices import ScheduleChoice
from marey.engine.schedule import check_schedule, clip_shapes, lr_at
from marey.types import ClipSpec

KINETICS = ScheduleChoice(kind="cosine", epochs=196, warmup_epochs=34, warmup_start=0.01)


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [
        (0, 0.01),
        (1, 0.012434),
        (10, 0.03434),
        (17, 0.051379),
        (33.9, 0.092514),
        (34, 0.092757),
        (35, 0.092336),
        (98, 0.05),
        (150, 0.012986),
        (195, 6e-6),
    ],
)
def test_kinetics_rates_are_the_measured_ones(epoch: float, rate: float) -> None:
    assert lr_at(KINETICS, 0.1, epoch) == pytest.approx(rate, abs=5e-7)


def test_a_negative_stretch_of_the_classifier_is_refused() -> None:
    with pytest.raises(ValueError, match="head_epochs is -1.0; it must not be negative"):
        check_schedule(ScheduleChoice(head_epochs=-1.0))


def test_cosine_may_start_after_warmup_and_ends_where_it_should() -> None:
    late = ScheduleChoice(epochs=10, warmup_epochs=2, cosine_after_warmup=True, end=0.001)
    assert lr_at(late, 0.1, 2) == pytest.approx(0.1)
    assert lr_at(late, 0.1, 6) == pytest.approx(0.0505)
    assert lr_at(late, 0.1, 10) == pytest.approx(0.001)
    assert lr_at(late, 0.1, 11) == pytest.approx(0.001)


def test_stepwise_kinetics_and_imagenet_start() -> None:
    factors = (1, 0.1, 0.01, 0.001)
    stepwise = ScheduleChoice(
        kind="relative_steps", epochs=239, steps=(0, 94, 154, 196), factors=factors
    )
    found = [lr_at(stepwise, 0.1, epoch) for epoch in (0, 93.99, 94, 153.9, 154, 196, 238)]
    assert found == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.0001, 0.0001])
    plain = ScheduleChoice(kind="steps", epochs=118, steps=(0, 44, 88), gamma=0.1)
    assert [lr_at(plain, 0.01, e) for e in (0, 44, 117)] == pytest.approx([0.01, 0.001, 0.0001])


def test_warmup_runs_to_the_rate_at_its_end() -> None:
    steps = ScheduleChoice(
        kind="steps", epochs=57, steps=(0, 41, 49), warmup_epochs=4, warmup_start=1e-4
    )
    assert lr_at(steps, 0.0375, 2) == pytest.approx((1e-4 + 0.0375) / 2)
    assert lr_at(ScheduleChoice(kind="constant"), 0.3, 100) == 0.3


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"epochs": 0.0}, "schedule.epochs is 0.0"),
        ({"epochs": 2.0, "warmup_epochs": 2.0}, "warm-up must end before"),
        ({"steps": (3.0, 1.0)}, "must not decrease"),
        ({"kind": "relative_steps", "steps": (1.0,)}, "starts with a step at 0"),
        ({"kind": "relative_steps", "steps": (0.0, 1.0), "factors": (1.0,)}, "1 values for 2"),
        ({"multigrid": "both"}, "at least two steps"),
    ],
)
def test_impossible_schedules_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_schedule(ScheduleChoice(**fields))


def test_usual_schedules_pass() -> None:
    check_schedule(KINETICS)
    check_schedule(ScheduleChoice(kind="steps", steps=(0, 41, 49), epochs=57, multigrid="both"))


def test_clip_shapes_reach_the_loader() -> None:
    spec = ClipSpec(frames=32, size=224)
    assert clip_shapes(KINETICS, spec, 64) is None
    grid = ScheduleChoice(
        kind="relative_steps",
        steps=(0, 94, 154, 196),
        factors=(1, 0.1, 0.01, 0.001),
        epochs=239,
        multigrid="both",
    )
    shape_of = clip_shapes(grid, spec, 64)
    assert shape_of is not None
    shapes = [shape_of(0, step) for step in range(3)]
    assert [(s.frames, s.size, s.batch_factor) for s in shapes] == [
        (8, 112, 16),
        (8, 158, 8),
        (8, 158, 8),
    ]
    with pytest.raises(ValueError, match="at least 4 frames"):
        clip_shapes(grid, ClipSpec(frames=2, size=224), 64)
