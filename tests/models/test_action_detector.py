"""Boxes over any clip network: the table's shapes, values by hand, gradients, refusals."""

import pytest
import torch
from torch import Tensor, nn

from marey import zoo
from marey.models import action_detector
from marey.models.action_detector import ActionDetector

SIDE = 8 * 32  # pixels of a frame that is eight cells wide


class Ramps(nn.Module):
    """Two pathways of 8 x 8 cells: a channel that rises to the right, one that rises downwards."""

    widths = (1, 1)

    def features(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        cells = torch.arange(8.0)
        right = (
            cells.expand(len(clip), 1, 4, 8, 8) + torch.arange(4.0)[:, None, None]
        )  # and in time
        down = cells[:, None].expand(len(clip), 1, 2, 8, 8) * torch.arange(1.0, len(clip) + 1).view(
            -1, 1, 1, 1, 1
        )
        return right, down


def test_the_shapes_of_the_docstring() -> None:
    rows = {}
    for line in (action_detector.__doc__ or "").splitlines():
        name, *numbers = line.split() or [""]
        if numbers and all(n.isdigit() for n in numbers):
            rows[name] = tuple(int(n) for n in numbers)
    with torch.device("meta"):
        detector = ActionDetector(zoo.build("mvitv2_s_16x4"), 80)
        clip, boxes = torch.empty(1, 3, 16, 224, 224), torch.empty(rows["boxes"])
        (maps,) = detector.backbone.features(clip)
        found = {
            "features": maps,
            "boxes": boxes,
            "inside": detector.head.inside([maps], boxes, (224, 224)),
            "logits": detector(clip, boxes),
        }
    assert {name: tuple(value.shape) for name, value in found.items()} == rows


def test_a_box_shows_the_largest_of_what_lies_in_it() -> None:
    detector = ActionDetector(Ramps(), 2).eval()
    with torch.no_grad():
        detector.head.projection.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 10.0]]))
        detector.head.projection.bias.copy_(torch.tensor([0.5, 0.0]))
    boxes = torch.tensor([[0, 0.25, 0.25, 0.75, 0.75], [1, 0.125, 0.25, 0.25, 0.5]])
    found = detector(torch.zeros(2, 3, 4, SIDE, SIDE), boxes)
    # Cells are half a cell before their edges; of seven samples along a side the last is largest.
    middle, left, upper = 1.5 + 6.5 * 4 / 7, 0.5 + 6.5 / 7, 1.5 + 6.5 * 2 / 7
    expected = [[middle + 1.5 + 0.5, 10 * middle], [left + 1.5 + 0.5, 10 * 2 * upper]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_it_learns_through_its_boxes() -> None:
    torch.manual_seed(0)
    backbone = zoo.build("slow_r18_8x8", width=8, depths=(1, 1, 1, 1))
    detector = ActionDetector(backbone, 3)
    boxes = torch.tensor([[0, 0.1, 0.1, 0.6, 0.9], [1, 0.2, 0.0, 1.0, 0.8]])
    detector(torch.randn(2, 3, 8, 64, 64), boxes).square().sum().backward()
    idle = {name for name, p in detector.named_parameters() if p.grad is None}
    assert idle == {f"backbone.head.{n}" for n, _ in backbone.head.named_parameters()}  # not asked
    first = next(backbone.parameters()).grad
    assert first is not None
    assert first.abs().sum() > 0


def test_boxes_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"boxes are \(2, 4\); give \(N, 5\)"):
        ActionDetector(Ramps(), 2)(torch.zeros(1, 3, 4, SIDE, SIDE), torch.zeros(2, 4))
