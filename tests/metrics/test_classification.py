"""Ranking measures against the reference case, hand-counted tables and their definitions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marey.metrics import classification as measure

SCORES = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7], [0.4, 0.5, 0.1]])
TARGET = np.eye(3)[[0, 1, 1, 0]]


@pytest.fixture
def case(golden: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((golden / "charades_map_case.json").read_text())
    read["scores"] = np.array([np.max(clips, axis=0) for clips in read["clip_scores"]])
    return read


def test_top_k_counts_places() -> None:
    assert measure.ranks(SCORES, TARGET).tolist() == [0, 0, 1, 1]
    assert measure.top_k(SCORES, TARGET) == 0.5
    assert measure.top_k(SCORES, TARGET, k=2) == 1.0
    assert measure.top_k(SCORES, TARGET, k=5) == 1.0  # fewer classes than places


def test_equal_scores_are_no_success_but_chance() -> None:
    flat, target = np.full((4, 4), 0.25), np.eye(4)
    assert measure.top_k(flat, target) == 0.25
    assert measure.top_k(flat, target, k=2) == 0.5


def test_confusion_and_class_means() -> None:
    assert measure.confusion(SCORES, TARGET).tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert measure.class_accuracy(SCORES, TARGET)[:2].tolist() == [0.5, 0.5]
    assert np.isnan(measure.class_accuracy(SCORES, TARGET)[2])
    uneven = np.eye(2)[[0, 0, 0, 1]]
    scores = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    assert measure.top_k(scores, uneven) == 0.75
    assert measure.mean_class_accuracy(scores, uneven) == pytest.approx((2 / 3 + 1) / 2)


@pytest.mark.parametrize("rule", measure.RULES)
def test_average_precision_is_the_reference_by_both_rules(case: dict[str, Any], rule: Any) -> None:
    expected = case["expected"][rule]
    found = measure.average_precision(case["scores"], case["labels"], rule=rule)
    for own, theirs in zip(found, expected["AP"], strict=True):
        assert np.isnan(own) if theirs is None else own == pytest.approx(theirs, abs=1e-9)
    mean = measure.mean_average_precision(case["scores"], case["labels"], rule=rule)
    assert mean == pytest.approx(expected["mAP"], abs=1e-9)


def test_the_official_rule_is_the_default_and_weighs_classes(case: dict[str, Any]) -> None:
    expected = case["expected"]["charades_official"]
    pair = case["scores"], case["labels"]
    assert measure.mean_average_precision(*pair) == pytest.approx(expected["mAP"], abs=1e-9)
    weighted = measure.mean_average_precision(*pair, weighted=True)
    assert weighted == pytest.approx(expected["weighted_mAP"], abs=1e-9)


def test_ties_are_one_threshold_and_clips_may_be_averaged(case: dict[str, Any]) -> None:
    ties = case["ties_case"]
    found = measure.mean_average_precision(ties["scores"], ties["labels"], rule="slowfast")
    assert found == pytest.approx(ties["expected_slowfast_mAP"], abs=1e-9)
    mean = np.array([np.mean(clips, axis=0) for clips in case["clip_scores"]])
    found = measure.mean_average_precision(mean, case["labels"], rule="slowfast")
    assert found == pytest.approx(case["expected"]["mean_over_clips_slowfast_mAP"], abs=1e-9)


def by_definition(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the step curve, threshold by threshold."""
    area, reached = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        taken = scores >= threshold
        recall = positive[taken].sum() / positive.sum()
        area += (recall - reached) * positive[taken].mean()
        reached = recall
    return area


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
def test_step_area_agrees_with_its_definition(rows: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in rows], np.float64)
    positive = np.array([flag for _, flag in rows], np.float64)
    found = measure.average_precision(scores[:, None], positive[:, None], rule="slowfast")[0]
    if positive.any():
        assert found == pytest.approx(by_definition(scores, positive))
    else:
        assert np.isnan(found)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: measure.top_k(SCORES, TARGET, k=0), "k is 0"),
        (lambda: measure.top_k(SCORES[:0], TARGET[:0]), "at least one video"),
        (lambda: measure.confusion(SCORES, TARGET[:3]), r"\(4, 3\) and target \(3, 3\)"),
        (lambda: measure.ranks(SCORES * np.nan, TARGET), "4 of 4 rows of scores are NaN"),
        (lambda: measure.average_precision(SCORES, TARGET, rule="voc"), "rule is 'voc'"),  # type: ignore[arg-type]
        (lambda: measure.mean_average_precision(SCORES, TARGET * 0), "no class has a positive"),
        (lambda: measure.mean_class_accuracy(SCORES[0], TARGET[0]), "must both be"),
        (lambda: measure.class_accuracy(SCORES, TARGET[:, :2]), "must both be"),
    ],
)
def test_impossible_tables_are_refused(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
