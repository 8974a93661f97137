"""The parts of multiscale transformers: patches, what is added to them, and the block.

    step       shape for block 1 of mvitv2_s_16x4
    tokens     1 25089 96
    attention  1 6273 192
    block      1 6273 192

Tokens lie in rows (B, L, D): the class token first where there is one, then the grid (T, H, W) with
W fastest. Source: H. Fan et al., "Multiscale Vision Transformers", ICCV 2021, Section 3; Y. Li et
al., "MViTv2", CVPR 2022, Section 4, and the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.attention import DropPath
from marey.layers.conv3d import Triple, conv3d
from marey.layers.linear import Linear, Mlp
from marey.layers.pooling_attention import (
    EPSILON,
    AttentionPlan,
    PoolingAttention,
    max_pool_tokens,
)
from marey.layers.positions import resize_absolute

Growth = Literal["attention", "mlp"]


class Stem(nn.Conv3d):
    """Overlapping patches: (B, C, T, H, W) -> (B, D, T / st, H / sh, W / sw).

    With ``causal`` a patch ends with the last of the ``st`` frames it stands for.
    """

    def __init__(
        self, channels: int, width: int, kernel: Triple, stride: Triple, *, causal: bool = False
    ) -> None:
        t, h, w = (k // 2 if k > s else 0 for k, s in zip(kernel, stride, strict=True))
        self.early = causal and t > 0  # else no patch reads past its own frames
        super().__init__(channels, width, kernel, stride, (0 if self.early else t, h, w))

    def forward(self, clip: Tensor) -> Tensor:
        form: Any = (self.stride, self.padding)
        if self.early:
            step = self.stride[0]
            clip = F.pad(clip, (0, 0, 0, 0, self.kernel_size[0] - step, -clip.shape[2] % step))
        return conv3d(clip, self.weight, self.bias, *form)


class TokenPositions(nn.Module):
    """The class token and absolute positions, put on (B, L, D) patches of a grid.

    ``kind``: ``separate`` tables of space and time, one ``joint`` table, else none. Tables made for
    ``grid`` follow another one by linear interpolation.
    """

    class_token: nn.Parameter | None
    spatial: nn.Parameter | None
    temporal: nn.Parameter | None
    class_position: nn.Parameter | None
    joint: nn.Parameter | None

    def __init__(self, width: int, grid: Triple, *, kind: str, class_token: bool) -> None:
        super().__init__()
        self.grid = grid
        t, h, w = grid
        separate = kind == "separate"
        tables = {
            "class_token": int(class_token),
            "spatial": h * w if separate else 0,
            "temporal": t if separate else 0,
            "class_position": int(separate and class_token),
            "joint": t * h * w + class_token if kind == "joint" else 0,
        }
        for name, rows in tables.items():
            table = nn.Parameter(torch.zeros(1, rows, width)) if rows else None
            self.register_parameter(name, table)

    def forward(self, patches: Tensor, grid: Triple) -> Tensor:
        """Patches with their positions, the class token before them."""
        token: Tensor | None = self.class_token
        if self.joint is not None:
            first = 0 if token is None else 1
            patches = patches + resize_absolute(self.joint[:, first:], self.grid, grid)
            token = token if token is None else token + self.joint[:, :first]
        elif self.spatial is not None and self.temporal is not None:
            space = resize_absolute(self.spatial, self.grid[1:], grid[1:]).unsqueeze(1)
            time = resize_absolute(self.temporal, self.grid[:1], grid[:1]).unsqueeze(2)
            patches = patches + (time + space).flatten(1, 2)
            if token is not None and self.class_position is not None:
                token = token + self.class_position
        if token is None:
            return patches
        return torch.cat([token.expand(patches.shape[0], -1, -1), patches], dim=1)


@dataclass(frozen=True, kw_only=True)
class BlockPlan:
    """One block: its attention, the width it hands on, and where it stands."""

    attention: AttentionPlan
    width: int
    grow: Growth  # where the width may double: in the attention, or in the MLP
    drop_path: float
    stage: int
    begins: bool  # a stage, after the first
    last: bool  # of its stage


class Block(nn.Module):
    """(B, L, D) tokens on a grid -> tokens and grid, pooled where the queries are.

    ``attention`` may be replaced by one that takes more and tells more (``memory``): what the block
    is given after the grid is handed on to it, and what it answers after the grid is handed back.
    """

    def __init__(self, plan: BlockPlan, attention: nn.Module | None = None) -> None:
        super().__init__()
        inner = plan.attention
        self.grow, self.stride = plan.grow, inner.stride_q
        self.norm1 = nn.LayerNorm(inner.width_in, eps=EPSILON)
        self.attn = PoolingAttention(inner) if attention is None else attention
        self.norm2 = nn.LayerNorm(inner.width, eps=EPSILON)
        self.mlp = Mlp(inner.width, 4 * inner.width, plan.width)
        self.drop_path = DropPath(plan.drop_path)
        widens = inner.width_in != plan.width
        self.proj = Linear(inner.width_in, plan.width) if widens else None

    def forward(
        self, tokens: Tensor, grid: Triple, *more: Any, first: bool = False
    ) -> tuple[Any, ...]:
        """With ``first`` only the class token's row of what is found, (B, 1, D)."""
        normed = self.norm1(tokens)
        attention: Any = self.attn.first if first else self.attn
        found, size, *told = attention(normed, grid, *more)
        if first:
            tokens, normed = tokens[:, :1], normed[:, :1]
        if self.proj is not None and self.grow == "attention":
            tokens = self.proj(normed)
        if not first:
            tokens = max_pool_tokens(tokens, grid, self.stride)
        tokens = tokens + self.drop_path(found)
        normed = self.norm2(tokens)
        if self.proj is not None and self.grow == "mlp":
            tokens = self.proj(normed)
        mixed = self.drop_path(self.mlp(normed))
        # the sum above is ours alone, but the way back would need it
        return (tokens + mixed if torch.is_grad_enabled() else tokens.add_(mixed)), size, *told


def as_map(tokens: Tensor, grid: Triple) -> Tensor:
    """The grid part of (B, L, D) tokens as a map (B, D, T, H, W)."""
    return tokens[:, -prod(grid) :].transpose(1, 2).unflatten(2, grid)


def check_tokens_clip(clip: Tensor, config: Any, name: str) -> Tensor:
    """The clip as (B, C, T, H, W); images may come as (B, C, H, W).

    ``config`` tells ``channels``, ``image`` and ``patch_stride``. Raises ValueError for a clip of
    other axes or channels, no frames, several for a network of images, or less than one patch.
    """
    if clip.dim() == 4 and config.image:
        clip = clip.unsqueeze(2)
    if clip.dim() != 5 or clip.shape[1] != config.channels:
        form = "(B, {0}, H, W) or (B, {0}, 1, H, W)" if config.image else "(B, {0}, T, H, W)"
        raise ValueError(f"{name} takes {form.format(config.channels)} but got {tuple(clip.shape)}")
    if config.image and clip.shape[2] != 1:
        raise ValueError(
            f"clip has {clip.shape[2]} frames but {name} reads single images; take a variant for "
            f"clips (its weights can be inflated)"
        )
    if clip.shape[2] < 1:
        raise ValueError(f"clip has no frames: {tuple(clip.shape)}; give {name} one or more")
    side = config.patch_stride[1]
    if min(clip.shape[3:]) < side:
        raise ValueError(
            f"clip is {clip.shape[3]}x{clip.shape[4]} pixels but {name} needs at least "
            f"{side}x{side}; resize it"
        )
    return clip
