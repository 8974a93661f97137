"""Mutual learning: the full network learns from labels, narrower ones from what it answers.

    pass            clip                     target
    full width      as it comes              labels
    two at random   fewer frames, smaller    the full network's probabilities, held fixed
    narrowest       fewer frames, smaller    the same

The losses are added and make one step. Widths are drawn uniformly, frames and sizes from the
network's lists, for each step anew. Evaluation is that of classification, at full width: the query
table (``engine.tabulate``) measures every other setting afterwards.

Source: T. Yang et al., "MutualNet", ECCV 2020, Section 3.1, and the authors' code; the two random
widths between the narrowest and the widest are the sandwich rule of J. Yu and T. Huang, ICCV 2019.
Differs: their code steps backward after each pass; here it is one backward pass over the sum, with
the same gradients and the memory of four. ``run.accumulate`` divides it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marey.choices import RunChoice, ScheduleChoice, TaskChoice
from marey.layers.switch import Setting
from marey.tasks.classification import Classification
from marey.types import Batch

RANDOM_WIDTHS = 2  # between the narrowest and the widest, in each step


class Mutual(Classification):
    """Classification of a network that narrows (``models.mutualnet``)."""

    def __init__(self, choice: TaskChoice, num_classes: int, config: Any, *, seed: int = 0) -> None:
        """``config`` names the widths, sizes and frames of narrower networks; ``seed`` starts the
        draws, the same on every process. Raises ValueError for a network that cannot narrow."""
        super().__init__(choice, num_classes)
        if not hasattr(config, "width_range"):
            raise ValueError(
                f"task.kind is 'mutual' but {type(config).__name__} is of a network of one width; "
                "choose one of 'marey models list mutualnet'"
            )
        self.config = config
        self.generator = torch.Generator().manual_seed(seed)

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """``loss``, the sum of all passes, and ``correct`` of ``count`` clips at full width."""
        pixels = batch.rgb if batch.rgb is not None else batch.flow
        assert pixels is not None, "a training batch has pixels"
        assert isinstance(batch.target, Tensor), "mutual learning has one label set"
        target = batch.target.repeat_interleave(pixels.shape[1], dim=0)  # (B * V, K)
        logits, losses = self.passes(model, pixels.flatten(0, 1), target, self.draw())
        return {"loss": torch.stack(losses).sum(), **self.counted(logits, target)}

    def passes(
        self, model: nn.Module, clips: Tensor, target: Tensor, settings: Sequence[Setting]
    ) -> tuple[Tensor, list[Tensor]]:
        """Logits of the full network, and the loss of it and of each narrower setting in order."""
        logits = model(clips, width=1.0).float()
        self.counted(logits, target)
        losses = [self._loss(logits, target)]
        soft = self.probabilities(logits.detach())
        for setting in settings:
            narrow = model(clips, width=setting).float()
            losses.append(self.imitation(narrow, soft))
        return logits, losses

    def imitation(self, logits: Tensor, soft: Tensor) -> Tensor:
        """How far a narrower network is from the full one's probabilities: Kullback-Leibler, the
        mean over clips; with several labels a clip the cross entropy of each answer."""
        if self.multi:
            return F.binary_cross_entropy_with_logits(logits, soft)
        return F.kl_div(logits.log_softmax(1), soft, reduction="batchmean")

    def draw(self) -> list[Setting]:
        """The narrower settings of one step, widest first: some at random, and the narrowest."""
        low, high = self.config.width_range
        drawn = torch.rand(RANDOM_WIDTHS, generator=self.generator, dtype=torch.float64)
        widths = sorted((drawn * (high - low) + low).tolist(), reverse=True) + [low]
        return [
            Setting(width, frames=self._one_of(self.config.frame_counts), size=size)
            for width, size in ((w, self._one_of(self.config.short_sides)) for w in widths)
        ]

    def _one_of(self, values: Sequence[int]) -> int:
        """One of the values, each as likely as the other; 0 of none."""
        if not values:
            return 0
        return values[int(torch.randint(len(values), (), generator=self.generator))]

    def state_dict(self) -> dict[str, Any]:
        """Where the draws stand."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on drawing where a checkpoint stopped."""
        self.generator.set_state(state["generator"])


def check_run(run: RunChoice, schedule: ScheduleChoice) -> None:
    """Raises ValueError for what a network whose layers change width cannot do."""
    refused = {
        "run.norm": (run.norm, "batch"),
        "run.checkpointing": (run.checkpointing, False),
        "schedule.multigrid": (schedule.multigrid, "none"),
    }
    for name, (value, needed) in refused.items():
        if value != needed:
            raise ValueError(
                f"{name} is {value!r}; mutual learning runs layers at several widths in one step "
                f"and needs {needed!r} (run.accumulate saves memory)"
            )
