"""What a clip of a long video shows, told with what a network remembers of the clips before it.

    training      one clip of each of B videos, and their memory -> logits (B, K), the memory after
    evaluation    the same, each video from its first clip on -> one row a clip (B, K)
    frame_level   logits (B, T', K): training asks of every step of time what holds at its last
                  frame; a clip's row in evaluation is the newest step's, with its labels

The memory is an argument and a result of the network's call; between calls it belongs to the task,
a row for each video that is being read. No gradient goes from clip to clip. A row is found by the
number of the clip: consecutive numbers are consecutive clips of one video (``data.sequences``), so
that a video's first clip, and one whose predecessor was not read, begin with nothing remembered.
A network without memory is asked about each clip alone.

Source: C.-Y. Wu et al., "MeMViT", CVPR 2022, Section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from marey.choices import TaskChoice
from marey.layers.memory import Memory
from marey.tasks.classification import Classification, by_frame
from marey.tasks.label_sets import LabelSets
from marey.types import Batch


class Carried:
    """What is remembered of the videos being read; ``read`` is one step of all of them."""

    def __init__(self, network: Any, *, calls: int = 1) -> None:
        """``calls``: how many calls a row is kept without being asked for, at most."""
        self.remembers = remembers(network)
        self.calls = calls
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.memory = Memory()
        self.last: list[int] = []  # the number of each row's last clip
        self.idle: list[int] = []  # calls since then

    def read(self, model: nn.Module, clips: Tensor, numbers: Sequence[int]) -> Tensor:
        """Logits of clips (B, C, T, H, W) with these numbers; they are remembered."""
        if not self.remembers:
            return model(clips)  # type: ignore[no-any-return]
        before, others = self._find(numbers)
        logits, after = model(clips, before)
        self._keep(after, numbers, others)
        return logits  # type: ignore[no-any-return]

    def _find(self, numbers: Sequence[int]) -> tuple[Memory, list[int]]:
        """The memory of the clips before these, and the rows that are not among them."""
        rows = {number: row for row, number in enumerate(self.last)}
        found = [rows.get(number - 1, -1) for number in numbers]
        others = [row for row in rows.values() if row not in found]
        if max(found) < 0:
            return Memory(), others
        if found == list(range(len(self.last))):
            return self.memory, others
        begins = torch.tensor([row < 0 for row in found])
        return self.memory.rows(torch.tensor(found).clamp_min(0)).reset(begins), others

    def _keep(self, after: Memory, numbers: Sequence[int], others: list[int]) -> None:
        """These rows, and those others that may still be asked for."""
        waiting = [row for row in others if self.idle[row] + 1 < self.calls]
        last = [*numbers, *(self.last[row] for row in waiting)]
        idle = [*(0 for _ in numbers), *(self.idle[row] + 1 for row in waiting)]
        if waiting:
            after = after.beside(self.memory.rows(torch.tensor(waiting)))
        self.memory, self.last, self.idle = after, last, idle

    def state_dict(self) -> dict[str, Any]:
        """All of it as plain values and tensors."""
        return {"last": self.last, "idle": self.idle, "memory": self.memory.to_plain()}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Read back what ``state_dict`` gave."""
        self.last, self.idle = list(state["last"]), list(state["idle"])
        self.memory = Memory.of_plain(state["memory"]).to(device)


class LongVideo(Classification):
    """Classification of clips in order of time; ``Carried`` says what is remembered."""

    def __init__(
        self, choice: TaskChoice, num_classes: int, network: Any, *, pieces: int = 1
    ) -> None:
        """``pieces``: in how many calls a training batch is read (``run.accumulate``).

        Raises ValueError for a network that answers for boxes.
        """
        super().__init__(choice, num_classes)
        if getattr(network.config, "boxes", False):
            raise ValueError(
                "the network answers for boxes, and task.kind 'long_video' asks about whole clips; "
                "take a variant without _ava"
            )
        self.device = next(network.parameters()).device
        self.training = Carried(network, calls=2 * pieces - 1)
        self.evaluation = Carried(network)

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """``loss``, and ``correct`` of ``count`` clips, or steps of time, whose highest logit is a
        true class."""
        assert batch.rgb is not None, "a training batch has pixels"
        assert isinstance(batch.target, Tensor), "one label set"
        clips = batch.rgb.flatten(0, 1)
        self.device = clips.device
        logits = self.training.read(model, clips, batch.index.tolist()).float()
        logits, target = by_frame(logits, batch.target)
        return {"loss": self._loss(logits, target), **self.counted(logits, target)}

    def batch_scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """Probabilities (B, K) of the next clip of each video, float32 on the CPU."""
        assert batch.rgb is not None, "only readable clips are scored"
        device = next(model.parameters()).device
        clips = batch.rgb.flatten(0, 1).to(device, non_blocking=True)
        logits = newest(self.evaluation.read(model, clips, batch.index.tolist()))
        return self.probabilities(logits).cpu()

    def own_state(self) -> dict[str, Any]:
        """What the videos that this process is reading have left behind."""
        return self.training.state_dict()

    def load_own_state(self, state: dict[str, Any]) -> None:
        """Go on with the videos of ``own_state``."""
        self.training.load_state_dict(state, self.device)


class LongVideoSets(LongVideo, LabelSets):
    """The same for a label of each of several sets, such as verbs and nouns."""


def long_video(choice: TaskChoice, num_classes: int, network: Any, *, pieces: int = 1) -> LongVideo:
    """The task for one set of labels, or for those of ``choice.label_sets``."""
    kind = LongVideoSets if choice.label_sets else LongVideo
    return kind(choice, num_classes, network, pieces=pieces)


def newest(logits: Tensor) -> Tensor:
    """What is answered for clips, (B, K): for the last step of time where each has an answer."""
    return logits[:, -1] if logits.dim() == 3 else logits


def remembers(network: Any) -> bool:
    """Whether a network carries a memory from clip to clip."""
    config = getattr(network, "config", None)
    return bool(getattr(config, "reach", 0)) and hasattr(network, "init_state")
