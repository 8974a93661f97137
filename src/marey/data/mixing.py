"""Mixup and cutmix on a batch of clips: two videos become one, labels in the same proportion.

The partner of sample i is sample B-1-i; one share is drawn for the batch. Where both are on, each
batch takes one of them, evenly.

Sources: H. Zhang et al., "mixup", ICLR 2018; S. Yun et al., "CutMix", ICCV 2019; pairing as in
PySlowFast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Generator, Tensor

from marey.choices import AugmentChoice
from marey.types import Batch

Box = tuple[int, int, int, int]


class Mix:
    """``Mix(augment)(batch, generator)``; the batch itself is left as it was."""

    def __init__(self, augment: AugmentChoice) -> None:
        for name, value in (("mixup", augment.mixup), ("cutmix", augment.cutmix)):
            if value < 0:
                raise ValueError(f"{name} is {value:g}; a Beta parameter is above 0, or 0 for off")
        self.mixup, self.cutmix = augment.mixup, augment.cutmix

    @property
    def active(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        """A mixed copy. Clips (B, V, C, T, H, W) share one box over views and frames."""
        if not self.active or len(batch) < 2:
            return batch
        draw = _frozen(generator)
        cut = self.cutmix > 0 and (self.mixup == 0 or draw.random_sample() < 0.5)
        alpha = self.cutmix if cut else self.mixup
        share = float(draw.beta(alpha, alpha))
        box: Box | None = None
        if cut:
            height, width = batch.clips[0].shape[-2:]
            box = cut_box(height, width, share, draw)
            share = 1 - (box[1] - box[0]) * (box[3] - box[2]) / (height * width)
        target: Tensor | Mapping[str, Tensor]
        if isinstance(batch.target, Mapping):
            target = {name: _blend(t, share) for name, t in batch.target.items()}
        else:
            target = _blend(batch.target, share)
        rgb, flow = (_mixed(c, share, box) for c in (batch.rgb, batch.flow))
        return replace(batch, rgb=rgb, flow=flow, target=target)


def cut_box(height: int, width: int, share: float, draw: np.random.RandomState) -> Box:
    """(top, bottom, left, right) of a box of 1 - ``share`` of the frame, clipped at its borders."""
    ratio = float(np.sqrt(1 - share))
    cut_h, cut_w = int(height * ratio), int(width * ratio)
    centre_y, centre_x = int(draw.randint(height)), int(draw.randint(width))
    top, bottom = max(0, centre_y - cut_h // 2), min(height, centre_y + cut_h // 2)
    left, right = max(0, centre_x - cut_w // 2), min(width, centre_x + cut_w // 2)
    return top, bottom, left, right


def _blend(values: Tensor, share: float) -> Tensor:
    return values * share + values.flip(0) * (1 - share)


def _mixed(clips: Tensor | None, share: float, box: Box | None) -> Tensor | None:
    if clips is None:
        return None
    if box is None:
        return _blend(clips, share)
    top, bottom, left, right = box
    pasted = clips.clone()
    pasted[..., top:bottom, left:right] = clips.flip(0)[..., top:bottom, left:right]
    return pasted


def _frozen(generator: Generator) -> np.random.RandomState:
    """NumPy's frozen generator, seeded from ours: torch has no Beta that takes a generator."""
    seed = torch.randint(0, 2**31 - 1, (1,), generator=generator)
    return np.random.RandomState(int(seed))
