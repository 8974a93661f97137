"""What a map shows inside boxes.

    step      shape for three boxes on the last map of mvitv2_s_16x4 at 224x224
    map       1 768 7 7
    cut       3 768 7 7
    features  3 768

Source: K. He et al., "Mask R-CNN", ICCV 2017, Section 3 (RoIAlign, here with corners of pixels as
in detectron2); the pooling around it as C. Feichtenhofer et al., "SlowFast", ICCV 2019, Section 5.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import roi_align


def cut_boxes(
    maps: Tensor, boxes: Tensor, frame: tuple[int, int], *, size: int = 7, stride: int = 32
) -> Tensor:
    """The inside of each box, resampled bilinearly: (N, C, size, size).

    ``maps`` (B, C, H, W) have one cell each ``stride`` pixels of frames of ``frame`` (rows,
    columns) pixels. ``boxes`` (N, 5): the row of the batch, then xyxy as fractions of the frame.
    Raises ValueError for boxes of another shape.
    """
    check_boxes(boxes)
    height, width = frame
    exact = torch.promote_types(maps.dtype, torch.float32)  # half precision moves a box by pixels
    scale = torch.tensor([1.0, width, height, width, height], device=boxes.device, dtype=exact)
    cut = roi_align(maps.to(exact), boxes.to(exact) * scale, size, 1 / stride, 0, True)
    return cut.to(maps.dtype)


def box_features(
    features: Tensor, boxes: Tensor, frame: tuple[int, int], *, size: int = 7, stride: int = 32
) -> Tensor:
    """(B, C, T, H, W) maps, averaged over time, and the largest value in each box: (N, C)."""
    return cut_boxes(features.mean(dim=2), boxes, frame, size=size, stride=stride).amax(dim=(2, 3))


def check_boxes(boxes: Tensor) -> None:
    """Raises ValueError for what is not (N, 5)."""
    if boxes.dim() != 2 or boxes.shape[1] != 5:
        raise ValueError(
            f"boxes are {tuple(boxes.shape)}; give (N, 5): row of the batch, then x1 y1 x2 y2 as "
            "fractions of the frame"
        )


def pad_boxes(features: Tensor, rows: Tensor, batch: int, slots: int) -> tuple[Tensor, Tensor]:
    """Boxes (N, C) of ``rows`` (N,) int64 side by side: (batch, slots, C) with zeros behind, and
    the slot (N,) of each.

    Raises ValueError for more boxes in a row than slots.
    """
    same = rows[:, None] == rows[None, :]
    slot = same.tril(-1).sum(dim=1)
    if not torch.compiler.is_compiling() and not slot.is_meta and slot.numel():
        most = int(slot.max()) + 1
        if most > slots:
            raise ValueError(
                f"a clip has {most} boxes but the network has {slots} places; keep the best "
                f"{slots}, or set box_slots"
            )
    padded = features.new_zeros(batch, slots, features.shape[1])
    return padded.index_put((rows, slot), features), slot
