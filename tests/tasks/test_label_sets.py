"""One class of each of two sets: loss, scores, measures and the best combinations, in numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marey.choices import TaskChoice
from marey.metrics import classification as measure
from marey.tasks.classification import Classification
from marey.tasks.label_sets import LabelSets, classification
from marey.types import Batch

SETS = (("verb", 2), ("noun", 3))


class Told(nn.Module):
    """Logits (B, P, 5) that stand in the clip (B, 1, 1, P, 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward_positions(self, clip: Tensor) -> Tensor:
        return clip[:, 0, 0] * self.scale

    def forward(self, clip: Tensor) -> Tensor:
        return self.forward_positions(clip).mean(1)


def batch_of(logits: Tensor, target: Tensor) -> Batch:
    """A batch of one view whose network answers ``logits`` (B, 5)."""
    keys = tuple(map(str, range(len(logits))))
    pixels = logits[:, None, None, None, None]
    times = torch.zeros(len(logits), 1, 1)
    return Batch(pixels, None, target, keys, times, torch.arange(len(logits)))


def task(**fields: Any) -> Classification:
    return classification(TaskChoice(label_sets=SETS, **fields), 5)


def rows(verbs: list[int], nouns: list[int]) -> Tensor:
    return torch.cat([torch.eye(2)[verbs], torch.eye(3)[nouns]], 1)


def test_losses_of_the_sets_add_up() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(4, 5), rows([0, 1, 1, 0], [2, 0, 1, 1])
    found = task(smoothing=0.1).loss(Told(), batch_of(logits, target))
    verb = F.cross_entropy(logits[:, :2], torch.tensor([0, 1, 1, 0]), label_smoothing=0.1)
    noun = F.cross_entropy(logits[:, 2:], torch.tensor([2, 0, 1, 1]), label_smoothing=0.1)
    torch.testing.assert_close(found["loss"], verb + noun)
    right = (logits[:, :2].argmax(1) == torch.tensor([0, 1, 1, 0])) & (
        logits[:, 2:].argmax(1) == torch.tensor([2, 0, 1, 1])
    )
    assert int(found["correct"]) == int(right.sum())


def test_scores_are_a_softmax_within_each_set() -> None:
    logits = torch.randn(1, 2, 5)  # two positions
    found = task().scores(Told(), logits[:, None, None, None])
    expected = torch.cat([logits[..., :2].softmax(-1), logits[..., 2:].softmax(-1)], -1).mean(1)
    torch.testing.assert_close(found, expected)


def test_measures_are_those_of_each_set_and_of_pairs() -> None:
    torch.manual_seed(1)
    scores = torch.rand(30, 5)
    verbs, nouns = torch.randint(2, (30,)).tolist(), torch.randint(3, (30,)).tolist()
    metric = task().metric()
    metric.update(scores[:10], rows(verbs, nouns)[:10])
    metric.update(scores[10:], rows(verbs, nouns)[10:])
    found = metric.result()
    pairs = (scores[:, :2, None] * scores[:, None, 2:]).flatten(1).numpy()
    truth = np.eye(6)[[3 * v + n for v, n in zip(verbs, nouns, strict=True)]]
    assert found["action_top1"] == measure.top_k(pairs, truth)
    assert found["action_top5"] == measure.top_k(pairs, truth, k=5)
    assert found["verb_top1"] == measure.top_k(scores[:, :2], np.eye(2)[verbs])
    assert found["noun_top5"] == found["noun_recall5"] == 1.0  # three classes
    each = [
        measure.top_k(pairs[t], truth[t], k=5) for k in range(6) if (t := truth[:, k] > 0).any()
    ]
    assert found["action_recall5"] == pytest.approx(np.mean(each))
    assert metric.per_class()[:2] == pytest.approx(
        measure.class_accuracy(scores[:, :2], np.eye(2)[verbs]).tolist()
    )
    assert metric.confusion() is None


def test_best_combinations_are_those_of_all() -> None:
    scores = torch.tensor([0.3, 0.7, 0.2, 0.5, 0.3])
    found = task().top(scores, 3)
    assert [numbers for _, numbers in found] == [(1, 3), (1, 4), (0, 3)]
    assert [value for value, _ in found] == pytest.approx([0.35, 0.21, 0.15])
    assert len(task().top(scores, 100)) == 6
    assert Classification(TaskChoice(), 5).top(scores, 1) == [(pytest.approx(0.7), (1,))]


def test_sets_must_fit_the_network() -> None:
    with pytest.raises(ValueError, match="task.label_sets are 2 verb \\+ 3 noun but the network"):
        classification(TaskChoice(label_sets=SETS), 6)
    with pytest.raises(ValueError, match="'mean' or 'max', not 'multi' and 'mean'"):
        classification(TaskChoice(label_sets=SETS, labels="multi"), 5)
    assert isinstance(task(), LabelSets)
    assert type(classification(TaskChoice(), 6)) is Classification
