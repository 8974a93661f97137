"""Every choice is plain data, small, and goes through JSON unchanged."""

import dataclasses
import json
from typing import Any

import pytest

from marey import choices
from marey.config import from_plain, to_plain

KINDS = [kind for kind in vars(choices).values() if dataclasses.is_dataclass(kind)]
CHANGED = [
    choices.DataChoice(path="a b/list.csv", where={"task": "wave"}, context_s=0.12, workers=3),
    choices.AugmentChoice(
        crop="area",
        area=(0.3, 0.9),
        keep_direction=("left", "right"),
        swap_labels=(("turn left", "turn right"),),
    ),
    choices.SuppressionChoice(kind="soft", decay="linear", spare=(0.3, 0.1)),
    choices.WindowChoice(),
    choices.StreamChoice(step_s=0.5, share_crop=False, perturb=True),
    choices.SegmentChoice(again=choices.SuppressionChoice(kind="weighted", voting=0.5)),
    choices.TaskChoice(labels="multi", combine="max", smoothing=0.1),
    choices.OptimChoice(kind="adamw", betas=(0.8, 0.9), reference_batch=64),
    choices.ScheduleChoice(kind="relative_steps", steps=(0.0, 3.5), factors=(1.0, 0.1)),
    choices.RunChoice(precision="bf16", norm="sync", ema=0.999),
    choices.Claim(dataset="kinetics400", metric="top1", value=None),
]


def test_every_kind_is_covered_here() -> None:
    assert {type(value) for value in CHANGED} == set(KINDS)


@pytest.mark.parametrize("value", CHANGED, ids=lambda value: type(value).__name__)
def test_round_trip_through_json(value: Any) -> None:
    assert from_plain(type(value), json.loads(json.dumps(to_plain(value)))) == value


@pytest.mark.parametrize("kind", [k for k in KINDS if k is not choices.Claim])
def test_defaults_round_trip(kind: type) -> None:
    assert from_plain(kind, {}) == from_plain(kind, to_plain(kind())) == kind()


@pytest.mark.parametrize("kind", KINDS)
def test_a_choice_is_frozen_keyword_only_and_refuses_other_fields(kind: Any) -> None:
    params = kind.__dataclass_params__
    assert params.frozen
    assert all(field.kw_only for field in dataclasses.fields(kind))
    with pytest.raises(ValueError, match=f"is not a field of {kind.__name__}"):
        from_plain(kind, {"no_such_field": 1})


def test_a_swap_needs_two_names() -> None:
    with pytest.raises(ValueError, match="swap_labels.*needs 2"):
        from_plain(choices.AugmentChoice, {"swap_labels": [["left"]]})
