"""Targets, losses and decoding against the original code; joining, padding, and what is settled."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from marey.choices import SegmentChoice, SuppressionChoice, TaskChoice
from marey.data.table import AMBIGUOUS
from marey.geometry.segments import Found, best_first, suppress
from marey.models.basictad import BasicTADConfig
from marey.tasks.segment_decoding import settled
from marey.tasks.temporal_detection import TemporalDetection
from marey.types import Batch, ClipSpec

Change = Callable[[Tensor], Tensor]
LOSSES: dict[str, tuple[str, Change, Change]] = {
    "anchor_based": ("anchor", lambda x: x - 2.0, lambda x: 0.3 * x),
    "anchor_free_sigmoid": ("sigmoid", lambda x: x, torch.exp),
    "anchor_free_softmax": ("softmax", lambda x: x, torch.exp),
}
DECODED: dict[str, tuple[str, float, Change, Change]] = {
    "anchor_based": ("anchor", 0.5, lambda x: 1.6 * (x - 2.0) - 3.0, lambda x: 0.3 * x),
    "anchor_free_sigmoid": ("sigmoid", 0.4, lambda x: 2.2 * x - 3.5, torch.exp),
}


def task(head: str = "sigmoid", **segments: Any) -> TemporalDetection:
    """The task of a published detector whose frames are seconds."""
    model = SimpleNamespace(
        config=BasicTADConfig(head=head), spec=ClipSpec(stride=1, rate=1.0), classes=None
    )
    return TemporalDetection(TaskChoice(segments=SegmentChoice(**segments)), model)


def answers(inputs: list[dict], filling: dict, classes: Change, offsets: Change, each: int) -> Any:
    """Answers (B, N, K + 2) from a case's maps, a class and an offset map a level in turn."""
    maps = [torch.from_numpy(filling["normal"]("input:" + i["name"], i["shape"])) for i in inputs]
    rows = []
    for one, other in zip(maps[::2], maps[1::2], strict=True):
        both = [m.unflatten(1, (each, -1)) for m in (classes(one), offsets(other))]
        rows.append(torch.cat(both, 2).permute(0, 3, 1, 2).flatten(1, 2))
    return torch.cat(rows, 1)


@pytest.mark.parametrize("kind", LOSSES)
def test_targets_and_losses_are_the_published_ones(
    kind: str, filling: dict[str, Any], golden: Path
) -> None:
    cases = json.loads((golden / "basictad_losses.json").read_text())["cases"]
    case = next(c for c in cases if c["kind"] == kind)
    head, classes, offsets = LOSSES[kind]
    found = answers(case["inputs"], filling, classes, offsets, 5 if head == "anchor" else 1)
    ours, base = task(head), 0 if head == "anchor" else 1
    spans = [torch.tensor(s) for s in case["gt_segments"]]
    labels = [torch.tensor(row) - base for row in case["gt_labels"]]
    grid = ours.grid(found)
    told = [ours.targets(grid, *pair) for pair in zip(spans, labels, strict=True)]
    mine = torch.stack([t.labels for t in told]).numpy()
    with np.load(golden / "basictad_losses.npz") as stored:
        if head == "anchor":
            asked = stored["ab_label_weights"] > 0
            assert np.array_equal(mine, np.where(asked, stored["ab_labels"], -1))
            assert np.array_equal(grid.anchors, stored["ab_anchors"])  # type: ignore[arg-type]
            assert ((mine >= 0) & (mine < 20)).sum() == case["num_total_pos"]
        else:
            theirs = stored[f"af_{head}_labels"].astype(int)
            theirs = np.where(theirs == 0, 20, np.where(theirs > 0, theirs - 1, -1))
            assert np.array_equal(mine, theirs)
        if head == "sigmoid":
            ends = torch.stack([t.segments for t in told])
            distances = torch.stack([grid.place - ends[..., 0], ends[..., 1] - grid.place], -1)
            own = (mine >= 0) & (mine < 20)
            assert np.allclose(distances[own], stored["af_sigmoid_targets"][own], atol=1e-4)
    parts = ours.losses(found, spans, labels, valid=torch.tensor([96.0, 96.0]))
    expected = case["expected"]
    assert float(parts[0]) == pytest.approx(expected["loss_cls"], rel=1e-5)
    assert float(parts[1]) == pytest.approx(expected["loss_segment"], rel=1e-5)


