"""How well scores rank classes: top-k, mean class accuracy, confusion, mean average precision.

Scores and targets are (N, K): one row a video, one column a class. A target row holds label
weights; in the single-label measures its largest weight is the truth, in average precision every
class above one half is a positive.

Two rules of average precision exist for videos with several labels, and differ by points:

    charades_official   mean over the positives of the precision at their rank; a video without any
                        label is ranked last (the challenge kit's rule, the default)
    slowfast            area under the step curve of precision over recall, equal scores being one
                        threshold; a video without labels is an ordinary negative

Source: the Charades challenge kit (Charades_v1_classify) and PySlowFast's meters.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

Rule = Literal["charades_official", "slowfast"]
RULES: tuple[Rule, ...] = ("charades_official", "slowfast")


def _pair(scores: Any, target: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 arrays (N, K), refused where shapes differ, or rows are missing or NaN."""
    ranked, truth = np.asarray(scores, np.float64), np.asarray(target, np.float64)
    if ranked.ndim != 2 or ranked.shape != truth.shape:
        raise ValueError(
            f"scores {ranked.shape} and target {truth.shape} must both be (N, K): a row a video"
        )
    if not len(ranked):
        raise ValueError("no scores: a metric needs at least one video")
    broken = int(np.isnan(ranked).any(axis=1).sum())
    if broken:
        raise ValueError(
            f"{broken} of {len(ranked)} rows of scores are NaN; evaluate in float32 or train anew"
        )
    return ranked, truth


def ranks(scores: Any, target: Any) -> np.ndarray:
    """Place of the true class among the scores, (N,) int64, 0 first; of ties the earlier class."""
    ranked, truth = _pair(scores, target)
    label = truth.argmax(axis=1)
    own = np.take_along_axis(ranked, label[:, None], axis=1)
    earlier = np.arange(ranked.shape[1])[None] < label[:, None]
    return ((ranked > own) | ((ranked == own) & earlier)).sum(axis=1)


def top_k(scores: Any, target: Any, k: int = 1) -> float:
    """Share of videos whose true class is among the ``k`` highest scores, 0-1."""
    if k < 1:
        raise ValueError(f"k is {k}; top-k needs at least one place")
    return float((ranks(scores, target) < k).mean())


def confusion(scores: Any, target: Any) -> np.ndarray:
    """Counts (K, K) int64: rows are true classes, columns the class with the highest score."""
    ranked, truth = _pair(scores, target)
    classes = ranked.shape[1]
    cell = truth.argmax(axis=1) * classes + ranked.argmax(axis=1)
    return np.bincount(cell, minlength=classes * classes).reshape(classes, classes)


def class_accuracy(scores: Any, target: Any) -> np.ndarray:
    """Top-1 of each class over its own videos, (K,); NaN for a class without videos."""
    table = confusion(scores, target)
    with np.errstate(invalid="ignore"):
        return table.diagonal() / table.sum(axis=1)


def mean_class_accuracy(scores: Any, target: Any) -> float:
    """Mean of the classes' own top-1, classes without videos left out, 0-1."""
    return float(np.nanmean(class_accuracy(scores, target)))


def average_precision(scores: Any, target: Any, *, rule: Rule = "charades_official") -> np.ndarray:
    """Average precision of each class, (K,); NaN for a class without a positive.

    Raises ValueError for an unknown rule.
    """
    if rule not in RULES:
        raise ValueError(f"rule is {rule!r}; choose one of {', '.join(RULES)}")
    ranked, truth = _pair(scores, target)
    positive = truth > 0.5
    if rule == "charades_official":
        ranked = np.where(positive.any(axis=1, keepdims=True), ranked, -np.inf)
    order = np.argsort(-ranked, axis=0, kind="stable")
    hits = np.take_along_axis(positive, order, axis=0)
    precision = hits.cumsum(axis=0) / np.arange(1, len(hits) + 1)[:, None]
    if rule == "slowfast":
        precision = _at_end_of_ties(precision, np.take_along_axis(ranked, order, axis=0))
    with np.errstate(invalid="ignore"):
        return (precision * hits).sum(axis=0) / hits.sum(axis=0)


def _at_end_of_ties(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Each row's value replaced by that of the last row with an equal score, column by column."""
    rows = np.arange(len(ordered))[:, None]
    last = np.ones_like(ordered, dtype=bool)
    last[:-1] = ordered[1:] != ordered[:-1]
    end = np.where(last, rows, len(ordered))
    end = np.minimum.accumulate(end[::-1], axis=0)[::-1]
    return np.take_along_axis(values, end, axis=0)


def mean_average_precision(
    scores: Any, target: Any, *, rule: Rule = "charades_official", weighted: bool = False
) -> float:
    """Mean of the classes' average precision, 0-1, classes without a positive left out.

    ``weighted``: classes count by their number of positives. Raises ValueError when there are none.
    """
    each = average_precision(scores, target, rule=rule)
    positives = (np.asarray(target, np.float64) > 0.5).sum(axis=0)
    known = positives > 0
    if not known.any():
        raise ValueError("no class has a positive: mean average precision needs labelled videos")
    weights = positives[known] if weighted else None
    return float(np.average(each[known], weights=weights))
