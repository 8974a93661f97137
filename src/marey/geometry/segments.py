"""Segments of time: overlap, suppression, anchors and points. Pure functions, nothing compiled.

A segment is (start, end) in any one unit. Suppression looks only at neighbours: candidates lie
sorted by their start, and whoever can overlap the chosen one is a slice of them. So 10 000
segments cost a few thousand short vector operations, on the processor, whatever the device.

    hard      drop whoever overlaps a better one
    soft      lower its score instead, by how much it overlaps
    weighted  merge it into the better one, the mean weighted by score and overlap

Sources: N. Bodla et al., "Soft-NMS", ICCV 2017; T. Lin et al., "BMN", ICCV 2019 (lengthy segments
are spared); H. Zhou et al., "CAD: Scale Invariant Framework for Real-Time Object Detection",
ICCVW 2017 (weighting); C. Zhang et al., "ActionFormer", ECCV 2022 (voting). Constants are those
of their published code: lengths carry 1e-6 in hard and soft suppression.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marey.choices import Decay, SuppressionChoice

Array = NDArray[np.float32]
EPSILON = np.float32(1e-6)


class Found(NamedTuple):
    """Segments (N, 2), scores (N,) descending, and integer labels (N,)."""

    segments: Tensor
    scores: Tensor
    labels: Tensor


def overlap(ours: Tensor, theirs: Tensor) -> Tensor:
    """Temporal intersection over union of (N, 2) with (M, 2): (N, M); 0 where both are empty."""
    left = torch.maximum(ours[:, None, 0], theirs[None, :, 0])
    right = torch.minimum(ours[:, None, 1], theirs[None, :, 1])
    shared = (right - left).clamp_min(0)
    union = lengths(ours)[:, None] + lengths(theirs)[None] - shared
    return torch.where(union > 0, shared / union, 0.0)


def lengths(segments: Tensor) -> Tensor:
    """End minus start, (N,)."""
    return segments[..., 1] - segments[..., 0]


# Anchors and points of a pyramid


def anchors(sizes: Sequence[int], strides: Sequence[int], *, base: float, count: int) -> Tensor:
    """Anchors of all levels, locations major, (sum of sizes * count, 2), in frames.

    Location i of a level has its centre at i * stride; its ``count`` lengths are
    stride * base * 2 ** (k / count).
    """
    rows = []
    growth = 2.0 ** (torch.arange(count) / count)
    for size, stride in zip(sizes, strides, strict=True):
        centre = (torch.arange(size) * stride).float()[:, None]
        half = (stride * base * growth / 2)[None]
        rows.append(torch.stack([centre - half, centre + half], dim=-1).flatten(0, 1))
    return torch.cat(rows)


def points(sizes: Sequence[int]) -> Tensor:
    """The middle of every step of every level, in steps of its level, (sum of sizes,)."""
    return torch.cat([torch.arange(size) + 0.5 for size in sizes])


def encode_deltas(anchors: Tensor, segments: Tensor) -> Tensor:
    """(N, 2): shift of the centre in lengths of the anchor, and log of the ratio of lengths."""
    own, wanted = lengths(anchors), lengths(segments)
    shift = (segments.mean(-1) - anchors.mean(-1)) / own
    return torch.stack([shift, (wanted / own).log()], dim=-1)


def decode_deltas(anchors: Tensor, deltas: Tensor) -> Tensor:
    """The inverse of ``encode_deltas``: segments (..., 2) from anchors and deltas (..., 2)."""
    own = lengths(anchors)
    centre = anchors.mean(-1) + deltas[..., 0] * own
    half = own * deltas[..., 1].exp() / 2
    return torch.stack([centre - half, centre + half], dim=-1)


def around(points: Tensor, distances: Tensor) -> Tensor:
    """Segments (..., 2) from points (...) and distances to start and end (..., 2)."""
    return torch.stack([points - distances[..., 0], points + distances[..., 1]], dim=-1)


# Suppression of one class: arrays in, places and numbers out


class _Sorted:
    """Candidates by rising start. ``place`` leads back to the caller's order."""

    def __init__(self, segments: Tensor, scores: Tensor) -> None:
        pairs = segments.detach().cpu().float().numpy().reshape(-1, 2)
        self.place = np.argsort(pairs[:, 0], kind="stable")
        self.start, self.end = np.ascontiguousarray(pairs[self.place].T)
        self.length: Array = self.end - self.start
        self.score: Array = scores.detach().cpu().float().numpy()[self.place]
        self.by_score = self.place.argsort()[np.argsort(-scores.cpu().numpy(), kind="stable")]

    def reach(self, longest: Array | np.float32) -> tuple[list[int], list[int]]:
        """For each candidate, the slice of those that start before it ends, and at most
        ``longest`` before it starts."""
        slack = np.abs(self.start) * np.float32(1e-5) + np.float32(1e-3)
        first = np.searchsorted(self.start, self.start - longest - slack, side="left")
        after = np.searchsorted(self.start, self.end, side="right")
        return first.tolist(), np.maximum(after, np.arange(len(self.start)) + 1).tolist()

    def overlaps(self, i: int, span: slice, padding: np.float32) -> Array:
        """Overlap of candidate ``i`` with those of a slice; ``padding`` is added to lengths."""
        shared = np.minimum(self.end[span], self.end[i])
        shared -= np.maximum(self.start[span], self.start[i])
        np.maximum(shared, 0, out=shared)
        union = (self.length[span] + padding) + (self.length[i] + padding) - shared
        with np.errstate(invalid="ignore"):
            found: Array = shared / union
        return found


