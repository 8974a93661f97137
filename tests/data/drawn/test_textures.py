"""Flow: the returned field is where each pixel goes."""

import numpy as np
import pytest

from marey.data import synthetic

SMALL = {"size": (60, 80)}


def sample(image: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Colours at x, y pixel centres, interpolated linearly."""
    x, y = at[..., 0] - 0.5, at[..., 1] - 0.5
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    row = image[y0, x0] * (1 - fx) + image[y0, x0 + 1] * fx
    below = image[y0 + 1, x0] * (1 - fx) + image[y0 + 1, x0 + 1] * fx
    return row * (1 - fy) + below * fy


@pytest.mark.parametrize("index", range(6))
def test_next_frame_pulled_back_by_the_flow_is_this_frame(index: int) -> None:
    clip = synthetic.draw("flow", "train", index, difficulty=0, **SMALL)
    assert clip.flow is not None
    assert clip.flow.shape == (len(clip.frames) - 1, 60, 80, 2)
    y, x = np.mgrid[:60, :80] + 0.5
    at = np.stack([x, y], -1) + clip.flow[3]
    inside = (at > 1).all(-1) & (at[..., 0] < 78) & (at[..., 1] < 58)
    at[~inside] = 30
    this, following = clip.frames[3].astype(float), clip.frames[4].astype(float)
    moved = np.abs(sample(following, at) - this)[inside].mean()
    still = np.abs(following - this)[inside].mean()
    assert moved < 1.5
    assert moved < 0.35 * still


def test_kinds_of_motion() -> None:
    fields = [synthetic.draw("flow", "val", k, difficulty=0, **SMALL).flow[0] for k in range(3)]  # type: ignore[index]
    assert np.ptp(fields[0].reshape(-1, 2), axis=0).max() < 1e-4
    for field in fields[1:]:  # zero in the middle, larger outside
        assert np.abs(field[29:31, 39:41]).max() < 0.1
        assert np.linalg.norm(field[0, 0]) > 0.3
    radial = fields[2][30, 70]
    assert abs(radial[0]) > 10 * abs(radial[1])
    tangential = fields[1][30, 70]
    assert abs(tangential[1]) > 10 * abs(tangential[0])


def test_a_disc_moves_by_itself_from_difficulty_one_on() -> None:
    plain = synthetic.draw("flow", "train", 0, difficulty=0, **SMALL).flow
    disc = synthetic.draw("flow", "train", 0, difficulty=1, **SMALL).flow
    assert plain is not None
    assert disc is not None
    share = (np.abs(plain - disc).max(-1) > 0.05)[0].mean()
    assert 0.05 < share < 0.25
