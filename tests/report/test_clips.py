"""Which clips are shown, and how."""

import pytest

from marey.report.clips import cards, extremes, is_right, true_score
from marey.report.run import read_run


def clip(target: list[int], scores: list[float]) -> dict[str, object]:
    return {"target": target, "scores": scores}


def test_best_show_several_classes_and_worst_the_surest_mistakes() -> None:
    a1, a2 = clip([0], [0.9, 0.1]), clip([0], [0.8, 0.2])
    b1 = clip([1], [0.4, 0.6])
    bad, worse = clip([0], [0.3, 0.7]), clip([1], [0.95, 0.05])
    best, worst = extremes([a2, bad, a1, worse, b1, {"target": [], "scores": []}])
    assert best == [a1, b1, a2]
    assert worst == [worse, bad]


def test_several_labels_are_right_when_they_lead() -> None:
    assert is_right(clip([0, 2], [0.5, 0.1, 0.4]))
    assert not is_right(clip([0, 1], [0.5, 0.1, 0.4]))
    assert true_score(clip([0, 1], [0.5, 0.1, 0.4])) == pytest.approx(0.3)


def test_cards_show_frames_scores_and_say_what_is_missing(make_run) -> None:
    run = read_run(make_run())
    best, worst = extremes(run.clips)
    html, missing = cards(worst, run)
    assert (html.count("<img"), missing) == (2, 0)
    assert html.count("data:image/jpeg") == 2
    html, missing = cards(best, run)
    assert missing == 1  # clip 0 names a video that is gone
    assert "Video not shown. /gone.mp4" in html
    assert "&lt;b&gt;walk&lt;/b&gt;" in html
    assert "<b>walk" not in html
