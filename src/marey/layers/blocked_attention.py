"""Attention with an axis-wise bias on a CPU: a block of queries at a time, both ways.

For each head and block of queries the logits are one product of lengthened queries and keys
(``attention``), small enough to stay in cache; they are gone when the block is done, and computed
again on the way back. So nothing of the size queries x keys is ever held.

    [query, scores] . [scale * key, hot] = scale * query . key + bias

Source: the recomputation is that of T. Dao et al., "FlashAttention", NeurIPS 2022, with whole rows
of logits in place of a running maximum.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from marey.layers.linear import cpu_type, eager, product, summed_product

BLOCK = 400_000  # logits held at a time
WORTH = 50_000  # logits of a head below which torch's own kernels are as fast
SAFE = 60.0  # logits within it have exponentials whose sums neither overflow nor vanish


def in_blocks(query: Tensor, key: Tensor) -> bool:
    """Whether attention between these goes block by block."""
    return eager(query) and query.shape[-2] * key.shape[-2] >= WORTH


def blocked(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scores: Tensor | None,
    hot: Tensor | None,
    *,
    scale: float,
    residual: int = -1,
) -> Tensor:
    """softmax(scale * query . key + scores . hot) . value, (B, heads, queries, D).

    ``scores`` is (B, heads, queries, rows), and ``hot`` (keys, rows) says with ones which rows each
    key takes. From row ``residual`` on the query is added to what it found; nowhere where that is
    negative.
    """
    wide = cpu_type(query)
    parts = [None if t is None else t.to(wide) for t in (hot, query, key, value, scores)]
    with torch.autocast("cpu", enabled=False):
        found: Tensor = _Blocked.apply(scale, residual, *parts)
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
        scores: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(hot, query, key, value, scores)
        ctx.scale, ctx.residual = scale, residual
        batch, heads, length, _ = query.shape
        # (B, L, heads, D) in memory, so that joining the heads copies nothing
        found = query.new_empty(batch, length, heads, value.shape[-1]).transpose(1, 2)
        for b, h in _places(query):
            rows, longer = _lengthened(query, key, scores, hot, scale, (b, h))
            turned, size = value[b, h].t().contiguous(), _block(length, len(longer))
            short = query.dtype == torch.bfloat16 and _reach(rows, longer) < SAFE
            for part, into in zip(rows.split(size), found[b, h].split(size), strict=True):
                logits = product(part, longer)
                if short:  # no need to take the largest logit away first
                    whole = 1 / logits.exp_().sum(dim=-1, keepdim=True, dtype=torch.float32)
                    torch.mul(product(logits, turned), whole.to(logits.dtype), out=into)
                else:
                    into.copy_(product(logits.softmax(-1), turned))
        if residual >= 0:
            found[:, :, residual:] += query[:, :, residual:]
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        hot, query, key, value, scores = ctx.saved_tensors
        (given,) = gradients
        width = query.shape[-1]
        sums = torch.promote_types(query.dtype, torch.float32)
        d_query, d_key, d_value = (torch.empty_like(t) for t in (query, key, value))
        d_scores = None if scores is None else torch.empty_like(scores)
        for b, h in _places(query):
            rows, longer = _lengthened(query, key, scores, hot, ctx.scale, (b, h))
            across, here = longer.t().contiguous(), value[b, h].contiguous()
            wanted = given[b, h].contiguous()
            of_longer = longer.new_zeros(longer.shape, dtype=sums)
            of_value = here.new_zeros(here.shape, dtype=sums)
            size = _block(len(rows), len(longer))
            of_rows = []
            for part, want in zip(rows.split(size), wanted.split(size), strict=True):
                share = product(part, longer).softmax(-1)
                of_value += summed_product(share, want)
                of_share = product(want, here)
                of_logits = torch._softmax_backward_data(of_share, share, -1, share.dtype)
                of_longer += summed_product(of_logits, part)
                of_rows.append(product(of_logits, across))
            of_all = torch.cat(of_rows)
            d_query[b, h] = of_all[:, :width]
            if d_scores is not None:
                d_scores[b, h] = of_all[:, width:]
            d_key[b, h], d_value[b, h] = of_longer[:, :width] * ctx.scale, of_value
        if ctx.residual >= 0:
            d_query[:, :, ctx.residual :] += given[:, :, ctx.residual :]
        return None, None, None, d_query, d_key, d_value, d_scores


def _places(query: Tensor) -> list[tuple[int, int]]:
    return [(b, h) for b in range(query.shape[0]) for h in range(query.shape[1])]


def _block(queries: int, keys: int) -> int:
    """Queries whose logits fit in cache together, so that blocks are of about the same length."""
    return -(-queries // max(1, -(-queries * keys // BLOCK)))


def _lengthened(
    query: Tensor,
    key: Tensor,
    scores: Tensor | None,
    hot: Tensor | None,
    scale: float,
    place: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Queries and scores of one head (queries, D + rows), keys and their rows (keys, D + rows)."""
    if scores is None or hot is None:
        return query[place].contiguous(), key[place] * scale
    return (
        torch.cat([query[place], scores[place]], dim=-1),
        torch.cat([key[place] * scale, hot], dim=-1),
    )


def _reach(rows: Tensor, longer: Tensor) -> float:
    """A bound on every logit: the longest query times the longest key."""
    one, two = (torch.linalg.vector_norm(t, dim=-1).amax() for t in (rows, longer))
    return float(one * two)
