"""BQN: a busy pathway for what moves, in full size, and a quiet one for the still picture, small.

One clip goes in, three consecutive frames for each of T moments. A motion band-pass turns every
three into one picture of what moves; the quiet pathway takes the first of the three, shrunk. After
each block a lateral connection adds one pathway's maps to the other's: busy to quiet resized, quiet
to busy through a band-pass of its own. All laterals start at zero.

    stage     quiet and busy shapes of bqn_r50_8x3 for a 24-frame clip at 256x256
    input     1 3 8 160 160      1 3 8 256 256
    stem      1 64 8 40 40       1 64 8 64 64
    res2      1 256 8 40 40      1 256 8 64 64
    res3      1 512 8 20 20      1 512 8 32 32
    res4      1 1024 8 10 10     1 1024 8 16 16
    res5      1 2048 8 5 5       1 2048 8 8 8
    positions 1 1 174
    logits    1 174

Source: G. Huang, A. Bors, "Busy-Quiet Video Disentangling for Video Classification", WACV 2022,
and guoxih/busy-quiet-net. Rows without ``both`` alternate the direction from block to block, which
is what the paper's size and cost agree with; ``both`` is what the released code runs by default.
Differs: maps are resized to the size of those they join, so that any clip size is taken; the code
multiplies sizes by 0.625 and 1.6 and fits only where that is whole. At 256 they are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.band_pass import BandPass
from marey.layers.frames import FrameHead, fold, unfold
from marey.layers.heads import ClipClassifier
from marey.layers.init import start_head, start_resnet
from marey.layers.resnet2d import R50, R101, Trunk2d
from marey.models.tsm import Shift, ShiftingBottleneck
from marey.models.x3d import X3D, Head, X3DConfig

Laterals = Literal["alternating", "both"]
Pathways = Literal["both", "quiet", "busy"]
TRIPLE = 3  # consecutive frames of one moment
SHARE = 0.625  # of the busy size: 160 of 256


@dataclass(frozen=True, kw_only=True)
class BqnConfig:
    """One network over ResNets. ``frames`` are moments, each of three frames of the clip."""

    num_classes: int = 400
    dropout: float = 0.5
    frames: int = 16
    crop: int = 256
    width: int = 64
    depths: tuple[int, ...] = R50
    laterals: Laterals = "alternating"
    share: float = SHARE  # size of the quiet pathway's clip
    pathways: Pathways = "both"  # or one alone, for comparison


@dataclass(frozen=True, kw_only=True)
class BqnX3DConfig:
    """One network over X3Ds, whose fields these are."""

    num_classes: int = 400
    dropout: float = 0.5
    frames: int = 16
    crop: int = 256
    width_factor: float = 2.0
    bottleneck_factor: float = 2.25
    depth_factor: float = 2.2
    hidden: int = 2048
    laterals: Laterals = "alternating"
    share: float = SHARE
    pathways: Pathways = "both"


_R50 = BqnConfig()
_BOTH = replace(_R50, laterals="both", share=1.0, crop=224)
_M = BqnX3DConfig()
_L = replace(_M, depth_factor=5.0)

VARIANTS: dict[str, BqnConfig | BqnX3DConfig] = {
    "bqn_r50_8x3": replace(_R50, frames=8, num_classes=174),
    "bqn_r50_16x3": _R50,
    "bqn_r101_16x3": replace(_R50, depths=R101),
    "bqn_both_r50_8x3": replace(_BOTH, frames=8, num_classes=174),
    "bqn_both_r50_16x3": _BOTH,
    "bqn_x3d_m_16x3": _M,
    "bqn_both_x3d_m_16x3": replace(_M, laterals="both"),
    "bqn_x3d_l_16x3": _L,
    "bqn_both_x3d_l_16x3": replace(_L, laterals="both"),
}


class Lateral(nn.Module):
    """One pathway's maps as the other takes them: band-pass, resize, 1x1 convolution, norm.

    Of the four only the norm is always there. (B * T, C, H, W) -> (B * T, C, *size).
    """

    def __init__(self, width: int, *, size: int = 0, mix: bool = False) -> None:
        super().__init__()
        self.band = BandPass(width, sigma=0.9, size=size) if size else None
        self.conv = nn.Conv2d(width, width, 1, bias=False) if mix else None
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor, frames: int, size: Sequence[int]) -> Tensor:
        x = x if self.band is None else self.band(x, frames)
        x = _resized(x, size)
        return self.norm(x if self.conv is None else self.conv(x))


class Exchange(nn.Module):
    """What follows a pair of blocks: laterals one way, or both ways.

    ``down`` goes from busy to quiet, ``up`` from quiet to busy. Both at once see the maps as they
    came; ``chained``, the way down sees what the way up has added.
    """

    def __init__(
        self, width: int, *, up: int = 0, down: bool, mix: bool, chained: bool = False
    ) -> None:
        super().__init__()
        self.up = Lateral(width, size=up, mix=mix) if up else None
        self.down = Lateral(width, mix=mix) if down else None
        self.chained = chained

    def forward(self, quiet: Tensor, busy: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        moved = busy
        if self.up is not None:
            moved = busy + self.up(quiet, frames, busy.shape[2:])
        if self.down is not None:
            seen = moved if self.chained else busy
            quiet = quiet + self.down(seen, frames, quiet.shape[2:])
        return quiet, moved


def exchanges(
    widths: Sequence[int], depths: Sequence[int], config: Any, *, x3d: bool
) -> nn.ModuleList:
    """One for each block of all stages; counted from one, alternating ones go down when odd."""
    made, number = nn.ModuleList(), 0
    for width, depth in zip(widths, depths, strict=True):
        last = width >= 192 if x3d else width == widths[-1]
        for _ in range(depth):
            number += 1
            size, odd = (3 if last else 7), number % 2 == 1
            if config.laterals == "both":
                made.append(Exchange(width, up=size, down=True, mix=True, chained=x3d))
            else:
                made.append(Exchange(width, up=0 if odd else size, down=odd, mix=x3d))
    return made


class TwoPaths(ClipClassifier):
    """(B, 3, 3 T, H, W) -> (B, K) logits. A network adds ``quiet``, ``busy``, ``exchanges``."""

    quiet: nn.Module | None
    busy: nn.Module | None
    exchanges: nn.ModuleList

    def pathways(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """The folded (quiet, busy) pictures of each moment, (B * T, 3, h, w) and (B * T, 3, H, W).

        Raises ValueError for frames that are no whole triples, or too small for the band-passes.
        """
        config = self.config
        check_triples(clip, config, self.name)
        frames = fold(clip)  # (B * 3T, 3, H, W)
        quiet, busy = frames[::TRIPLE], frames[::TRIPLE]
        if self.quiet is not None and config.share != 1:
            quiet = F.interpolate(quiet, scale_factor=config.share, mode="bilinear")
        if self.busy is not None:
            busy = self.band(frames)  # type: ignore[operator]
        return quiet, busy

    def stages(self, clip: Tensor) -> list[tuple[Tensor, ...]]:
        """(quiet, busy) maps after the stem and each stage with its laterals, (B, C, T, H, W)."""
        frames = clip.shape[2] // TRIPLE
        maps, number = self.pathways(clip), 0
        parts = [self.steps(path) for path in (self.quiet, self.busy) if path is not None]
        if len(parts) == 1:
            return self._alone(parts[0], maps[int(self.quiet is None)], frames)
        found: list[tuple[Tensor, ...]] = []
        for quiet_step, busy_step in zip(*parts, strict=True):
            for quiet_block, busy_block in zip(quiet_step, busy_step, strict=True):
                maps = self.run(quiet_block, maps[0], frames), self.run(busy_block, maps[1], frames)
                if found:
                    maps = self.exchanges[number](*maps, frames)
                    number += 1
            found.append(tuple(unfold(x, frames) for x in maps))
        return found

    def _alone(self, steps: Any, x: Tensor, frames: int) -> list[tuple[Tensor, ...]]:
        """Maps of a single pathway."""
        found: list[tuple[Tensor, ...]] = []
        for step in steps:
            for block in step:
                x = self.run(block, x, frames)
            found.append((unfold(x, frames),))
        return found

    def steps(self, path: Any) -> list[list[nn.Module]]:
        """The stem and the blocks of each stage of a pathway."""
        return [[path.stem], *([*getattr(path, f"res{i}").blocks] for i in range(2, 6))]

    def run(self, block: nn.Module, x: Tensor, frames: int) -> Tensor:
        """One block on folded maps."""
        raise NotImplementedError

    def features(self, clip: Tensor) -> tuple[Tensor, ...]:
        """The last quiet and busy maps, (B, C, T, H, W) each."""
        return self.stages(clip)[-1]

    def start(self) -> None:
        """Laterals add nothing at first; band-passes hold their filters."""
        for module in self.modules():
            if isinstance(module, BandPass):
                module.start()
            elif isinstance(module, Lateral) and not module.norm.weight.is_meta:
                nn.init.zeros_(module.norm.weight)


class SharedHead(FrameHead):
    """One classifier for the averaged maps of every frame of each pathway, logits averaged."""

    def pooled(self, maps: Sequence[Tensor]) -> Tensor:
        """What is known of each frame by each pathway, (B, D, P * T, 1, 1)."""
        return torch.cat([m.mean(dim=(3, 4), keepdim=True) for m in maps], dim=2)


class BQN(TwoPaths):
    """Two ResNets whose channels step in time, as TSM's."""

    def __init__(self, config: BqnConfig) -> None:
        super().__init__()
        check_config(config)
        self.config = config
        block = partial(ShiftingBottleneck, shift=Shift(8, "both"))
        wanted = {path: config.pathways in ("both", path) for path in ("quiet", "busy")}
        trunks = {
            path: Trunk2d(block, config.depths, width=config.width, half_last=True)
            for path in wanted
            if wanted[path]
        }
        self.quiet, self.busy = trunks.get("quiet"), trunks.get("busy")
        if self.busy is not None:
            self.band = BandPass(3, sigma=1.1, size=9, triples=True)
        widths = next(iter(trunks.values())).widths
        if config.pathways == "both":
            self.exchanges = exchanges(widths[1:], config.depths, config, x3d=False)
        self.widths = widths[-1:] * len(trunks)
        self.head = SharedHead(widths[-1:], config.num_classes, dropout=config.dropout)
        start_resnet(self, head_std=0.001)
        self.start()

    def run(self, block: nn.Module, x: Tensor, frames: int) -> Tensor:
        return block(x, frames)


