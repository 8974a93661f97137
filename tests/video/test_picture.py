"""Display matrices: the eight exact turns, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from marey.video.picture import TURNS, UPRIGHT, is_sideways, nearest_turn


def matrix(a: float, b: float, c: float, d: float) -> np.ndarray:
    values = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 14]) * 65536
    return values.astype(np.int64).astype(np.int32)


@pytest.mark.parametrize("turn", TURNS)
def test_exact_turns_are_recognised(turn: tuple[int, int, int, int]) -> None:
    assert nearest_turn(matrix(*turn)) == turn
    assert nearest_turn(matrix(*(v * 0.5 for v in turn))) == turn
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    shown = TURNS[turn](image)
    assert shown.shape == ((4, 2, 3) if is_sideways(turn) else (2, 4, 3))
    # The first stored pixel ends in the corner that the matrix sends it to.
    a, b, c, d = turn
    assert np.array_equal(shown[-1 if b + d < 0 else 0, -1 if a + c < 0 else 0], image[0, 0])


@pytest.mark.parametrize(
    "values", [(0, 0, 0, 0), (0.7, 0.7, -0.7, 0.7), (1, 1, 1, 1), (1, 0, 0, 0)]
)
def test_other_matrices_leave_the_picture_as_it_is(values: tuple[float, ...]) -> None:
    assert nearest_turn(matrix(*values)) == UPRIGHT
