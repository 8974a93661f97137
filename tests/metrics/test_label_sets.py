"""Places of combinations and class-mean recall, against counts by hand and by brute force."""

from __future__ import annotations

import numpy as np
import pytest

from marey.metrics import label_sets
from marey.metrics.label_sets import joint_ranks, recall_at


def test_places_of_combinations_are_those_of_all_products(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(0)
    verbs, nouns = draws.random((40, 5)), draws.random((40, 7))
    verb, noun = draws.integers(5, size=40), draws.integers(7, size=40)
    pairs = [(verbs, np.eye(5)[verb]), (nouns, np.eye(7)[noun])]
    products = verbs[:, :, None] * nouns[:, None]
    own = verbs[np.arange(40), verb] * nouns[np.arange(40), noun]
    expected = (products > own[:, None, None]).sum((1, 2))
    assert expected.max() > 5
    np.testing.assert_array_equal(joint_ranks(pairs), expected)
    monkeypatch.setattr(label_sets, "AT_ONCE", 100)  # two rows at a time
    np.testing.assert_array_equal(joint_ranks(pairs), expected)


def test_equal_combinations_take_places_in_order() -> None:
    flat = [(np.ones((4, 2)), np.eye(2)[[0, 0, 1, 1]]), (np.ones((4, 2)), np.eye(2)[[0, 1, 0, 1]])]
    assert joint_ranks(flat).tolist() == [0, 1, 2, 3]


def test_recall_is_the_mean_over_classes_that_occur() -> None:
    places, labels = np.array([0, 4, 5, 9, 1]), np.array([7, 7, 7, 2, 30])
    assert recall_at(places, labels, k=5) == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert recall_at(places, labels, k=1) == pytest.approx((1 / 3 + 0 + 0) / 3)
    with pytest.raises(ValueError, match="k is 0; recall needs at least one place"):
        recall_at(places, labels, k=0)