class PairHead(nn.Module):
    """A head for each pathway, logits averaged: (B, 1, K). ``projection`` is the busy one's, or
    the only one's; the quiet one's is ``projection_quiet``."""

    def __init__(self, heads: Sequence[Head]) -> None:
        super().__init__()
        self.paths = nn.ModuleList(heads)
        for name, head in zip(("projection", "projection_quiet"), heads, strict=False):
            setattr(self, name, head.projection)
            del head.projection

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        logits = []
        for i, x in enumerate(reversed(maps)):
            head: Any = self.paths[i]
            project: Any = self.projection_quiet if i else self.projection
            positions = head.pooled((x,)).flatten(2).transpose(1, 2)  # (B, 1, D)
            logits.append(project(head.dropout(positions)))
        return torch.stack(logits).mean(dim=0)

    def reset(self, num_classes: int) -> None:
        """Fresh projections to ``num_classes`` outputs, on the device of the old ones."""
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; a classifier needs at least one")
        for name in ("projection", "projection_quiet")[: len(self.paths)]:
            old = getattr(self, name).weight
            device = "cpu" if old.is_meta else old.device
            fresh = nn.Linear(old.shape[1], num_classes, device=device, dtype=old.dtype)
            start_head(fresh)
            setattr(self, name, fresh)


