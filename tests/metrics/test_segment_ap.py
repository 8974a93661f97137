"""Average precision and recall of segments, against the official evaluators and by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marey.metrics import segment_ap as measure
from marey.metrics.segment_ap import Instances, instances


@pytest.fixture
def case(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "tad_eval_case.json").read_text())


def columns(case: dict[str, Any]) -> tuple[Instances, Instances, list[str]]:
    """Ground truth of the subset, all detections, and the class names."""
    database = case["ground_truth"]["database"]
    names = sorted(
        {a["label"] for v in database.values() for a in v["annotations"]}
        | {r["label"] for rows in case["predictions"]["results"].values() for r in rows}
    )
    videos = {name: i for i, name in enumerate([*database, *case["predictions"]["results"]])}
    told = [
        (videos[name], a["segment"], names.index(a["label"]))
        for name, video in database.items()
        if video["subset"] == case["subset"]
        for a in video["annotations"]
    ]
    said = [
        (videos[name], r["segment"], names.index(r["label"]), r["score"])
        for name, rows in case["predictions"]["results"].items()
        for r in rows
    ]
    return instances(*zip(*told, strict=True)), instances(*zip(*said, strict=True)), names


@pytest.mark.parametrize("style", ["thumos_style", "activitynet_style"])
@pytest.mark.parametrize(("theirs", "rule"), [("opentad", "cleaned"), ("activitynet",) * 2])
def test_average_precision_is_the_official_one(
    case: dict[str, Any], style: str, theirs: str, rule: Any
) -> None:
    truth, found, names = columns(case)
    told = case["expected"][style]
    thresholds = told["tiou_thresholds"]
    table = measure.average_precision(truth, found, thresholds, num_classes=len(names), rule=rule)
    expected = told[theirs]
    for name, row in expected["AP"].items():
        assert table[names.index(name)] == pytest.approx(row, abs=1e-9), name
    without = [k for k, name in enumerate(names) if name not in expected["AP"]]
    assert without
    assert np.isnan(table[without]).all()
    mean = measure.mean_over_classes(table)
    assert mean == pytest.approx(expected["mAP"], abs=1e-9)
    assert mean.mean() == pytest.approx(expected["average_mAP"], abs=1e-9)


@pytest.mark.parametrize("style", ["thumos_style", "activitynet_style"])
def test_recall_is_the_official_one(case: dict[str, Any], style: str) -> None:
    truth, found, names = columns(case)
    told = case["expected"][style]
    recall = measure.recall_at(truth, found, told["tiou_thresholds"], num_classes=len(names))
    assert recall == pytest.approx(np.array(told["opentad"]["recall_at_kx"]["values"]), abs=1e-9)


def test_order_does_not_matter(case: dict[str, Any]) -> None:
    truth, found, names = columns(case)
    order = np.random.RandomState(3).permutation(len(found.label))
    first, second = (
        measure.average_precision(truth, rows, (0.5,), num_classes=len(names))
        for rows in (found, found.take(order))
    )
    assert np.array_equal(first, second, equal_nan=True)


def test_thumos_lets_instances_choose_and_excuses_ambiguous_ones() -> None:
    truth = instances([0, 0], [[0, 10], [20, 30]], [0, 0])
    found = instances(
        [0, 0, 0], [[0, 6], [0, 10], [40, 50]], [0, 0, 0], [0.9, 0.8, 0.7]
    )  # the second overlaps more though its score is lower
    by_score = measure.average_precision(truth, found, (0.5,), num_classes=1)
    by_instance = measure.average_precision(truth, found, (0.5,), num_classes=1, rule="thumos14")
    assert by_score[0, 0] == pytest.approx(0.5)  # first at precision 1, half the recall
    assert by_instance[0, 0] == pytest.approx(0.25)  # second, at precision 1/2
    vague = instances([0], [[5, 6]], [0])
    excused = measure.average_precision(
        truth, found, (0.5,), num_classes=1, rule="thumos14", ambiguous=vague
    )
    assert excused[0, 0] == pytest.approx(0.5)  # the first shares time with the vague one


def test_average_recall_of_proposals() -> None:
    truth = instances([0, 1], [[0, 10], [0, 10]], [0, 0])
    spans = [[0, 10]] * 50 + [[50, 60]] * 50 + [[50, 60]] * 50 + [[0, 8]] * 50
    found = instances([0] * 100 + [1] * 100, spans, [0] * 200, np.linspace(1, 0, 200))
    each, recall, area = measure.average_recall(truth, found)
    assert (each[0], each[-1]) == (1, 100)
    assert recall[0] == pytest.approx(0.5)
    assert recall[-1] == pytest.approx((1 + 0.7) / 2)  # [0, 8] reaches seven of ten overlaps
    assert area == pytest.approx((0.5 * 49 + 0.85 * 49 + 0.675) / 100)


def test_an_empty_subset_is_an_error_not_a_number() -> None:
    empty = instances([], [], [])
    table = measure.average_precision(empty, empty, (0.5,), num_classes=3)
    with pytest.raises(ValueError, match="check the name of the subset"):
        measure.mean_over_classes(table)
    with pytest.raises(ValueError, match="lie above 0 and up to 1"):
        measure.average_precision(empty, empty, (0.0,), num_classes=3)
