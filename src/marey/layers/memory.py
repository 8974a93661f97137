"""Attention that also looks at clips seen before: what a layer remembers is a value it is handed.

    step         shape for block 0 of memvit_16x4_ava, clips of 16 frames at 224x224
    tokens       1 25089 96
    key          1 393 96
    compressed   1 33 96
    attended     1 459 96
    found        1 25089 96

Keys and values are pooled first and projected afterwards. A layer keeps the pooled ones of past
clips, by age: the newest whole, those before them compressed by a second, learned pooling, once,
when they reach the age ``uncompressed``; only then do gradients reach the compression. Every clip
is projected anew with the weights of now. Slots that no clip of the same video fills are hidden
from the softmax, so that a state has one shape from the first clip on.

Source: C.-Y. Wu et al., "MeMViT", CVPR 2022, Sections 3 and 4, and the authors' code.
Differs: compression starts as a mean, so that weights which know a clip know what is kept of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.attention import Term, attend
from marey.layers.conv import Triple
from marey.layers.pooling_attention import ONES, AttentionPlan, TokenPool, key_rows, split_heads
from marey.layers.positions import Sizes, relative_rows, resize_table

HIDDEN = -1e4  # a bias after which the softmax is zero, in every type of number
Oblong = Literal["clamp", "resize"]


class LayerMemory(NamedTuple):
    """One layer's clips, newest first: ``old_*`` (B, slots, L', D), ``new_*`` (B, slots, L, D)."""

    old_key: Tensor
    old_value: Tensor
    new_key: Tensor
    new_value: Tensor


class BoxMemory(NamedTuple):
    """Features of past boxes, newest clip first (B, slots, N, D), and which are real (.., N)."""

    features: Tensor
    real: Tensor


class Memory(NamedTuple):
    """What a network remembers of a batch of videos: an argument and a result of its call.

    ``held`` (B,) clips remembered of each row's video; ``clips`` () those the batch has seen.
    Empty before the first clip. It is a tuple of tensors: it can be saved, moved and exported.
    """

    layers: tuple[LayerMemory, ...] = ()
    boxes: tuple[BoxMemory, ...] = ()
    held: Tensor | None = None
    clips: Tensor | None = None

    @property
    def empty(self) -> bool:
        """True before the first clip."""
        return self.held is None

    @property
    def batch(self) -> int:
        """Rows of the batch it is of; 0 before the first clip."""
        return 0 if self.held is None else int(self.held.shape[0])

    def changed(self, change: Any) -> Memory:
        """Every tensor with rows of the batch through ``change``."""
        if self.held is None:
            return self
        layers = tuple(LayerMemory(*map(change, layer)) for layer in self.layers)
        boxes = tuple(BoxMemory(*map(change, box)) for box in self.boxes)
        return Memory(layers, boxes, change(self.held), self.clips)

    def reset(self, begins: Tensor) -> Memory:
        """Nothing remembered in the rows where ``begins`` (B,) is true: a new video begins there.

        Raises ValueError for another number of rows.
        """
        if self.held is None or self.clips is None:
            return self
        if begins.shape != self.held.shape:
            raise ValueError(
                f"{tuple(begins.shape)} rows to reset in a memory of {self.batch}; give one truth "
                "value a row"
            )
        kept = ~begins.to(self.held.device)

        def cleared(value: Tensor) -> Tensor:
            return value * kept.view(-1, *[1] * (value.dim() - 1)).to(value.dtype)

        alone = self.clips if self.batch > 1 else self.clips * kept[0]
        return self.changed(cleared)._replace(clips=alone)

    def rows(self, index: Tensor) -> Memory:
        """The memory of these rows of the batch, (n,) int64, in this order."""
        return self.changed(lambda value: value.index_select(0, index.to(value.device)))

    def beside(self, other: Memory) -> Memory:
        """The rows of both, these first.

        Raises ValueError for the memory of another network.
        """
        if self.held is None or other.held is None:
            return other if self.held is None else self
        pairs = zip(self.tensors(), other.tensors(), strict=False)
        if len(self.tensors()) != len(other.tensors()) or any(
            a.shape[1:] != b.shape[1:] for a, b in pairs
        ):
            raise ValueError("these memories are of different networks or sizes of clip")
        rest = iter(other.tensors())
        both = self.changed(lambda value: torch.cat([value, next(rest)]))
        assert self.clips is not None
        assert other.clips is not None
        return both._replace(clips=torch.maximum(self.clips, other.clips))

    def tensors(self) -> list[Tensor]:
        """All tensors that have rows of the batch, in the order of ``changed``."""
        parts = [tensor for part in (*self.layers, *self.boxes) for tensor in part]
        return parts if self.held is None else [*parts, self.held]

    @property
    def bytes(self) -> int:
        """What the tensors hold."""
        return sum(value.numel() * value.element_size() for value in self.tensors())

    def to(self, device: torch.device | str) -> Memory:
        """The same on a device."""
        moved = self.changed(lambda value: value.to(device))
        return moved if self.clips is None else moved._replace(clips=self.clips.to(device))

    def to_plain(self) -> dict[str, Any]:
        """Lists and tensors, as a checkpoint keeps them."""
        layers, boxes = ([list(part) for part in parts] for parts in (self.layers, self.boxes))
        return {"layers": layers, "boxes": boxes, "held": self.held, "clips": self.clips}

    @classmethod
    def of_plain(cls, told: dict[str, Any]) -> Memory:
        """Read back what ``to_plain`` gave."""
        layers = tuple(LayerMemory(*parts) for parts in told["layers"])
        boxes = tuple(BoxMemory(*parts) for parts in told["boxes"])
        return cls(layers, boxes, told["held"], told["clips"])

    def tokens(self, row: int = 0) -> list[int]:
        """Tokens held of each clip in the first layer that remembers, oldest first."""
        if self.held is None or not self.layers:
            return []
        layer, filled = self.layers[0], int(self.held[row])
        each = [layer.new_key.shape[2]] * layer.new_key.shape[1]
        each += [layer.old_key.shape[2]] * layer.old_key.shape[1]
        return each[:filled][::-1]


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """What one layer remembers. ``ages`` (1: the clip before) it looks at, increasing; none: it
    remembers nothing. ``clips`` sizes the table of time, 0 leaves all that memory needs out."""

    ages: tuple[int, ...] = ()
    clips: int = 0
    uncompressed: int = 1
    kernel: Triple = (7, 3, 3)
    stride: Triple = (4, 2, 2)
    rows_space: int = 0
    rows_time: int = 0
    oblong: Oblong = "clamp"


class Recall(NamedTuple):
    """What a layer is handed: its memory (None: blank), and which ages count, (B, ages) bool."""

    held: LayerMemory | None
    seen: Tensor


class MemoryAttention(nn.Module):
    """(B, L, width_in) tokens on a grid -> (B, L', width) tokens, the queries' grid, and, where a
    ``Recall`` came in, what the layer remembers now."""

    def __init__(self, plan: AttentionPlan, memory: MemoryPlan, *, causal: bool = False) -> None:
        super().__init__()
        self.plan, self.memory, self.causal = plan, memory, causal
        width, depth = plan.width_in, plan.width // plan.heads
        self.scale = depth**-0.5
        of_kv = plan.kernel_kv, plan.stride_kv
        self.pool_q = TokenPool(width, plan.heads, plan.kernel_q, plan.stride_q, causal=causal)
        self.pool_k = TokenPool(width, plan.heads, *of_kv, causal=causal)
        self.pool_v = TokenPool(width, plan.heads, *of_kv, causal=causal)
        self.q, self.k, self.v = (nn.Linear(width, plan.width, bias=plan.bias) for _ in range(3))
        tables = {"h": plan.rows_space, "w": plan.rows_space, "t": plan.rows_time}
        self.compress_k, self.compress_v = None, None
        if memory.clips:
            tables |= {"mem_h": memory.rows_space, "mem_w": memory.rows_space}
            tables |= {"mem_t": memory.rows_time}
            if memory.kernel != ONES or memory.stride != ONES:
                self.compress_k = TokenPool(width, 1, memory.kernel, memory.stride)
                self.compress_v = TokenPool(width, 1, memory.kernel, memory.stride)
                for pool in (self.compress_k, self.compress_v):
                    nn.init.constant_(pool.weight, 1 / prod(memory.kernel))
        for name, rows in tables.items():
            setattr(self, f"rel_pos_{name}", nn.Parameter(torch.zeros(rows, depth)))
        self.proj = nn.Linear(plan.width, plan.width)

    def forward(
        self, tokens: Tensor, grid: Triple, recall: Recall | None = None
    ) -> tuple[Any, ...]:
        size, size_k = self.pool_q.size(grid), self.pool_k.size(grid)
        query = split_heads(self.q(joined(self.pool_q(tokens, grid))), self.plan.heads)
        key, value = joined(self.pool_k(tokens, grid)), joined(self.pool_v(tokens, grid))
        told: tuple[LayerMemory, ...] = ()
        terms = self.terms(query, size, size_k)
        if recall is not None:
            told, key, value, more = self.recalled(query, size, key, value, size_k, recall)
            spare = key.shape[1] - len(terms[0].row)
            terms = [Term(t.scores, F.pad(t.row, (spare, 0), value=-1)) for t in terms]
            terms += more
        key, value = (split_heads(x, self.plan.heads) for x in (self.k(key), self.v(value)))
        found = attend(query, key, value, scale=self.scale, terms=terms, form=self.plan.form)
        first = query.shape[2] - prod(size)
        found = found + F.pad(query[:, :, first:], (0, 0, first, 0))
        return self.proj(joined(found)), size, *told

    def recalled(
        self,
        query: Tensor,
        size: Triple,
        key: Tensor,
        value: Tensor,
        size_k: Triple,
        recall: Recall,
    ) -> tuple[tuple[LayerMemory], Tensor, Tensor, list[Term]]:
        """The memory after this clip; keys and values of past clips and this one; their bias."""
        held = self.blank(key, size_k) if recall.held is None else recall.held
        self.check(held, key, size_k)
        keys = self.compressed(self.compress_k, held.old_key, held.new_key, size_k)
        values = self.compressed(self.compress_v, held.old_value, held.new_value, size_k)
        after = LayerMemory(
            keys[:, :-1].detach(),
            values[:, :-1].detach(),
            torch.cat([key.detach().unsqueeze(1), held.new_key[:, :-1]], dim=1),
            torch.cat([value.detach().unsqueeze(1), held.new_value[:, :-1]], dim=1),
        )
        picked = [age - self.memory.uncompressed for age in reversed(self.memory.ages)]
        terms = self.memory_terms(query, size, self.kept_size(size_k), recall.seen)
        now = key.shape[1]
        terms = [Term(t.scores, F.pad(t.row, (0, now), value=-1)) for t in terms]
        key = torch.cat([*(keys[:, i] for i in picked), key], dim=1)
        value = torch.cat([*(values[:, i] for i in picked), value], dim=1)
        return (after,), key, value, terms

    def kept_size(self, size_k: Triple) -> Triple:
        """The grid of a remembered clip."""
        return size_k if self.compress_k is None else self.compress_k.size(size_k)

    def blank(self, key: Tensor, size_k: Triple) -> LayerMemory:
        """A memory of nothing."""
        rows, width, new = key.shape[0], key.shape[2], self.memory.uncompressed
        first = key.shape[1] - prod(size_k)
        kept = first + prod(self.kept_size(size_k))
        old = key.new_zeros(rows, self.memory.ages[-1] - new, kept, width)
        whole = key.new_zeros(rows, new, key.shape[1], width)
        return LayerMemory(old, old, whole, whole)

    def check(self, held: LayerMemory, key: Tensor, size_k: Triple) -> None:
        """Raises ValueError for a memory of another network, or of another size of clip."""
        wanted = self.blank(key.to("meta"), size_k)
        for have, want in zip(held, wanted, strict=True):
            if have.shape[1:] != want.shape[1:]:
                raise ValueError(
                    f"the memory holds {tuple(have.shape[1:])} (clips, tokens, width) where this "
                    f"network needs {tuple(want.shape[1:])} for this clip: it is of another "
                    "network or size of clip; begin with init_state()"
                )

    def compressed(
        self, pool: TokenPool | None, old: Tensor, new: Tensor, size_k: Triple
    ) -> Tensor:
        """Clips of age ``uncompressed`` and older, (B, slots, L', D), the first just compressed."""
        last = new[:, -1]
        fresh = last if pool is None else pool(last, size_k).squeeze(1)
        return torch.cat([fresh.unsqueeze(1), old.to(fresh.dtype)], dim=1)

    def terms(self, query: Tensor, size: Triple, size_k: Triple) -> list[Term]:
        """The relative position bias among tokens of this clip."""
        first = query.shape[2] - prod(size)
        bases = (None, *self.bases(size, size_k))
        found = []
        for axis, letter in enumerate("thw"):
            table = getattr(self, f"rel_pos_{letter}")
            rows = relative_rows(table, size[axis], size_k[axis], self.plan.rule, bases[axis])
            scores = scored(query, size, axis, rows)
            found.append(Term(scores, key_rows(size_k, axis, first, query.device)))
        return [without_later(found[0], size), *found[1:]] if self.causal else found

    def memory_terms(self, query: Tensor, size: Triple, kept: Triple, seen: Tensor) -> list[Term]:
        """The bias towards tokens of remembered clips, oldest first; unseen clips are hidden."""
        first, clips = query.shape[2] - prod(size), len(self.memory.ages)
        bases = self.bases(size, kept)
        device = query.device
        found = []
        for axis, letter, base in zip((1, 2), "hw", bases, strict=True):
            table = getattr(self, f"rel_pos_mem_{letter}")
            rows = relative_rows(table, size[axis], kept[axis], self.plan.rule, base)
            along = key_rows(kept, axis, first, device).repeat(clips)
            found.append(Term(scored(query, size, axis, rows), along))
        steps = torch.arange(clips * kept[0] - 1, -1, -1, device=device) * self.memory.stride[0]
        index = torch.arange(size[0], device=device)[:, None] + steps  # (T, frames remembered)
        length = (self.memory.clips + 1) * size[0] - 1
        whole = self.rel_pos_mem_t
        assert isinstance(whole, Tensor)
        table = resize_table(whole, length)
        rows = F.embedding(index.clamp(max=length - 1), table)
        along = key_rows((clips * kept[0], *kept[1:]), 0, 0, device).view(clips, -1)
        along = F.pad(along, (first, 0), value=-1).flatten()
        found.append(Term(scored(query, size, 0, rows), along))
        hidden = torch.where(seen.flip(1), 0.0, HIDDEN).to(query.dtype)  # (B, clips)
        hidden = hidden[:, None, None].expand(-1, *query.shape[1:3], -1)
        clip = torch.arange(clips, device=device).repeat_interleave(first + prod(kept))
        return [*found, Term(hidden, clip)]

    def bases(self, size: Triple, size_k: Triple) -> tuple[Sizes | None, Sizes | None]:
        """Whose steps the rows of H and W are read with: for both the shorter side's, or None."""
        if self.memory.oblong == "resize" or size[1] == size[2]:
            return None, None
        short = 1 if size[1] < size[2] else 2
        base = size[short], size_k[short]
        return base, base


def without_later(term: Term, size: Triple) -> Term:
    """The term of time with frames after a query's own hidden from it, and this clip's class token
    from all. What the class token itself sees is every frame."""
    queries, frames = term.scores.shape[2:]
    first = queries - prod(size)
    own = key_rows(size, 0, first, term.row.device)
    own = own.where(own >= 0, frames)[:, None]  # (L, 1)
    later = torch.arange(frames, device=own.device) > own
    hidden = F.pad(torch.where(later, HIDDEN, 0.0), (0, 1), value=HIDDEN)  # (L, frames, class)
    scores = F.pad(term.scores, (0, 1)) + hidden.to(term.scores.dtype)
    return Term(scores, term.row.where(term.row >= 0, frames))


def joined(heads: Tensor) -> Tensor:
    """(B, heads, L, D) -> (B, L, heads * D)."""
    return heads.transpose(1, 2).flatten(2)


def scored(query: Tensor, size: Triple, axis: int, rows: Tensor) -> Tensor:
    """Queries against ``rows`` (places, rows, D) of their place along an axis: (B, heads, L, rows);
    nothing for the class token."""
    first = query.shape[2] - prod(size)
    grid = query[:, :, first:].unflatten(2, size)  # (B, heads, T, H, W, D)
    letter = "thw"[axis]
    scores = torch.einsum(f"bnthwc,{letter}kc->bnthwk", grid, rows.to(grid.dtype))
    return F.pad(scores.flatten(2, 4), (0, 0, first, 0))
