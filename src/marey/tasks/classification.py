"""Which classes a clip shows: one of K (softmax) or any of K (sigmoid).

    training      clips (B, V, C, T, H, W) -> logits (B * V, K) -> a loss against label weights
    evaluation    each view's positions -> probabilities -> their mean -> one row a video (B, K)

The order of evaluation is the published one: the activation is applied at every position of the
network's output, then positions are averaged, then the views of a video (``combine``: their mean,
or the largest, as for Charades; or the mean of their logits, as TSN's authors do). Averaging logits
first gives other numbers.

Source: specs of PySlowFast's head and test meter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marey.choices import TaskChoice
from marey.metrics import classification as measure
from marey.tasks.task import Metric
from marey.types import Batch


class Classification:
    """Cross entropy, or one yes-or-no question a class, over label weights (B, K)."""

    def __init__(
        self, choice: TaskChoice, num_classes: int, *, chunk: int = 8, answers: int = 1
    ) -> None:
        """``chunk`` clips at once go through the network in evaluation, which bounds its memory.
        A network of several ``answers`` (towers) has a loss for each, added up.

        Raises ValueError for fewer than one class or a smoothing outside [0, 1).
        """
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; classification needs at least 1")
        if not 0.0 <= choice.smoothing < 1.0:
            raise ValueError(f"task.smoothing is {choice.smoothing}; it must be in [0, 1)")
        if choice.combine == "logits" and choice.labels == "multi":
            raise ValueError("task.combine is 'logits', which needs one class a video; use 'mean'")
        if chunk < 1:
            raise ValueError(f"chunk is {chunk}; at least one clip goes through at once")
        self.choice, self.num_classes, self.chunk = choice, num_classes, chunk
        self.answers = answers
        self.multi = choice.labels == "multi"
        self.best = "mAP" if self.multi else "top1"

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """``loss``, and ``correct`` of ``count`` clips whose highest logit is a true class.

        Where the network answers for steps of time, they are counted, each with its clip's label.
        """
        assert batch.clips, "a training batch has pixels"
        assert isinstance(batch.target, Tensor), "classification has one label set"
        target = batch.target.repeat_interleave(batch.clips[0].shape[1], dim=0)  # (B * V, K)
        clips = [clip.flatten(0, 1) for clip in batch.clips]
        if self.answers == 1:
            logits, target = by_frame(model(*clips).float(), target)
            counts = self.counted(logits, target)
            return {"loss": self._loss(logits, target), **counts}
        answers = model(*clips, each=True).float()  # (B * V, answers, K)
        counts = self.counted(answers.mean(1), target)
        losses = [self._loss(logits, target) for logits in answers.unbind(1)]
        return {"loss": torch.stack(losses).sum(), **counts}

    def counted(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """``correct`` of ``count`` clips that have a label, from logits and label weights (B, K).

        ``count`` is 1 where none has one.
        Raises ValueError when they do not fit each other.
        """
        if logits.shape != target.shape:
            raise ValueError(
                f"the network answers {tuple(logits.shape)} to labels {tuple(target.shape)}; "
                f"build it with num_classes={target.shape[1]}"
            )
        labelled = target.gt(0).any(1)
        right = self._right(logits, target) & labelled
        return {"correct": right.sum(), "count": labelled.sum().clamp_min(1)}

    def _right(self, logits: Tensor, target: Tensor) -> Tensor:
        """(B,) bool: whether the highest logit is a true class."""
        first = logits.detach().argmax(1)
        if self.multi:
            return target.gather(1, first[:, None]).squeeze(1).gt(0.5)
        return first.eq(target.argmax(1))

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        smoothing = self.choice.smoothing
        if self.multi:
            soft = target.clamp(0, 1) * (1 - smoothing) + smoothing / 2
            return F.binary_cross_entropy_with_logits(logits, soft)
        return F.cross_entropy(logits, target, label_smoothing=smoothing)

    def scores(self, model: nn.Module, *pixels: Tensor) -> Tensor:
        """Probabilities (B, K) of videos whose views are (B, V, C, T, H, W), float32 on the CPU.

        A network of two streams takes colours and flow.
        """
        device = next(model.parameters()).device
        forward = getattr(model, "forward_positions", None)
        rows = []
        for clips in zip(*(part.flatten(0, 1).split(self.chunk) for part in pixels), strict=True):
            there = [clip.to(device, non_blocking=True) for clip in clips]
            logits = model(*there)[:, None] if forward is None else forward(*there)  # (b, P, K)
            rows.append(self.probabilities(logits).mean(1).cpu())
        views = torch.cat(rows).unflatten(0, pixels[0].shape[:2])  # (B, V, K)
        return combined(views, self.choice.combine)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Softmax or sigmoid over the last axis, in float32."""
        return logits.float().sigmoid() if self.multi else logits.float().softmax(-1)

    def top(self, scores: Tensor, count: int) -> list[tuple[float, tuple[int, ...]]]:
        """The highest of one row of scores (K,), and the class number of each."""
        values, order = scores.float().topk(min(count, len(scores)))
        return [(v, (k,)) for v, k in zip(values.tolist(), order.tolist(), strict=True)]

    def metric(self) -> Metric:
        """An empty accumulator."""
        return ClassificationMetric(multi=self.multi)

    def state_dict(self) -> dict[str, Any]:
        """Nothing outlives a step here."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Refuses the state of another task."""
        if state:
            raise ValueError(f"task state has {sorted(state)}, which classification does not keep")


