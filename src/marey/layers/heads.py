"""The classifier on top of one or more pathways, position by position.

    step          shape for SlowFast 8x8 at 256x256, trained on 224x224
    maps          1 2048 8 8 8 and 1 256 32 8 8
    pooled        1 2304 1 2 2
    positions     1 4 400

A network tested on larger frames than it was trained on has several output positions; the official
test averages their *probabilities*, so the head keeps them apart and others decide.

Source: C. Feichtenhofer et al., ICCV 2019, Section 3.4 and the authors' code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.conv import Triple
from marey.layers.init import start_head

PoolRule = Literal["window", "global"]


class ClassifierHead(nn.Module):
    """Average-pool each map, join the channels, drop out, project: (B, P, K) logits.

    ``windows`` holds one (T, H, W) averaging window a pathway, moved by one step (by
    ``time_strides`` in time), and clipped to the map where the map is smaller; None averages the
    whole map, P = 1.
    """

    start_std = 0.01  # of a fresh projection

    def __init__(
        self,
        widths: Sequence[int],
        num_classes: int,
        *,
        dropout: float = 0.5,
        windows: Sequence[Triple] | None = None,
        time_strides: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.windows = None if windows is None else tuple(windows)
        self.time_strides = tuple(time_strides or [1] * len(widths))
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(sum(widths), num_classes)

    def pooled(self, maps: Sequence[Tensor]) -> Tensor:
        """Input of the projection as a map, (B, D, T', H', W')."""
        if self.windows is None:
            return torch.cat([m.mean(dim=(2, 3, 4), keepdim=True) for m in maps], dim=1)
        means = []
        for feature, window, step in zip(maps, self.windows, self.time_strides, strict=True):
            size = [min(w, n) for w, n in zip(window, feature.shape[2:], strict=True)]
            means.append(F.avg_pool3d(feature, size, stride=(step, 1, 1)))
        return torch.cat(means, dim=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        positions = self.pooled(maps).flatten(2).transpose(1, 2)  # (B, P, D)
        return self.projection(self.dropout(positions))

    def reset(self, num_classes: int) -> None:
        """A fresh projection to ``num_classes`` outputs, on the device of the old one."""
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; a classifier needs at least one")
        old = self.projection.weight
        device = "cpu" if old.is_meta else old.device
        self.projection = nn.Linear(old.shape[1], num_classes, device=device, dtype=old.dtype)
        start_head(self.projection, std=self.start_std)


class ClipClassifier(nn.Module):
    """What every clip classifier offers around its ``features`` and ``head``.

    A network adds ``config``, ``widths``, ``stages(clip)`` and ``features(clip)``; the zoo hangs
    ``variant`` on it, which error messages use.
    """

    config: Any  # the family's frozen dataclass
    head: ClassifierHead
    widths: tuple[int, ...]
    variant: str

    @property
    def name(self) -> str:
        return getattr(self, "variant", type(self).__name__)

    def features(self, clip: Tensor) -> tuple[Tensor, ...]:
        """The last map of each pathway, (B, C, T, H, W)."""
        raise NotImplementedError

    def forward_positions(self, clip: Tensor) -> Tensor:
        """Logits at every position of the averaging window, (B, P, K)."""
        return self.head(self.features(clip))

    def forward(self, clip: Tensor) -> Tensor:
        return self.forward_positions(clip).mean(dim=1)

    def head_parameters(self) -> tuple[str, ...]:
        """Names of the tensors that depend on the number of classes."""
        return "head.projection.weight", "head.projection.bias"

    def reset_head(self, num_classes: int) -> None:
        """Replace the classifier by a fresh one; ``config`` follows."""
        self.head.reset(num_classes)
        self.config = replace(self.config, num_classes=num_classes)
