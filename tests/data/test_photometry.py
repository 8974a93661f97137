"""Colours and angle of a window, changed alike in all frames."""

import colorsys

import pytest
import torch

from marey.data import photometry


def test_hue_turns_as_the_colour_circle_does() -> None:
    pixels = torch.tensor([[200.0, 40.0, 90.0], [10.0, 250.0, 240.0], [80.0, 80.0, 80.0]])
    found = photometry.turn_hue(pixels.T[None, :, :, None], 18.0, 1.3)[0, :, :, 0].T
    for before, after in zip(pixels.tolist(), found.tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(c / 255 for c in before))
        if saturation * 1.3 <= 1:
            wanted = colorsys.hsv_to_rgb((hue + 18 / 360) % 1, saturation * 1.3, value)
            assert after == pytest.approx([255 * c for c in wanted], abs=0.01)
        assert max(after) == pytest.approx(max(before))


def test_one_draw_holds_for_all_frames() -> None:
    frame = torch.randint(255, (1, 3, 12, 16), dtype=torch.uint8)
    frames = frame.expand(20, -1, -1, -1)
    changed = 0
    for seed in range(6):
        distorted = photometry.distort(frames, torch.Generator().manual_seed(seed))
        turned = photometry.rotate(frames, 45.0, torch.Generator().manual_seed(seed))
        assert all(torch.equal(x, distorted[0]) for x in distorted)
        assert all(torch.equal(x, turned[0]) for x in turned)
        changed += not torch.equal(distorted, frames)
    assert changed == 6


def test_rotation_is_about_the_centre_and_leaves_no_holes() -> None:
    frames = torch.full((1, 3, 21, 31), 200, dtype=torch.uint8)
    frames[:, :, 10, 15] = 0  # the centre
    for seed in range(4):
        turned = photometry.rotate(frames, 45.0, torch.Generator().manual_seed(seed))
        assert turned.min() == turned[0, 0, 10, 15]
        assert turned[0, 0, 0, 0] == 200
    still = photometry.rotate(frames, 0.0, torch.Generator())
    assert torch.equal(still, frames)


def test_a_quarter_turn_keeps_lengths_of_oblong_frames() -> None:
    frames = torch.zeros(1, 3, 41, 81, dtype=torch.uint8)
    frames[..., 20, 30:51] = 255  # a bar of 21 pixels across
    draws = (photometry.rotate(frames, 90.0, torch.Generator().manual_seed(s)) for s in range(40))
    upright = max(draws, key=lambda x: int((x[0, 0, :, 40] > 127).sum()))
    assert int((upright[0, 0, :, 40] > 127).sum()) in range(15, 24)