@pytest.mark.parametrize("kind", DECODED)
def test_windows_decode_and_join_as_published(
    kind: str, filling: dict[str, Any], golden: Path
) -> None:
    cases = json.loads((golden / "basictad_decode.json").read_text())["cases"]
    case = next(c for c in cases if c["kind"] == kind)
    head, threshold, classes, offsets = DECODED[kind]
    joined = SuppressionChoice(kind="weighted", threshold=threshold, most=10**6)
    twin = (("4", "7"),) if head == "sigmoid" else ()
    ours = task(head, candidates=10**6, joined=joined, repeat_as=twin)
    half = len(case["inputs"]) // 2
    parts = []
    for window, inputs in zip(
        case["windows"], (case["inputs"][:half], case["inputs"][half:]), strict=True
    ):
        found = answers(inputs, filling, classes, offsets, 5 if head == "anchor" else 1)
        (one,) = ours.candidates(found, [window["valid_frames"]])
        parts.append(one._replace(segments=one.segments + window["shift"]))
    merged = ours.segments(parts)
    assert (merged.segments[:, 1] > merged.segments[:, 0]).all()
    expected = [row for row in case["expected_first_150"] if row[1] > row[0]]
    assert len(expected) == 150 - case["zero_length_in_expected"]
    for k in range(20):
        own = merged.labels == k
        wanted = torch.tensor([row[:3] for row in expected if row[3] == k]).reshape(-1, 3)
        mine = torch.cat([merged.segments[own], merged.scores[own, None]], 1)[: len(wanted)]
        gap = (mine[:, None] - wanted[None]).abs() / torch.tensor([1e-3, 1e-3, 1e-4])
        assert len(mine) == len(wanted)
        assert not len(wanted) or float(gap.amax(2).amin(0).max()) < 1


