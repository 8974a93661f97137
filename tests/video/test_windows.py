"""Cutting a long video and joining the scores of its pieces."""

from __future__ import annotations

import pytest
import torch

from marey.video import windows as w


def test_windows_cover_the_video() -> None:
    assert w.sliding_windows(10, 4, 3).tolist() == [[0, 4], [3, 7], [6, 10]]
    assert w.sliding_windows(11, 4, 3).tolist() == [[0, 4], [3, 7], [6, 10], [7, 11]]
    assert w.sliding_windows(11, 4, 3, cover=False).tolist() == [[0, 4], [3, 7], [6, 10]]
    assert w.sliding_windows(3, 4, 3).tolist() == [[0, 3]]
    with pytest.raises(ValueError, match="step is 0"):
        w.sliding_windows(10, 4, 0)


def test_scores_are_averaged_where_windows_overlap() -> None:
    scores = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    joined = w.join_scores(scores, torch.tensor([[0, 4], [2, 6], [8, 9]]), 10)
    assert joined[:2].tolist() == [[1, 0]] * 2
    assert joined[2:4].tolist() == [[0.5, 0.5]] * 2
    assert joined[4:6].tolist() == [[0, 1]] * 2
    assert joined[6:8].isnan().all()
    assert joined[8].tolist() == [0.5, 0.5]
    assert joined[9].isnan().all()
    assert joined.dtype == torch.float32


def test_joining_equals_the_plain_sum() -> None:
    cut = w.sliding_windows(200, 32, 7)
    scores = torch.rand(len(cut), 5, generator=torch.Generator().manual_seed(0))
    plain = torch.stack([
        scores[(cut[:, 0] <= t) & (t < cut[:, 1])].mean(0) for t in range(200)
    ])  # fmt: skip
    torch.testing.assert_close(w.join_scores(scores, cut, 200), plain)


def test_scores_that_do_not_fit_are_refused() -> None:
    cut = torch.tensor([[0, 4]])
    with pytest.raises(ValueError, match="2 scores for 1 windows"):
        w.join_scores(torch.zeros(2, 3), cut, 10)
    with pytest.raises(ValueError, match="outside the 3 frames"):
        w.join_scores(torch.zeros(1, 3), cut, 3)
    with pytest.raises(ValueError, match="need"):
        w.join_scores(torch.zeros(3), cut, 10)


def test_windows_in_seconds_and_spans() -> None:
    times = torch.tensor([2.0, 2.5, 3.0, 5.0], dtype=torch.float64)
    cut = torch.tensor([[0, 2], [1, 4]])
    assert w.window_times(cut, times, step_s=0.5).tolist() == [[2.0, 3.0], [2.5, 5.5]]
    on = torch.tensor([1, 1, 0, 0, 1, 0, 1], dtype=torch.bool)
    assert w.spans_where(on).tolist() == [[0, 2], [4, 5], [6, 7]]
    assert w.spans_where(~torch.ones(3, dtype=torch.bool)).shape == (0, 2)
