"""Boxes cut out of maps, and boxes put side by side."""

import pytest
import torch

from marey.layers.roi import box_features, cut_boxes, pad_boxes


def test_a_box_of_whole_cells_is_those_cells() -> None:
    maps = torch.arange(16.0).view(1, 1, 4, 4).repeat(2, 1, 1, 1)
    maps[1] += 100
    boxes = torch.tensor([[0, 0.0, 0.0, 1.0, 1.0], [1, 0.5, 0.0, 1.0, 0.5]])
    cut = cut_boxes(maps, boxes, (128, 128), size=4)
    torch.testing.assert_close(cut[0, 0], maps[0, 0])  # corners of pixels, not centres
    halves = cut_boxes(maps, boxes[1:], (128, 128), size=2)
    torch.testing.assert_close(halves[0, 0], maps[1, 0, :2, 2:])


def test_fractions_are_of_the_frame_and_not_of_the_map() -> None:
    maps = torch.randn(1, 3, 2, 4, 7)
    boxes = torch.tensor([[0, 0.25, 0.25, 0.75, 0.75]])
    wide = cut_boxes(maps.mean(2), boxes, (120, 200), size=3)
    shifted = torch.tensor([[0, 50 / 224, 30 / 128, 150 / 224, 90 / 128]])
    torch.testing.assert_close(wide, cut_boxes(maps.mean(2), shifted, (128, 224), size=3))
    features = box_features(maps, boxes, (120, 200), size=3)
    torch.testing.assert_close(features, wide.amax((2, 3)))


def test_maps_of_half_precision_do_not_move_a_box() -> None:
    ramp = torch.arange(64.0).expand(1, 1, 64, 64)  # whole numbers that bf16 holds exactly
    boxes = torch.tensor([[0, 0.5013, 0.2, 0.7513, 0.9]])
    exact = cut_boxes(ramp, boxes, (1024, 1024), size=4, stride=16)
    half = cut_boxes(ramp.bfloat16(), boxes, (1024, 1024), size=4, stride=16)
    torch.testing.assert_close(half, exact.bfloat16(), rtol=0, atol=0)


def test_boxes_side_by_side() -> None:
    features, rows = torch.arange(8.0).view(4, 2) + 1, torch.tensor([1, 0, 1, 1])
    padded, slot = pad_boxes(features, rows, 3, 4)
    assert slot.tolist() == [0, 0, 1, 2]
    assert torch.equal(padded[rows, slot], features)
    assert padded.count_nonzero() == 8
    empty, slot = pad_boxes(features[:0], rows[:0], 2, 4)
    assert not empty.any()
    assert slot.shape == (0,)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"boxes are \(2, 4\); give \(N, 5\)"):
        cut_boxes(torch.zeros(1, 1, 4, 4), torch.zeros(2, 4), (64, 64))
    with pytest.raises(ValueError, match="has 3 boxes but the network has 2 places"):
        pad_boxes(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64), 1, 2)
