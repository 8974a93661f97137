"""Attention with an axis-wise bias on a CPU: a block of queries at a time, both ways.

For each head and block of queries the logits are one product of lengthened queries and keys
(``attention``), small enough to stay in cache; they are gone when the block is done, and computed
again on the way back. So nothing of the size queries x keys is ever held.

Source: the recomputation is that of T. Dao et al., "FlashAttention", NeurIPS 2022, with whole rows
of logits in place of a running maximum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from marey.layers.linear import product, summed_product

BLOCK = 400_000  # logits held at a time


def blocked(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scores: Sequence[Tensor],
    hot: Tensor | None,
    *,
    scale: float,
    residual: int = -1,
) -> Tensor:
    """softmax(scale * query . key + scores . hot) . value, (B, heads, queries, D).

    ``hot`` (keys, rows) says which rows of all ``scores`` side by side each key takes. The query
    is added to what it found from row ``residual`` on, nowhere where that is negative.
    """
    wide = query.dtype
    if torch.is_autocast_enabled("cpu"):
        wide = torch.get_autocast_dtype("cpu")
    parts = [part.to(wide) for part in (query, key, value, *scores)]
    with torch.autocast("cpu", enabled=False):
        run = _Blocked.apply
        found: Tensor = run(scale, residual, None if hot is None else hot.to(wide), *parts)
    return found


class _Blocked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        scale: float,
        residual: int,
        hot: Tensor | None,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *scores: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(query, key, value, *scores)
        ctx.scale, ctx.residual, ctx.hot = scale, residual, hot
        batch, heads, length, _ = query.shape
        # (B, L, heads, D) in memory, so that joining the heads copies nothing
        found = query.new_empty(batch, length, heads, value.shape[-1]).transpose(1, 2)
        for b, h in _places(query):
            longer = _longer(key[b, h], hot)
            turned = value[b, h].t().contiguous()
            for part in _blocks(length, len(longer)):
                share = product(_lengthened(query, scores, (b, h), part, scale), longer).softmax(-1)
                found[b, h, part] = product(share, turned)
            if residual >= 0:
                found[b, h, residual:] += query[b, h, residual:]
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        query, key, value, *scores = ctx.saved_tensors
        (given,) = gradients
        width = query.shape[-1]
        sums = torch.promote_types(query.dtype, torch.float32)
        d_query, d_value = torch.empty_like(query), torch.empty_like(value)
        d_key, d_scores = torch.empty_like(key), [torch.empty_like(s) for s in scores]
        for b, h in _places(query):
            longer = _longer(key[b, h], ctx.hot)
            across, here = longer.t().contiguous(), value[b, h].contiguous()
            of_key = key.new_zeros(key.shape[2:], dtype=sums)
            of_value = value.new_zeros(value.shape[2:], dtype=sums)
            for part in _blocks(query.shape[2], len(longer)):
                rows = _lengthened(query, scores, (b, h), part, ctx.scale)
                share = product(rows, longer).softmax(-1)
                wanted = given[b, h, part].contiguous()
                of_value += summed_product(share, wanted)
                of_share = product(wanted, here)
                of_logits = torch._softmax_backward_data(of_share, share, -1, share.dtype)
                of_key += summed_product(of_logits, rows[:, :width].contiguous())
                of_rows = product(of_logits, across)
                torch.mul(of_rows[:, :width], ctx.scale, out=d_query[b, h, part])
                at = width
                for d_score in d_scores:
                    d_score[b, h, part] = of_rows[:, at : at + d_score.shape[-1]]
                    at += d_score.shape[-1]
            if ctx.residual >= 0:
                d_query[b, h, ctx.residual :] += given[b, h, ctx.residual :]
            d_key[b, h], d_value[b, h] = of_key, of_value
        return None, None, None, d_query, d_key, d_value, *d_scores


def _places(query: Tensor) -> list[tuple[int, int]]:
    return [(b, h) for b in range(query.shape[0]) for h in range(query.shape[1])]


def _blocks(queries: int, keys: int) -> list[slice]:
    """Stretches of queries whose logits fit in cache together, of about the same length."""
    count = max(1, -(-queries * keys // BLOCK))
    size = -(-queries // count)
    return [slice(start, min(start + size, queries)) for start in range(0, queries, size)]


def _longer(key: Tensor, hot: Tensor | None) -> Tensor:
    return key.contiguous() if hot is None else torch.cat([key, hot], dim=-1)


def _lengthened(
    query: Tensor, scores: Sequence[Tensor], place: tuple[int, int], part: slice, scale: float
) -> Tensor:
    """A block of queries followed by their scores, (n, D + rows)."""
    rows = query[(*place, part)] * scale
    return torch.cat([rows, *(s[(*place, part)] for s in scores)], dim=-1) if scores else rows