def test_padding_is_neither_asked_nor_told() -> None:
    ours = task(candidates=10**6)
    found = torch.zeros(1, 186, 22)
    found[..., 20:] = 0.6  # short segments around every place
    grid = ours.grid(found)
    span, label = [torch.tensor([[70.0, 80.0]])], [torch.tensor([3])]
    whole = ours.losses(found, span, label, valid=torch.tensor([96.0]))
    short = ours.losses(found, span, label, valid=torch.tensor([75.0]))
    assert float(short[0]) != float(whole[0])
    (told,) = ours.candidates(found, [75])
    assert float(told.segments.max()) == 75
    asked = int((~grid.in_padding(torch.tensor([75.0]))).sum())
    strides = (1, 2, 4, 8, 16)
    assert asked == sum((i + 0.5) * s < 75 for s in strides for i in range(96 // s))


def test_gradients_of_a_window_without_instances_are_finite() -> None:
    for head in ("anchor", "sigmoid", "softmax"):
        ours = task(head)
        shape = (2, 930 if head == "anchor" else 186, 23 if head == "softmax" else 22)
        found = torch.rand(shape, requires_grad=True)
        nothing = [torch.empty(0, 2)] * 2, [torch.empty(0, dtype=torch.int64)] * 2
        sum(ours.losses(found, *nothing, valid=torch.tensor([96.0, 20.0]))).backward()  # type: ignore[union-attr]
        assert found.grad is not None
        assert torch.isfinite(found.grad).all()


def batch_of(starts: list[int], truth: list[tuple[float, float, int]], valid: int) -> Batch:
    target = torch.zeros(len(starts), 6)
    for row, start in zip(target, starts, strict=True):
        row[1:3] = torch.tensor([start, valid])
        row[3:] = torch.tensor(truth[0])
    windows = torch.zeros(len(starts), 1, 3, 96, 2, 2)
    return Batch(windows, None, target, ("a",) * len(starts), torch.zeros(1), torch.arange(1))


def test_a_perfect_detector_scores_one_and_halves_score_none() -> None:
    """An instance across two windows: both tell their part of it, joined it is whole."""
    ours = task(overlaps=(0.5, 0.95))

    class Perfect(torch.nn.Module):
        def __init__(self, span: tuple[float, float]) -> None:
            super().__init__()
            self.span, self.weight = span, torch.nn.Parameter(torch.zeros(1))
            self.calls = [0, 72]

        def forward(self, clip: Tensor) -> Tensor:
            found = torch.full((len(clip), 186, 22), -20.0)
            for b, start in enumerate(self.calls):
                for place in range(96):
                    at = start + place + 0.5
                    if self.span[0] < at < self.span[1]:
                        found[b, place, 3] = 5.0
                        found[b, place, 20:] = torch.tensor([at - self.span[0], self.span[1] - at])
            return found

    for span, expected in (((80.0, 90.0), 1.0), ((85.0, 130.0), 0.0)):
        metric = ours.metric()
        batch = batch_of([0, 72], [(80.0, 90.0, 3)], 96)
        assert isinstance(batch.target, Tensor)
        metric.update(ours.batch_scores(Perfect(span), batch), batch.target)
        assert metric.result()["mAP@0.95"] == expected
        assert metric.per_class()[3] == pytest.approx(expected)
        assert metric.per_class()[4] is None


def test_under_the_thumos_rule_an_ambiguous_segment_excuses_what_lies_on_it() -> None:
    """A hit at score 0.8 after a detection at 0.9 on a segment of no clear class: the detection is
    a false one, half the precision, unless the rule is THUMOS14's."""
    rows = torch.tensor([[24.0, 30.0, 0.9, 3], [60.0, 72.0, 0.8, 3]]).flatten()[None]
    told = torch.tensor([0, 0, 96, 60.0, 72, 3, 24.0, 25, AMBIGUOUS, 0, 0, -1])[None]
    found = {}
    for rule in ("cleaned", "activitynet", "thumos14"):
        metric = task(overlaps=(0.5,), rule=rule).metric()
        metric.update(rows, told)
        found[rule] = metric.result()["mAP@0.5"]
        (row,) = metric.describe(None)
        assert row["truth"] == [[60.0, 72.0, 3]]
    assert found == {"cleaned": 0.5, "activitynet": 0.5, "thumos14": 1.0}


@pytest.mark.parametrize("kind", ["hard", "soft", "weighted"])
def test_what_is_settled_does_not_change(kind: Any) -> None:
    """Told piece by piece as windows come, segments equal those of the whole video at once."""
    choice = SuppressionChoice(kind=kind, threshold=0.4, most=10**6)
    draw = torch.Generator().manual_seed(4)
    windows = []
    for start in range(0, 720, 72):
        begin = start + torch.rand(40, generator=draw) * 90
        end = torch.minimum(
            begin + 10 ** (torch.rand(40, generator=draw) * 1.2), begin * 0 + start + 96
        )
        labels = torch.randint(3, (40,), generator=draw)
        spans = torch.stack([begin, end], 1)
        windows.append(Found(spans, torch.rand(40, generator=draw), labels))
    whole = suppress(best_first(windows), choice)
    parts, pending, early = [], windows[0], 0
    for number in range(len(windows)):
        until = 72.0 * (number + 1) if number + 1 < len(windows) else float("inf")
        sure = settled(pending, until, choice)
        early += int(sure.sum()) if until < 700 else 0
        parts.append(suppress(Found(*(c[sure] for c in pending)), choice))
        rest = Found(*(c[~sure] for c in pending))
        if number + 1 < len(windows):
            pending = Found(*(torch.cat(p) for p in zip(rest, windows[number + 1], strict=True)))
    told = best_first(parts)
    assert early > 200
    torch.testing.assert_close(told.scores, whole.scores)
    torch.testing.assert_close(told.segments, whole.segments)


def test_wrong_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="repeat_as names class '33'"):
        task(repeat_as=(("33", "1"),))
    with pytest.raises(ValueError, match="set per_class false"):
        task(joined=SuppressionChoice(voting=0.5))
