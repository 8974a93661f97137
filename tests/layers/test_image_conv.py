"""A norm inside its kernel gives the two layers' numbers, and stays out where it must."""

import pytest
import torch
from torch import nn

from marey.layers.image_conv import channels_last, conv_norm, folds
from marey.layers.resnet2d import R18, Basic2d, Bottleneck2d, ConvNorm2d, Trunk2d


def lively(network: nn.Module) -> nn.Module:
    """Norms that shift and scale, in evaluation."""
    draws = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight.data, module.running_var):
                values.copy_(torch.rand(len(values), generator=draws) + 0.5)
            for values in (module.bias.data, module.running_mean):
                values.copy_(torch.randn(len(values), generator=draws))
    return network.eval()


@pytest.mark.parametrize("kernel", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("last", [False, True])
def test_numbers_are_those_of_the_two_layers(kernel: int, stride: int, last: bool) -> None:
    torch.manual_seed(0)
    layer = lively(ConvNorm2d(12, 20, kernel, stride=stride))
    x = torch.randn(3, 12, 17, 14)
    wanted = layer.norm(layer.conv(x)).detach()
    assert torch.equal(layer(x), wanted)  # gradients may be wanted: the two layers
    with torch.inference_mode():
        given = channels_last(x) if last else x
        assert given.is_contiguous(memory_format=torch.channels_last) == last
        found = layer(given)
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)
    assert found.shape == wanted.shape


@pytest.mark.parametrize("block", [Basic2d, Bottleneck2d])
def test_a_trunk_in_half_precision(block: type) -> None:
    torch.manual_seed(0)
    trunk = lively(Trunk2d(block, R18, width=16))
    x = torch.randn(2, 3, 64, 64)
    wanted = trunk(x).detach()
    with torch.inference_mode():
        plain = trunk(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = trunk(x)
    torch.testing.assert_close(plain, wanted, atol=1e-3, rtol=1e-3)
    assert half.dtype == torch.bfloat16
    assert (half.float() - wanted).norm() < 0.05 * wanted.norm()


def test_layers_somebody_listens_to_or_that_learn_are_run_as_they_are() -> None:
    layer = ConvNorm2d(4, 6, 1)
    assert not folds(layer.conv, layer.norm)  # it learns: statistics are the batch's
    layer.eval()
    assert folds(layer.conv, layer.norm)
    assert not folds(nn.Conv2d(4, 6, 1), layer.norm)  # of a bias it knows nothing
    assert not folds(nn.Conv2d(4, 4, 3, groups=4, bias=False), nn.BatchNorm2d(4).eval())
    assert not folds(layer.conv, nn.Identity())
    seen: list[torch.Tensor] = []
    handle = layer.conv.register_forward_hook(lambda module, given, found: seen.append(found))
    with torch.inference_mode():
        found = conv_norm(torch.randn(1, 4, 5, 5), layer.conv, layer.norm)
        assert torch.equal(layer.norm(seen[0]), found)
    handle.remove()
    assert folds(layer.conv, layer.norm)


def test_learning_changes_nothing_of_memory() -> None:
    x = torch.randn(2, 3, 8, 8)
    assert channels_last(x) is x
    with torch.no_grad():
        assert channels_last(x).is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(channels_last(x), x)
