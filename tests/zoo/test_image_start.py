"""marey.load starts a clip network from a torchvision image ResNet by name."""

from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18

import marey


def test_an_image_network_is_spread_over_time_and_the_head_is_new(tmp_path: Path) -> None:
    torch.manual_seed(0)
    image = resnet18()
    path = tmp_path / "resnet18.pth"
    torch.save(image.state_dict(), path)
    with pytest.warns(UserWarning, match="is an image network"):
        model = marey.load("slow_i3d_r18_8x8", path, num_classes=3)
    spread = model.state_dict()["trunk.stem.conv.weight"]
    frames = spread.shape[2]
    assert frames == 5
    expected = image.conv1.weight.detach()[:, :, None] / frames
    assert torch.allclose(spread, expected.expand_as(spread))
    assert model.config.num_classes == 3
    with pytest.raises(ValueError, match="fits no model"):
        marey.load(path)
