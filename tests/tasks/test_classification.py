"""Losses and official probabilities of the classification task, in numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from marey.choices import TaskChoice
from marey.tasks.classification import (
    Classification,
    ClassificationMetric,
    by_frame,
    combined,
)
from marey.types import Batch


class Fixed(nn.Module):
    """Logits (B, P, K) that the clip itself holds in its first frame's row of pixels."""

    def __init__(self, positions: int, classes: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.shape, self.seen = (positions, classes), list[int]()

    def forward_positions(self, clip: Tensor) -> Tensor:
        self.seen.append(len(clip))
        positions, classes = self.shape
        return clip.flatten(1)[:, : positions * classes].unflatten(1, self.shape) * self.scale

    def forward(self, clip: Tensor) -> Tensor:
        return self.forward_positions(clip).mean(1)


def batch_of(logits: Tensor, target: Tensor) -> Batch:
    """A training batch of one view whose network answers ``logits`` (B, K)."""
    count = len(logits)
    return Batch(
        rgb=logits.view(count, 1, 1, 1, 1, -1),
        flow=None,
        target=target,
        keys=tuple(map(str, range(count))),
        times=torch.zeros(count, 1, 1),
        index=torch.arange(count),
    )


def task(classes: int = 3, chunk: int = 8, **fields: Any) -> Classification:
    return Classification(TaskChoice(**fields), classes, chunk=chunk)


def test_cross_entropy_of_soft_and_smoothed_labels() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 3.0]])
    target = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.0, 1.0]])
    log = logits.log_softmax(1)
    found = task().loss(Fixed(1, 3), batch_of(logits, target))
    torch.testing.assert_close(found["loss"], -(target * log).sum(1).mean())
    assert (int(found["correct"]), int(found["count"])) == (2, 2)
    smooth = task(smoothing=0.3).loss(Fixed(1, 3), batch_of(logits, target))["loss"]
    torch.testing.assert_close(smooth, -((0.7 * target + 0.1) * log).sum(1).mean())


def test_several_labels_are_yes_or_no_questions() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 3.0]])
    target = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    found = task(labels="multi").loss(Fixed(1, 3), batch_of(logits, target))
    p = logits.sigmoid()
    by_hand = -(target * p.log() + (1 - target) * (1 - p).log()).mean()
    torch.testing.assert_close(found["loss"], by_hand)
    assert int(found["correct"]) == 1  # the highest logit of the second clip is no label of it


@pytest.mark.parametrize("labels", ["single", "multi"])
def test_clips_without_a_label_are_neither_right_nor_wrong(labels: str) -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [3.0, 1.0, 0.0], [0.0, 1.0, 3.0]])
    target = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    found = task(labels=labels).counted(logits, target)
    assert (int(found["correct"]), int(found["count"])) == (1, 2)
    none = task(labels=labels).counted(logits, torch.zeros(3, 3))
    assert (int(none["correct"]), int(none["count"])) == (0, 1)


def test_every_view_of_a_training_clip_counts() -> None:
    batch = batch_of(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.eye(2))
    twice = Batch(**{**batch.__dict__, "rgb": batch.rgb.repeat(1, 2, 1, 1, 1, 1)})
    found = task(2).loss(Fixed(1, 2), twice)
    assert int(found["count"]) == 4
    torch.testing.assert_close(found["loss"], task(2).loss(Fixed(1, 2), batch)["loss"])


def test_probabilities_are_means_of_softmaxes_not_softmaxes_of_means() -> None:
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))  # B, V, P, K
    pixels = logits.view(2, 3, 1, 1, 1, 20)
    found = task(5).scores(Fixed(4, 5), pixels)
    torch.testing.assert_close(found, logits.softmax(-1).mean((1, 2)))
    assert not torch.allclose(found, logits.mean((1, 2)).softmax(-1), atol=1e-3)
    multi = task(5, labels="multi", combine="max").scores(Fixed(4, 5), pixels)
    torch.testing.assert_close(multi, logits.sigmoid().mean(2).amax(1))


def test_views_go_through_in_chunks() -> None:
    pixels = torch.randn(2, 5, 1, 1, 1, 6, generator=torch.Generator().manual_seed(1))
    small, large = Fixed(2, 3), Fixed(2, 3)
    few = task(3, chunk=4).scores(small, pixels)
    torch.testing.assert_close(few, task(3, chunk=100).scores(large, pixels))
    assert (small.seen, large.seen) == ([4, 4, 2], [10])


