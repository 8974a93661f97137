"""Temporal detection: average precision at several overlaps, recall, average recall of proposals.

    rule          ground truth                       who matches whom
    activitynet   as it is                           by score: the best free instance of the video
    cleaned       without empty ones and twins       the same (OpenTAD, ActionFormer)
    thumos14      as it is, and ambiguous segments   by instance, in the order of the file: the
                                                     free detection that overlaps it most

Sources: activitynet/ActivityNet Evaluation (detection and proposals); sming256/OpenTAD; the
evaluation kit of THUMOS'14 (its later version: precision at each hit, not interpolated).
Differs: equal scores keep their order; detections of unknown classes are left out, where the
official code stops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Rule = Literal["activitynet", "cleaned", "thumos14"]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
THUMOS = (0.3, 0.4, 0.5, 0.6, 0.7)
ACTIVITYNET = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
EGO4D = (0.1, 0.2, 0.3, 0.4, 0.5)
TWINS_S = 1e-3  # instances whose ends are this close are one


class Instances(NamedTuple):
    """Labelled segments of videos, as columns: ``video`` (N,) numbers, ``span_s`` (N, 2),
    ``label`` (N,), ``score`` (N,), which ground truth ignores."""

    video: Ints
    span_s: Floats
    label: Ints
    score: Floats

    def take(self, places: NDArray[np.generic]) -> Instances:
        """The rows at ``places`` (numbers, or true and false)."""
        return Instances(*(column[places] for column in self))


def instances(
    video: Sequence[int], span_s: Sequence[Sequence[float]], label: Sequence[int], score: object = 0
) -> Instances:
    """Columns from sequences; one score for all will do."""
    count = len(label)
    return Instances(
        np.asarray(video, np.int64),
        np.asarray(span_s, np.float64).reshape(count, 2),
        np.asarray(label, np.int64),
        np.broadcast_to(np.asarray(score, np.float64), (count,)).copy(),
    )


def average_precision(
    truth: Instances,
    found: Instances,
    thresholds: Sequence[float],
    *,
    num_classes: int,
    rule: Rule = "cleaned",
    ambiguous: Instances | None = None,
) -> Floats:
    """AP of each class at each overlap, (K, T), 0-1; NaN for classes without an instance.

    A class without detections has 0. ``ambiguous`` segments, of any label, excuse detections that
    hit nothing else under ``thumos14``. Raises ValueError for a threshold outside (0, 1].
    """
    if not thresholds or not all(0 < t <= 1 for t in thresholds):
        raise ValueError(f"thresholds are {list(thresholds)}; overlaps lie above 0 and up to 1")
    if rule == "cleaned":
        truth = cleaned(truth)
    levels = np.asarray(thresholds, np.float64)
    counts = np.bincount(_known(truth, num_classes).label, minlength=num_classes)
    table = np.full((num_classes, len(levels)), np.nan)
    table[counts > 0] = 0.0
    found = _known(found, num_classes)
    found = found.take(np.argsort(-found.score, kind="stable"))
    hits = np.zeros((len(found.label), len(levels)), bool)
    ignored = np.zeros_like(hits)
    if rule == "thumos14" and ambiguous is not None:
        excused = overlaps_any(found, ambiguous)
    else:
        excused = np.zeros(len(found.label), bool)
    for rows, own in _meetings(found, truth):
        shared = overlaps(found.span_s[rows], truth.span_s[own], empty=np.inf)
        claim = _claims_by_instance if rule == "thumos14" else _claims_by_score
        hits[rows] = claim(shared, levels)
    ignored |= excused[:, None] & ~hits
    area = _precision_at_hits if rule == "thumos14" else _interpolated
    for k in np.flatnonzero(counts):
        own = found.label == k
        if own.any():
            for t in range(len(levels)):
                counted = hits[own, t][~ignored[own, t]]
                table[k, t] = area(counted, int(counts[k]))
    return table


def mean_over_classes(table: Floats) -> Floats:
    """mAP at each overlap, (T,). Raises ValueError where no class has an instance: the subset is
    empty or wrongly named."""
    present = ~np.isnan(table).all(1)
    if not present.any():
        raise ValueError(
            "no class has an instance, so there is no mAP: check the name of the subset"
        )
    mean: Floats = table[present].mean(0)
    return mean


def recall_at(
    truth: Instances,
    found: Instances,
    thresholds: Sequence[float],
    *,
    num_classes: int,
    multiples: Sequence[int] = (1, 5),
) -> Floats:
    """Recall@kx, (T, len(multiples)): of each class and video with n instances, its k * n best
    detections are asked whether one overlaps an instance enough; mean over classes.

    Source: Ego4D moment queries, as OpenTAD measures it.
    """
    truth = cleaned(_known(truth, num_classes))
    found = found.take(np.argsort(-found.score, kind="stable"))
    levels = np.asarray(thresholds, np.float64)
    recalled = np.zeros((num_classes, len(levels), len(multiples)))
    counts = np.bincount(truth.label, minlength=num_classes)
    for rows, own in _meetings(found, truth):
        shared = overlaps(found.span_s[rows], truth.span_s[own])
        for j, k in enumerate(multiples):
            best = shared[: k * len(own)].max(0)  # (G,)
            recalled[truth.label[own[0]], :, j] += (best[None] >= levels[:, None]).sum(1)
    present = counts > 0
    if not present.any():
        raise ValueError("no class has an instance, so there is no recall: check the subset")
    mean: Floats = (recalled[present] / counts[present, None, None]).mean(0)
    return mean


def average_recall(
    truth: Instances,
    found: Instances,
    *,
    thresholds: Sequence[float] = ACTIVITYNET,
    most: int = 100,
) -> tuple[Floats, Floats, float]:
    """Proposals an average video, (100,), their recall averaged over overlaps, (100,), and the
    area under that curve over its width, 0-1. Labels do not count.

    Source: activitynet/ActivityNet, proposal evaluation.
    """
    videos = np.unique(truth.video)
    found = found.take(np.argsort(-found.score, kind="stable"))
    found = found.take(np.isin(found.video, videos))
    if not len(videos) or not len(found.video):
        raise ValueError("no video has both instances and proposals, so there is no recall")
    levels = np.asarray(thresholds, np.float64)
    ratio = most * len(videos) / len(found.video)
    groups = []
    for video in videos:
        own, rows = truth.span_s[truth.video == video], found.span_s[found.video == video]
        rows = rows[: min(int(len(rows) * ratio), len(rows))]
        groups.append(overlaps(rows, own))  # (P, G)
    total = sum(len(shared) for shared in groups)
    shares = np.arange(1, 101) / 100 * (most * len(videos) / max(total, 1))
    matched, instances_in_all = np.zeros((len(levels), 100)), 0
    for shared in groups:
        instances_in_all += shared.shape[1]
        if not len(shared):
            continue
        best = np.maximum.accumulate(shared, axis=0)  # the best of the first p proposals
        taken = np.minimum((len(shared) * shares).astype(int), len(shared))
        reached = np.where(taken[:, None] > 0, best[np.maximum(taken - 1, 0)], -1.0)  # (100, G)
        matched += (reached[None] >= levels[:, None, None]).sum(2)
    recall = (matched / instances_in_all).mean(0)
    each = shares * (total / len(videos))
    area = float((np.diff(each) * (recall[1:] + recall[:-1]) / 2).sum() / each[-1])
    return each, recall, area


def cleaned(truth: Instances) -> Instances:
    """Without segments that do not end after they begin, and without repetitions of one: same
    video and class, both ends within a millisecond."""
    truth = truth.take(truth.span_s[:, 1] > truth.span_s[:, 0])
    keep = np.ones(len(truth.label), bool)
    groups: dict[tuple[int, int], list[int]] = {}
    for i, key in enumerate(zip(truth.video.tolist(), truth.label.tolist(), strict=True)):
        known = groups.setdefault(key, [])
        apart = np.abs(truth.span_s[known] - truth.span_s[i]).max(1) if known else np.ones(1)
        keep[i] = bool((apart > TWINS_S).all())
        if keep[i]:
            known.append(i)
    return truth.take(keep)


def overlaps(found: Floats, truth: Floats, *, empty: float = 0.0) -> Floats:
    """Intersection over union (P, G); ``empty`` where both are of no length.

    The official code divides 0 by 0 there, and what is no number passes its comparison.
    """
    left = np.maximum(found[:, None, 0], truth[None, :, 0])
    right = np.minimum(found[:, None, 1], truth[None, :, 1])
    shared = (right - left).clip(0)
    own, other = found[:, 1] - found[:, 0], truth[:, 1] - truth[:, 0]
    union = other[None] + own[:, None] - shared
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(union == 0, empty, shared / union)


def overlaps_any(found: Instances, others: Instances) -> NDArray[np.bool_]:
    """Whether each segment shares any time with one of ``others`` in its video, (N,)."""
    touched = np.zeros(len(found.label), bool)
    for video in np.unique(others.video):
        rows, own = found.video == video, others.video == video
        touched[rows] = (overlaps(found.span_s[rows], others.span_s[own]) > 0).any(1)
    return touched


def _known(rows: Instances, num_classes: int) -> Instances:
    return rows.take((rows.label >= 0) & (rows.label < num_classes))


def _meetings(found: Instances, truth: Instances) -> Iterator[tuple[Ints, Ints]]:
    """Places of the detections and of the instances of each (video, class) that has both; each in
    its own order."""
    width = int(max(truth.label.max(initial=0), found.label.max(initial=0))) + 1
    wanted, key = truth.video * width + truth.label, found.video * width + found.label
    order, own = np.argsort(key, kind="stable"), np.argsort(wanted, kind="stable")
    key, wanted = key[order], wanted[own]
    for value in np.unique(wanted):
        first, after = np.searchsorted(key, [value, value + 1])
        begin, end = np.searchsorted(wanted, [value, value + 1])
        if after > first:
            yield order[first:after], own[begin:end]


def _claims_by_score(shared: Floats, levels: Floats) -> NDArray[np.bool_]:
    """(P, T): detections in order of score each take the free instance they overlap most, if that
    is enough. One whose best instance is taken may have its second best."""
    hits = np.zeros((len(shared), len(levels)), bool)
    free = np.ones((len(levels), shared.shape[1]), bool)
    enough = shared.max(1) >= levels.min()
    for p in np.flatnonzero(enough):
        ranked = np.where(free & (shared[p][None] >= levels[:, None]), shared[p][None], -1.0)
        best = ranked.argmax(1)
        got = ranked[np.arange(len(levels)), best] >= 0
        hits[p] = got
        free[np.flatnonzero(got), best[got]] = False
        if not free.any():
            break
    return hits


def _claims_by_instance(shared: Floats, levels: Floats) -> NDArray[np.bool_]:
    """(P, T): instances in the order of the file each take the free detection that overlaps them
    most, if by more than the threshold."""
    hits = np.zeros((len(shared), len(levels)), bool)
    for g in range(shared.shape[1]):
        for t, level in enumerate(levels):
            open_to = np.where(hits[:, t], -1.0, shared[:, g])
            best = int(open_to.argmax())
            if open_to[best] > level:
                hits[best, t] = True
    return hits


def _curve(hits: NDArray[np.bool_], count: int) -> tuple[Floats, Floats]:
    right = np.cumsum(hits, dtype=np.float64)
    return right / np.arange(1, len(hits) + 1), right / count


def _interpolated(hits: NDArray[np.bool_], count: int) -> float:
    """Area under precision made falling, over recall (PASCAL VOC from 2010 on)."""
    precision, recall = _curve(hits, count)
    precision = np.concatenate([[0.0], precision, [0.0]])
    recall = np.concatenate([[0.0], recall, [1.0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    step = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(((recall[step] - recall[step - 1]) * precision[step]).sum())


def _precision_at_hits(hits: NDArray[np.bool_], count: int) -> float:
    """Mean over all instances of the precision where each was found; 0 where it was not."""
    precision, _ = _curve(hits, count)
    return float(precision[hits].sum() / count)
