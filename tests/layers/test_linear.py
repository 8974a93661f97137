"""Linear layers on oneDNN: the same numbers and gradients as torch's own."""

import pytest
import torch
from torch import nn

from marey.layers import linear as page
from marey.layers.linear import Linear, Mlp, direct, summed_product


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


def test_only_a_cpu_that_nobody_watches_is_gone_to_directly() -> None:
    weight = nn.Parameter(torch.randn(3, 4))
    assert direct(torch.randn(64, 4), weight)
    assert not direct(torch.randn(64, 4).double(), weight.double())
    assert not direct(torch.empty(64, 4, device="meta"), weight)
    seen = []

    class Watched(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(direct(x, weight))
            return x * 2

    torch.export.export(Watched(), (torch.randn(64, 4),), strict=False)
    torch.jit.trace(Watched(), torch.randn(64, 4), check_trace=False)
    torch.func.vmap(Watched())(torch.randn(2, 64, 4))
    assert seen
    assert not any(seen)


def test_wider_types_keep_torchs_own() -> None:
    layer, x = Linear(4, 3).double(), torch.randn(64, 4, dtype=torch.float64)
    expected = nn.functional.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(layer(x), expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("held", [50, 2_000_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_pair_is_two_layers_with_gelu_between(
    held: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "HELD", held)
    torch.manual_seed(0)
    ours, x = Mlp(6, 24, 5), torch.randn(2, 21, 6)
    exact = nn.Sequential(nn.Linear(6, 24), nn.GELU(), nn.Linear(24, 5)).double()
    exact.load_state_dict(
        dict(zip(exact.state_dict(), ours.double().state_dict().values(), strict=True))
    )
    ours.float()
    near = 1e-5 if dtype == torch.float32 else 0.03
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        assert direct(x, ours.fc1.weight)
        with torch.no_grad():
            torch.testing.assert_close(ours(x).double(), exact(x.double()), rtol=near, atol=near)
        given, wanted = x.clone().requires_grad_(), x.double().requires_grad_()
        found, expected = ours(given), exact(wanted)
    torch.testing.assert_close(found.double(), expected, rtol=near, atol=near)
    weigh = torch.linspace(-1, 1, expected.numel()).view_as(expected)
    (found.float() * weigh).sum().backward()
    (expected * weigh).sum().backward()
    pairs = [(given, wanted), *zip(ours.parameters(), exact.parameters(), strict=True)]
    for a, b in pairs:
        assert a.grad is not None
        assert b.grad is not None
        scale = b.grad.abs().max()
        torch.testing.assert_close(a.grad.double() / scale, b.grad / scale, rtol=0, atol=near)


def test_products_summed_over_rows() -> None:
    torch.manual_seed(0)
    left, right = torch.randn(40, 33), torch.randn(40, 5)
    torch.testing.assert_close(summed_product(left, right), left.t() @ right, rtol=1e-5, atol=1e-4)
