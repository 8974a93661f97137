"""Who does what: the classes of each box, from the last map of a clip network.

    step       shape for three boxes, mvitv2_s_16x4 at 224x224
    features   1 768 8 7 7
    boxes      3 5
    inside     3 768
    logits     3 80

The map is averaged over time and looked at through each box; the largest value of every channel is
what the box shows. Boxes come from elsewhere; classes are independent (sigmoid).

Source: C. Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019, Section 5,
and the authors' code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from marey.layers.init import start_head
from marey.layers.roi import box_features


class BoxHead(nn.Module):
    """Maps (B, C, T, H, W), one a pathway, and boxes (N, 5) -> logits (N, K)."""

    def __init__(
        self,
        widths: tuple[int, ...],
        num_classes: int,
        *,
        dropout: float = 0.5,
        size: int = 7,
        stride: int = 32,
    ) -> None:
        """``stride``: pixels between cells of the maps; ``size``: samples along a box's sides."""
        super().__init__()
        self.size, self.stride = size, stride
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(sum(widths), num_classes)
        if not self.projection.weight.is_meta:
            start_head(self.projection)

    def inside(self, maps: Any, boxes: Tensor, frame: tuple[int, int]) -> Tensor:
        """What the boxes show, (N, C), on frames of so many rows and columns of pixels."""
        cut = [box_features(m, boxes, frame, size=self.size, stride=self.stride) for m in maps]
        return torch.cat(cut, dim=1)

    def forward(self, maps: Any, boxes: Tensor, frame: tuple[int, int]) -> Tensor:
        return self.projection(self.dropout(self.inside(maps, boxes, frame)))


class ActionDetector(nn.Module):
    """(B, 3, T, H, W) clips and boxes (N, 5) -> logits (N, K), over any network with ``features``.

    Boxes are rows of the batch and xyxy fractions of the frame.
    """

    def __init__(self, backbone: Any, num_classes: int, *, dropout: float = 0.5) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = BoxHead(backbone.widths, num_classes, dropout=dropout)

    def forward(self, clip: Tensor, boxes: Tensor) -> Tensor:
        height, width = clip.shape[3:]
        return self.head(self.backbone.features(clip), boxes, (height, width))
