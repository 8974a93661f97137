"""MViT: a transformer whose grid of tokens shrinks while its width grows, as in a ResNet.

Every layer pools its queries, keys and values over space and time before they meet: keys much more
than queries, so that early layers can afford a fine grid. Version 1 adds learned positions to the
tokens; version 2 scores relative positions against the query, one axis at a time, and adds the
pooled query to what it found. Images are clips of one frame.

    stage     shape of mvitv2_s_16x4 for a 16-frame clip at 224x224
    input     1 3 16 224 224
    tokens    1 25089 96
    stage1    1 96 8 56 56
    stage2    1 192 8 28 28
    stage3    1 384 8 14 14
    stage4    1 768 8 7 7
    positions 1 1 400
    logits    1 400

Source: H. Fan et al., "Multiscale Vision Transformers", ICCV 2021, Section 3 and Table 2; Y. Li et
al., "MViTv2: Improved Multiscale Vision Transformers for Classification and Detection", CVPR 2022,
Section 4 and Table 1; the numbers of every row from the authors' configuration files.
Differs: any crop and length goes in (tables are resized); biases start at zero, where the authors'
video code starts them at 0.02.
MViTConfig exceeds the 14-field cap: one field for each thing the published rows vary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from marey.layers.attention import AttentionForm
from marey.layers.conv import Triple
from marey.layers.heads import ClassifierHead, ClipClassifier
from marey.layers.init import start_transformer
from marey.layers.linear import eager
from marey.layers.multiscale import (
    Block,
    BlockPlan,
    Growth,
    Stem,
    TokenPositions,
    as_map,
    check_tokens_clip,
)
from marey.layers.pooling_attention import EPSILON, ONES, AttentionPlan, PoolMode
from marey.layers.positions import IndexRule


@dataclass(frozen=True, kw_only=True)
class MViTConfig:
    """One network. ``frames`` and ``crop`` size the position tables; other sizes resize them.

    ``query_pools``: queries are pooled in all blocks, or only where a stage begins. ``grow``:
    widths double in the attention that begins a stage, or in the MLP of the block before it.
    """

    num_classes: int = 400
    dropout: float = 0.5
    frames: int = 16
    crop: int = 224
    channels: int = 3
    depths: tuple[int, ...] = (1, 2, 11, 2)  # blocks of each stage
    strides: tuple[int, ...] = (1, 2, 2, 2)  # of the queries in space, where a stage begins
    width: int = 96  # doubles with every stage, as do the heads
    heads: int = 1
    patch_kernel: Triple = (3, 7, 7)
    patch_stride: Triple = (2, 4, 4)
    kv_stride: int = 8  # in space, of the first stage; divided by the strides of the later ones
    pool_kernel: int = 3  # 0: stride + 1
    pool_mode: PoolMode = "conv"
    query_pools: Literal["all", "transitions"] = "all"
    positions: Literal["relative", "separate", "joint", "none"] = "relative"
    rule: IndexRule = "float32"  # of relative positions whose steps do not divide
    class_token: bool = True
    pool: Literal["class", "mean", "mean_then_norm"] = "class"  # what is classified
    grow: Growth = "attention"
    residual: bool = True  # add the pooled query to what attention found
    residual_class: bool = False  # to the class token too
    qkv_bias: bool = True
    drop_path: float = 0.2  # of the last block, from 0 in the first
    head_scale: float = 1.0  # of the classifier's first weights
    attention: AttentionForm = "fused"
    pyramid: Literal["", "hybrid", "window", "global"] = (
        ""  # a detection backbone, not a classifier
    )

    @property
    def image(self) -> bool:
        """True where nothing reaches over time: stem and pools see one frame."""
        return self.patch_kernel[0] == 1

    @property
    def grid(self) -> Triple:
        """Tokens along T, H, W that the tables are made for."""
        t, h, w = (
            n // s
            for n, s in zip((self.frames, self.crop, self.crop), self.patch_stride, strict=True)
        )
        return t, h, w


_V2 = MViTConfig()
_V1 = MViTConfig(query_pools="transitions", positions="separate", grow="mlp", residual=False)
_IMAGE: dict[str, Any] = {
    "num_classes": 1000,
    "dropout": 0.0,
    "frames": 1,
    "patch_kernel": (1, 7, 7),
    "patch_stride": (1, 4, 4),
    "kv_stride": 4,
    "drop_path": 0.1,
}
_V2_IMAGE = replace(_V2, **_IMAGE, class_token=False, pool="mean")
_V2_CLASS = replace(_V2, **_IMAGE, residual_class=True)
_V1_IMAGE = replace(_V1, **_IMAGE, positions="joint")
T, S, B, L, H = (1, 2, 5, 2), (1, 2, 11, 2), (2, 3, 16, 3), (2, 6, 36, 4), (4, 8, 60, 8)
LARGE: dict[str, Any] = {"depths": L, "width": 144, "heads": 2}
HUGE: dict[str, Any] = {"depths": H, "width": 192, "heads": 3, "drop_path": 0.8}

VARIANTS: dict[str, MViTConfig] = {
    "mvit_b_16x4": _V1,
    "mvit_b_32x3": replace(_V1, frames=32, drop_path=0.3),
    "mvit_b_64x3": replace(_V1, frames=64, drop_path=0.3),
    "mvit_b_24_32x3": replace(_V1, frames=32, depths=B, pool_kernel=0, drop_path=0.3),
    "mvitv2_s_16x4": _V2,
    "mvitv2_b_32x3": replace(_V2, frames=32, depths=B, drop_path=0.3),
    "mvitv2_l_16x4": replace(_V2, **LARGE, drop_path=0.75),
    "mvitv2_l_40x3": replace(_V2, **LARGE, frames=40, crop=312, drop_path=0.75),
    "mvit_b_16": _V1_IMAGE,
    "mvit_b_24": replace(_V1_IMAGE, depths=B, drop_path=0.3),
    "mvit_b_16_ptv": replace(_V1_IMAGE, num_classes=400, positions="separate"),
    "mvitv2_t": replace(_V2_IMAGE, depths=T),
    "mvitv2_s": _V2_IMAGE,
    "mvitv2_b": replace(_V2_IMAGE, depths=B, drop_path=0.3),
    "mvitv2_l": replace(_V2_IMAGE, **LARGE, grow="mlp", drop_path=0.5),
    "mvitv2_h": replace(_V2_IMAGE, **HUGE),
    "mvitv2_s_cls": _V2_CLASS,
    "mvitv2_b_cls": replace(_V2_CLASS, depths=B, num_classes=19168, drop_path=0.3),
    "mvitv2_l_cls": replace(_V2_CLASS, **LARGE, num_classes=19168, drop_path=0.5),
    "mvitv2_h_cls": replace(_V2_CLASS, **HUGE, num_classes=19168),
}


def plan_blocks(config: MViTConfig) -> list[BlockPlan]:
    """The table of blocks that a configuration stands for. Raises ValueError where it cannot be."""
    check_config(config)
    depth, at, width_in = sum(config.depths), 0, config.width
    side, kv = config.grid[1], config.kv_stride
    plans = []
    for stage, blocks in enumerate(config.depths):
        for i in range(blocks):
            step = config.strides[stage] if i == 0 else 1
            kv = max(kv // step, 1)
            last = i == blocks - 1
            wider = config.width * 2 ** (stage + 1)
            width = (
                wider
                if config.grow == "mlp" and last and stage + 1 < len(config.depths)
                else (config.width * 2**stage)
            )
            attention = _attention(config, stage, i, width_in=width_in, side=side, kv=kv)
            plans.append(
                BlockPlan(
                    attention=attention,
                    width=width,
                    grow=config.grow,
                    drop_path=config.drop_path * at / max(depth - 1, 1),
                    stage=stage,
                    last=last,
                    begins=i == 0 and stage > 0,
                )
            )
            side, at, width_in = side // step, at + 1, width
    return plans


def _attention(
    config: MViTConfig, stage: int, i: int, *, width_in: int, side: int, kv: int
) -> AttentionPlan:
    """The attention of block ``i`` of a stage whose input has ``side`` rows."""
    step = config.strides[stage] if i == 0 else 1
    queries = config.query_pools == "all" or step > 1
    last = i == config.depths[stage] - 1
    window, stride_kv = 0, kv
    if config.pyramid in ("hybrid", "window"):
        started = stage if i > 0 else max(stage - 1, 0)
        window = side_of(config, started)
        if config.pyramid == "hybrid" and last and stage > 0:
            window = 0
            stride_kv = kv * 2 if stage + 1 < len(config.depths) else kv
    relative = config.positions == "relative"
    return AttentionPlan(
        width_in=width_in,
        width=config.width * 2**stage,
        heads=config.heads * 2**stage,
        kernel_q=_kernel(config, step) if queries else ONES,
        stride_q=(1, step, step),
        kernel_kv=_kernel(config, stride_kv),
        stride_kv=(1, stride_kv, stride_kv),
        mode=config.pool_mode,
        bias=config.qkv_bias,
        residual=config.residual,
        residual_class=config.residual_class,
        rows_space=2 * max(side // step, side // kv) - 1 if relative else 0,
        rows_time=2 * config.grid[0] - 1 if relative and not config.image else 0,
        rule=config.rule,
        form=config.attention,
        window=window,
    )


def side_of(config: MViTConfig, stage: int) -> int:
    """Rows of the grid inside a stage, for the crop of the configuration."""
    return config.grid[1] // prod(config.strides[: stage + 1])


def _kernel(config: MViTConfig, stride: int) -> Triple:
    size = config.pool_kernel or (stride + 1 if stride > 1 else 1)
    return (1 if config.image or not config.pool_kernel else size, size, size)


class MViT(ClipClassifier):
    """(B, 3, T, H, W) -> (B, K) logits; images are (B, 3, H, W) or have T = 1.

    With ``pyramid`` set it is a detection backbone: no classifier, four maps from ``pyramid``.
    """

    def __init__(self, config: MViTConfig) -> None:
        super().__init__()
        self.config = config
        self.plans = plan_blocks(config)
        self.patch_embed = self.stem()
        self.positions = TokenPositions(
            config.width, config.grid, kind=config.positions, class_token=config.class_token
        )
        self.blocks = nn.ModuleList(self.block(i, plan) for i, plan in enumerate(self.plans))
        stage_widths = [plan.width for plan in self.plans if plan.last]
        self.widths: tuple[int, ...] = (stage_widths[-1],)
        if config.pyramid:
            self.scale_norms = nn.ModuleList(nn.LayerNorm(w, eps=EPSILON) for w in stage_widths)
        else:
            self.norm = nn.LayerNorm(self.widths[0], eps=EPSILON)
            self.head = ClassifierHead(self.widths, config.num_classes, dropout=config.dropout)
        start_transformer(self, head_scale=config.head_scale, tables=not config.pyramid)

    def stem(self) -> Stem:
        """The patches; a system built on this one may make others."""
        config = self.config
        return Stem(config.channels, config.width, config.patch_kernel, config.patch_stride)

    def block(self, index: int, plan: BlockPlan) -> Block:
        """One block of the network; a system built on this one may make another."""
        return Block(plan)

    def patches(self, clip: Tensor) -> tuple[Tensor, Triple]:
        """The stem's output as tokens (B, L, D), and their grid; ValueError for a bad clip."""
        clip = check_tokens_clip(clip, self.config, self.name)
        grid = self.patch_embed(clip)
        t, h, w = grid.shape[2:]
        return grid.flatten(2).transpose(1, 2), (t, h, w)

    def tokens(self, clip: Tensor) -> tuple[Tensor, Triple]:
        """What the first block reads: patches with positions, the class token first."""
        patches, grid = self.patches(clip)
        return self.positions(patches, grid), grid

    def walk(self, tokens: Tensor, grid: Triple) -> Iterator[tuple[Tensor, Triple]]:
        """Tokens and grid after each stage."""
        for block, plan in zip(self.blocks, self.plans, strict=True):
            tokens, grid = block(tokens, grid)
            if plan.last:
                yield tokens, grid

    def stages(self, clip: Tensor) -> list[Tensor]:
        """Maps (B, C, T, H, W) after each stage, without class token, before the last norm."""
        return [as_map(tokens, grid) for tokens, grid in self.walk(*self.tokens(clip))]

    def features(self, clip: Tensor) -> tuple[Tensor, ...]:
        """The last map after the last norm, (B, C, T, H, W)."""
        *_, (tokens, grid) = self.walk(*self.tokens(clip))
        return (as_map(self._head_norm(tokens), grid),)

    def pooled(self, clip: Tensor) -> Tensor:
        """What is classified, (B, C): the class token, or the mean of the others."""
        norm = self._head_norm
        tokens, grid = self.tokens(clip)
        if self.config.pool == "class" and eager(tokens) and not torch.is_grad_enabled():
            # of the last block one row is enough; in training all weights must get a gradient
            for block in self.blocks[:-1]:
                tokens, grid = block(tokens, grid)
            return norm(self.blocks[-1](tokens, grid, first=True)[0][:, 0])
        *_, (tokens, grid) = self.walk(tokens, grid)
        if self.config.pool == "mean_then_norm":
            return norm(tokens[:, -prod(grid) :].mean(dim=1))
        if self.config.pool == "mean":
            return norm(tokens)[:, -prod(grid) :].mean(dim=1)
        return norm(tokens[:, 0])

    def forward_positions(self, clip: Tensor) -> Tensor:
        """Logits as (B, 1, K): this network has one output position."""
        return self.classified(self.pooled(clip)).unsqueeze(1)

    def classified(self, pooled: Tensor) -> Tensor:
        """Logits of what ``pooled`` gives."""
        return self.head.projection(self.head.dropout(pooled))

    def forward(self, clip: Tensor) -> Any:
        """Logits (B, K); the maps of ``pyramid`` where the network was built as one."""
        return self.pyramid(clip) if self.config.pyramid else super().forward(clip)

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """Normed maps (B, C, H, W) at strides 4, 8, 16, 32 of an image (B, 3, H, W)."""
        if not self.config.pyramid:
            raise ValueError(
                f"{self.name} is a classifier: build or load it with pyramid='hybrid' for maps"
            )
        walked = zip(self.walk(*self.tokens(image)), self.scale_norms, strict=True)
        return [as_map(norm(tokens), grid).squeeze(2) for (tokens, grid), norm in walked]

    def stage_modules(self) -> list[nn.Module]:
        """Parts whose activations may be recomputed: the blocks."""
        return list(self.blocks)

    def depth_of(self, name: str) -> int:
        """Layer of a parameter for layer decay: stem and tables 0, blocks from 1, head last."""
        if name.startswith("blocks."):
            return int(name.split(".")[1]) + 1
        return 0 if name.startswith(("patch_embed", "positions")) else len(self.blocks) + 1

    def head_parameters(self) -> tuple[str, ...]:
        return () if self.config.pyramid else super().head_parameters()

    def reset_head(self, num_classes: int) -> None:
        """Replace the classifier by a fresh one; a detection backbone has none."""
        if self.config.pyramid:
            self.config = replace(self.config, num_classes=num_classes)
            return
        super().reset_head(num_classes)
        start_transformer(self.head, head_scale=self.config.head_scale)

    @property
    def _head_norm(self) -> nn.LayerNorm:
        if self.config.pyramid:
            raise ValueError(f"{self.name} was built as a pyramid and has no classifier")
        return self.norm


