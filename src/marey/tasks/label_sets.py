"""One class of each of several sets: what is done, and with what (verbs and nouns).

    classes    the sets' one after the other: (verb, 97), (noun, 300) are 397 outputs of one head
    loss       the cross entropy of each set, added up
    scores     a softmax within each set
    together   the product of a verb's and a noun's probability is that of the action

Source: D. Damen et al., "Rescaling Egocentric Vision", IJCV 2022, and the challenges' evaluation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from marey.choices import TaskChoice
from marey.metrics import classification as measure
from marey.metrics.label_sets import joint_ranks, recall_at
from marey.tasks.classification import Classification, ClassificationMetric
from marey.tasks.task import Metric

JOINT = "action"  # the name of all sets together


def classification(
    choice: TaskChoice, num_classes: int, *, chunk: int = 8, answers: int = 1
) -> Classification:
    """The task for one set of labels, or for those of ``choice.label_sets``."""
    kind = LabelSets if choice.label_sets else Classification
    return kind(choice, num_classes, chunk=chunk, answers=answers)


class LabelSets(Classification):
    """A label of each set, from label weights (B, K) whose rows have one label of each."""

    def __init__(
        self, choice: TaskChoice, num_classes: int, *, chunk: int = 8, answers: int = 1
    ) -> None:
        """Raises ValueError for sets that do not add up to ``num_classes``."""
        super().__init__(choice, num_classes, chunk=chunk, answers=answers)
        self.sizes = [size for _, size in choice.label_sets]
        if sum(self.sizes) != num_classes or min(self.sizes) < 1:
            told = " + ".join(f"{size} {name}" for name, size in choice.label_sets)
            raise ValueError(
                f"task.label_sets are {told} but the network tells {num_classes} classes apart; "
                "they must add up to it"
            )
        if self.multi or choice.combine == "logits":
            raise ValueError(
                "a network for label sets takes task.labels 'single' and task.combine 'mean' or "
                f"'max', not {choice.labels!r} and {choice.combine!r}"
            )
        self.best = f"{JOINT}_top1"

    def parts(self, rows: Tensor) -> tuple[Tensor, ...]:
        """The columns of each set, of (..., K)."""
        return rows.split(self.sizes, dim=-1)

    def _right(self, logits: Tensor, target: Tensor) -> Tensor:
        pairs = zip(self.parts(logits.detach()), self.parts(target), strict=True)
        each = [part.argmax(1).eq(truth.argmax(1)) for part, truth in pairs]
        return torch.stack(each).all(0)

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        pairs = zip(self.parts(logits), self.parts(target), strict=True)
        smoothing = self.choice.smoothing
        losses = [F.cross_entropy(x, truth, label_smoothing=smoothing) for x, truth in pairs]
        return torch.stack(losses).sum()

    def probabilities(self, logits: Tensor) -> Tensor:
        """A softmax within each set, over the last axis, in float32."""
        return torch.cat([part.float().softmax(-1) for part in self.parts(logits)], dim=-1)

    def top(self, scores: Tensor, count: int) -> list[tuple[float, tuple[int, ...]]]:
        """The most probable combinations of one row of scores (K,): their probability, and the
        number of a class of each set."""
        found: list[tuple[float, tuple[int, ...]]] = [(1.0, ())]
        first = 0
        for part in self.parts(scores.float()):
            values, order = part.topk(min(count, len(part)))
            there = [(v, first + k) for v, k in zip(values.tolist(), order.tolist(), strict=True)]
            longer = [(p * v, (*numbers, k)) for p, numbers in found for v, k in there]
            found = sorted(longer, key=lambda one: -one[0])[:count]
            first += len(part)
        return found

    def metric(self) -> Metric:
        """An empty accumulator."""
        return LabelSetsMetric(self.choice.label_sets)


class LabelSetsMetric(ClassificationMetric):
    """Rows of scores and targets (N, K), measured set by set and together."""

    def __init__(self, sets: tuple[tuple[str, int], ...]) -> None:
        super().__init__(multi=False)
        self.sets = sets

    def _each(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        ends = np.cumsum([size for _, size in self.sets])[:-1]
        scores, target = (np.split(rows, ends, axis=1) for rows in self._rows())
        pairs = zip(scores, target, strict=True)
        return dict(zip((name for name, _ in self.sets), pairs, strict=True))

    def result(self) -> dict[str, float]:
        """top1, top5 and recall5, the mean over classes of their own top-5, for every set and for
        all together (``action_top1`` and so on). All 0-1."""
        each = self._each()
        ranks = {name: measure.ranks(*pair) for name, pair in each.items()}
        labels = {name: target.argmax(1) for name, (_, target) in each.items()}
        ranks[JOINT] = joint_ranks(list(each.values()))
        sizes = [size for _, size in self.sets]
        labels[JOINT] = np.ravel_multi_index(tuple(labels.values()), sizes)
        found: dict[str, float] = {}
        for name, places in ranks.items():
            found[f"{name}_top1"] = float((places < 1).mean())
            found[f"{name}_top5"] = float((places < 5).mean())
            found[f"{name}_recall5"] = recall_at(places, labels[name], k=5)
        return found

    def per_class(self) -> list[float | None]:
        """Each class's own top-1 within its set; None where it has no video. 0-1."""
        values = np.concatenate([measure.class_accuracy(*pair) for pair in self._each().values()])
        return [None if np.isnan(value) else float(value) for value in values]

    def confusion(self) -> Any:
        """None: there is one for each set."""
        return None