def by_frame(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Rows to learn from, (N, K) each, where a network answers for every step of time.

    Logits (B, T', K) meet label weights of the whole clip (B, K), or of its frames (B, T, K): then
    those of the last frame that a step stands for. Logits (B, K) come back as they are.
    """
    if logits.dim() == 2:
        return logits, target
    steps = logits.shape[1]
    if target.dim() == 2:
        target = target.unsqueeze(1).expand(-1, steps, -1)
    last = torch.arange(1, steps + 1, device=target.device) * target.shape[1] // steps - 1
    return logits.flatten(0, 1), target[:, last].flatten(0, 1)


def combined(views: Tensor, how: str) -> Tensor:
    """Probabilities of a video from those of its views: (..., V, K) -> (..., K).

    ``logits`` is the softmax of the views' mean logits, which their logarithms give back.
    """
    if how == "max":
        return views.amax(-2)
    if how == "logits":
        return views.clamp_min(1e-30).log().mean(-2).softmax(-1)
    return views.mean(-2)


class ClassificationMetric:
    """Rows of scores and targets, kept until the figures are asked for."""

    def __init__(self, *, multi: bool) -> None:
        self.multi = multi
        self._scores: list[np.ndarray] = []
        self._target: list[np.ndarray] = []

    def update(self, scores: Tensor, target: Tensor) -> None:
        """Add rows (B, K)."""
        self._scores.append(scores.detach().float().cpu().numpy())
        self._target.append(target.detach().float().cpu().numpy())

    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        if not self._scores:
            raise ValueError("no video was scored: check that the split has readable videos")
        return np.concatenate(self._scores), np.concatenate(self._target)

    def result(self) -> dict[str, float]:
        """top1, top5 and mean_class; with several labels a video mAP by both rules. All 0-1."""
        rows = self._rows()
        if not self.multi:
            return {
                "top1": measure.top_k(*rows, k=1),
                "top5": measure.top_k(*rows, k=5),
                "mean_class": measure.mean_class_accuracy(*rows),
            }
        return {
            "mAP": measure.mean_average_precision(*rows),
            "mAP_weighted": measure.mean_average_precision(*rows, weighted=True),
            "mAP_slowfast": measure.mean_average_precision(*rows, rule="slowfast"),
        }

    def per_class(self) -> list[float | None]:
        """Each class's own accuracy, or average precision; None where it has no video. 0-1."""
        rows = self._rows()
        rule = measure.average_precision if self.multi else measure.class_accuracy
        return [None if np.isnan(value) else float(value) for value in rule(*rows)]

    def confusion(self) -> np.ndarray | None:
        """Counts (K, K), rows true; None where a video has several labels."""
        return None if self.multi else measure.confusion(*self._rows())
