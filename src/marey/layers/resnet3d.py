"""The parts C2D, I3D, Slow and SlowFast share: stem, residual blocks, stages.

A stage is a table of time kernels: the first convolution of each block spans that many frames, and
everything else looks at one frame. All shapes are (B, C, T, H, W).

Source: K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; C. Feichtenhofer
et al., "SlowFast Networks for Video Recognition", ICCV 2019, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.conv import ConvNorm, Triple
from marey.layers.nonlocal_block import NonLocal, Pairwise

BlockKind = Literal["bottleneck", "basic"]
EXPANSION = {"bottleneck": 4, "basic": 1}


class Stem(ConvNorm):
    """(k, 7, 7) convolution of stride 2 in space, norm, ReLU, 3x3 max-pool: a quarter of the size.

    ``stride`` and ``pool`` are steps in time; a pool of more than one frame takes its maximum.
    """

    def __init__(
        self, width: int, *, kernel: int, stride: int = 1, pool: int = 1, pool_padding: int = 1
    ) -> None:
        super().__init__(3, width, (kernel, 7, 7), stride=(stride, 2, 2))
        self.pool, self.pool_padding = pool, pool_padding

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(super().forward(x), inplace=True)
        padding = (0, self.pool_padding, self.pool_padding)
        return F.max_pool3d(x, (self.pool, 3, 3), (self.pool, 2, 2), padding)


class Block(nn.Module):
    """A residual block, ReLU(branch(x) + shortcut(x)); the shortcut projects where shapes differ.

    ``bottleneck``: a (k,1,1), b (1,3,3) with the stride, c (1,1,1). ``basic``: a (k,3,3) with the
    stride, b (1,3,3). Only b is dilated.
    """

    def __init__(
        self,
        width_in: int,
        width_mid: int,
        *,
        kind: BlockKind,
        kernel: int,
        stride: int,
        dilation: int,
    ) -> None:
        super().__init__()
        width = width_mid * EXPANSION[kind]
        step: Triple = (1, stride, stride)
        self.a: ConvNorm
        self.b: ConvNorm
        if kind == "bottleneck":
            self.a = ConvNorm(width_in, width_mid, (kernel, 1, 1))
            self.b = ConvNorm(width_mid, width_mid, (1, 3, 3), stride=step, dilation=dilation)
            self.c = ConvNorm(width_mid, width, (1, 1, 1), last=True)
        else:
            self.a = ConvNorm(width_in, width, (kernel, 3, 3), stride=step)
            self.b = ConvNorm(width, width, (1, 3, 3), dilation=dilation, last=True)
        self.kind = kind
        if width_in != width or stride != 1:
            self.shortcut = ConvNorm(width_in, width, (1, 1, 1), stride=step)
        self.projects = width_in != width or stride != 1

    def forward(self, x: Tensor) -> Tensor:
        branch = self.b(F.relu(self.a(x), inplace=True))
        if self.kind == "bottleneck":
            branch = self.c(F.relu(branch, inplace=True))
        return F.relu(branch + (self.shortcut(x) if self.projects else x), inplace=True)


class Stage(nn.Module):
    """Blocks of one resolution; a non-local block may follow any of them (``nonlocals``: by index).

    The first block carries the stride. ``kernels`` holds the time kernel of every block.
    """

    def __init__(
        self,
        width_in: int,
        width_mid: int,
        kernels: Sequence[int],
        *,
        kind: BlockKind = "bottleneck",
        stride: int = 1,
        dilation: int = 1,
        nonlocals: Mapping[int, NonLocal] | None = None,
    ) -> None:
        super().__init__()
        self.width = width_mid * EXPANSION[kind]
        self.blocks = nn.ModuleList(
            Block(
                width_in if i == 0 else self.width,
                width_mid,
                kind=kind,
                kernel=kernel,
                stride=stride if i == 0 else 1,
                dilation=dilation,
            )
            for i, kernel in enumerate(kernels)
        )
        self.nonlocals = nn.ModuleDict({str(i): block for i, block in (nonlocals or {}).items()})

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.blocks):
            x = block(x)
            if str(i) in self.nonlocals:
                x = self.nonlocals[str(i)](x)
        return x


@dataclass(frozen=True, kw_only=True)
class TrunkPlan:
    """One pathway: ``kernels`` holds the time kernel of the stem, then of every block of res2-5.

    ``joined`` counts the channels that another pathway adds before each of res2-5; ``nonlocals``
    says after which blocks of each stage a non-local block follows.
    """

    width: int
    kernels: tuple[tuple[int, ...], ...]
    block: BlockKind = "bottleneck"
    stem_stride: int = 1
    stem_pool: int = 1
    pool_padding: int = 1
    dilation: int = 1
    joined: tuple[int, ...] = (0, 0, 0, 0)
    nonlocals: tuple[tuple[int, ...], ...] = ((), (), (), ())
    pairwise: Pairwise = "embedded_gaussian"
    nonlocal_pool: Triple = (1, 2, 2)
    nonlocal_groups: tuple[int, ...] = (1, 1, 1, 1)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels after the stem and after each of res2-5."""
        growth = EXPANSION[self.block]
        return (self.width, *(self.width * growth * 2**i for i in range(4)))


