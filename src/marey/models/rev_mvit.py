"""Reversible MViT: two streams whose blocks can be undone, so that training need not remember them.

    y1 = x1 + F(x2),  y2 = x2 + G(y1)     hence     x2 = y2 - G(y1),  x1 = y1 - F(x2)

F is pooling attention, G an MLP, each behind its norm. The way back computes a block's input from
its output, so that memory does not grow with depth. Where a stage begins the streams are fused,
pooled and widened by an ordinary block, and doubled again after it.

    stage     shape of rev_mvit_b_16x4 for a 16-frame clip at 224x224
    input     1 3 16 224 224
    tokens    1 25088 96
    stage1    1 192 8 56 56
    stage2    1 384 8 28 28
    stage3    1 768 8 14 14
    stage4    1 1536 8 7 7
    positions 1 1 400
    logits    1 400

Source: K. Mangalam et al., "Reversible Vision Transformers", CVPR 2022, Section 3, and the authors'
code. Differs: drop path in a block that begins a stage leaves out its branches; the authors' code
zeroes the whole sample there (``drop_whole``).
RevMViTConfig exceeds the 14-field cap: one field for each thing the published rows vary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from marey.layers.attention import AttentionForm, DropPath
from marey.layers.conv import Triple
from marey.layers.heads import ClassifierHead, ClipClassifier
from marey.layers.init import start_transformer
from marey.layers.linear import Linear, Mlp
from marey.layers.multiscale import BlockPlan, Stem, TokenPositions, as_map, check_tokens_clip
from marey.layers.pooling_attention import (
    EPSILON,
    AttentionPlan,
    PoolingAttention,
    max_pool_tokens,
)
from marey.layers.reversible import Pair, reversible
from marey.models.mvit import MViTConfig, plan_blocks


@dataclass(frozen=True, kw_only=True)
class RevMViTConfig:
    """One network; the fields it shares with MViTConfig mean the same.

    ``fuse``: where a stage begins, the streams are averaged (and the attention widens them), or put
    side by side through an MLP. ``shortcut``: how the shortcut is pooled there, by the queries' own
    convolution or by a maximum.
    """

    num_classes: int = 400
    dropout: float = 0.5
    frames: int = 16
    crop: int = 224
    channels: int = 3
    depths: tuple[int, ...] = (1, 2, 11, 2)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    width: int = 96
    heads: int = 1
    patch_kernel: Triple = (3, 7, 7)
    patch_stride: Triple = (2, 4, 4)
    kv_stride: int = 8
    pool_kernel: int = 3  # 0: none where the stride is 1
    positions: Literal["separate", "joint"] = "separate"
    fuse: Literal["average", "concat"] = "average"
    shortcut: Literal["conv", "max"] = "conv"
    qkv_bias: bool = False
    separate_qkv: bool = False  # how the published file stores the projections
    drop_path: float = 0.05
    drop_whole: bool = False
    reversible: bool = True  # recompute activations on the way back; else remember them
    attention: AttentionForm = "fused"

    @property
    def image(self) -> bool:
        """True where nothing reaches over time: stem and pools see one frame."""
        return self.patch_kernel[0] == 1

    @property
    def plain(self) -> MViTConfig:
        """The configuration of the MViT whose table of blocks this network has."""
        return MViTConfig(
            frames=self.frames,
            crop=self.crop,
            depths=self.depths,
            strides=self.strides,
            width=self.width,
            heads=self.heads,
            patch_kernel=self.patch_kernel,
            patch_stride=self.patch_stride,
            kv_stride=self.kv_stride,
            pool_kernel=self.pool_kernel,
            query_pools="transitions",
            positions="none",
            class_token=False,
            pool="mean",
            residual=False,
            qkv_bias=self.qkv_bias,
            drop_path=self.drop_path,
            attention=self.attention,
        )


_CLIP = RevMViTConfig()
_IMAGE = RevMViTConfig(
    num_classes=1000,
    dropout=0.0,
    frames=1,
    patch_kernel=(1, 7, 7),
    patch_stride=(1, 4, 4),
    kv_stride=4,
    positions="joint",
    fuse="concat",
    qkv_bias=True,
    separate_qkv=True,
    drop_path=0.1,
)
_VIT = replace(
    _IMAGE,
    depths=(12,),
    strides=(1,),
    patch_kernel=(1, 16, 16),
    patch_stride=(1, 16, 16),
    kv_stride=1,
    pool_kernel=0,
)

VARIANTS: dict[str, RevMViTConfig] = {
    "rev_mvit_b_16x4": _CLIP,
    "rev_mvit_b_16": _IMAGE,
    "rev_vit_s": replace(_VIT, width=384, heads=6),
    "rev_vit_b": replace(_VIT, width=768, heads=12),
}


class Attended(nn.Module):
    """F: norm, then pooling attention over the grid."""

    def __init__(self, plan: AttentionPlan) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(plan.width_in, eps=EPSILON)
        self.attn = PoolingAttention(plan)
        self.attn.remember = True  # a reversible block is computed again whole

    def forward(self, tokens: Tensor, grid: Triple) -> Tensor:
        return self.attn(self.norm(tokens), grid)[0]


class Mixed(nn.Module):
    """G: norm, then an MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = Mlp(width, 4 * width, width)

    def forward(self, tokens: Tensor, grid: Triple) -> Tensor:
        return self.mlp(self.norm(tokens))


class ReversibleBlock(nn.Module):
    """One step of two streams; both branches drop the same samples."""

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__()
        self.f = Attended(plan.attention)
        self.g = Mixed(plan.width)
        self.drop_path = DropPath(plan.drop_path)


