"""The arrow of time: partners are the same frames reversed, on the stage and in the file."""

import numpy as np
import pytest

from marey.data import synthetic
from marey.data.drawn import directions
from marey.video import open_video

SMALL = {"size": (60, 80), "frames": 12}


@pytest.mark.parametrize("difficulty", [0, 3])
@pytest.mark.parametrize("pair", range(6))
def test_each_class_is_its_partners_frames_reversed(pair: int, difficulty: int) -> None:
    first = synthetic.draw("direction", "test", 2 * pair, difficulty=difficulty, **SMALL)
    second = synthetic.draw("direction", "test", 2 * pair + 1, difficulty=difficulty, **SMALL)
    assert first.classes[first.label] == directions.partner(second.classes[second.label])
    assert np.array_equal(first.frames[::-1], second.frames)
    assert not np.array_equal(first.frames[:, :, ::-1], second.frames)
    assert np.abs(first.frames[0].astype(int) - first.frames[-1]).mean() > 1  # something happens


def test_reversal_holds_for_uneven_times() -> None:
    first = synthetic.draw("direction", "train", 0, fps="vfr", **SMALL)
    second = synthetic.draw("direction", "train", 1, fps="vfr", **SMALL)
    gaps, reversed_gaps = np.diff(first.times), np.diff(second.times)
    assert first.times[0] == second.times[0] == 0
    assert np.allclose(gaps[::-1], reversed_gaps)
    assert len(set(np.round(gaps, 4))) > 1


def test_files_of_partners_hold_the_same_pictures(tmp_path) -> None:
    """Keyframes only and one quantiser: decoding, too, cannot tell which way the file runs."""
    out = synthetic.write_dataset("direction", tmp_path / "d", train=4, val=0, test=0, workers=0)
    files = [out / f"clips/train/direction_{k:05d}.mp4" for k in range(4)]
    for first, second in (files[:2], files[2:]):
        with open_video(first) as one, open_video(second) as two:
            a, b = (v.frames_at(range(v.num_frames)).frames.numpy() for v in (one, two))
        assert len(a) == 32
        assert np.array_equal(a[::-1], b)


def test_scenes_differ_between_pairs_and_rounds() -> None:
    names = {
        synthetic.draw("direction", "train", k, **SMALL).frames.tobytes() for k in range(0, 36, 2)
    }
    assert len(names) == 18
