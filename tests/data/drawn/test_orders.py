"""A then B: the same bag of frames as B then A."""

import numpy as np
import pytest

from marey.data import synthetic
from marey.data.drawn import orders

SMALL = {"size": (60, 80), "frames": 24}


def index_of(name: str) -> int:
    return orders.CLASSES.index(name)


@pytest.mark.parametrize("difficulty", [0, 2])
@pytest.mark.parametrize("name", ["wave then bend", "punch then kick", "jump then jack"])
def test_partner_has_the_same_frames_with_the_halves_exchanged(name: str, difficulty: int) -> None:
    partner = orders.partner(name)
    first = synthetic.draw("order", "val", index_of(name), difficulty=difficulty, **SMALL)
    second = synthetic.draw("order", "val", index_of(partner), difficulty=difficulty, **SMALL)
    assert np.array_equal(np.roll(first.frames, 12, axis=0), second.frames)
    assert not np.array_equal(first.frames, second.frames)


def test_nothing_but_the_action_tells_the_halves_apart() -> None:
    """Camera and light repeat with the half, so that the seam at the roll does not show."""
    from marey.data.drawn.film import Options
    from marey.data.drawn.tasks import film_of

    stage = film_of("order", "train", 3, Options(difficulty=3)).stage
    half = stage.setting.frames // 2
    assert np.allclose(stage.offset[:half], stage.offset[half:])
    assert np.allclose(stage.gain[:half], stage.gain[half:])
    assert np.allclose(stage.zoom[:half], stage.zoom[half:])
    for actor in stage.actors[:-1]:  # distractors
        assert np.allclose(actor.seen["hand_l"][:half], actor.seen["hand_l"][half:])


def test_thirty_ordered_pairs_and_uneven_times_repeat() -> None:
    assert len(orders.CLASSES) == len(set(orders.CLASSES)) == 30
    clip = synthetic.draw("order", "train", 0, fps="vfr", size=(60, 80))
    half = len(clip.times) // 2
    assert np.allclose(np.diff(clip.times[:half]), np.diff(clip.times[half:]))