class BQNX3D(TwoPaths):
    """Two X3Ds; laterals join them frame by frame."""

    def __init__(self, config: BqnX3DConfig) -> None:
        super().__init__()
        check_config(config)
        self.config = config
        plain = X3DConfig(
            num_classes=config.num_classes,
            dropout=config.dropout,
            frames=config.frames,
            crop=config.crop,
            width_factor=config.width_factor,
            bottleneck_factor=config.bottleneck_factor,
            depth_factor=config.depth_factor,
            hidden=config.hidden,
            pool="global",
            shortcut_norms="widening",
        )
        wanted = {path: config.pathways in ("both", path) for path in ("quiet", "busy")}
        paths = {path: X3D(plain) for path in wanted if wanted[path]}
        self.quiet, self.busy = paths.get("quiet"), paths.get("busy")
        heads: list[Any] = [path.head for path in reversed(paths.values())]
        self.head = PairHead(heads)  # type: ignore[assignment]
        for path in paths.values():
            del path.head
        if self.busy is not None:
            self.band = BandPass(3, sigma=1.1, size=9, triples=True)
        if config.pathways == "both":
            stages = [getattr(self.busy, f"res{i}") for i in range(2, 6)]
            widths, depths = [s.width for s in stages], [len(s.blocks) for s in stages]
            self.exchanges = exchanges(widths, depths, config, x3d=True)
            start_resnet(self.exchanges)
        self.widths = tuple(path.widths[0] for path in paths.values())
        self.start()

    def run(self, block: nn.Module, x: Tensor, frames: int) -> Tensor:
        return fold(block(unfold(x, frames)))

    def head_parameters(self) -> tuple[str, ...]:
        """Names of the tensors that depend on the number of classes."""
        names = ("projection", "projection_quiet")[: len(self.widths)]
        return tuple(f"head.{name}.{leaf}" for name in names for leaf in ("weight", "bias"))


