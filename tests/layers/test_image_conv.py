"""A norm inside its kernel gives the two layers' numbers, and stays out where it must."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from marey.layers.image_conv import (
    channels_last,
    conv_norm,
    dense,
    fixed,
    max_pool,
    mean_pool,
)
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
    given = channels_last(x) if last else x
    assert given.is_contiguous(memory_format=torch.channels_last) == last
    wanted = layer.norm(layer.conv(x)).detach()
    with torch.inference_mode():
        found = layer(given)
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)
    assert found.shape == wanted.shape


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("training", [False, True])
def test_gradients_are_those_of_the_two_layers(kernel: int, stride: int, training: bool) -> None:
    torch.manual_seed(0)
    layer = lively(ConvNorm2d(12, 20, kernel, stride=stride)).train(training)
    other = copy.deepcopy(layer)
    x = torch.randn(3, 12, 17, 14, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    found, wanted = layer(channels_last(x)), other.norm(other.conv(y))
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)
    weights = torch.randn_like(wanted)
    (found * weights).sum().backward()
    (wanted * weights).sum().backward()
    torch.testing.assert_close(x.grad, y.grad, atol=1e-4, rtol=1e-4)
    for mine, theirs in zip(layer.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(layer.norm.running_var, other.norm.running_var)


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


def test_layers_of_another_kind_are_run_as_they_are() -> None:
    layer = ConvNorm2d(4, 6, 1)
    assert dense(layer.conv)
    assert not fixed(layer.norm)  # it learns: statistics are the batch's
    assert fixed(layer.eval().norm)
    assert not dense(nn.Conv2d(4, 6, 1))  # its bias would be lost
    assert not dense(nn.Conv2d(4, 4, 3, groups=4, bias=False))
    assert not dense(nn.Conv2d(4, 4, 3, dilation=2, bias=False))
    assert not fixed(nn.Identity())
    assert not fixed(nn.BatchNorm2d(4, track_running_stats=False).eval())


def test_who_listens_to_a_layer_hears_it() -> None:
    layer = ConvNorm2d(4, 6, 1).eval()
    seen: list[torch.Tensor] = []
    handle = layer.conv.register_forward_hook(lambda module, given, found: seen.append(found))
    with torch.inference_mode():
        found = conv_norm(torch.randn(1, 4, 5, 5), layer.conv, layer.norm)
        assert torch.equal(layer.norm(seen[0]), found)
    handle.remove()
    assert dense(layer.conv)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("last", [False, True])
def test_a_stems_pool_is_torchs(kind: torch.dtype, last: bool) -> None:
    x = torch.randn(2, 5, 9, 12).to(kind)
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    x = x.requires_grad_()
    found, wanted = max_pool(x), F.max_pool2d(x, 3, 2, 1)
    assert found.is_contiguous() != last
    assert torch.equal(found, wanted)
    out = torch.randn_like(wanted)
    (own,) = torch.autograd.grad(found, x, out)
    (theirs,) = torch.autograd.grad(wanted, x, out)
    assert own.is_contiguous() != last
    torch.testing.assert_close(own, theirs, rtol=1e-6, atol=0.05 if kind == torch.bfloat16 else 0)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(8, 6), (7, 9)])
def test_a_mean_of_neighbours_is_torchs(stride: int, size: tuple[int, int]) -> None:
    x = torch.randn(2, 5, *size, dtype=torch.float64, requires_grad=True)
    found, wanted = mean_pool(x, stride), F.avg_pool2d(x, 3, stride, 1)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    out = torch.randn_like(wanted)
    (own,) = torch.autograd.grad(found, x, out)
    (theirs,) = torch.autograd.grad(wanted, x, out)
    torch.testing.assert_close(own, theirs, rtol=0, atol=1e-12)
    half = mean_pool(x.detach().bfloat16(), stride)
    torch.testing.assert_close(half.double(), wanted.detach(), rtol=0.02, atol=0.01)


def test_a_trunk_may_learn_with_channels_last_in_half_precision() -> None:
    """Its gradients are as near to those of double precision as the two layers' are."""
    torch.manual_seed(0)
    exact = Trunk2d(Bottleneck2d, (1, 1, 1, 1), width=16).double().eval()
    x = torch.randn(2, 3, 64, 64)
    wanted = exact(x.double())
    out = torch.randn_like(wanted)
    wanted.backward(out)
    gaps = []
    for half_last in (False, True):
        trunk = Trunk2d(Bottleneck2d, (1, 1, 1, 1), width=16, half_last=half_last).eval()
        trunk.load_state_dict({n: t.float() for n, t in exact.state_dict().items()})
        with torch.autocast("cpu", torch.bfloat16):
            found = trunk(x)
        assert found.is_contiguous(memory_format=torch.channels_last) == half_last
        found.backward(out.to(found.dtype))
        pairs = zip(trunk.parameters(), exact.parameters(), strict=True)
        gaps.append([(own.grad - theirs.grad).norm() / theirs.grad.norm() for own, theirs in pairs])
    for plain, last in zip(*gaps, strict=True):
        assert last < 1.2 * plain + 0.01
