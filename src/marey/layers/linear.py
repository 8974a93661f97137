"""Linear layers that run on a processor's fastest kernels, alone and as a pair with GELU between.

In float32 torch hands a linear layer to MKL, which on some processors reaches half of what oneDNN
does. oneDNN stands in torch too: it is what ``torch.compile`` calls there. So on a CPU, outside
compilers and exporters, a linear layer goes to it directly, GELU included where nothing else needs
its input; anywhere else it is torch's own. Numbers are the same up to the order of sums.

The pair is four times as wide in the middle as at its ends; it goes a stretch of rows at a time, so
that the middle never stands in memory whole, and computes it again on the way back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

FEW = 32  # rows below which a plain product is as fast
HELD = 2_000_000  # numbers between the two layers of a pair that are held at a time
TYPES = (torch.float32, torch.bfloat16)


def _kernel() -> Callable[..., Tensor] | None:
    """oneDNN's linear layer with something after it; None in a build of torch without it."""
    if not torch.backends.mkldnn.is_available():
        return None
    operators = getattr(torch.ops, "mkldnn", None)
    found = getattr(operators, "_linear_pointwise", None)
    return None if found is None else found.default


KERNEL = _kernel()


class Linear(nn.Linear):
    """``nn.Linear`` on (..., D), the same parameters and numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear``, by the fastest way there is."""
    if not direct(x, weight):
        return F.linear(x, weight, bias)
    found: Tensor = run(_Product, x, weight, bias)
    return found


class Mlp(nn.Module):
    """Linear, exact GELU, linear: (..., width) -> (..., width_out)."""

    def __init__(self, width: int, width_mid: int, width_out: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, width_mid)
        self.fc2 = Linear(width_mid, width_out)

    def forward(self, x: Tensor) -> Tensor:
        if not direct(x, self.fc1.weight):
            return self.fc2(F.gelu(self.fc1(x)))
        one, two = self.fc1, self.fc2
        found: Tensor = run(_Pair, x, one.weight, one.bias, two.weight, two.bias)
        return found


def eager(x: Tensor) -> bool:
    """Whether nothing but a CPU sees this tensor: no compiler, exporter, tracer or subclass."""
    return (
        type(x) in (Tensor, nn.Parameter)
        and x.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch.compiler.is_exporting()
        and not torch.jit.is_tracing()
        and torch._C._len_torch_dispatch_stack() == 0
        and not torch._C._functorch.maybe_current_level()
    )


def cpu_type(x: Tensor) -> torch.dtype:
    """The type products of ``x`` are computed in on a CPU: its own, or autocast's.

    Autocast leaves double precision as it is.
    """
    narrows = x.is_floating_point() and x.dtype != torch.float64
    if narrows and torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu")
    return x.dtype


def direct(x: Tensor, weight: Tensor) -> bool:
    """Whether products of these go to oneDNN directly."""
    return (
        KERNEL is not None
        and bool(torch.backends.mkldnn.enabled)  # type: ignore[attr-defined]
        and cpu_type(x) in TYPES
        and cpu_type(weight) == cpu_type(x)
        and x.shape[:-1].numel() >= FEW
        and eager(x)
        and eager(weight)
    )


def run(function: Any, x: Tensor, *weights: Tensor | None) -> Any:
    """``function`` of rows and weights in the type of the CPU's products.

    ``function`` is an autograd function whose ``plain`` is its way there alone.
    """
    wide = cpu_type(x)
    cast = [x.to(wide), *(None if weight is None else weight.to(wide) for weight in weights)]
    with torch.autocast("cpu", enabled=False):
        if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in cast):
            return function.apply(*cast)
        return function.plain(*cast)


def product(
    rows: Tensor, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False
) -> Tensor:
    """(..., D) rows times (K, D) weights, transposed, plus bias: (..., K). Not differentiable."""
    if KERNEL is None or rows.dtype not in TYPES:
        found = F.linear(rows, weight, bias)
        return F.gelu(found) if gelu else found
    return KERNEL(rows, weight, bias, "gelu" if gelu else "none", [], "none" if gelu else "")


def summed_product(left: Tensor, right: Tensor) -> Tensor:
    """(N, K) and (N, D): the sum over rows of their outer products, (K, D). Not differentiable."""
    if KERNEL is None or left.dtype != torch.float32:
        return left.t() @ right
    # rows that do not lie side by side would send oneDNN to its slow reference
    return product(left.t(), right.contiguous().t())


class _Product(torch.autograd.Function):
    """``product`` with its gradients, computed the same way."""

    plain = staticmethod(product)

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        given = gradients[0].flatten(0, -2)
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            product(given, weight.t()).view_as(x) if of_x else None,
            summed_product(given, x.flatten(0, -2)) if of_weight else None,
            given.sum(dim=0) if of_bias else None,
        )


def stretches(rows: int, width: int) -> list[slice]:
    """Stretches of rows, of about the same length, that hold about ``HELD`` numbers each."""
    count = max(1, round(rows * width / HELD))
    size = -(-rows // count)
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def pair(
    x: Tensor, weight: Tensor, bias: Tensor | None, weight2: Tensor, bias2: Tensor | None
) -> Tensor:
    """Linear, GELU, linear on (..., D), a stretch of rows at a time. Not differentiable."""
    rows = x.flatten(0, -2)
    found = rows.new_empty(len(rows), len(weight2))
    for part in stretches(len(rows), len(weight)):
        found[part] = product(product(rows[part], weight, bias, gelu=True), weight2, bias2)
    return found.unflatten(0, x.shape[:-1])


class _Pair(torch.autograd.Function):
    """``pair``, of which only the input is kept: a stretch is computed again on the way back."""

    plain = staticmethod(pair)

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        weight2: Tensor,
        bias2: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, bias, weight2)
        return pair(x, weight, bias, weight2, bias2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight, bias, weight2 = ctx.saved_tensors
        rows, given = x.flatten(0, -2), gradients[0].flatten(0, -2)
        of_x = torch.empty_like(rows)
        sums = torch.promote_types(rows.dtype, torch.float32)
        totals = [w.new_zeros(w.shape, dtype=sums) for w in (weight, weight[:, 0], weight2)]
        back, back2 = weight.t().contiguous(), weight2.t().contiguous()
        for part in stretches(len(rows), len(weight)):
            before = product(rows[part], weight, bias)
            totals[2] += summed_product(given[part], F.gelu(before))
            of_before = torch.ops.aten.gelu_backward(product(given[part], back2), before)
            totals[0] += summed_product(of_before, rows[part])
            totals[1] += of_before.sum(dim=0)
            of_x[part] = product(of_before, back)
        needed = ctx.needs_input_grad
        found = (of_x.view_as(x), totals[0], totals[1], totals[2], given.sum(dim=0))
        return tuple(
            g.to(rows.dtype) if need else None for g, need in zip(found, needed, strict=True)
        )