class Transition(nn.Module):
    """Fuses two streams (B, L, 2 * D) and pools them into one as wide, where a stage begins."""

    def __init__(self, plan: BlockPlan, config: RevMViTConfig) -> None:
        super().__init__()
        joined = 2 * plan.attention.width_in
        concat = config.fuse == "concat"
        inner = replace(plan.attention, width_in=joined) if concat else plan.attention
        self.config, self.stride = config, inner.stride_q
        self.fuse = Mlp(joined, 2 * joined, joined) if concat else None
        self.f = Attended(inner)
        self.g = Mixed(plan.width)
        widens = inner.width_in != inner.width
        self.widen = Linear(inner.width_in, inner.width) if widens else None
        self.drop_path = DropPath(plan.drop_path)

    def forward(self, streams: Tensor, grid: Triple) -> tuple[Tensor, Triple]:
        if self.fuse is not None:
            tokens = streams + self.fuse(streams)
        else:
            one, two = streams.chunk(2, dim=-1)
            tokens = (one + two) / 2
        pool, size = self.f.attn.pool_q, grid
        short = tokens if self.widen is None else self.widen(tokens)
        if self.config.shortcut == "max" or pool is None:
            short = max_pool_tokens(short, grid, self.stride)
        else:
            short = (
                pool(short, grid).transpose(1, 2).flatten(2)
            )  # with the queries' kernel and norm
        if pool is not None:
            size = pool.size(grid)
        drop = nn.Identity() if self.config.drop_whole else self.drop_path
        tokens = short + drop(self.f(tokens, grid))
        tokens = tokens + drop(self.g(tokens, size))
        return self.drop_path(tokens) if self.config.drop_whole else tokens, size


class RevMViT(ClipClassifier):
    """(B, 3, T, H, W) -> (B, K) logits; images are (B, 3, H, W) or have T = 1."""

    def __init__(self, config: RevMViTConfig) -> None:
        super().__init__()
        self.config = config
        self.plans = plan_blocks(config.plain)
        self.patch_embed = Stem(
            config.channels, config.width, config.patch_kernel, config.patch_stride
        )
        self.positions = TokenPositions(
            config.width, config.plain.grid, kind=config.positions, class_token=False
        )
        self.blocks = nn.ModuleList(
            Transition(plan, config) if plan.begins else ReversibleBlock(plan)
            for plan in self.plans
        )
        self.widths = (2 * self.plans[-1].width,)
        self.norm = nn.LayerNorm(self.widths[0], eps=EPSILON)
        self.head = ClassifierHead(self.widths, config.num_classes, dropout=config.dropout)
        start_transformer(self)

    def tokens(self, clip: Tensor) -> tuple[Tensor, Triple]:
        """Patches with positions, (B, L, D), and their grid. Raises ValueError for a bad clip."""
        clip = check_tokens_clip(clip, self.config, self.name)
        patches = self.patch_embed(clip)
        t, h, w = patches.shape[2:]
        return self.positions(patches.flatten(2).transpose(1, 2), (t, h, w)), (t, h, w)

    def walk(self, tokens: Tensor, grid: Triple) -> Iterator[tuple[Tensor, Triple]]:
        """Both streams side by side (B, L, 2 * D), and their grid, after each stage."""
        run: list[ReversibleBlock] = []
        for block, plan in zip(self.blocks, self.plans, strict=True):
            if isinstance(block, Transition):
                tokens, grid = block(tokens, grid)
            elif isinstance(block, ReversibleBlock):
                run.append(block)
            if plan.last:
                tokens = self._run(run, tokens, grid)
                yield tokens, grid
                run = []

    def _run(self, blocks: list[ReversibleBlock], tokens: Tensor, grid: Triple) -> Tensor:
        """The reversible blocks of a stage from doubled tokens."""
        masks = [block.drop_path.mask(tokens) for block in blocks]
        pairs: list[Pair] = [(block.f, block.g) for block in blocks]
        keep = not self.config.reversible or not torch.is_grad_enabled()
        return reversible(tokens, grid, pairs, masks, remember=keep)

    def stages(self, clip: Tensor) -> list[Tensor]:
        """Maps (B, 2 * C, T, H, W) after each stage, both streams, before the last norm."""
        return [as_map(tokens, grid) for tokens, grid in self.walk(*self.tokens(clip))]

    def features(self, clip: Tensor) -> tuple[Tensor, ...]:
        """The last map after the last norm, (B, 2 * C, T, H, W)."""
        *_, (tokens, grid) = self.walk(*self.tokens(clip))
        return (as_map(self.norm(tokens), grid),)

    def forward_positions(self, clip: Tensor) -> Tensor:
        """Logits as (B, 1, K): this network has one output position."""
        *_, (tokens, _) = self.walk(*self.tokens(clip))
        pooled = self.norm(tokens).mean(dim=1)
        return self.head.projection(self.head.dropout(pooled)).unsqueeze(1)

    def depth_of(self, name: str) -> int:
        """Layer of a parameter for layer decay: stem and tables 0, blocks from 1, head last."""
        if name.startswith("blocks."):
            return int(name.split(".")[1]) + 1
        return 0 if name.startswith(("patch_embed", "positions")) else len(self.blocks) + 1

    def stage_modules(self) -> list[nn.Module]:
        """Parts whose activations may be recomputed; the reversible blocks do it anyway."""
        return [block for block in self.blocks if isinstance(block, Transition)]
