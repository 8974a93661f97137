"""The search itself: the paper's own sequence, what is chosen, what fits, what is refused."""

from collections.abc import Callable, Sequence
from math import ceil

import pytest
import torch

from marey.engine.expand import (
    AXES,
    Candidate,
    Plan,
    State,
    fitted,
    gain,
    grow,
    moved,
    open_axes,
    search,
)
from marey.metrics.cost import Cost, measure
from marey.models.x3d import VARIANTS, X3D, X3DConfig, round_width

X2D = State(
    frames=1, stride=48, crop=112, width_factor=2.0, bottleneck_factor=1.0, depth_factor=1.0
)
PAPER = (  # the axis; frames, stride, crop, bottleneck, depth, width; GMACs, millions of parameters
    ("bottleneck", (1, 48, 112, 2.25, 1.0, 2.0), 0.0410, 2.653),
    ("fast", (2, 24, 112, 2.25, 1.0, 2.0), 0.0802, 2.653),
    ("spatial", (2, 24, 160, 2.25, 1.0, 2.0), 0.1534, 2.653),
    ("depth", (2, 24, 160, 2.25, 2.2, 2.0), 0.3036, 3.794),
    ("fast", (4, 12, 160, 2.25, 2.2, 2.0), 0.6053, 3.794),  # X3D-XS
    ("fast", (8, 6, 160, 2.25, 2.2, 2.0), 1.2087, 3.794),
    ("temporal", (16, 6, 160, 2.25, 2.2, 2.0), 2.4154, 3.794),
    ("spatial", (16, 6, 224, 2.25, 2.2, 2.0), 4.7325, 3.794),  # X3D-M
    ("spatial", (16, 6, 312, 2.25, 2.2, 2.0), 9.4516, 3.794),
    ("depth", (16, 6, 312, 2.25, 5.0, 2.0), 18.368, 6.153),  # X3D-L
    ("width", (16, 6, 312, 2.25, 5.0, 2.9), 35.838, 11.096),  # X3D-XL
)


def numbers(state: State) -> tuple[float, ...]:
    return (
        *(state.frames, state.stride, state.crop),
        *(state.bottleneck_factor, state.depth_factor, state.width_factor),
    )


def by_hand(state: State) -> float:
    """Multiply-adds of X3D from its table, without building it."""
    side = ceil(state.crop / 2)
    width = round_width(12 * state.width_factor)
    total = (27 * width + 5 * width) * side**2 * state.frames
    for base, depth in ((12, 1), (24, 2), (48, 5), (96, 3)):
        out, small = round_width(base * state.width_factor), ceil(side / 2)
        inner = int(state.bottleneck_factor * out)
        squeeze = 2 * inner * round_width(inner / 16)
        for i in range(ceil(depth * state.depth_factor)):
            before, came = (out, small) if i else (width, side)
            places = small**2 * state.frames
            total += before * inner * came**2 * state.frames + (27 + out) * inner * places
            total += before * out * places if i == 0 else 0
            total += squeeze if i % 2 == 0 else 0
        width, side = out, small
    return total + width * inner * side**2 * state.frames + inner * 2048 + 2048 * 400


def measured(state: State) -> Cost:
    names = ("frames", "stride", "crop", "width_factor", "bottleneck_factor", "depth_factor")
    with torch.device("meta"):
        network = X3D(X3DConfig(**{name: getattr(state, name) for name in names}))
    return measure(network, (1, 3, state.frames, state.crop, state.crop))


def oracle(told: list[State]) -> Callable[[Sequence[State]], list[float]]:
    """A judge to whom the paper's states are each better than the last, and all others poor."""
    places = {row[1]: 0.5 + 0.01 * number for number, row in enumerate(PAPER)}

    def judge(states: Sequence[State]) -> list[float]:
        told.extend(states)
        return [places.get(numbers(state), 0.3) for state in states]

    return judge


def test_the_papers_own_sequence() -> None:
    told: list[State] = []
    found = search(X2D, Plan(budget=35.9e9), cost=by_hand, judge=oracle(told))
    assert [row.axis for row in found.path[1:]] == [row[0] for row in PAPER]
    assert [numbers(row.state) for row in found.path[1:]] == [row[1] for row in PAPER]
    for row, (_, _, gmacs, millions) in zip(found.path[1:], PAPER, strict=True):
        cost = measured(row.state)
        assert cost.multiply_adds == row.cost
        assert cost.multiply_adds / 1e9 == pytest.approx(gmacs, rel=0.001)
        assert cost.parameters / 1e6 == pytest.approx(millions, abs=0.0006)
    assert found.final == found.path[-1]
    assert measured(X2D).multiply_adds / 1e6 == pytest.approx(20.66, rel=0.001)
    assert max(len(step.candidates) for step in found.steps) == 6
    assert len(set(told)) == len(told), "a state was judged twice"


