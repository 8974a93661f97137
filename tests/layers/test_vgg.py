"""VGG-M and VGG-16: the arithmetic of torchvision, sizes of the table, and what is refused."""

import pytest
import torch
from torch import nn
from torchvision.models import vgg

from marey.layers.vgg import FULL, MAPS, Vgg, last_side


def test_vgg16_computes_as_torchvision() -> None:
    torch.manual_seed(0)
    theirs = vgg.make_layers(vgg.cfgs["D"])
    network = Vgg("vgg16", crop=32, until="relu5")
    convs = [part for part in theirs if isinstance(part, nn.Conv2d)]
    ours = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    for mine, other in zip(ours, convs, strict=True):
        mine.load_state_dict(other.state_dict())
    picture = torch.randn(2, 3, 40, 48)
    x = picture
    with torch.no_grad():
        for name in MAPS:
            x = network.steps[name](x)
        torch.testing.assert_close(network.pool(x), theirs(picture), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "sides", "window", "hidden"),
    [
        ("vgg_m", (109, 26, 13, 13, 13), 6, (4096, 2048)),
        ("vgg16", (224, 112, 56, 28, 14), 7, (4096, 4096)),
    ],
)
def test_sizes(kind: str, sides: tuple[int, ...], window: int, hidden: tuple[int, int]) -> None:
    with torch.device("meta"):
        network, x = Vgg(kind), torch.empty(1, 3, 224, 224)  # type: ignore[arg-type]
        for name, side in zip(MAPS, sides, strict=True):
            x = network.steps[name](x)
            assert x.shape[2:] == (side, side)
        x = network.pool(x)
        assert x.shape[2:] == (window, window)
        for name, width in zip(FULL, hidden, strict=True):
            x = network.steps[name](x)
            assert x.shape == (1, width, 1, 1)
    assert last_side(kind, 224) == sides[-1]  # type: ignore[arg-type]


def test_vgg_m_normalises_across_channels_and_flow_only_once() -> None:
    network = Vgg("vgg_m", scale=1 / 16, crop=64)
    flow = Vgg("vgg_m", channels=20, scale=1 / 16, crop=64, second_norm=False)
    for part, normed in ((network, {"relu2", "relu3"}), (flow, {"relu2"})):
        assert {name for name in MAPS if part.steps[name].norm is not None} == normed
    x = torch.rand(1, 6, 1, 1)
    norm = network.steps["relu2"].norm
    squares = (x**2).flatten()
    wanted = x.flatten()[2] / (2 + 1e-4 * squares[:5].sum()) ** 0.75  # channel 2 and two aside
    torch.testing.assert_close(norm(x).flatten()[2], wanted)


def test_a_full_layer_answers_at_every_place_and_refuses_less_than_one() -> None:
    network = Vgg("vgg16", scale=1 / 16, crop=64, dropout=0.0)
    step = network.steps["fc6"]
    x = torch.randn(1, 32, 3, 4)
    found = step(x)
    assert found.shape[2:] == (2, 3)
    corner = step.full(x[:, :, 1:, 2:].flatten(1)).relu()
    torch.testing.assert_close(found[:, :, 1, 2], corner)
    with pytest.raises(ValueError, match="the last map is 1x4 but the full layer reads 2x2"):
        step(x[:, :, :1])
    with pytest.raises(ValueError, match="crop is 24; vgg16 has no map left"):
        Vgg("vgg16", crop=24)
