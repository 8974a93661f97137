"""Runs of reversible blocks: forward without remembering, backward from the outputs.

Source: A. Gomez et al., "The Reversible Residual Network", NeurIPS 2017; K. Mangalam et al.,
"Reversible Vision Transformers", CVPR 2022, Section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from marey.layers.conv import Triple

Pair = tuple[nn.Module, nn.Module]


def reversible(
    tokens: Tensor,
    grid: Triple,
    pairs: Sequence[Pair],
    masks: Sequence[Tensor | None],
    *,
    remember: bool = False,
) -> Tensor:
    """Doubles ``tokens`` (B, L, D), runs the (F, G) pairs, and joins the streams: (B, L, 2 * D).

    ``masks`` scale both branches of a block, sample by sample; None leaves them. With ``remember``,
    and under a compiler, ordinary autograd keeps what it needs; else the way back recomputes it, in
    the same precision. Both give the same gradients up to rounding.
    """
    if remember or torch.compiler.is_compiling() or not pairs:
        one, two = tokens, tokens
        for (f, g), mask in zip(pairs, masks, strict=True):
            one = one + _scaled(f(two, grid), mask)
            two = two + _scaled(g(one, grid), mask)
        return torch.cat([one, two], dim=-1)
    parameters = [p for pair in pairs for part in pair for p in part.parameters()]
    run = _Run.apply
    joined: Tensor = run(tokens, grid, pairs, masks, *parameters)
    return joined


class _Run(torch.autograd.Function):
    """Parameters come as arguments so that autograd, and what hooks into it, knows of them."""

    @staticmethod
    def forward(
        ctx: Any,
        tokens: Tensor,
        grid: Triple,
        pairs: Sequence[Pair],
        masks: Sequence[Tensor | None],
        *parameters: Tensor,
    ) -> Tensor:
        ctx.grid, ctx.pairs, ctx.masks = grid, pairs, masks
        ctx.autocast = _autocast(tokens.device.type)
        with torch.no_grad():
            joined = reversible(tokens, grid, pairs, masks, remember=True)
        ctx.save_for_backward(joined)
        return joined

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (joined,) = ctx.saved_tensors
        one, two = (part.contiguous() for part in joined.chunk(2, dim=-1))
        d_one, d_two = (part.contiguous() for part in gradients[0].chunk(2, dim=-1))
        found: list[tuple[Tensor | None, ...]] = []
        with ctx.autocast():
            for (f, g), mask in zip(reversed(ctx.pairs), reversed(ctx.masks), strict=True):
                branch, d_in, of_g = _undone(g, one, ctx.grid, mask, d_two)
                two, d_one = two - branch, d_one + d_in
                branch, d_in, of_f = _undone(f, two, ctx.grid, mask, d_one)
                one, d_two = one - branch, d_two + d_in
                found[:0] = [of_f, of_g]
        return (d_one + d_two, None, None, None, *(d for part in found for d in part))


def _undone(
    part: nn.Module, given: Tensor, grid: Triple, mask: Tensor | None, d_out: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
    """A branch computed again: its value, and gradients of its input and of its parameters."""
    parameters = list(part.parameters())
    learned = [p for p in parameters if p.requires_grad]
    with torch.enable_grad():
        given = given.detach().requires_grad_()
        value = _scaled(part(given, grid), mask)
    d_in, *rest = torch.autograd.grad(value, [given, *learned], d_out.to(value.dtype))
    by_id = {id(p): d for p, d in zip(learned, rest, strict=True)}
    return value.detach(), d_in, tuple(by_id.get(id(p)) for p in parameters)


def _scaled(value: Tensor, mask: Tensor | None) -> Tensor:
    return value if mask is None else value * mask


def _autocast(kind: str) -> Callable[[], Any]:
    """The autocast setting of now, to be entered again on the way back."""
    enabled = kind != "meta" and torch.is_autocast_enabled(kind)
    dtype = torch.get_autocast_dtype(kind) if enabled else None
    return lambda: torch.autocast(kind, dtype=dtype, enabled=enabled)
