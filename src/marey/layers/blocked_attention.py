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
            asked, longer = _side(query, scores, b, h), _longer(key[b, h], scale, hot)
            turned, into = value[b, h].t().contiguous(), found[b, h]
            short = query.dtype == torch.bfloat16 and _reach(asked, longer) < SAFE
            for part in _blocks(length, len(longer)):
                logits = product(_rows(asked, part), longer)
                if short:  # no need to take the largest logit away first
                    total = logits.exp_().sum(dim=-1, keepdim=True)
                    torch.div(product(logits, turned), total, out=into[part])
                else:
                    into[part] = product(logits.softmax(-1), turned)
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
            asked, longer = _side(query, scores, b, h), _longer(key[b, h], ctx.scale, hot)
            across, here, wanted = longer.t().contiguous(), value[b, h].contiguous(), given[b, h]
            of_key = key.new_zeros(key.shape[2:], dtype=sums)
            of_value = value.new_zeros(value.shape[2:], dtype=sums)
            for part in _blocks(query.shape[2], len(longer)):
                share = product(_rows(asked, part), longer).softmax(-1)
                of_value += summed_product(share, wanted[part])
                of_share = product(wanted[part], here)
                of_logits = torch._softmax_backward_data(of_share, share, -1, share.dtype)
                of_key += summed_product(of_logits, asked[0][part])
                of_rows = product(of_logits, across)
                d_query[b, h, part] = of_rows[:, :width]
                if d_scores is not None:
                    d_scores[b, h, part] = of_rows[:, width:]
            d_key[b, h], d_value[b, h] = of_key * ctx.scale, of_value
        if ctx.residual >= 0:
            d_query[:, :, ctx.residual :] += given[:, :, ctx.residual :]
        return None, None, None, d_query, d_key, d_value, d_scores


def _places(query: Tensor) -> list[tuple[int, int]]:
    return [(b, h) for b in range(query.shape[0]) for h in range(query.shape[1])]


def _blocks(queries: int, keys: int) -> list[slice]:
    """Stretches of queries whose logits fit in cache together, of about the same length."""
    count = max(1, -(-queries * keys // BLOCK))
    size = -(-queries // count)
    return [slice(start, min(start + size, queries)) for start in range(0, queries, size)]


def _side(query: Tensor, scores: Tensor | None, b: int, h: int) -> list[Tensor]:
    return [query[b, h]] if scores is None else [query[b, h], scores[b, h]]


def _rows(asked: list[Tensor], part: slice) -> Tensor:
    """A block of queries followed by their scores, (n, D + rows)."""
    return torch.cat([t[part] for t in asked], dim=-1) if len(asked) > 1 else asked[0][part]


def _longer(key: Tensor, scale: float, hot: Tensor | None) -> Tensor:
    """Scaled keys followed by their rows, (keys, D + rows)."""
    return key * scale if hot is None else torch.cat([key * scale, hot], dim=-1)


def _reach(asked: list[Tensor], longer: Tensor) -> float:
    """A bound on every logit: the longest query times the longest key."""
    squares = sum(torch.linalg.vector_norm(t, dim=-1).square() for t in asked)
    longest = torch.as_tensor(squares).amax().sqrt()
    return float(longest * torch.linalg.vector_norm(longer, dim=-1).amax())