def bqn(config: BqnConfig | BqnX3DConfig) -> TwoPaths:
    """The network of a configuration."""
    return BQN(config) if isinstance(config, BqnConfig) else BQNX3D(config)


class BandPassed(nn.Module):
    """Any clip network that sees only what moves: (B, 3, 3 T, H, W), T frames for ``network``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.band, self.network = BandPass(3, sigma=1.1, size=9, triples=True), network

    def forward(self, clip: Tensor) -> Tensor:
        return self.network(unfold(self.band(fold(clip)), clip.shape[2] // TRIPLE))


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, corners not aligned: (N, C, H, W) to another size."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def check_config(config: BqnConfig | BqnX3DConfig) -> None:
    """Raises ValueError for a configuration that makes no network."""
    for name in ("num_classes", "frames", "crop"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be 1 or more")
    if not 0 < config.share <= 1:
        raise ValueError(f"share is {config.share}; the quiet clip is above 0 and at most 1")


def check_triples(clip: Tensor, config: BqnConfig | BqnX3DConfig, name: str) -> None:
    """Raises ValueError unless ``clip`` is (B, 3, 3 T, H, W), as large as the filters want."""
    if clip.dim() != 5 or clip.shape[1] != 3:
        raise ValueError(f"{name} takes a clip (B, 3, T, H, W) but got {tuple(clip.shape)}")
    total = clip.shape[2]
    if total % TRIPLE or total == 0:
        raise ValueError(
            f"clip has {total} frames but {name} needs three consecutive ones for each moment; "
            f"sample {max(1, round(total / TRIPLE)) * TRIPLE}"
        )
    smallest = ceil(49 / config.share) if config.pathways == "both" else 32
    if min(clip.shape[3:]) < smallest:
        raise ValueError(
            f"clip is {clip.shape[3]}x{clip.shape[4]} pixels but {name} needs at least {smallest} "
            f"each way, so that its filters fit into the maps of res4; resize it"
        )
