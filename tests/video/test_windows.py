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


def test_windows_cover_the_video_and_the_last_ends_with_it() -> None:
    times = torch.arange(25, dtype=torch.float64) / 10  # 2.5 s
    found = list(w.windows_of(times, 2.5, 1.0, 1.0))
    assert found == [
        w.Window(0, 10, 0.0, 1.0),
        w.Window(10, 20, 1.0, 2.0),
        w.Window(15, 25, 1.5, 2.5),
    ]


def test_times_of_the_file_are_kept() -> None:
    times = 7 + torch.tensor([0.0, 0.1, 0.9, 1.0, 1.05], dtype=torch.float64)
    found = list(w.windows_of(times, 1.1, 0.5, 0.5))
    assert [(w.first, w.after) for w in found] == [(0, 2), (2, 3), (2, 5)]
    assert found[0].start_s == 7.0
    assert found[-1].end_s == pytest.approx(8.1)


def test_a_short_video_is_one_window_and_a_gap_still_has_a_frame() -> None:
    assert list(w.windows_of(torch.tensor([0.0]), 0.04, 1.0, 1.0)) == [w.Window(0, 1, 0.0, 0.04)]
    gap = torch.tensor([0.0, 9.0], dtype=torch.float64)
    assert all(w.after > w.first for w in w.windows_of(gap, 10.0, 1.0, 1.0))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="positive"):
        list(w.windows_of(torch.zeros(1), 1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match="no frames"):
        list(w.windows_of(torch.zeros(0), 1.0, 1.0, 1.0))


def test_padded_windows_go_on_until_one_reaches_the_end() -> None:
    assert w.padded_windows(200, 96, 72).tolist() == [[0, 96], [72, 168], [144, 240]]
    assert w.padded_windows(168, 96, 72).tolist() == [[0, 96], [72, 168]]
    assert w.padded_windows(5, 96, 72).tolist() == [[0, 96]]