def test_metric_does_not_depend_on_portions() -> None:
    generator = torch.Generator().manual_seed(2)
    scores, labels = torch.rand(20, 4, generator=generator), torch.arange(20) % 4
    target = torch.eye(4)[labels]
    whole, parts = ClassificationMetric(multi=False), ClassificationMetric(multi=False)
    whole.update(scores, target)
    for first in (0, 3, 11):
        stop = {0: 3, 3: 11, 11: 20}[first]
        parts.update(scores[first:stop], target[first:stop])
    assert whole.result() == parts.result()
    assert whole.result()["top1"] == int((scores.argmax(1) == labels).sum()) / 20
    assert whole.confusion().sum() == 20  # type: ignore[union-attr]
    assert sum(v for v in whole.per_class() if v is not None) / 4 == pytest.approx(
        whole.result()["mean_class"]
    )


def test_metric_of_several_labels_has_map_by_both_rules_and_no_confusion() -> None:
    metric = task(2, labels="multi").metric()
    scores = torch.tensor([[0.9, 0.2], [0.8, 0.2], [0.1, 0.2]])
    metric.update(scores, torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]))
    assert metric.result()["mAP"] == pytest.approx(((1 + 1) / 2 + 1 / 2) / 2)
    assert metric.result()["mAP_slowfast"] == pytest.approx(((1 + 2 / 3) / 2 + 1 / 3) / 2)
    assert metric.confusion() is None
    assert metric.per_class() == [1.0, 0.5]


def test_best_figure_is_among_the_results() -> None:
    for labels in ("single", "multi"):
        chosen = task(2, labels=labels)
        metric = chosen.metric()
        metric.update(torch.eye(2), torch.eye(2))
        assert metric.result()[chosen.best] == 1.0
    assert math.isclose(metric.result()["mAP_weighted"], 1.0)


def test_impossible_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="num_classes is 0"):
        task(0)
    with pytest.raises(ValueError, match=r"task.smoothing is 1.0; it must be in \[0, 1\)"):
        task(smoothing=1.0)
    with pytest.raises(ValueError, match="chunk is 0"):
        task(chunk=0)
    with pytest.raises(ValueError, match="build it with num_classes=2"):
        task(2).loss(Fixed(1, 3), batch_of(torch.zeros(1, 3), torch.eye(2)[:1]))
    with pytest.raises(ValueError, match="no video was scored"):
        task().metric().result()
    with pytest.raises(ValueError, match=r"task state has \['queue'\]"):
        task().load_state_dict({"queue": 1})
    assert task().state_dict() == {}


def test_logits_of_views_can_be_averaged_before_the_softmax() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 3.0, 1.0]])
    found = combined(logits.softmax(-1), "logits")
    torch.testing.assert_close(found, logits.mean(0).softmax(-1))
    assert not torch.allclose(found, combined(logits.softmax(-1), "mean"))
    with pytest.raises(ValueError, match="needs one class a video"):
        task(combine="logits", labels="multi")


def test_answers_of_frames_meet_labels_of_clips_and_of_frames() -> None:
    logits = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0))
    of_clips = torch.eye(3)[:2]
    rows, target = by_frame(logits, of_clips)
    assert torch.equal(rows, logits.reshape(4, 3))
    assert torch.equal(target, of_clips[[0, 0, 1, 1]])
    of_frames = torch.eye(3)[torch.tensor([[0, 1, 1, 2], [2, 2, 0, 1]])]  # (2, 4, 3)
    assert by_frame(logits, of_frames)[1].argmax(1).tolist() == [1, 2, 2, 1]  # second and fourth
    assert by_frame(logits, of_frames[:, :3])[1].argmax(1).tolist() == [0, 1, 2, 0]
    whole = logits[:, 0]
    assert all(a is b for a, b in zip(by_frame(whole, of_clips), (whole, of_clips), strict=True))


class Frames(nn.Module):
    """The two answers (B, 2, K) that a clip's pixels hold."""

    def forward(self, clip: Tensor) -> Tensor:
        return clip.flatten(1).unflatten(1, (2, -1))


def test_frames_learn_the_label_of_their_clip() -> None:
    logits = torch.tensor([[[2.0, 0, 0], [0, 2.0, 0]], [[0, 0, 1.0], [0, 0, 3.0]]])
    target = torch.eye(3)[[0, 2]]
    told = task().loss(Frames(), batch_of(logits.flatten(1), target))
    wanted = -(target[:, None] * logits.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(told["loss"], wanted)
    assert (int(told["correct"]), int(told["count"])) == (3, 4)
