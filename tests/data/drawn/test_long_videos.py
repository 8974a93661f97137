"""Segments of long videos, and events whose consequence comes much later."""

import numpy as np
import pytest

from marey.data import synthetic
from marey.data.drawn import long_videos, pools
from marey.data.drawn.film import Options
from marey.data.drawn.tasks import film_of

SMALL = Options(size=(48, 64))


def test_segments_lie_apart_within_the_video() -> None:
    counts = []
    for seed in range(200):
        rng = pools.stream("segments", seed)
        duration = rng.uniform(30, 120)
        found = long_videos.segments(duration, rng)
        counts.append(len(found))
        assert found[0][0] >= 0.4
        assert found[-1][1] <= duration
        for (start, stop, kind), after in zip(found, found[1:] + [(1e9, 1e9, 0)], strict=True):
            assert 0.5 <= stop - start <= 8.0
            assert stop + 0.35 <= after[0]
            assert 0 <= kind < len(long_videos.UNTRIMMED_CLASSES)
    assert min(counts) == 3
    assert max(counts) == 10


def test_the_figure_moves_within_segments_and_rests_between() -> None:
    film = film_of("untrimmed", "train", 0, SMALL)
    stage, times = film.stage, film.times
    assert 30 <= times[-1] <= 120
    inside = np.zeros(len(times), bool)
    for start, stop, _ in film.spans:
        inside |= (times >= start) & (times < stop)
    hand = stage.actors[-1].seen["hand_l"][:, :2] - stage.actors[-1].seen["pelvis"][:, :2]
    speed = np.linalg.norm(np.diff(hand, axis=0), axis=1)
    assert speed[inside[1:]].mean() > 8 * speed[~inside[1:]].mean()


def test_what_is_used_is_what_was_taken_at_the_chosen_distance() -> None:
    options = Options(size=(48, 64), distance_s=(12.0, 20.0))
    kinds = []
    for index in range(6):
        film = film_of("recall", "train", index, options)
        assert len(film.spans) >= 4
        for taken, used in zip(film.spans[::2], film.spans[1::2], strict=True):
            assert used[2] == taken[2] + 2
            assert 12.0 <= used[0] - taken[1] <= 20.01
            kinds.append(taken[2])
        rows = {time: labels for time, _, _, labels in film.people}
        for start, stop, kind in film.spans:
            seconds = [t for t in rows if start <= t < stop]
            assert seconds
            assert all(rows[t] == (kind,) for t in seconds)
    assert 0.2 < np.mean(np.array(kinds) == 1) < 0.8


def test_using_shows_the_same_picture_whatever_was_taken(monkeypatch) -> None:
    """The plan with the props exchanged draws the same frames while nothing is in the air."""
    plan = [(1.0, 6.0, 0)]
    frames = []
    for kind in (0, 1):
        exchanged = [(take, use, kind) for take, use, _ in plan]
        monkeypatch.setattr(long_videos, "recall_plan", lambda *_, told=exchanged: told)
        options = Options(size=(48, 64), frames=225)
        frames.append(film_of("recall", "val", 0, options).frames())
    first, second = frames
    assert np.array_equal(first[100:], second[100:])
    assert not np.array_equal(first[30:60], second[30:60])


def test_impossible_distance_is_refused() -> None:
    with pytest.raises(ValueError, match="distance_s is 30-10"):
        synthetic.draw("recall", "train", 0, distance_s=(30, 10))


def test_a_ball_is_red_and_a_cup_is_blue_in_every_split() -> None:
    for split in ("train", "val", "test"):
        for index in range(3):
            film = film_of("recall", split, index, SMALL)
            events = film.spans[::2]
            assert len(events) >= 2
            for number, (_, _, kind) in enumerate(events):
                inks = [s.colour for s in film.stage.strokes if s.tag == f"prop {number}"]
                assert len(inks) >= 2
                assert {np.sign(red - blue) for red, _, blue in inks} == {1 if kind == 1 else -1}
