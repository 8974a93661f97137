"""Suppression against the published code, and its arithmetic by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from marey.choices import SuppressionChoice
from marey.geometry import segments as geometry
from marey.geometry.segments import Found

CASES = json.loads((Path(__file__).parents[1] / "golden" / "nms_case.json").read_text())["cases"]
DECAYS = ("hard", "linear", "gaussian", "gaussian_long")


def choice_of(values: dict[str, Any]) -> SuppressionChoice:
    """Our names of the published parameters."""
    alone = not values["multiclass"]
    return SuppressionChoice(
        kind="soft" if values["use_soft_nms"] else "hard",
        threshold=values["iou_threshold"],
        decay=DECAYS[values.get("method", 2)],
        sigma=values.get("sigma", 0.5),
        spare=(values.get("t1", 0.0), values.get("t2", 0.0)),
        min_score=values["min_score"],
        most=values["max_seg_num"],
        per_class=not alone,
        voting=values.get("voting_thresh", 0.0) if alone else 0.0,
    )


def weighted(case: dict[str, Any]) -> Found:
    """Every (segment, class) pair above the threshold, merged; one class repeated as another."""
    values = case["params"]
    scores = torch.tensor(case["class_scores"])
    place, label = (scores > values["score_threshold"]).nonzero(as_tuple=True)
    pairs = Found(torch.tensor(case["segments"])[place], scores[place, label], label)
    choice = SuppressionChoice(kind="weighted", threshold=values["iou_threshold"], most=10**6)
    found = geometry.suppress(pairs, choice)
    if values["thumos_cliffdiving_copy"]:
        four = found.labels == 4
        again = Found(*(column[four] for column in found))
        again = again._replace(labels=torch.full_like(again.labels, 7))
        found = geometry.best_first([found, again])
    return Found(*(column[: values["max_num"]] for column in found))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_suppression_is_the_published_one(case: dict[str, Any]) -> None:
    expected, values = case["expected"], case["params"]
    if case["function"] == "hard_nms_indices":
        kept = geometry.hard_nms(
            torch.tensor(case["segments"]),
            torch.tensor(case["scores"]),
            threshold=values["iou_threshold"],
            strictly=True,
        )
        assert kept.tolist() == expected["kept_indices"]
        return
    if case["function"] == "batched_nms":
        columns = (torch.tensor(case[name]) for name in ("segments", "scores", "labels"))
        found = geometry.suppress(Found(*columns), choice_of(values))
    else:
        found = weighted(case)
    assert found.labels.tolist() == expected["labels"]
    torch.testing.assert_close(
        found.segments, torch.tensor(expected["segments"]), rtol=1e-5, atol=1e-4
    )
    torch.testing.assert_close(found.scores, torch.tensor(expected["scores"]), rtol=1e-5, atol=1e-4)


def slow_hard(segments: torch.Tensor, scores: torch.Tensor, threshold: float) -> list[int]:
    """The definition, without any thought of speed."""
    lengths = geometry.lengths(segments) + 1e-6
    kept: list[int] = []
    for i in scores.argsort(descending=True).tolist():
        shared = [
            float(
                (min(segments[i, 1], segments[j, 1]) - max(segments[i, 0], segments[j, 0])).clamp(0)
            )
            for j in kept
        ]
        if all(
            s / float(lengths[i] + lengths[j] - s) < threshold
            for s, j in zip(shared, kept, strict=True)
        ):
            kept.append(i)
    return kept


@pytest.mark.parametrize("threshold", [0.05, 0.5, 0.95])
def test_looking_at_neighbours_alone_misses_nobody(threshold: float) -> None:
    draw = torch.Generator().manual_seed(1)
    start = torch.rand(300, generator=draw) * 100
    length = 10 ** (torch.rand(300, generator=draw) * 3 - 1.5)
    length[:20] = 0
    segments = torch.stack([start, start + length], dim=1)
    scores = torch.rand(300, generator=draw)
    kept = geometry.hard_nms(segments, scores, threshold=threshold)
    assert kept.tolist() == slow_hard(segments, scores, threshold)


def test_deltas_and_distances_invert() -> None:
    anchors = geometry.anchors([4, 2], [1, 2], base=2.0, count=5)
    assert anchors.shape == (30, 2)
    assert anchors[0].tolist() == [-1, 1]
    assert anchors[20:22, 0].tolist() == pytest.approx([-2, -(2 ** (1 / 5)) * 2])
    assert anchors[25].tolist() == [0, 4]  # the second location of level 1: centre 2, length 4
    wanted = torch.stack([torch.arange(30.0), torch.arange(30.0) + 3], dim=1)
    deltas = geometry.encode_deltas(anchors, wanted)
    torch.testing.assert_close(geometry.decode_deltas(anchors, deltas), wanted)
    middles = geometry.points([4, 2])
    assert middles.tolist() == [0.5, 1.5, 2.5, 3.5, 0.5, 1.5]
    spans = geometry.around(middles, torch.tensor([0.5, 1.5]).expand(6, 2))
    assert spans[1].tolist() == [1.0, 3.0]


def test_overlap_of_empty_segments_is_none() -> None:
    empty, whole = torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 4.0], [2.0, 6.0]])
    assert geometry.overlap(empty, empty).tolist() == [[0.0]]
    assert geometry.overlap(whole, whole)[0, 1] == pytest.approx(2 / 6)


def test_nothing_in_nothing_out() -> None:
    nothing = Found(torch.empty(0, 2), torch.empty(0), torch.empty(0, dtype=torch.int64))
    for kind in ("hard", "soft", "weighted", "none"):
        found = geometry.suppress(nothing, SuppressionChoice(kind=kind))
        assert [len(column) for column in found] == [0, 0, 0]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"threshold": 1.5}, "threshold is 1.5; an overlap lies"),
        ({"most": 0}, "most is 0"),
        ({"voting": 0.7}, "set per_class false"),
    ],
)
def test_impossible_choices_are_refused(fields: dict[str, Any], complaint: str) -> None:
    nothing = Found(torch.empty(0, 2), torch.empty(0), torch.empty(0, dtype=torch.int64))
    with pytest.raises(ValueError, match=complaint):
        geometry.suppress(nothing, SuppressionChoice(**fields))
