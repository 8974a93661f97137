"""SlowFast: a slow pathway for what is seen, a light fast one for how it moves.

The fast pathway sees every frame with an eighth of the channels; the slow one sees every alpha-th
frame in full width, and takes in the fast maps through time-strided convolutions after each stage.
One clip goes in: the slow frames are picked inside, so that data need not know about pathways.

    stage     slow and fast shapes of slowfast_r50_8x8 for a 32-frame clip at 224x224
    input     1 3 8 224 224      1 3 32 224 224
    stem      1 64 8 56 56       1 8 32 56 56
    res2      1 256 8 56 56      1 32 32 56 56
    res3      1 512 8 28 28      1 64 32 28 28
    res4      1 1024 8 14 14     1 128 32 14 14
    res5      1 2048 8 7 7       1 256 32 7 7
    positions 1 1 400
    logits    1 400

Source: C. Feichtenhofer, H. Fan, J. Malik, K. He, "SlowFast Networks for Video Recognition",
ICCV 2019, Section 3 and Table 1; the numbers of every row from the authors' configuration files.
SlowFastConfig exceeds the 14-field cap: one field for each thing the published rows vary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.conv import ConvNorm, Triple
from marey.layers.heads import ClassifierHead, ClipClassifier, PoolRule
from marey.layers.init import start_resnet
from marey.layers.nonlocal_block import Pairwise
from marey.layers.resnet3d import Trunk, TrunkPlan, check_clip, check_plan, spread_kernels

SLOW_KERNELS = ((1,), (1,), (1,), (3,), (3,))
FAST_KERNELS = ((5,), (3,), (3,), (3,), (3,))


@dataclass(frozen=True, kw_only=True)
class SlowFastConfig:
    """One network. ``frames`` are those of the fast pathway, alpha times the slow ones.

    ``frames`` and ``crop`` only size the averaging windows of ``pool="window"``.
    """

    num_classes: int = 400
    dropout: float = 0.5
    frames: int = 32
    crop: int = 224
    pool: PoolRule = "window"
    width: int = 64  # of the slow stem
    depths: tuple[int, ...] = (3, 4, 6, 3)
    alpha: int = 4  # fast frames per slow frame
    beta_inverse: int = 8  # slow channels per fast channel
    fusion_ratio: int = 2  # lateral channels per fast channel
    fusion_kernel: int = 7  # frames a lateral connection spans
    res4_reach: tuple[int, int] = (6, 6)  # blocks of res4 with a time kernel: slow, fast
    dilation: int = 1  # of res5; 2 trades its stride for dilation, as detectors want
    nonlocals: tuple[tuple[int, ...], ...] = ((), (), (), ())  # in the slow pathway
    pairwise: Pairwise = "dot_product"
    nonlocal_pool: tuple[int, int, int] = (1, 2, 2)


R101 = (3, 4, 23, 3)
FIVE = ((), (1, 3), (1, 3, 5), ())
THREE_DEEP = ((), (), (6, 13, 20), ())

_R50 = SlowFastConfig()
_R101 = replace(_R50, depths=R101, fusion_kernel=5)
_R101_NL = replace(_R101, nonlocals=THREE_DEEP)

VARIANTS: dict[str, SlowFastConfig] = {
    "slowfast_r50_4x16": replace(_R50, alpha=8, fusion_kernel=5),
    "slowfast_r50_8x8": _R50,
    "slowfast_nl_r50_4x16": replace(_R50, alpha=8, fusion_kernel=5, nonlocals=FIVE),
    "slowfast_nl_r50_8x8": replace(_R50, fusion_kernel=5, nonlocals=FIVE),
    "slowfast_r50_16x8": replace(_R50, frames=64, num_classes=174),
    "slowfast_r101_8x8": _R101,
    "slowfast_r101_50_101_8x8": replace(_R101, res4_reach=(6, 23)),
    "slowfast_r101_full_8x8": replace(_R101, res4_reach=(23, 23)),
    "slowfast_r101_16x8": replace(_R101, frames=64),
    "slowfast_nl_r101_16x8": replace(_R101_NL, frames=64),
    "slowfast_nl_r101_16x8_paper": replace(_R101_NL, frames=64, nonlocal_pool=(2, 2, 2)),
    "slowfast_nl_r101_8x8": replace(_R101_NL, nonlocal_pool=(2, 2, 2)),
}


def slow_frames(clip: Tensor, alpha: int) -> Tensor:
    """One frame in ``alpha``, spread from the first to the last: (B, C, T, H, W) -> T // alpha.

    The positions are linspace(0, T - 1, T // alpha) cut to integers, not a plain stride; they are
    computed on the CPU, so that every device picks the same frames.
    """
    total = clip.shape[2]
    index = torch.linspace(0, total - 1, total // alpha, device="cpu").long()
    return clip.index_select(2, index.to(clip.device))


class SlowFast(ClipClassifier):
    """(B, 3, T, H, W) -> (B, K) logits, the mean over output positions.

    Takes one clip of fast frames, T a multiple of alpha, or a (slow, fast) pair of clips.
    """

    def __init__(self, config: SlowFastConfig) -> None:
        super().__init__()
        check_plan(
            width=config.width // config.beta_inverse,
            depths=config.depths,
            kernels=FAST_KERNELS,
            nonlocals=config.nonlocals,
            counts={"num_classes": config.num_classes, "frames": config.frames // config.alpha},
        )
        self.config = config
        fast = TrunkPlan(
            width=config.width // config.beta_inverse,
            kernels=_kernels(FAST_KERNELS, config.depths, config.res4_reach[1]),
            dilation=config.dilation,
        )
        joined = tuple(width * config.fusion_ratio for width in fast.widths[:4])
        slow = TrunkPlan(
            width=config.width,
            kernels=_kernels(SLOW_KERNELS, config.depths, config.res4_reach[0]),
            dilation=config.dilation,
            joined=joined,
            nonlocals=config.nonlocals,
            pairwise=config.pairwise,
            nonlocal_pool=config.nonlocal_pool,
        )
        self.slow, self.fast = Trunk(slow), Trunk(fast)
        kernel, stride = (config.fusion_kernel, 1, 1), (config.alpha, 1, 1)
        self.laterals = nn.ModuleList(
            ConvNorm(width, more, kernel, stride=stride)
            for width, more in zip(fast.widths[:4], joined, strict=True)
        )
        self.widths = (slow.widths[-1], fast.widths[-1])
        self.head = ClassifierHead(
            self.widths,
            config.num_classes,
            dropout=config.dropout,
            windows=None if config.pool == "global" else _windows(config),
            time_strides=(1, config.alpha),
        )
        start_resnet(self)

    def pathways(self, clip: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The (slow, fast) pair of clips. Raises ValueError for clips that cannot be joined."""
        alpha, side = self.config.alpha, 32 if any(self.config.nonlocals) else 16
        fast = clip if isinstance(clip, Tensor) else clip[1]
        check_clip(fast, frames=alpha * self.config.nonlocal_pool[0], side=side, name=self.name)
        if fast.shape[2] % alpha:
            raise ValueError(
                f"clip has {fast.shape[2]} frames but {self.name} needs a multiple of {alpha} "
                f"({alpha} fast frames per slow frame); sample {-(-fast.shape[2] // alpha) * alpha}"
            )
        if isinstance(clip, Tensor):
            return slow_frames(clip, alpha), clip
        slow = clip[0]
        if slow.shape[2] * alpha != fast.shape[2] or slow.shape[3:] != fast.shape[3:]:
            raise ValueError(
                f"slow clip {tuple(slow.shape)} and fast clip {tuple(fast.shape)} do not belong "
                f"together: {self.name} needs {alpha} fast frames per slow frame, of one size"
            )
        return slow, fast

    def stages(self, clip: Tensor | tuple[Tensor, Tensor]) -> list[tuple[Tensor, Tensor]]:
        """(slow, fast) maps after the stem and each of res2 to res5, before the lateral joins."""
        slow, fast = self.pathways(clip)
        maps = []
        for i, (step, quick) in enumerate(zip(self.slow.steps, self.fast.steps, strict=True)):
            slow, fast = step(slow), quick(fast)
            maps.append((slow, fast))
            if i < len(self.laterals):
                slow = self.joined(slow, self.lateral(i, fast))
        return maps

    def lateral(self, at: int, fast: Tensor) -> Tensor:
        """What the fast pathway offers after its step ``at``."""
        return F.relu(self.laterals[at](fast), inplace=True)

    def joined(self, slow: Tensor, lateral: Tensor) -> Tensor:
        """The slow map with the channels that the fast pathway offers."""
        return torch.cat([slow, lateral], dim=1)

    def features(self, clip: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """The last slow map (B, widths[0], T / alpha, ...) and fast map (B, widths[1], T, ...)."""
        return self.stages(clip)[-1]

    def stage_modules(self) -> list[nn.Module]:
        """Parts whose activations may be recomputed, each one map in and one map out."""
        return [*self.slow.steps, *self.fast.steps]


def _kernels(
    table: tuple[tuple[int, ...], ...], depths: tuple[int, ...], reach: int
) -> tuple[tuple[int, ...], ...]:
    """Time kernels of the stem and of every block; in res4 only the first ``reach`` blocks."""
    reaches = (depths[0], depths[1], min(reach, depths[2]), depths[3])
    rows = (spread_kernels(*row) for row in zip(table[1:], depths, reaches, strict=True))
    return table[0], *rows


def _windows(config: SlowFastConfig) -> list[Triple]:
    """Sizes of the last slow and fast map of a training clip, the official averaging windows."""
    side = max(config.crop // (16 if config.dilation > 1 else 32), 1)
    return [(config.frames // config.alpha, side, side), (config.frames, side, side)]