def check_config(config: MViTConfig) -> None:
    """Raises ValueError for what cannot be built."""
    counts = {"num_classes": config.num_classes, "frames": config.frames, "width": config.width}
    for name, value in {**counts, "heads": config.heads, "kv_stride": config.kv_stride}.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be 1 or more")
    if len(config.strides) != len(config.depths) or min(config.depths, default=0) < 1:
        raise ValueError(
            f"depths is {config.depths} and strides {config.strides}; give one of each a stage"
        )
    if not 0.0 <= config.drop_path < 1.0:
        raise ValueError(f"drop_path is {config.drop_path:g}; it must be in [0, 1)")
    for name in ("strides", "patch_kernel", "patch_stride"):
        if min(getattr(config, name)) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; numbers must be 1 or more")
    if config.pool_kernel < 0 or (config.pool_kernel and config.pool_kernel % 2 == 0):
        raise ValueError(
            f"pool_kernel is {config.pool_kernel}; it must be odd, or 0 for the stride and one more"
        )
    if config.width % config.heads:
        raise ValueError(f"width {config.width} does not divide into {config.heads} heads")
    shrinks = config.patch_stride[1] * prod(config.strides)
    if config.crop < shrinks or config.frames < config.patch_stride[0]:
        raise ValueError(
            f"tables for {config.frames} frames at {config.crop} pixels would be empty: this "
            f"network needs at least {config.patch_stride[0]} frames at {shrinks} pixels"
        )
    if config.pool == "class" and not (config.class_token or config.pyramid):
        raise ValueError("pool is 'class' but class_token is off; set pool to 'mean'")
    if config.pyramid and (config.class_token or not config.image):
        raise ValueError("pyramid needs an image variant without class token, as mvitv2_t")
