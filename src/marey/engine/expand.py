"""Growing a small network along six axes, one at a time, until a budget is spent.

    forward     from the start, one candidate an axis, each about twice as costly; all are trained
                alike, the one that gains most for its cost is kept; again, until the budget is met
    backward    the axis grown last shrinks until the network fits the budget

A search knows no network: it is given what a state costs and what it reaches, and answers plain
data. ``engine.candidates`` trains states in processes; ``marey expand`` joins the two.

Source: C. Feichtenhofer, "X3D: Expanding Architectures for Efficient Video Recognition", CVPR 2020,
Section 3.2.
Differs: axes grow on a grid, to the value whose cost comes nearest to double (the paper's own
values follow); candidates of unequal cost are compared by what they gain a doubling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

CostOf = Callable[["State"], float]
Judge = Callable[[Sequence["State"]], Sequence[float]]
Told = Callable[["Expansion"], None]

ENOUGH = 0.95  # of the budget: nothing worth a training is left
FEWEST_DOUBLINGS = 0.5  # a candidate that costs hardly more counts as this much dearer
LARGEST_STEP = 4.0  # how far an axis may grow at once where its cost does not


@dataclass(frozen=True, kw_only=True)
class State:
    """Where a search is: the six factors, under the names they have in a configuration."""

    frames: int
    stride: int
    crop: int
    width_factor: float
    bottleneck_factor: float
    depth_factor: float


FACTORS = tuple(field.name for field in fields(State))


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One way to grow: a field, the grid of its values (finer to fit a budget), and the power of
    the field that cost roughly follows, from which a search starts looking."""

    field: str
    grain: float
    fine: float
    power: float = 1.0


