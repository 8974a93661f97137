"""Linear layers as convolutions: the same numbers and gradients as torch's own."""

import pytest
import torch
from torch import nn

from marey.layers.linear import Linear, convolves, summed_product


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(2, 50, 12), (3, 12), (64, 12), (2, 3, 20, 12)])
def test_numbers_and_gradients_are_those_of_torch(bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    ours, theirs = Linear(12, 7, bias=bias), nn.Linear(12, 7, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(shape)
    answers = []
    for layer in (ours, theirs):
        given = x.clone().requires_grad_()
        found = layer(given)
        (found * torch.linspace(-1, 1, found.numel()).view_as(found)).sum().backward()
        answers.append([found, given.grad, *(p.grad for p in layer.parameters())])
    for a, b in zip(*answers, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_rows_that_do_not_lie_side_by_side() -> None:
    torch.manual_seed(0)
    layer, x = Linear(6, 5), torch.randn(2, 6, 40).transpose(1, 2)
    with torch.no_grad():
        expected = nn.functional.linear(x, layer.weight, layer.bias)
        torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


def test_frozen_weights_and_inputs_need_no_gradient() -> None:
    layer = Linear(6, 5).requires_grad_(False)
    x = torch.randn(40, 6, requires_grad=True)
    layer(x).sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand_as(x), rtol=1e-5, atol=1e-5)
    layer.requires_grad_(True)
    layer(x.detach()).sum().backward()
    assert layer.bias.grad is not None
    assert layer.bias.grad.tolist() == pytest.approx([40.0] * 5)


def test_other_types_and_compilers_keep_torchs_own() -> None:
    x = torch.randn(64, 4)
    assert not convolves(x.double())
    assert not convolves(torch.empty(64, 4, device="meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not convolves(x)
    layer = Linear(4, 3).double()
    torch.testing.assert_close(
        layer(x.double()), nn.functional.linear(x.double(), layer.weight, layer.bias)
    )


@pytest.mark.parametrize("rows", [40, 9000])
def test_products_summed_over_rows(rows: int) -> None:
    torch.manual_seed(0)
    left, right = torch.randn(rows, 33), torch.randn(rows, 5)
    torch.testing.assert_close(summed_product(left, right), left.t() @ right, rtol=1e-4, atol=1e-3)