class Trunk(nn.Module):
    """Stem and four residual stages of one pathway, to be run one after the other (``steps``)."""

    def __init__(self, plan: TrunkPlan) -> None:
        super().__init__()
        self.stem = Stem(
            plan.width,
            kernel=plan.kernels[0][0],
            stride=plan.stem_stride,
            pool=plan.stem_pool,
            pool_padding=plan.pool_padding,
        )
        self.res2, self.res3, self.res4, self.res5 = (_stage(plan, i) for i in range(4))

    @property
    def steps(self) -> tuple[nn.Module, ...]:
        return self.stem, self.res2, self.res3, self.res4, self.res5


def _stage(plan: TrunkPlan, i: int) -> Stage:
    dilated = i == 3 and plan.dilation > 1
    attention = {
        at: NonLocal(
            plan.widths[i + 1],
            pairwise=plan.pairwise,
            pool=plan.nonlocal_pool,
            groups=plan.nonlocal_groups[i],
        )
        for at in plan.nonlocals[i]
    }
    return Stage(
        plan.widths[i] + plan.joined[i],
        plan.width * 2**i,
        plan.kernels[i + 1],
        kind=plan.block,
        stride=1 if i == 0 or dilated else 2,
        dilation=plan.dilation if dilated else 1,
        nonlocals=attention,
    )


def spread_kernels(cycle: Sequence[int], depth: int, reach: int | None = None) -> tuple[int, ...]:
    """The time kernel of each of ``depth`` blocks: ``cycle`` repeated, and 1 from ``reach`` on."""
    reach = depth if reach is None else reach
    return tuple(cycle[i % len(cycle)] if i < reach else 1 for i in range(depth))


def check_clip(clip: Tensor, *, frames: int, side: int, name: str, channels: int = 3) -> None:
    """Raises ValueError unless ``clip`` is (B, channels, T >= frames, H >= side, W >= side)."""
    if clip.dim() != 5 or clip.shape[1] != channels:
        kind = {2: "two directions of flow", 3: "three colours"}.get(channels, "channels")
        raise ValueError(
            f"{name} takes a clip (B, {channels}, T, H, W) but got {tuple(clip.shape)}; "
            f"stack frames along the third axis and keep the {kind} in the second"
        )
    if clip.shape[2] < frames:
        raise ValueError(
            f"clip has {clip.shape[2]} frames but {name} needs at least {frames}; sample more"
        )
    if min(clip.shape[3], clip.shape[4]) < side:
        raise ValueError(
            f"clip is {clip.shape[3]}x{clip.shape[4]} pixels but {name} needs at least "
            f"{side}x{side}; resize it"
        )


def check_plan(
    *,
    width: int,
    depths: Sequence[int],
    kernels: Sequence[Sequence[int]],
    nonlocals: Sequence[Sequence[int]],
    counts: Mapping[str, int],
) -> None:
    """Raises ValueError where a configuration cannot make a trunk.

    ``counts`` are further fields that must be one or more, by name.
    """
    for name, value in {"width": width, **counts}.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be 1 or more")
    if len(depths) != 4 or min(depths) < 1:
        raise ValueError(f"depths is {tuple(depths)}; give four block counts, as (3, 4, 6, 3)")
    if len(kernels) != 5 or any(k < 1 or k % 2 == 0 for row in kernels for k in row):
        raise ValueError(f"kernels is {kernels}; give five rows (stem, res2-5) of odd time kernels")
    if len(nonlocals) != 4:
        raise ValueError(f"nonlocals is {nonlocals}; give four rows of block numbers, one a stage")
    for stage, (row, depth) in enumerate(zip(nonlocals, depths, strict=True), start=2):
        for at in row:
            if not 0 <= at < depth:
                raise ValueError(
                    f"nonlocals puts a block after block {at} of res{stage}, which has {depth}; "
                    f"set nonlocals to match depths, or to ((), (), (), ())"
                )
