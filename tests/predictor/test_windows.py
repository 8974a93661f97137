"""Windows in seconds over frames at their own times."""

import pytest
import torch

from marey.predictor.windows import Window, windows_of


def test_windows_cover_the_video_and_the_last_ends_with_it() -> None:
    times = torch.arange(25, dtype=torch.float64) / 10  # 2.5 s
    found = list(windows_of(times, 2.5, 1.0, 1.0))
    assert found == [
        Window(0, 10, 0.0, 1.0),
        Window(10, 20, 1.0, 2.0),
        Window(15, 25, 1.5, 2.5),
    ]


def test_times_of_the_file_are_kept() -> None:
    times = 7 + torch.tensor([0.0, 0.1, 0.9, 1.0, 1.05], dtype=torch.float64)
    found = list(windows_of(times, 1.1, 0.5, 0.5))
    assert [(w.first, w.after) for w in found] == [(0, 2), (2, 3), (2, 5)]
    assert found[0].start_s == 7.0
    assert found[-1].end_s == pytest.approx(8.1)


def test_a_short_video_is_one_window_and_a_gap_still_has_a_frame() -> None:
    assert list(windows_of(torch.tensor([0.0]), 0.04, 1.0, 1.0)) == [Window(0, 1, 0.0, 0.04)]
    gap = torch.tensor([0.0, 9.0], dtype=torch.float64)
    assert all(w.after > w.first for w in windows_of(gap, 10.0, 1.0, 1.0))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="positive"):
        list(windows_of(torch.zeros(1), 1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match="no frames"):
        list(windows_of(torch.zeros(0), 1.0, 1.0, 1.0))
