"""What each candidate of a detector should answer, and how far from it the answers are.

    anchor     an anchor that overlaps an instance by 0.6 stands for it, as do those that overlap it
               most; below 0.4 it is background; between, nobody asks
    point      a step inside an instance stands for the shortest such; where the level is too fine
               or too coarse for all of them, nobody asks

Labels are class numbers, ``num_classes`` for background, -1 where nobody asks. Steps that lie in
padding are not asked either.

Source: the assigners and criteria of BasicTAD's code; losses of T. Lin et al., "Focal Loss for
Dense Object Detection", ICCV 2017, and Z. Zheng et al., "Distance-IoU Loss", AAAI 2020.
Differs: of instances of equal extent the one with the lower class number counts, a rule the
authors' code has for CliffDiving and Diving alone; counts of positives are not averaged over
processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from marey.geometry.segments import lengths, overlap

POSITIVE, NEGATIVE = 0.6, 0.4
LOWEST, MIDDLE, HIGHEST = (-1.0, 5.0), (2.5, 5.0), (2.5, float("inf"))  # reach in strides
GAMMA, ALPHA, SOFTMAX_ALPHA = 2.0, 0.25, 0.75
IGNORED = -1
EPSILON = 1e-6


class Target(NamedTuple):
    """``labels`` (N,) and, for those that stand for an instance, its ``segments`` (N, 2)."""

    labels: Tensor
    segments: Tensor


def anchor_targets(anchors: Tensor, segments: Tensor, classes: Tensor, background: int) -> Target:
    """Targets of anchors (N, 2) among instances (G, 2) of one window, in frames.

    Of two instances that claim an anchor because it overlaps them most, the later has it.
    """
    labels = torch.full((len(anchors),), background, device=anchors.device)
    wanted = torch.zeros_like(anchors)
    if not len(segments):
        return Target(labels, wanted)
    shared = overlap(segments, anchors)  # (G, N)
    best, which = shared.max(0)
    labels[best >= NEGATIVE] = IGNORED
    which = torch.where(best >= POSITIVE, which, -1)
    for g, row in enumerate(shared):
        if row.max() > 0:
            which[row == row.max()] = g
    mine = which >= 0
    labels[mine], wanted[mine] = classes[which[mine]], segments[which[mine]]
    return Target(labels, wanted)


def point_targets(
    points: Tensor,
    levels: Tensor,
    segments: Tensor,
    classes: Tensor,
    *,
    strides: Tensor,
    background: int,
    edges: bool,
) -> Target:
    """Targets of points (N,), each in steps of its level of ``strides`` (N,) frames.

    ``levels`` (N, 2) is the range in which the longer distance must lie. ``edges``: a point on an
    end of an instance is inside it. Class and segment may come from two instances, as published.
    """
    labels = torch.full(points.shape, background, device=points.device)
    wanted = torch.zeros(len(points), 2, device=points.device)
    if not len(segments):
        return Target(labels, wanted)
    order = sorted(
        range(len(segments)), key=lambda g: (float(lengths(segments)[g]), int(classes[g]))
    )
    segments, classes = segments[order], classes[order]
    scaled = segments[None] / strides[:, None, None]  # (N, G, 2)
    left, right = points[:, None] - scaled[..., 0], scaled[..., 1] - points[:, None]
    nearest, farthest = torch.minimum(left, right), torch.maximum(left, right)
    inside = nearest >= 0 if edges else nearest > 0
    fits = inside & (farthest >= levels[:, :1]) & (farthest <= levels[:, 1:])
    held, fitted = inside.any(1), fits.any(1)
    labels[held] = IGNORED
    labels[fitted] = classes[inside.float().argmax(1)][fitted]
    wanted[fitted] = scaled[torch.arange(len(points)), fits.float().argmax(1)][fitted]
    return Target(labels, wanted)


def reaches(sizes: Sequence[int]) -> Tensor:
    """The range of distances of every step of every level, in strides, (N, 2)."""
    rows = [LOWEST, *[MIDDLE] * (len(sizes) - 2), HIGHEST][: len(sizes)]
    return torch.cat(
        [torch.tensor(row).expand(size, 2) for row, size in zip(rows, sizes, strict=True)]
    )


def focal(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum of sigmoid focal losses over (N, K) logits; background and ignored labels have no class,
    ignored ones no loss."""
    asked = labels != IGNORED
    logits, labels = logits[asked], labels[asked]
    count = logits.shape[1]
    wanted = F.one_hot(labels, count + 1)[:, :count].to(logits.dtype)
    chance = logits.sigmoid()
    miss = torch.where(wanted > 0, 1 - chance, chance)
    weight = torch.where(wanted > 0, ALPHA, 1 - ALPHA)
    loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (weight * miss**GAMMA * loss).sum()


def softmax_focal(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean focal loss over (N, 1 + K) logits, background first; ignored labels have none."""
    asked = labels != IGNORED
    background = logits.shape[1] - 1
    place = torch.where(labels == background, 0, labels + 1)[asked]
    chance = logits[asked].softmax(1).gather(1, place[:, None])[:, 0]
    loss = -SOFTMAX_ALPHA * (1 - chance) ** GAMMA * (chance + EPSILON).log()
    return loss.mean() if len(loss) else logits.sum() * 0


def distance_iou(found: Tensor, wanted: Tensor) -> Tensor:
    """1 - overlap + squared distance of centres over squared length of both together, (N,)."""
    left, right = torch.minimum(found, wanted)[:, 0], torch.maximum(found, wanted)[:, 1]
    shared = (
        torch.minimum(found[:, 1], wanted[:, 1]) - torch.maximum(found[:, 0], wanted[:, 0])
    ).clamp_min(0)
    union = lengths(found) + lengths(wanted) - shared + EPSILON
    apart = (found.sum(1) - wanted.sum(1)) / 2
    return 1 - shared / union + apart**2 / ((right - left) ** 2 + EPSILON)