AXES = {
    "fast": Axis(field="frames", grain=1, fine=1),  # as long a clip at a higher rate
    "temporal": Axis(field="frames", grain=1, fine=1),  # a longer clip
    "spatial": Axis(field="crop", grain=8, fine=2, power=2.0),
    "depth": Axis(field="depth_factor", grain=0.1, fine=0.1),
    "width": Axis(field="width_factor", grain=0.1, fine=0.05, power=1.8),
    "bottleneck": Axis(field="bottleneck_factor", grain=0.25, fine=0.05),
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a search is asked for. ``most`` limits a field: frames that videos do not have help
    nobody. ``timed`` is false where clips are sampled without a stride, so none can be faster."""

    budget: float
    axes: tuple[str, ...] = tuple(AXES)
    ratio: float = 2.0
    most: Mapping[str, float] | None = None
    timed: bool = True
    alone: bool = False  # also scale the start along each axis alone


@dataclass(frozen=True)
class Candidate:
    """A state that was trained: the axis that led to it, its cost, its accuracy (0 to 1)."""

    axis: str
    state: State
    cost: float
    accuracy: float


@dataclass(frozen=True)
class Step:
    """All candidates of one step; ``chosen`` counts among them."""

    candidates: tuple[Candidate, ...]
    chosen: int


@dataclass(frozen=True)
class Expansion:
    """A search so far. ``final`` is the network within the budget, once there is one; ``alone``
    holds the start scaled along single axes."""

    start: Candidate
    steps: tuple[Step, ...] = ()
    final: Candidate | None = None
    alone: tuple[Candidate, ...] = ()

    @property
    def path(self) -> tuple[Candidate, ...]:
        """The start and what each step chose."""
        return self.start, *(step.candidates[step.chosen] for step in self.steps)


def search(
    start: State, plan: Plan, *, cost: CostOf, judge: Judge, told: Told | None = None
) -> Expansion:
    """Grow ``start`` until its cost is ``plan.budget``; ``told`` hears of every step.

    ``judge`` trains states and answers their accuracies in order. Raises ValueError for a budget
    below the start, and for a plan that cannot be meant.
    """
    check_plan(plan)
    told = told or (lambda expansion: None)
    at_start = cost(start)
    if at_start > plan.budget:
        raise ValueError(
            f"the budget {plan.budget:.4g} is below the start, which costs {at_start:.4g}: "
            "raise the budget, or start smaller (fewer pixels or a smaller width_factor)"
        )
    found = Expansion(Candidate("", start, at_start, judge([start])[0]))
    told(found)
    here, before = found.start, found.start
    while here.cost < ENOUGH * plan.budget:
        step = forward(here, plan, cost=cost, judge=judge)
        if step is None:
            break
        found = replace(found, steps=(*found.steps, step))
        told(found)
        here, before = step.candidates[step.chosen], here
    if here.cost > plan.budget:
        here = backward(before, here, plan, cost=cost, judge=judge)
    found = replace(found, final=here)
    if plan.alone:
        found = replace(found, alone=scaled_alone(start, plan, cost=cost, judge=judge))
    told(found)
    return found


def forward(here: Candidate, plan: Plan, *, cost: CostOf, judge: Judge) -> Step | None:
    """One candidate an axis, all judged, the best chosen; None where no axis can grow."""
    grown = [(axis, grow(here.state, axis, plan, cost)) for axis in open_axes(here.state, plan)]
    ready = [(axis, state) for axis, state in grown if state is not None]
    if not ready:
        return None
    accuracies = judge([state for _, state in ready])
    candidates = tuple(
        Candidate(axis, state, cost(state), accuracy)
        for (axis, state), accuracy in zip(ready, accuracies, strict=True)
    )
    worth = [gain(here, candidate) for candidate in candidates]
    return Step(candidates, worth.index(max(worth)))


def gain(here: Candidate, there: Candidate) -> float:
    """Accuracy gained a doubling of cost; a loss weighs the more, the more it costs."""
    doublings = max(math.log2(there.cost / here.cost), FEWEST_DOUBLINGS)
    more = there.accuracy - here.accuracy
    return more / doublings if more > 0 else more * doublings


def backward(
    before: Candidate, after: Candidate, plan: Plan, *, cost: CostOf, judge: Judge
) -> Candidate:
    """The last step taken back until it fits the budget; where nothing between fits, all of it."""
    axis = after.axis
    state = fitted(before.state, axis, plan, cost, until=getattr(after.state, AXES[axis].field))
    if state is None:
        return before
    return Candidate(axis, state, cost(state), judge([state])[0])


def scaled_alone(start: State, plan: Plan, *, cost: CostOf, judge: Judge) -> tuple[Candidate, ...]:
    """The start grown along each axis alone as far as the budget lets it."""
    reached = [(axis, fitted(start, axis, plan, cost)) for axis in open_axes(start, plan)]
    ready = [(axis, state) for axis, state in reached if state is not None]
    accuracies = judge([state for _, state in ready])
    return tuple(
        Candidate(axis, state, cost(state), accuracy)
        for (axis, state), accuracy in zip(ready, accuracies, strict=True)
    )


def open_axes(state: State, plan: Plan) -> list[str]:
    """Axes that mean something here: one frame has no rate, so it only becomes faster; clips
    without a stride, or of neighbouring frames, only become longer."""
    closed = "fast" if not plan.timed or (state.stride == 1 and state.frames > 1) else ""
    if state.frames == 1 and not closed and "fast" in plan.axes:
        closed = "temporal"
    return [axis for axis in plan.axes if axis != closed]


def moved(state: State, axis: str, value: float) -> State:
    """The state with an axis at a value; a faster one keeps the time its clip spans."""
    name = AXES[axis].field
    changed: dict[str, Any] = {name: type(getattr(state, name))(round(value, 6))}
    if axis == "fast":
        changed["stride"] = max(1, round(state.stride * state.frames / value))
    return replace(state, **changed)


def grow(state: State, axis: str, plan: Plan, cost: CostOf) -> State | None:
    """The state grown along one axis to about ``plan.ratio`` times its cost; None at the limit."""
    form, value = AXES[axis], float(getattr(state, AXES[axis].field))
    most = min((plan.most or {}).get(form.field, math.inf), LARGEST_STEP * value)
    wanted = plan.ratio * cost(state)
    lowest, highest = _next(value, form.grain), math.floor(most / form.grain + 1e-9)
    if lowest > highest:
        return None

    def at(index: int) -> State:
        return moved(state, axis, index * form.grain)

    guess = round(value * plan.ratio ** (1 / form.power) / form.grain)
    index = min(max(guess, lowest), highest)
    dear = cost(at(index)) >= wanted
    while lowest <= index + (-1 if dear else 1) <= highest:
        index += -1 if dear else 1
        if (cost(at(index)) >= wanted) != dear:
            other = index + (1 if dear else -1)
            return min(
                (at(min(index, other)), at(max(index, other))),
                key=lambda near: abs(math.log(cost(near) / wanted)),
            )
    return at(index)


def fitted(
    state: State, axis: str, plan: Plan, cost: CostOf, *, until: float = math.inf
) -> State | None:
    """The state with one axis as large as the budget lets it, below ``until``; None where not even
    one more grain of the axis fits."""
    form, value = AXES[axis], float(getattr(state, AXES[axis].field))
    most = min((plan.most or {}).get(form.field, math.inf), until)
    low, high = _next(value, form.fine) - 1, _next(value, form.fine)

    def fits(index: int) -> bool:
        at = index * form.fine
        return at <= most and cost(moved(state, axis, at)) <= plan.budget

    reach = 1
    while fits(high):  # twice as far each time, then halves
        low, high, reach = high, high + reach, 2 * reach
        if high * form.fine > LARGEST_STEP * LARGEST_STEP * value * plan.budget / cost(state):
            break  # an axis that does not cost what is counted
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return moved(state, axis, low * form.fine) if low >= _next(value, form.fine) else None


def _next(value: float, grain: float) -> int:
    """The first multiple of ``grain`` above a value, in grains."""
    return math.floor(value / grain + 1e-9) + 1


def check_plan(plan: Plan) -> None:
    """Raises ValueError for a plan with which no search can be made, naming the field."""
    unknown = [axis for axis in plan.axes if axis not in AXES]
    if unknown or not plan.axes:
        raise ValueError(
            f"axes is {', '.join(plan.axes) or 'empty'}; choose from {', '.join(AXES)}"
        )
    if not 1.1 <= plan.ratio <= LARGEST_STEP:
        raise ValueError(f"ratio is {plan.ratio}; a step costs between 1.1 and 4 times as much")
    if not 0 < plan.budget < math.inf:
        raise ValueError(f"budget is {plan.budget}; it must be above 0")
