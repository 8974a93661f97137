"""Depthwise convolutions with gradients of their own: torch's numbers, in double precision."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from marey.layers import depthwise as page
from marey.layers.depthwise import depthwise

CASES = [
    # frames, rows, columns; kernel; stride; padding
    ((4, 9, 8), (3, 3, 3), (1, 1, 1), (1, 1, 1)),
    ((4, 9, 8), (3, 3, 3), (1, 2, 2), (1, 1, 1)),
    ((5, 9, 12), (3, 3, 3), (1, 3, 3), (1, 1, 1)),
    ((7, 6, 6), (3, 3, 3), (2, 2, 1), (1, 1, 1)),
    ((6, 11, 9), (3, 3, 3), (4, 8, 4), (1, 1, 1)),
    ((1, 8, 8), (3, 3, 3), (1, 2, 2), (1, 1, 1)),
    ((2, 8, 8), (3, 3, 3), (1, 1, 1), (1, 1, 1)),
    ((1, 8, 8), (1, 3, 3), (1, 4, 4), (0, 1, 1)),
    ((5, 8, 7), (5, 1, 1), (1, 1, 1), (2, 0, 0)),
    ((3, 8, 7), (5, 5, 3), (3, 1, 2), (2, 2, 1)),
]


def answers(
    run: Any, x: Tensor, kernel: Tensor, weigh: Tensor, **options: Any
) -> tuple[Tensor, ...]:
    x, kernel = (t.clone().requires_grad_() for t in (x, kernel))
    found = run(x, kernel, **options)
    return found, *torch.autograd.grad((found.double() * weigh).sum(), [x, kernel])


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("size", "reach", "stride", "padding"), CASES)
def test_numbers_and_gradients_are_those_of_torch_in_double(
    size: tuple[int, ...], reach: Any, stride: Any, padding: Any, dtype: Any, last: bool
) -> None:
    torch.manual_seed(0)
    x, kernel = torch.randn(2, *size, 16).movedim(-1, 1), torch.randn(16, 1, *reach)
    if not last:
        x = x.contiguous()
    x, kernel = x.bfloat16().double(), kernel.bfloat16().double()  # the same in every type
    expected = F.conv3d(x, kernel, None, stride, padding, groups=16)
    weigh = torch.randn_like(expected).bfloat16().double()

    def plain(x: Tensor, kernel: Tensor) -> Tensor:
        return F.conv3d(x, kernel, None, stride, padding, groups=16)

    wanted = answers(plain, x, kernel, weigh)
    found = answers(depthwise, x.to(dtype), kernel.to(dtype), weigh, stride=stride, padding=padding)
    near = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-2}[dtype]
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == dtype
        scale = b.abs().max().clamp_min(1e-6)
        torch.testing.assert_close(a.double() / scale, b / scale, rtol=0, atol=near)


def test_under_autocast_gradients_come_back_in_the_types_of_what_was_given() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 8, 3, 6, 6, requires_grad=True)
    kernel = torch.nn.Parameter(torch.randn(8, 1, 3, 3, 3))
    with torch.autocast("cpu", torch.bfloat16):
        found = depthwise(x, kernel, (1, 1, 1), (1, 1, 1))
    assert found.dtype == torch.bfloat16
    one = torch.autograd.grad(found.float().square().sum(), [x, kernel])
    exact = F.conv3d(x, kernel, None, 1, 1, groups=8)
    two = torch.autograd.grad(exact.square().sum(), [x, kernel])
    for a, b in zip(one, two, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a / b.abs().max(), b / b.abs().max(), rtol=0, atol=0.02)


def test_only_what_needs_a_gradient_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    x, kernel = torch.randn(1, 4, 3, 5, 5), torch.randn(4, 1, 3, 3, 3)
    wanted = torch.autograd.grad(
        F.conv3d(x.requires_grad_(), kernel, None, 1, 1, groups=4).sum(), x
    )[0]
    monkeypatch.setattr(page, "kernel_gradient", None)  # calling it would fail
    found = depthwise(x, kernel, (1, 1, 1), (1, 1, 1))
    torch.testing.assert_close(torch.autograd.grad(found.sum(), x)[0], wanted)
    monkeypatch.undo()
    monkeypatch.setattr(page, "input_gradient", None)
    found = depthwise(x.detach(), kernel.requires_grad_(), (1, 1, 1), (1, 1, 1))
    assert torch.autograd.grad(found.sum(), kernel)[0].abs().sum() > 0


def test_compilers_and_exporters_see_torchs_own() -> None:
    class Net(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            kernel = torch.ones(4, 1, 3, 3, 3)
            return depthwise(x, kernel, (1, 1, 1), (1, 1, 1))

    exported = torch.export.export(Net(), (torch.randn(1, 4, 3, 5, 5),), strict=False)
    assert "conv3d" in str(exported.graph)
