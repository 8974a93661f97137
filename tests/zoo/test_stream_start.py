"""Two streams begun from an image VGG-16, and from streams that were trained alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import vgg

from marey import zoo

SMALL: dict[str, Any] = {"crop": 32, "snippet": 2, "num_classes": 5, "dropout": 0.0}
TINY: dict[str, Any] = {**SMALL, "crop": 64, "width": 4}


def image_network() -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """Torchvision's layers, with the full ones it would have for pictures of 32x32."""
    torch.manual_seed(0)
    features = vgg.make_layers(vgg.cfgs["D"])
    state = {f"features.{name}": value for name, value in features.state_dict().items()}
    for at, width in ((0, 512), (3, 4096)):
        state[f"classifier.{at}.weight"] = torch.randn(4096, width) / width**0.5
        state[f"classifier.{at}.bias"] = torch.zeros(4096)
    state["classifier.6.weight"], state["classifier.6.bias"] = (
        torch.zeros(1000, 4096),
        torch.ones(1000),
    )
    return features, state


def test_an_image_network_fills_both_towers() -> None:
    features, state = image_network()
    with pytest.warns(UserWarning, match="is a network for other input.*60 tensors were taken"):
        network: Any = zoo.load("two_stream_vgg16", weights=state, **SMALL)
    rgb = torch.randn(1, 3, 1, 32, 32)
    flow = rgb.mean(1, keepdim=True).expand(-1, 2, -1, -1, -1).repeat(1, 1, 2, 1, 1)
    with torch.no_grad():
        maps = network.eval().stages(rgb, flow)
        expected = features[:-1](rgb[:, :, 0])  # all but the last pool
        torch.testing.assert_close(maps[4][0][:, :, 0], expected)
        # four channels of flow through the mean kernel
        first = network.temporal.steps["relu1"].convs[0]
        mean = state["features.0.weight"].mean(1, keepdim=True).expand(-1, 4, -1, -1)
        torch.testing.assert_close(first.weight, mean)
        hidden = torch.nn.functional.linear(
            features(rgb[:, :, 0]).flatten(1), state["classifier.0.weight"]
        ).relu()
        torch.testing.assert_close(maps[5][0].flatten(1), hidden)
    assert network.head.projection.weight.shape == (5, 4096)


def test_streams_trained_alone_are_joined(tmp_path: Path) -> None:
    torch.manual_seed(1)
    spatial = zoo.build("two_stream_vgg16", **TINY, streams="spatial")
    temporal = zoo.build("two_stream_vgg16", **TINY, streams="temporal")
    files = [
        zoo.save(net, tmp_path / f"{i}.safetensors") for i, net in enumerate((spatial, temporal))
    ]
    network: Any = zoo.build("two_stream_conv3d_vgg16_5f", **TINY)
    told = zoo.join_streams(network, *files)
    assert told.left == ("fusions.relu5.conv.weight", "fusions.relu5.conv.bias")
    assert told.unused == ()
    own = network.state_dict()
    for name, value in spatial.state_dict().items():
        assert torch.equal(own[name], value)
    assert torch.equal(own["head.projection_temporal.weight"], temporal.head.projection.weight)
    saved = zoo.save(network, tmp_path / "both.safetensors")
    again: Any = zoo.load("two_stream_conv3d_vgg16_5f", saved, stop="relu5")
    assert torch.equal(
        again.state_dict()["temporal.steps.fc7.full.bias"], own["temporal.steps.fc7.full.bias"]
    )
    assert not again.temporal.steps["relu1"].convs[0].weight.requires_grad


def test_one_stream_begins_a_network_of_two() -> None:
    spatial = zoo.build("two_stream_vgg16", **TINY, streams="spatial")
    with pytest.warns(UserWarning, match="tensors were taken over"):
        network: Any = zoo.load("two_stream_conv3d_vgg16_5f", spatial.state_dict(), **TINY)
    assert torch.equal(
        network.state_dict()["spatial.steps.fc6.full.weight"],
        spatial.state_dict()["spatial.steps.fc6.full.weight"],
    )


def test_what_does_not_fit_is_refused() -> None:
    network = zoo.build("two_stream_conv3d_vgg16_5f", **TINY)
    spatial = zoo.build("two_stream_vgg16", **TINY, streams="spatial").state_dict()
    with pytest.raises(ValueError, match="the temporal stream has no temporal tower"):
        zoo.join_streams(network, spatial, spatial)
    wide = zoo.build("two_stream_vgg16", **{**TINY, "width": 8}, streams="temporal").state_dict()
    with pytest.raises(ValueError, match="do not start this network: .* misshapen"):
        zoo.join_streams(network, spatial, wide)
