"""MeMViT: an MViT that reads a long video clip by clip and remembers what its layers saw before.

Each attention layer keeps the keys and values of past clips, compressed, and looks at them beside
those of the clip it is given; as every layer does, what the last one sees reaches back further than
any single memory. The memory is a value: ``logits, state = model(clip, state)``.

    stage      shape of memvit_16x4 for a 16-frame clip at 224x224
    input      1 3 16 224 224
    tokens     1 25089 96
    stage1     1 96 8 56 56
    stage2     1 192 8 28 28
    stage3     1 384 8 14 14
    stage4     1 768 8 7 7
    positions  1 1 400
    logits     1 400

``_ava`` variants answer for boxes: what a box shows, then a transformer block over the boxes of
this clip and of remembered ones. With ``frame_level`` every step of time is answered, from the mean
of its tokens: (B, T', K), T' = 8 of 16 frames. With ``causal`` no token depends on a later frame of
its clip; the class token sees them all and is seen by none, but for what is remembered of it.

Source: C.-Y. Wu et al., "MeMViT: Memory-Augmented Multiscale Vision Transformer for Efficient
Long-Term Video Recognition", CVPR 2022; the authors' configuration files.
Differs: memory of other videos and empty places of boxes can be hidden instead of being zeros that
are looked at (``masked``, ``box_padding``); taller frames work as wider ones do; ``causal`` also
holds for stems that reach past their stride (the authors' own, 3 by 2, does not).
MeMViTConfig exceeds the 14-field cap, as the one it extends does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.conv import Triple
from marey.layers.init import start_transformer
from marey.layers.linear import Mlp
from marey.layers.memory import (
    HIDDEN,
    BoxMemory,
    LayerMemory,
    Memory,
    MemoryAttention,
    MemoryPlan,
    Oblong,
    Recall,
    joined,
)
from marey.layers.multiscale import Block, BlockPlan, Stem, as_map
from marey.layers.pooling_attention import EPSILON, split_heads
from marey.layers.roi import box_features, check_boxes, pad_boxes
from marey.models.mvit import B, MViT, MViTConfig, side_of


@dataclass(frozen=True, kw_only=True)
class MeMViTConfig(MViTConfig):
    """``memory``: which clips back the layers look at, in turn: ((2, 4), ()) is the second and the
    fourth clip before this one in every other layer; () remembers nothing."""

    memory: tuple[tuple[int, ...], ...] = ()
    uncompressed: int = 1  # newest clips kept whole; the oldest of them is compressed at each step
    compress_kernel: Triple = (7, 3, 3)
    compress_stride: Triple = (4, 2, 2)
    masked: bool = True  # hide memory of other videos; False: zeros that are looked at
    oblong: Oblong = "clamp"  # positions along the longer side: cut off, or tables resized
    boxes: bool = False  # answer for boxes
    box_blocks: int = 1
    box_heads: int = 8
    box_slots: int = 100  # boxes of a clip at most
    box_padding: Literal["masked", "zeros"] = "masked"  # empty places, hidden or looked at
    causal: bool = False  # look at no later frame of the clip
    frame_level: bool = False  # answer for every step of time

    @property
    def reach(self) -> int:
        """How many clips back the furthest memory is."""
        return max((age for ages in self.memory for age in ages), default=0)

    @property
    def ages(self) -> tuple[int, ...]:
        """The ages of the first layer that remembers; those of the boxes too."""
        return next((ages for ages in self.memory if ages), ())

    @property
    def support(self) -> int:
        """How many clips back can matter to an answer: the furthest look of every layer, added."""
        return sum(max(self.ages_of(layer), default=0) for layer in range(sum(self.depths)))

    def ages_of(self, layer: int) -> tuple[int, ...]:
        """Which clips back a layer looks at."""
        return self.memory[layer % len(self.memory)] if self.memory else ()


_AT_24: dict[str, Any] = {"frames": 32, "depths": B, "drop_path": 0.3}
_AVA: dict[str, Any] = {
    "num_classes": 80,
    "drop_path": 0.4,
    "boxes": True,
    "box_padding": "zeros",
}

VARIANTS: dict[str, MeMViTConfig] = {
    "memvit_16x4": MeMViTConfig(),
    "memvit_32x3": MeMViTConfig(**_AT_24),
    "memvit_16x4_ava": MeMViTConfig(**_AVA, memory=((2, 4), ())),
    "memvit_32x3_ava": MeMViTConfig(**{**_AT_24, **_AVA}, memory=((3, 6), ())),
}


def plan_memory(config: MeMViTConfig, layer: int, plan: BlockPlan) -> MemoryPlan:
    """What a layer remembers; its tables are made for the crop and frames of ``config``."""
    queries = side_of(config, plan.stage)
    before = side_of(config, plan.stage - 1) if plan.begins else queries
    keys = before // plan.attention.stride_kv[1]
    clips = max((len(ages) for ages in config.memory), default=0)
    return MemoryPlan(
        ages=config.ages_of(layer),
        clips=clips,
        uncompressed=config.uncompressed,
        kernel=config.compress_kernel,
        stride=config.compress_stride,
        rows_space=2 * max(queries, keys // config.compress_stride[1]) - 1,
        rows_time=(clips + 1) * config.grid[0] - 1,
        oblong=config.oblong,
    )


class BoxBlock(nn.Module):
    """Boxes (B, N, C) of a clip look at each other and at those of remembered clips."""

    def __init__(self, config: MeMViTConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attn = nn.ModuleDict({name: nn.Linear(width, width) for name in "qkv"})
        self.attn["proj"] = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = Mlp(width, 4 * width, width)

    def forward(
        self, boxes: Tensor, real: Tensor, held: BoxMemory | None, seen: Tensor | None
    ) -> tuple[Tensor, BoxMemory | None]:
        """``real`` (B, N) which places hold a box; ``seen`` (B, ages) as layers are told."""
        normed = self.norm1(boxes)
        keys, shown, after = normed, real, None
        if seen is not None:
            keys, shown, after = self.recalled(normed, real, held, seen)
        query, key, value = (
            split_heads(self._drop(self.attn[name](x)), self.config.box_heads)
            for name, x in (("q", normed), ("k", keys), ("v", keys))
        )
        bias = torch.where(shown, 0.0, HIDDEN).to(query.dtype)[:, None, None]  # (B, 1, 1, keys)
        share = 0.5 if self.training else 0.0
        bias = bias.expand(-1, -1, query.shape[2], -1)
        found = F.scaled_dot_product_attention(query, key, value, bias, share)
        boxes = boxes + self._drop(self.attn["proj"](joined(found + query)))
        return boxes + self._drop(self.mlp(self.norm2(boxes))), after

    def recalled(
        self, normed: Tensor, real: Tensor, held: BoxMemory | None, seen: Tensor
    ) -> tuple[Tensor, Tensor, BoxMemory]:
        """Boxes to look at, oldest clip first; which of them are there; the memory after."""
        if held is None:
            blank = normed.new_zeros(normed.shape[0], self.config.reach, *normed.shape[1:])
            held = BoxMemory(blank, torch.zeros_like(blank[..., 0], dtype=torch.bool))
        ages = self.config.ages[::-1]
        past = [held.features[:, age - 1].to(normed.dtype) for age in ages]
        there = [held.real[:, age - 1] for age in ages]
        if self.config.box_padding == "zeros":
            there = [torch.ones_like(one) for one in there]
        there = [one & seen[:, -1 - i, None] for i, one in enumerate(there)]
        after = BoxMemory(
            torch.cat([normed.detach().unsqueeze(1), held.features[:, :-1]], dim=1),
            torch.cat([real.unsqueeze(1), held.real[:, :-1]], dim=1),
        )
        return torch.cat([*past, normed], dim=1), torch.cat([*there, real], dim=1), after

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.3, self.training)


class MeMViT(MViT):
    """(B, 3, T, H, W) -> (B, K) logits; with a state, (logits, the state after this clip).

    With ``frame_level`` set the logits are (B, T', K), the first for the first ``patch_stride[0]``
    frames. With ``boxes`` set it answers (N, K) for boxes (N, 5): row of the batch, xyxy in
    fractions.
    """

    config: MeMViTConfig

    def __init__(self, config: MeMViTConfig) -> None:
        check_config(config)
        super().__init__(config)
        if config.boxes:
            width = self.widths[0]
            self.box_blocks = nn.ModuleList(
                BoxBlock(config, width) for _ in range(config.box_blocks)
            )
            start_transformer(self.box_blocks)
        for weight in self.unreached():
            weight.requires_grad_(False)

    def stem(self) -> Stem:
        """Patches that end with the frames they stand for, where the network is causal."""
        config = self.config
        form = config.patch_kernel, config.patch_stride
        return Stem(config.channels, config.width, *form, causal=config.causal)

    def block(self, index: int, plan: BlockPlan) -> Block:
        """A block whose attention remembers."""
        memory = plan_memory(self.config, index, plan)
        return Block(plan, MemoryAttention(plan.attention, memory, causal=self.config.causal))

    def unreached(self) -> list[nn.Parameter]:
        """Weights that take no part, or whose work is only looked at when it is past: no gradient
        ever comes to them, which several processes would wait for."""
        found: list[nn.Parameter] = []
        token = self.positions.class_token
        if self.config.causal and self.config.frame_level and token is not None:
            found.append(token)
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            ages = self.config.ages_of(layer)
            taught = bool(ages) and ages[0] == self.config.uncompressed
            for name, weight in block.attn.named_parameters():
                idle = "compress" in name and not taught
                if idle or (".rel_pos_mem" in f".{name}" and not ages):
                    found.append(weight)
        return found

    def init_state(self) -> Memory:
        """The memory before the first clip, of any number of videos.

        Raises ValueError for a network built without memory.
        """
        if not self.config.reach:
            raise ValueError(
                f"{self.name} was built without memory; set it, as memory=((2, 4), ()), or give no "
                "state"
            )
        return Memory()

    def selected(self, state: Memory, row: int = 0) -> list[int]:
        """Which of the clips a state holds, oldest first from 0, the next clip will look at."""
        held = 0 if state.held is None else int(state.held[row])
        return sorted(held - age for age in self.config.ages if age <= held)

    def forward(
        self, clip: Tensor, state: Memory | None = None, boxes: Tensor | None = None
    ) -> Any:
        """Raises ValueError for a state of another batch, network or size of clip."""
        if self.config.boxes != (boxes is not None):
            raise ValueError(
                f"{self.name} answers for boxes: give boxes (N, 5)"
                if self.config.boxes
                else f"{self.name} answers for whole clips but boxes came; take an _ava variant"
            )
        tokens, grid, after = self.remember(clip, state)
        if boxes is None:
            logits = self.classified(self.asked(tokens, grid))
            return logits if after is None else (logits, after)
        rows = boxes[:, 0].long()
        maps = as_map(self.norm(tokens), grid)
        check_boxes(boxes)
        height, width = clip.shape[3:]
        stride = self.config.patch_stride[1] * 8
        inside = box_features(maps, boxes, (height, width), stride=stride)
        found, slot = pad_boxes(inside, rows, clip.shape[0], self.config.box_slots)
        real = torch.ones_like(found[..., 0], dtype=torch.bool)
        if self.config.box_padding == "masked":
            real = torch.zeros_like(real).index_put((rows, slot), real.new_ones(len(rows)))
        held = state.boxes if state is not None and state.boxes else [None] * len(self.box_blocks)
        seen = self.seen(state, clip, self.config.ages)
        told: list[BoxMemory] = []
        for block, past in zip(self.box_blocks, held, strict=True):
            found, kept = block(found, real, past, seen)
            told += [] if kept is None else [kept]
        logits = self.classified(found[rows, slot])
        return logits if after is None else (logits, after._replace(boxes=tuple(told)))

    def remember(self, clip: Tensor, state: Memory | None) -> tuple[Tensor, Triple, Memory | None]:
        """The last block's tokens and grid, and what is remembered after this clip."""
        tokens, grid = self.tokens(clip)
        if state is None:
            *_, (tokens, grid) = self.walk(tokens, grid)
            return tokens, grid, None
        self.check_state(state, clip)
        held = list(state.layers)
        told: list[LayerMemory] = []
        for layer, block in enumerate(self.blocks):
            ages = self.config.ages_of(layer)
            if not ages:
                tokens, grid = block(tokens, grid)
                continue
            past = held[len(told)] if held else None
            recall = Recall(past, self.seen(state, clip, ages))
            tokens, grid, kept = block(tokens, grid, recall)
            told.append(kept)
        zeros = torch.zeros(clip.shape[0], dtype=torch.int64, device=clip.device)
        count = zeros if state.held is None else state.held
        clips = zeros[:1].sum() if state.clips is None else state.clips
        reach = self.config.reach
        after = ((count + 1).clamp(max=reach), (clips + 1).clamp(max=reach))
        return tokens, grid, Memory(tuple(told), (), *after)

    def seen(self, state: Memory | None, clip: Tensor, ages: Sequence[int]) -> Any:
        """Which ages count in which row, (B, ages) bool; None where nothing is remembered."""
        if state is None:
            return None
        if state.held is None:
            return torch.zeros(clip.shape[0], len(ages), dtype=torch.bool, device=clip.device)
        filled = state.held
        if not self.config.masked and clip.shape[0] > 1 and state.clips is not None:
            filled = state.clips.expand(clip.shape[0])
        return torch.stack([filled >= age for age in ages], dim=1)

    def check_state(self, state: Memory, clip: Tensor) -> None:
        """Raises ValueError for a state of another batch or network."""
        self.init_state()
        if state.held is None:
            return
        if state.held.shape[0] != clip.shape[0]:
            raise ValueError(
                f"the memory is of {state.batch} videos but the batch has {clip.shape[0]} clips; "
                "pick rows with state.rows(index), or begin with init_state()"
            )
        layers = sum(bool(self.config.ages_of(i)) for i in range(len(self.blocks)))
        boxes = self.config.box_blocks if self.config.boxes else 0
        if (len(state.layers), len(state.boxes)) != (layers, boxes):
            raise ValueError(
                f"the memory is of {len(state.layers)} layers and {len(state.boxes)} box blocks "
                f"but {self.name} remembers in {layers} and {boxes}: it is of another network; "
                "begin with init_state()"
            )

    def asked(self, tokens: Tensor, grid: Triple) -> Tensor:
        """What is classified: the class token (B, C), or the mean of each frame's (B, T', C)."""
        if not self.config.frame_level:
            return self.norm(tokens[:, 0])
        return self.norm(tokens)[:, -prod(grid) :].unflatten(1, (grid[0], -1)).mean(dim=2)

    def pooled(self, clip: Tensor) -> Tensor:
        """What is classified of a clip alone, as ``asked`` says."""
        *_, (tokens, grid) = self.walk(*self.tokens(clip))
        return self.asked(tokens, grid)

    def forward_positions(self, clip: Tensor) -> Tensor:
        """Logits as (B, 1, K), or (B, T', K) for frames, of clips alone, without memory."""
        if self.config.boxes:
            raise ValueError(f"{self.name} answers for boxes: call it with boxes (N, 5)")
        logits = self.classified(self.pooled(clip))
        return logits if self.config.frame_level else logits.unsqueeze(1)


def check_config(config: MeMViTConfig) -> None:
    """Raises ValueError for what cannot be built."""
    plain = MeMViTConfig()
    fixed = ("positions", "class_token", "pool", "grow", "residual", "residual_class", "pyramid")
    for name in (*fixed, "query_pools", "pool_mode"):
        if getattr(config, name) != getattr(plain, name):
            raise ValueError(
                f"{name} is {getattr(config, name)!r} but MeMViT has {getattr(plain, name)!r} only"
            )
    if config.image or config.pool_kernel in (0, 1):
        raise ValueError("MeMViT reads clips with pooling kernels of 3 or more; see patch_kernel")
    for name in ("compress_kernel", "compress_stride"):
        if min(getattr(config, name)) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; numbers must be 1 or more")
    if len(config.depths) > 1 and config.width % (2 * config.heads):
        raise ValueError(
            f"width {config.width} does not divide into the {2 * config.heads} heads of the second "
            "stage, which pools before it widens"
        )
    for ages in config.memory:
        if list(ages) != sorted(set(ages)) or any(age < 1 for age in ages):
            raise ValueError(f"memory has {ages}; name increasing ages from 1 on, as (2, 4)")
        if ages and not 1 <= config.uncompressed <= ages[0]:
            raise ValueError(
                f"uncompressed is {config.uncompressed} but a layer looks at clips of age "
                f"{ages[0]}; choose 1 to {ages[0]}"
            )
    if config.memory and not config.reach:
        raise ValueError("memory names no age in any layer; use () for none")
    if config.boxes and config.frame_level:
        raise ValueError("frame_level answers for frames and boxes for boxes; set one of them")
    width = config.width * 2 ** (len(config.depths) - 1)
    for name in ("box_slots", "box_blocks", "box_heads") if config.boxes else ():
        if getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be 1 or more")
    if config.boxes and width % config.box_heads:
        raise ValueError(
            f"box features of width {width} do not split into {config.box_heads} heads"
        )
