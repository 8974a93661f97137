"""Labels of several sets: places of combinations, and recall averaged over classes.

A combination scores the product of its classes' scores. Official kits cut the 100 best of each set
first, which moves no place that counts here.

Source: the evaluation of EPIC-Kitchens-100's recognition and anticipation challenges.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from marey.metrics.classification import _pair

AT_ONCE = 1 << 24  # products held at a time


def joint_ranks(sets: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Place of the true combination among all, (N,) int64, 0 first; of ties the earlier.

    ``sets`` holds scores and targets (N, K) of each set, scores not below 0.
    """
    pairs = [_pair(scores, target) for scores, target in sets]
    sizes = [scores.shape[1] for scores, _ in pairs]
    labels = np.ravel_multi_index(tuple(target.argmax(1) for _, target in pairs), sizes)
    rows = max(1, AT_ONCE // int(np.prod(sizes)))
    places = []
    for start in range(0, len(labels), rows):
        product = np.ones((len(labels[start : start + rows]), 1))
        for scores, _ in pairs:
            part = scores[start : start + rows]
            product = (product[:, :, None] * part[:, None]).reshape(len(product), -1)
        label = labels[start : start + rows, None]
        own = np.take_along_axis(product, label, axis=1)
        earlier = np.arange(product.shape[1])[None] < label
        places.append(((product > own) | ((product == own) & earlier)).sum(axis=1))
    return np.concatenate(places)


def recall_at(places: np.ndarray, labels: np.ndarray, *, k: int) -> float:
    """Mean over the classes that occur of the share of their rows placed before ``k``, 0-1.

    ``places`` (N,) as ``ranks`` gives them, ``labels`` (N,) the true class or combination.
    """
    if k < 1:
        raise ValueError(f"k is {k}; recall needs at least one place")
    _, group = np.unique(labels, return_inverse=True)
    return float((np.bincount(group, weights=places < k) / np.bincount(group)).mean())
