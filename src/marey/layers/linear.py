"""Linear layers that run on a processor's fastest kernels.

In float32 torch hands a linear layer to MKL, which on some processors reaches half of what oneDNN
does; oneDNN is what convolutions run on. So here a linear layer is a 1x1 convolution of one row of
pixels, channels last, where that is faster: on a CPU, in float32, over enough rows. Numbers are the
same up to the order of sums. Compilers and exporters see an ordinary linear layer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

FEW = 32  # rows below which a plain product is as fast
MANY = 8192  # summed rows above which a product of two tall matrices stays with MKL


class Linear(nn.Linear):
    """``nn.Linear`` on (..., D), the same parameters and numbers."""

    def forward(self, x: Tensor) -> Tensor:
        if not convolves(x) or x.shape[:-1].numel() < FEW:
            return super().forward(x)
        if torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad):
            found: Tensor = _Product.apply(x, self.weight, self.bias)
            return found
        return product(x.flatten(0, -2), self.weight, self.bias).unflatten(0, x.shape[:-1])


def convolves(x: Tensor) -> bool:
    """Whether ``product`` takes the way of convolutions for this input."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)  # type: ignore[attr-defined]
    )


def product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(N, D) rows times (K, D) weights, transposed, plus bias: (N, K). Not differentiable."""
    if rows.dtype != torch.float32 or len(rows) < FEW:
        return F.linear(rows, weight, bias)
    line = rows.t()[None, :, None]  # (1, D, 1, N), channels last
    return F.conv2d(line, weight[:, :, None, None], bias)[0, :, 0].t()


def summed_product(left: Tensor, right: Tensor) -> Tensor:
    """(N, K) and (N, D): the sum over rows of their outer products, (K, D). Not differentiable."""
    if left.dtype != torch.float32 or len(left) > MANY:
        return left.t() @ right
    return product(left.t().contiguous(), right.t().contiguous())


class _Product(torch.autograd.Function):
    """``product`` with its gradients, computed the same way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        return product(x.flatten(0, -2), weight, bias).unflatten(0, x.shape[:-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        rows, given = x.flatten(0, -2), gradients[0].flatten(0, -2)
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            product(given, weight.t()).unflatten(0, x.shape[:-1]) if of_x else None,
            summed_product(given, rows) if of_weight else None,
            given.sum(dim=0) if of_bias and ctx.biased else None,
        )