def test_x3d_s_is_the_longest_clip_within_two_billion() -> None:
    found = search(X2D, Plan(budget=2e9), cost=by_hand, judge=oracle([]))
    assert len(found.steps) == 7
    assert found.final is not None
    assert numbers(found.final.state) == (13, 6, 160, 2.25, 2.2, 2.0)
    assert found.final.cost / 1e9 == pytest.approx(1.963, rel=0.001)
    small = VARIANTS["x3d_s"]
    assert (found.final.state.frames, found.final.state.stride) == (small.frames, small.stride)


def test_a_step_comes_nearest_to_the_ratio() -> None:
    for axis in open_axes(X2D, Plan(budget=1e9)):
        for ratio in (1.5, 2.0):
            state = grow(X2D, axis, Plan(budget=1e9, ratio=ratio), by_hand)
            assert state is not None
            form = AXES[axis]
            value = getattr(state, form.field)
            near = abs(by_hand(state) / by_hand(X2D) - ratio)
            for other in (value - form.grain, value + form.grain):
                if other > getattr(X2D, form.field):
                    there = by_hand(moved(X2D, axis, other))
                    assert near <= abs(there / by_hand(X2D) - ratio) * 1.2, (axis, ratio)


def test_faster_clips_span_the_same_time_and_longer_ones_do_not() -> None:
    state = moved(X2D, "fast", 4)
    assert (state.frames, state.stride) == (4, 12)
    longer = moved(state, "temporal", 8)
    assert (longer.frames, longer.stride) == (8, 12)
    assert moved(longer, "fast", 13).stride == 7  # 96 frames of the file, 7.4 apart


def test_axes_that_mean_nothing_are_left_out() -> None:
    plan = Plan(budget=1.0)
    assert "temporal" not in open_axes(X2D, plan)
    assert set(open_axes(moved(X2D, "fast", 2), plan)) == set(AXES)
    dense = moved(X2D, "fast", 48)
    assert dense.stride == 1
    assert "fast" not in open_axes(dense, plan)
    assert "fast" not in open_axes(X2D, Plan(budget=1.0, timed=False))


def test_limits_end_an_axis() -> None:
    plan = Plan(budget=1e12, most={"frames": 3, "crop": 128})
    assert grow(moved(X2D, "fast", 2), "fast", plan, by_hand) == moved(X2D, "fast", 3)
    assert grow(moved(X2D, "fast", 3), "temporal", plan, by_hand) is None
    assert fitted(X2D, "spatial", plan, by_hand) == moved(X2D, "spatial", 128)
    found = search(
        X2D,
        Plan(budget=1e12, axes=("fast",), most={"frames": 3}),
        cost=by_hand,
        judge=lambda states: [0.5] * len(states),
    )
    assert found.final is not None
    assert found.final.state.frames == 3


def test_an_axis_that_costs_nothing_does_not_run_away() -> None:
    grown = grow(X2D, "depth", Plan(budget=1.0), lambda state: 5.0)
    assert grown is not None
    assert grown.depth_factor == 4.0
    free = fitted(X2D, "depth", Plan(budget=5.0), lambda state: 5.0)
    assert free is not None
    assert free.depth_factor < 40


def test_accuracy_is_compared_a_doubling() -> None:
    here = Candidate("", X2D, 1.0, 0.5)

    def there(cost: float, accuracy: float) -> Candidate:
        return Candidate("width", X2D, cost, accuracy)

    assert gain(here, there(2.0, 0.6)) == pytest.approx(0.1)
    assert gain(here, there(4.0, 0.6)) == pytest.approx(0.05)
    assert gain(here, there(1.01, 0.6)) == pytest.approx(0.2)  # counted as half a doubling
    assert gain(here, there(4.0, 0.4)) < gain(here, there(2.0, 0.4)) < 0


def test_single_axes_go_as_far_as_the_budget() -> None:
    plan = Plan(budget=1e8, alone=True)
    found = search(X2D, plan, cost=by_hand, judge=lambda states: [0.5] * len(states))
    assert [row.axis for row in found.alone] == open_axes(X2D, plan)
    for row in found.alone:
        form = AXES[row.axis]
        value = getattr(row.state, form.field)
        assert row.cost <= plan.budget < by_hand(moved(X2D, row.axis, value + form.fine))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan(budget=1e6), r"budget 1e\+06 is below the start, which costs 2\.06\d+e\+07: raise"),
        (Plan(budget=1e9, axes=("speed",)), "axes is speed; choose from fast, temporal"),
        (Plan(budget=1e9, ratio=1.0), "ratio is 1.0; a step costs between"),
        (Plan(budget=float("nan")), "budget is nan; it must be above 0"),
    ],
)
def test_plans_that_cannot_be_meant_are_refused(plan: Plan, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search(X2D, plan, cost=by_hand, judge=lambda states: [0.5] * len(states))
