"""Pooling attention: queries, keys and values are pooled over the grid of tokens before they meet.

    step       shape for block 1 of mvitv2_s_16x4, 2 heads of 96, class token
    tokens     1 25089 96
    query      1 2 6273 96
    key        1 2 1569 96
    found      1 6273 192

Tokens lie in rows (B, L, D): the class token first where there is one, then the grid (T, H, W) with
W fastest. Source: H. Fan et al., "Multiscale Vision Transformers", ICCV 2021, Section 3.1;
Y. Li et al., "MViTv2", CVPR 2022, Section 4.1, and the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from marey.layers.attention import AttentionForm, Term, attend
from marey.layers.blocked_attention import blocked, in_blocks
from marey.layers.conv import Triple
from marey.layers.depthwise import depthwise
from marey.layers.linear import Linear, cpu_type, eager, linear
from marey.layers.positions import IndexRule, grid_rows, relative_rows, resize_table

PoolMode = Literal["conv", "max", "avg", "conv_unshared"]
ONES: Triple = (1, 1, 1)
EPSILON = 1e-6  # of every layer norm in this family


@dataclass(frozen=True, kw_only=True)
class AttentionPlan:
    """One layer: widths, pools, and the sizes of its tables (0: none)."""

    width_in: int
    width: int
    heads: int
    kernel_q: Triple = ONES
    stride_q: Triple = ONES
    kernel_kv: Triple = ONES
    stride_kv: Triple = ONES
    mode: PoolMode = "conv"
    bias: bool = True  # of the projections to queries, keys and values
    residual: bool = True  # add the pooled query to what was found
    residual_class: bool = False  # to the class token too, as timm does
    rows_space: int = 0  # of the tables of H and of W
    rows_time: int = 0
    rule: IndexRule = "float32"
    form: AttentionForm = "fused"
    window: int = 0  # rows and columns of input tokens that see each other; 0: all do


class TokenPool(nn.Module):
    """Pools the grid part of (B, L, heads * D) tokens, then norms each head: (B, heads, L', D).

    ``conv`` shares one depthwise kernel among heads, ``conv_unshared`` has one a channel and norms
    all heads together; ``max`` and ``avg`` have neither weights nor norm. The class token is only
    normed. A ``causal`` pool reads no frame after the one it stands for.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        kernel: Triple,
        stride: Triple,
        mode: PoolMode = "conv",
        *,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.kernel, self.stride, self.mode = heads, kernel, stride, mode
        t, h, w = kernel
        self.early = t - 1 if causal else 0  # empty frames before the first
        self.padding: Triple = (0 if causal else t // 2, h // 2, w // 2)
        assert not causal or mode in ("conv", "conv_unshared"), "zeros are no maximum"
        if mode in ("conv", "conv_unshared"):
            depth = width // heads if mode == "conv" else width
            self.weight = nn.Parameter(torch.empty(depth, 1, *kernel))
            self.norm = nn.LayerNorm(depth, eps=EPSILON)
            nn.init.kaiming_uniform_(self.weight, a=5**0.5)  # as torch starts convolutions

    def size(self, grid: Triple) -> Triple:
        """The grid after pooling."""
        padded = (grid[0] + self.early, *grid[1:])
        t, h, w = (
            (n + 2 * p - k) // s + 1
            for n, k, s, p in zip(padded, self.kernel, self.stride, self.padding, strict=True)
        )
        return t, h, w

    def forward(self, tokens: Tensor, grid: Triple, stride: Triple | None = None) -> Tensor:
        """``tokens`` may have one more row than the grid: the class token, first.

        ``stride`` is that of a grid without what no window reads (``windows``).
        """
        first = tokens.shape[1] - prod(grid)
        pooled = self.pool(tokens[:, first:].unflatten(1, grid), stride or self.stride)
        pooled = pooled.flatten(1, 3)  # (B, L', W)
        if first:
            pooled = torch.cat([tokens[:, :first], pooled], dim=1)
        return self.normed(pooled)

    def normed(self, pooled: Tensor) -> Tensor:
        """Heads, each normed: (B, L', W) -> (B, heads, L', D)."""
        if self.mode == "conv_unshared":
            pooled = self.norm(pooled)
        pooled = pooled.unflatten(2, (self.heads, -1))
        if self.mode == "conv":
            pooled = self.norm(pooled)
        return pooled.transpose(1, 2)

    def pool(self, grid: Tensor, stride: Triple) -> Tensor:
        """(B, T, H, W, C) -> (B, T', H', W', C)."""
        x = grid.movedim(-1, 1)
        if self.early:
            x = F.pad(x, (0, 0, 0, 0, self.early, 0))
        if self.mode == "max":
            x = F.max_pool3d(x, self.kernel, stride, self.padding)
        elif self.mode == "avg":
            x = F.avg_pool3d(x, self.kernel, stride, self.padding)
        else:
            repeats = x.shape[1] // self.weight.shape[0]
            weight = self.weight.repeat(repeats, 1, 1, 1, 1)
            x = depthwise(x, weight, stride, self.padding)
        return x.movedim(1, -1)

    def windows(self, tokens: Tensor, grid: Triple) -> tuple[Tensor, Triple, Triple]:
        """Tokens (B, L, C) that some window reads, their grid, and the stride that is left there.

        Where the stride is larger than the kernel, what lies between windows is left out.
        """
        first = tokens.shape[1] - prod(grid)
        kept, size, stride = tokens[:, first:].unflatten(1, grid), list(grid), list(self.stride)
        for axis, (n, k, s) in enumerate(zip(grid, self.kernel, self.stride, strict=True)):
            if s > k:
                read = [at for at in range(n) if (at + k // 2) % s < k]
                kept = kept.index_select(axis + 1, torch.tensor(read, device=tokens.device))
                size[axis], stride[axis] = len(read), k
        if size == list(grid):
            return tokens, grid, self.stride
        flat = kept.flatten(1, 3)
        joined = torch.cat([tokens[:, :first], flat], dim=1) if first else flat
        return joined, (size[0], size[1], size[2]), (stride[0], stride[1], stride[2])


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """(B, L, heads * D) -> (B, heads, L, D)."""
    return tokens.unflatten(2, (heads, -1)).transpose(1, 2)


def max_pool_tokens(tokens: Tensor, grid: Triple, stride: Triple) -> Tensor:
    """Max-pool the grid part of tokens with kernels of stride + 1, the shortcut's way."""
    if stride == ONES:
        return tokens
    first = tokens.shape[1] - prod(grid)
    kernel = [s + 1 if s > 1 else 1 for s in stride]
    x = tokens[:, first:].unflatten(1, grid).movedim(-1, 1)
    x = F.max_pool3d(x, kernel, stride, [k // 2 for k in kernel])
    pooled = x.flatten(2).transpose(1, 2)
    return torch.cat([tokens[:, :first], pooled], dim=1) if first else pooled


class PoolingAttention(nn.Module):
    """(B, L, width_in) tokens on a grid -> (B, L', width) tokens, and the grid of the queries.

    In training on a CPU what stands between the tokens and the pooled queries, keys and values is
    computed again on the way back, unless ``remember`` is set.
    """

    remember = False

    def __init__(self, plan: AttentionPlan) -> None:
        super().__init__()
        self.plan = plan
        self.scale = (plan.width // plan.heads) ** -0.5
        self.qkv = Linear(plan.width_in, 3 * plan.width, bias=plan.bias)
        self.pool_q = self._pool(plan.kernel_q, plan.stride_q)
        self.pool_k = self._pool(plan.kernel_kv, plan.stride_kv)
        self.pool_v = self._pool(plan.kernel_kv, plan.stride_kv)
        depth = plan.width // plan.heads
        tables = {"h": plan.rows_space, "w": plan.rows_space, "t": plan.rows_time}
        for axis, rows in tables.items():
            table = nn.Parameter(torch.zeros(rows, depth)) if rows else None
            self.register_parameter(f"rel_pos_{axis}", table)
        self.proj = Linear(plan.width, plan.width)

    def _pool(self, kernel: Triple, stride: Triple) -> TokenPool | None:
        if kernel == ONES and stride == ONES:
            return None
        return TokenPool(self.plan.width, self.plan.heads, kernel, stride, self.plan.mode)

    def forward(self, tokens: Tensor, grid: Triple) -> tuple[Tensor, Triple]:
        if eager(tokens) and type(self.qkv) is Linear:
            sides = partial(self._sides, grid=grid)
            if torch.is_grad_enabled() and not self.remember:
                query, key, value = checkpoint(
                    sides, tokens, use_reentrant=False, preserve_rng_state=False
                )
            else:
                query, key, value = sides(tokens)
        else:
            query, key, value = self.qkv(tokens).chunk(3, dim=-1)
            query = self.pooled(self.pool_q, query, grid)
            key = self.pooled(self.pool_k, key, grid)
            value = self.pooled(self.pool_v, value, grid)
        size, size_k = (grid if p is None else p.size(grid) for p in (self.pool_q, self.pool_k))
        if self.plan.window:
            return self._windowed(query, key, value, size, size_k), size
        return self.joined(self.find(query, key, value, size, size_k)), size

    def first(self, tokens: Tensor, grid: Triple) -> tuple[Tensor, Triple]:
        """The class token's row of ``forward`` alone, (B, 1, width): it is not pooled."""
        query = linear(tokens[:, :1], *self._projection(0))
        pool, heads = self.pool_q, self.plan.heads
        query = split_heads(query, heads) if pool is None else pool.normed(query)
        key, value = self._keys(tokens, grid)
        found = F.scaled_dot_product_attention(query, key, value, scale=self.scale)
        if self.plan.residual and self.plan.residual_class:
            found = found + query
        return self.joined(found), grid if pool is None else pool.size(grid)

    def _sides(self, tokens: Tensor, grid: Triple) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (B, heads, L, D) each, one product each."""
        tokens = tokens.to(cpu_type(tokens))  # once for the three
        query = self.pooled(self.pool_q, linear(tokens, *self._projection(0)), grid)
        return query, *self._keys(tokens, grid)

    def _keys(self, tokens: Tensor, grid: Triple) -> tuple[Tensor, Tensor]:
        """Keys and values (B, heads, K, D), from the tokens their pools read."""
        stride = None
        if self.pool_k is not None:
            tokens, grid, stride = self.pool_k.windows(tokens, grid)
        key, value = (linear(tokens, *self._projection(which)) for which in (1, 2))
        return (
            self.pooled(self.pool_k, key, grid, stride),
            self.pooled(self.pool_v, value, grid, stride),
        )

    def _projection(self, which: int) -> tuple[Tensor, Tensor | None]:
        """Weight and bias to queries (0), keys (1) or values (2)."""
        bias = None if self.qkv.bias is None else self.qkv.bias.chunk(3)[which]
        return self.qkv.weight.chunk(3)[which], bias

    def find(
        self, query: Tensor, key: Tensor, value: Tensor, size: Triple, size_k: Triple
    ) -> Tensor:
        """Attention with the relative bias and the query added, (B, heads, queries, D)."""
        plan, residual = self.plan, -1
        if plan.residual:
            residual = 0 if plan.residual_class else query.shape[2] - prod(size)
        if plan.form == "fused" and in_blocks(query, key) and not torch.is_grad_enabled():
            scores, hot = self.scores(query, size, size_k)
            return blocked(query, key, value, scores, hot, scale=self.scale, residual=residual)
        return attend(
            query,
            key,
            value,
            scale=self.scale,
            terms=self.terms(query, size, size_k),
            residual=residual,
            form=plan.form,
        )

    def _windowed(
        self, query: Tensor, key: Tensor, value: Tensor, size: Triple, size_k: Triple
    ) -> Tensor:
        """Attention inside windows of one image; padding at the bottom and right takes part."""
        side, side_k = (self.plan.window // s[1] for s in (self.plan.stride_q, self.plan.stride_kv))
        query = cut_windows(query, size, side)
        key, value = cut_windows(key, size_k, side_k), cut_windows(value, size_k, side_k)
        small = (1, side, side)
        found = self.find(query, key, value, small, (1, side_k, side_k))
        return self.joined(join_windows(found, size, side))

    def pooled(
        self, pool: TokenPool | None, tokens: Tensor, grid: Triple, stride: Triple | None = None
    ) -> Tensor:
        """Tokens (B, L, width) pooled and split into heads, (B, heads, L', D)."""
        return split_heads(tokens, self.plan.heads) if pool is None else pool(tokens, grid, stride)

    def terms(self, query: Tensor, size_q: Triple, size_k: Triple) -> list[Term]:
        """The relative position bias, one term an axis that has a table."""
        first = query.shape[2] - prod(size_q)
        grid = query[:, :, first:].unflatten(2, size_q)  # (B, heads, T, H, W, D)
        found = []
        for axis, letter in enumerate("thw"):
            table = getattr(self, f"rel_pos_{letter}")
            if table is None:
                continue
            rows = relative_rows(table, size_q[axis], size_k[axis], self.plan.rule)
            scores = torch.einsum(f"bnthwc,{letter}kc->bnthwk", grid, rows.to(grid.dtype))
            scores = F.pad(scores.flatten(2, 4), (0, 0, first, 0))
            found.append(Term(scores, key_rows(size_k, axis, first, query.device)))
        return found

    def scores(
        self, query: Tensor, size_q: Triple, size_k: Triple
    ) -> tuple[Tensor | None, Tensor | None]:
        """``terms`` at once: every query against every row, of which each takes its own.

        (B, heads, queries, rows) and which of these each key takes, (keys, rows); None where there
        are no tables. For inference: the way back of ``gather`` is slow.
        """
        letters = "".join(x for x in "thw" if getattr(self, f"rel_pos_{x}") is not None)
        if not letters:
            return None, None
        first = query.shape[2] - prod(size_q)
        lengths = [2 * max(size_q["thw".index(x)], size_k["thw".index(x)]) - 1 for x in letters]
        tables = [
            resize_table(getattr(self, f"rel_pos_{x}"), n)
            for x, n in zip(letters, lengths, strict=True)
        ]
        rows, hot = grid_rows(size_q, size_k, letters, first, self.plan.rule)
        joint = F.pad(torch.cat(tables), (0, 0, 0, 1))  # the last row is the class token's
        every = linear(query.transpose(1, 2), joint)  # (B, L, heads, all rows)
        index = torch.from_numpy(rows)[:, None].expand(*every.shape[:3], -1)
        return every.gather(-1, index).transpose(1, 2), torch.from_numpy(hot)

    def joined(self, found: Tensor) -> Tensor:
        """Heads side by side, projected: (B, heads, L, D) to (B, L, width)."""
        return self.proj(found.transpose(1, 2).flatten(2))


def cut_windows(tokens: Tensor, size: Triple, side: int) -> Tensor:
    """(B, heads, H * W, D) -> (B * windows, heads, side * side, D), padded with zeros."""
    _, height, width = size
    grid = tokens.unflatten(2, (height, width))
    grid = F.pad(grid, (0, 0, 0, -width % side, 0, -height % side))
    grid = grid.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # (B, heads, Y, y, X, x, D)
    return grid.permute(0, 2, 4, 1, 3, 5, 6).flatten(4, 5).flatten(0, 2)


def join_windows(windows: Tensor, size: Triple, side: int) -> Tensor:
    """What ``cut_windows`` cut, without the padding: (B, heads, H * W, D)."""
    _, height, width = size
    down, across = -(-height // side), -(-width // side)
    grid = windows.unflatten(0, (-1, down, across)).unflatten(4, (side, side))
    grid = grid.permute(0, 3, 1, 4, 2, 5, 6).flatten(4, 5).flatten(2, 3)
    return grid[:, :, :height, :width].flatten(2, 3)


def key_rows(size: Triple, axis: int, first: int, device: torch.device) -> Tensor:
    """Coordinate of each key along one axis of its grid, after ``first`` keys that have none."""
    shape = [1, 1, 1]
    shape[axis] = size[axis]
    along = torch.arange(size[axis], device=device).view(shape).expand(size).flatten()
    return F.pad(along, (first, 0), value=-1)