def hard_nms(
    segments: Tensor, scores: Tensor, *, threshold: float, strictly: bool = False
) -> Tensor:
    """Places (M,) of the segments that no better one overlaps by ``threshold``, best first.

    ``strictly``: only an overlap above the threshold counts, and lengths stay as they are.
    """
    if not len(scores):
        return torch.empty(0, dtype=torch.int64)
    if threshold <= 0 and not strictly:
        return scores.argmax()[None].cpu()
    rows = _Sorted(segments, scores)
    padding, bound = (np.float32(0), 0.0) if strictly else (EPSILON, threshold)
    longest = rows.length / np.float32(max(threshold, 1e-3)) if bound else rows.length.max()
    first, after = rows.reach(longest + padding)
    alive = np.ones(len(rows.start), bool)
    kept = []
    for i in rows.by_score.tolist():
        if not alive[i]:
            continue
        kept.append(i)
        span = slice(first[i], after[i])
        found = rows.overlaps(i, span, padding)
        alive[span] &= ~(found > threshold) if strictly else ~(found >= threshold)
    return torch.from_numpy(rows.place[kept])


def soft_nms(
    segments: Tensor,
    scores: Tensor,
    *,
    decay: Decay = "gaussian",
    sigma: float = 0.5,
    threshold: float = 0.1,
    spare: tuple[float, float] = (0.0, 0.0),
    min_score: float = 0.001,
    most: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Places (M,) and lowered scores (M,) of up to ``most`` segments, best first.

    The best segment lowers the scores of those it overlaps: ``gaussian`` by exp(-overlap^2/sigma),
    ``linear`` by 1 - overlap from ``threshold`` on, ``hard`` to 0 from there on, ``gaussian_long``
    where the overlap is at least spare[0] + spare[1] * the best one's length. Whoever falls below
    ``min_score`` is gone.
    """
    if not len(scores):
        return torch.empty(0, dtype=torch.int64), torch.empty(0)
    rows = _Sorted(segments, scores)
    first, after = rows.reach(rows.length.max())
    score = rows.score.copy()
    kept: list[int] = []
    lowered: list[float] = []
    for _ in range(len(score) if most is None else min(most, len(score))):
        i = int(score.argmax())
        value = float(score[i])
        if value == -np.inf:
            break
        kept.append(i)
        lowered.append(value)
        score[i] = -np.inf
        span = slice(first[i], after[i])
        found = rows.overlaps(i, span, EPSILON)
        near = score[span]
        near *= _weight(found, decay, sigma, threshold, spare, rows.length[i])
        near[near < min_score] = -np.inf
        if len(kept) == 1:
            score[score < min_score] = -np.inf
    return torch.from_numpy(rows.place[kept]), torch.tensor(lowered, dtype=torch.float32)


def _weight(
    found: Array,
    decay: Decay,
    sigma: float,
    threshold: float,
    spare: tuple[float, float],
    length: np.float32,
) -> Array:
    """What scores are multiplied by; never 0, which would turn a taken -inf into no number."""
    tiny = np.float32(1e-38)
    if decay == "gaussian":
        return np.maximum(np.exp(-(found * found) / np.float32(sigma)), tiny)
    if decay == "linear":
        return np.where(found >= np.float32(threshold), np.maximum(1 - found, tiny), np.float32(1))
    if decay == "hard":
        return np.where(found >= np.float32(threshold), tiny, np.float32(1))
    bound = np.float32(spare[0] + spare[1] * length)
    lower = np.maximum(np.exp(-(found * found) / np.float32(sigma)), tiny)
    return np.where(found >= bound, lower, np.float32(1))


def vote(kept: Tensor, segments: Tensor, scores: Tensor, *, threshold: float) -> Tensor:
    """Each kept segment (M, 2) moved to the mean, weighted by score, of all candidates (N, 2) that
    overlap it by ``threshold``; one that none overlaps stays."""
    moved = []
    for part in kept.split(256):
        weight = (overlap(part, segments) >= threshold) * scores[None]
        total = weight.sum(1, keepdim=True)
        moved.append(torch.where(total > 0, weight @ segments / total.clamp_min(1e-12), part))
    return torch.cat(moved) if moved else kept


def weighted_nms(segments: Tensor, scores: Tensor, *, threshold: float) -> tuple[Tensor, Tensor]:
    """Merged segments (M, 2) and the score of the best of each, best first.

    Those that overlap the best by ``threshold`` join it: the mean with weights score * overlap,
    the best's own overlap counting 1.
    """
    if not len(scores):
        return segments.new_empty(0, 2).cpu().float(), torch.empty(0)
    rows = _Sorted(segments, scores)
    first, after = rows.reach(rows.length / np.float32(max(threshold, 1e-3)))
    alive = np.ones(len(rows.start), bool)
    merged, best = [], []
    for i in rows.by_score.tolist():
        if not alive[i]:
            continue
        span = slice(first[i], after[i])
        found = rows.overlaps(i, span, np.float32(0))
        joins = alive[span] & (found >= np.float32(threshold))
        joins[i - span.start] = True
        share = np.where(joins, found, np.float32(0)).astype(np.float64)
        share[i - span.start] = 1.0
        share *= rows.score[span]
        total = share.sum()
        if total > 0:
            merged.append((share @ rows.start[span] / total, share @ rows.end[span] / total))
        else:
            merged.append((rows.start[i], rows.end[i]))
        best.append(rows.score[i])
        alive[span] &= ~joins
    return torch.tensor(merged, dtype=torch.float32), torch.tensor(np.array(best))


# Suppression of several classes


def per_class(labels: Tensor) -> list[Tensor]:
    """Places of the candidates of each label that occurs, labels rising."""
    order = labels.argsort(stable=True)
    _, counts = torch.unique_consecutive(labels[order], return_counts=True)
    return list(order.split(counts.tolist()))


def best_first(found: Sequence[Found], *, most: int | None = None) -> Found:
    """Several lists as one, scores descending (ties in the order given), at most ``most``."""
    if not found:
        empty = torch.empty(0)
        return Found(torch.empty(0, 2), empty, empty.long())
    joined = Found(*(torch.cat(column) for column in zip(*found, strict=True)))
    order = joined.scores.argsort(descending=True, stable=True)[:most]
    return Found(*(column[order] for column in joined))


def suppress(found: Found, choice: SuppressionChoice) -> Found:
    """What is left of candidates, scores descending: class by class unless ``per_class`` is off.

    ``most`` holds for each class and for all together. Voting needs ``per_class`` off, as in the
    published code. Raises ValueError for a choice that cannot be carried out.
    """
    check_suppression(choice)
    found = Found(found.segments.cpu().float(), found.scores.cpu().float(), found.labels.cpu())
    if choice.kind == "hard" and choice.min_score > 0:
        enough = found.scores > choice.min_score
        found = Found(*(column[enough] for column in found))
    places = per_class(found.labels) if choice.per_class else [torch.arange(len(found.scores))]
    parts = []
    for place in places:
        segments, scores, labels = (column[place] for column in found)
        parts.append(_one_class(Found(segments, scores, labels), choice))
    return best_first(parts, most=choice.most)


def _one_class(some: Found, choice: SuppressionChoice) -> Found:
    if choice.kind == "none":
        return best_first([some], most=choice.most)
    if choice.kind == "weighted":
        segments, scores = weighted_nms(some.segments, some.scores, threshold=choice.threshold)
        labels = some.labels[:1].expand(len(scores))
        return Found(segments, scores, labels)
    if choice.kind == "hard":
        kept = hard_nms(some.segments, some.scores, threshold=choice.threshold)[: choice.most]
        scores = some.scores[kept]
    else:
        kept, scores = soft_nms(
            some.segments,
            some.scores,
            decay=choice.decay,
            sigma=choice.sigma,
            threshold=choice.threshold,
            spare=choice.spare,
            min_score=choice.min_score,
            most=choice.most,
        )
    segments = some.segments[kept]
    if choice.voting:
        segments = vote(segments, some.segments, some.scores, threshold=choice.voting)
    return Found(segments, scores, some.labels[kept])


def check_suppression(choice: SuppressionChoice) -> None:
    """Raises ValueError for numbers out of range, naming the field."""
    for name in ("threshold", "voting"):
        value = getattr(choice, name)
        if not 0 <= value <= 1:
            raise ValueError(f"suppression.{name} is {value:g}; an overlap lies between 0 and 1")
    if choice.most < 1 or not choice.sigma > 0:
        raise ValueError(
            f"suppression.most is {choice.most} and sigma {choice.sigma:g}; both must be above 0"
        )
    if choice.voting and choice.per_class:
        raise ValueError(
            "suppression.voting moves segments towards those of every class: set per_class false"
        )
