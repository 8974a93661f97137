"""Attention with a bias that is a sum over axes, and the small parts every transformer here has.

A relative position bias of queries i and keys j is a sum of terms: the score of query i against
one row of a small table, and which row that is depends on one coordinate of j alone. So a term is
a matrix ``scores`` of (queries, rows) and a row number for each key, and

    bias(i, j) = sum over terms of scores[i, row[j]]   (nothing where row[j] is -1)

``plain`` writes the queries x keys matrix down. ``fused`` never does: a query is lengthened by its
scores and a key by a one at its row, so that one scaled dot product holds both parts.

    [scale * q, scores] . [k, one-hot(row)] = scale * q . k + bias

Source: A. Vaswani et al., "Attention Is All You Need", 2017; the bias as in Y. Li et al.,
"MViTv2", CVPR 2022, Section 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.blocked_attention import blocked, in_blocks

AttentionForm = Literal["fused", "plain"]
MULTIPLE = 8  # fused kernels want head widths that are a multiple of this


class Term(NamedTuple):
    """One axis of a bias: ``scores`` (B, heads, queries, rows), ``row`` (keys,) int64 or -1."""

    scores: Tensor
    row: Tensor


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scale: float,
    terms: Sequence[Term] = (),
    residual: int = -1,
    form: AttentionForm = "fused",
) -> Tensor:
    """softmax(scale * query . key + bias) . value, (B, heads, queries, D).

    From row ``residual`` on the query is added to what it found; nowhere where that is negative.
    On the meta device the plain form runs, so that its products are what is counted. The fused form
    goes block by block (``blocked_attention``) where that is worth it, else through torch's fused
    kernels.
    """
    plain = form == "plain" or query.is_meta
    hot = torch.cat([one_hot(term, key) for term in terms], dim=-1) if terms else None
    if not plain and in_blocks(query, key):
        scores = torch.cat([term.scores for term in terms], dim=-1) if terms else None
        return blocked(query, key, value, scores, hot, scale=scale, residual=residual)
    if plain:
        found = _plain(query, key, value, scale, terms)
    elif hot is None:
        found = F.scaled_dot_product_attention(query, key, value, scale=scale)
    else:
        found = _fused(query, key, value, scale, terms, hot)
    if residual < 0:
        return found
    return found + (query if residual == 0 else F.pad(query[:, :, residual:], (0, 0, residual, 0)))


def _fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    terms: Sequence[Term],
    hot: Tensor,
) -> Tensor:
    """One scaled dot product of lengthened queries and keys; ``hot`` is (keys, rows)."""
    width = query.shape[-1]
    spare = -(width + hot.shape[-1]) % MULTIPLE
    longer = [query * scale, *(term.scores for term in terms)]
    if spare:
        longer.append(query.new_zeros(()).expand(*query.shape[:3], spare))
    hot = F.pad(hot, (0, spare)).expand(*key.shape[:2], -1, -1)
    found = F.scaled_dot_product_attention(
        torch.cat(longer, dim=-1),
        torch.cat([key, hot], dim=-1),
        F.pad(value, (0, hot.shape[-1])),
        scale=1.0,
    )
    return found[..., :width]


def one_hot(term: Term, key: Tensor) -> Tensor:
    """(keys, rows) with a one at each key's row, in the type of ``key``."""
    rows = torch.arange(term.scores.shape[-1], device=key.device)
    return (term.row[:, None] == rows).to(key.dtype)


def _plain(
    query: Tensor, key: Tensor, value: Tensor, scale: float, terms: Sequence[Term]
) -> Tensor:
    logits = (query * scale) @ key.transpose(-2, -1)
    for term in terms:
        scores = F.pad(term.scores, (0, 1))  # row -1 adds nothing
        logits = logits + scores.index_select(-1, term.row % scores.shape[-1])
    return logits.softmax(dim=-1) @ value


class DropPath(nn.Module):
    """Zeroes a branch for a random share ``rate`` of the samples in training, and scales the rest.

    Source: G. Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        mask = self.mask(x)
        return x if mask is None else x * mask

    def mask(self, x: Tensor) -> Tensor | None:
        """(B, 1, ...) of zeros and 1 / (1 - rate) to multiply ``x`` by; None where all is kept."""
        if not self.training or self.rate == 0.0:
            return None
        kept = 1.0 - self.rate
        drawn = torch.rand(x.shape[0], *[1] * (x.dim() - 1), device=x.device)
        return (drawn < kept).to(x.dtype) / kept
