"""ImageNet ResNets of torchvision into clip networks."""

from typing import Any

import pytest
import torch
import torchvision

from marey import zoo
from marey.zoo.published.frame_names import image_name
from marey.zoo.published.resnet_names import torchvision as torchvision_name
from marey.zoo.weights import published_state


def image_network(depth: int) -> Any:
    torch.manual_seed(0)
    network = getattr(torchvision.models, f"resnet{depth}")(weights=None)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.4, 0.8)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.0)
    return network.eval()


def test_names() -> None:
    assert torchvision_name("trunk.stem.norm.running_mean") == "bn1.running_mean"
    assert torchvision_name("slow.res2.blocks.0.a.conv.weight") == "layer1.0.conv1.weight"
    found = torchvision_name("trunk.res5.blocks.0.shortcut.norm.bias")
    assert found == "layer4.0.downsample.1.bias"
    assert torchvision_name("head.projection.weight") is None
    assert torchvision_name("fast.res2.blocks.0.a.conv.weight") is None


@pytest.mark.parametrize(("name", "depth"), [("c2d_nopool_r18_8x8", 18), ("2d_r50", 50)])
def test_a_flat_network_gives_what_the_image_network_gave(name: str, depth: int) -> None:
    source = image_network(depth)
    network: Any = zoo.build(name).eval()
    report = zoo.inflate(network, source.state_dict())
    assert report.left == ("head.projection.weight", "head.projection.bias")
    assert report.unused == ("fc.weight", "fc.bias")
    image = torch.randn(1, 3, 64, 64)
    maps = source.maxpool(source.relu(source.bn1(source.conv1(image))))
    maps = source.layer4(source.layer3(source.layer2(source.layer1(maps))))
    with torch.inference_mode():
        (found,) = network.features(image.unsqueeze(2).expand(-1, -1, 2, -1, -1))
    torch.testing.assert_close(found[:, :, 1], maps, rtol=1e-3, atol=1e-3)


def test_a_deep_network_gives_it_for_the_middle_of_a_still_clip() -> None:
    source = image_network(18)
    network: Any = zoo.build("i3d_r18_8x8").eval()
    zoo.inflate(network, source.state_dict())
    image = torch.randn(1, 3, 64, 64)
    maps = source.maxpool(source.relu(source.bn1(source.conv1(image))))
    with torch.inference_mode():
        stem, res2, *_ = network.stages(image.unsqueeze(2).expand(-1, -1, 9, -1, -1))
        torch.testing.assert_close(stem[:, :, 4], maps, rtol=1e-3, atol=1e-3)
        expected = source.layer1(maps)
    torch.testing.assert_close(res2[:, :, 4], expected, rtol=1e-3, atol=1e-3)


def test_slowfast_keeps_what_joins_its_pathways() -> None:
    network: Any = zoo.build("slowfast_r50_8x8", num_classes=3)
    report = zoo.inflate(network, image_network(50).state_dict())
    left = [n for n in report.left if n.startswith("slow.") and n.endswith("conv.weight")]
    assert left == [
        f"slow.res{n}.blocks.0.{part}.conv.weight"
        for n in (2, 3, 4, 5)
        for part in ("a", "shortcut")
    ]
    assert not any(n.startswith("fast.") for n in report.loaded)


def test_image_networks_of_other_publishers() -> None:
    flat = zoo.build("2d_r18")
    for layout in ("pyslowfast", "caffe2"):
        network: Any = zoo.build("slow_r18_8x8", num_classes=3)
        report = zoo.inflate(network, published_state(flat, layout))
        assert report.left == ("head.projection.weight", "head.projection.bias")


def test_another_depth_or_another_network_is_refused() -> None:
    with pytest.raises(ValueError, match="none of its tensors fits"):
        zoo.inflate(zoo.build("c2d_r18_8x8"), {"encoder.weight": torch.ones(3)})
    with pytest.raises(ValueError, match="misshapen"):
        zoo.inflate(zoo.build("c2d_r18_8x8"), image_network(50).state_dict())


def test_an_image_network_starts_one_of_flow() -> None:
    source = image_network(18).state_dict()
    with pytest.warns(UserWarning, match="is an image network"):
        network: Any = zoo.load("tsn_r18_3seg", source, modality="flow")
    kernel = network.trunk.stem.conv.weight
    assert kernel.shape == (64, 10, 7, 7)
    expected = source["conv1.weight"].mean(dim=1, keepdim=True).expand(-1, 10, -1, -1)
    torch.testing.assert_close(kernel.detach(), expected)
    assert torch.equal(network.trunk.res5.blocks[1].b.conv.weight, source["layer4.1.conv2.weight"])
    assert network.spec.modality == "flow"
    assert network.spec.segment_frames == 5


@pytest.mark.parametrize(
    ("name", "fields"),
    [("tea_r50_8f", {"width": 16, "depths": (1, 1, 1, 1)}), ("tsn_bninception_3seg", {})],
)
def test_image_networks_of_other_kinds_start_theirs(name: str, fields: dict[str, Any]) -> None:
    state = {"fc.weight": torch.zeros(1000, 8)}
    for ours, value in zoo.build(name, **fields).state_dict().items():
        if theirs := image_name(ours):
            state[theirs] = torch.full_like(value, 0.5)
    with pytest.warns(UserWarning, match="is an image network"):
        network: Any = zoo.load(name, state, **fields)
    floats = {n: v for n, v in network.state_dict().items() if v.is_floating_point()}
    assert all((v == 0.5).all() for n, v in floats.items() if image_name(n))


def test_stm_is_told_from_the_image_network_whose_names_it_has() -> None:
    network: Any = zoo.build("stm_r50_8f", width=16, depths=(1, 1, 1, 1), num_classes=5)
    state = published_state(network, "original")
    again: Any = zoo.load("stm_r50_8f", state, width=16, depths=(1, 1, 1, 1))
    assert again.provenance == "the weights given (original)"
    assert torch.equal(again.head.projection.weight, network.head.projection.weight)
