"""A network with memory on one video: clip after clip, each told with what was seen before it.

    file -> thread: clips in order -> network and memory -> one result a clip

A file is read as fast as the network goes, and no clip of it is left out, so that the answers are
those of an evaluation. What is held is the memory and a few clips, however long the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from marey.choices import StreamChoice
from marey.data.sequences import clip_length_s, num_clips, step_seconds, test_clip
from marey.predictor.predictor import Predictor, choice_of
from marey.tasks.long_video import Carried, newest
from marey.types import ClipSpec
from marey.video import Video


class Remembering:
    """The memory of one video, and the answers it gives; ``carried`` holds it."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.carried = Carried(predictor.model)
        self.read = 0  # clips so far

    def probabilities(self, pixels: Tensor) -> Tensor:
        """(K,) of the next clip, (C, T, S, S)."""
        clips = pixels[None].to(self.predictor.device, non_blocking=True)
        with torch.inference_mode(), self.predictor.autocast():
            logits = newest(self.carried.read(self.predictor.model, clips, [self.read]))
        self.read += 1
        return self.predictor.task.probabilities(logits)[0].cpu()


def clips_of(
    video: Video, step_s: float, spec: ClipSpec
) -> Iterator[tuple[Tensor, tuple[float, float]]]:
    """The clips of a file in order, (C, T, S, S) each, and the seconds they cover."""
    clip = 0
    while clip < num_clips(video, step_s, spec):  # a damaged file ends early
        pixels, _ = test_clip(video, clip * step_s, spec)
        yield pixels, (clip * step_s, clip * step_s + clip_length_s(spec))
        clip += 1


def step_of(model: Any, asked_s: float | None) -> float:
    """Seconds from clip to clip: those asked for, or those the network was trained with."""
    if asked_s is not None:
        return asked_s
    told = choice_of(model)
    return step_seconds(told.streams if told else StreamChoice(), model.spec)
