"""C2D, I3D and Slow: one ResNet over space, told apart by a table of time kernels.

C2D looks at single frames and lets pooling mix them; I3D gives the first convolution of every other
block three frames; Slow keeps all its frames to the end and spans time only in the last two
stages. Non-local blocks, where a variant has them, let every position look at every other.

    stage     shape of i3d_r50_8x8 for an 8-frame clip at 224x224
    input     1 3 8 224 224
    stem      1 64 8 56 56
    res2      1 256 8 56 56
    res3      1 512 4 28 28
    res4      1 1024 4 14 14
    res5      1 2048 4 7 7
    positions 1 1 400
    logits    1 400

Source: X. Wang et al., "Non-local Neural Networks", CVPR 2018 (C2D, I3D, non-local);
C. Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019 (Slow); the numbers of
every row from the authors' configuration files. Variants that end in ``_caffe2`` are the originals
of the 2018 paper: no padding in the first pool, time strides in the 32x2 and 128x1 forms.
Differs: the authors' code widens basic blocks fourfold; ours has the widths of ResNet-18.
ResNet3dConfig exceeds the 14-field cap: one field for each thing the published rows vary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.conv import Triple
from marey.layers.heads import ClassifierHead, ClipClassifier, PoolRule
from marey.layers.init import start_resnet
from marey.layers.nonlocal_block import Pairwise
from marey.layers.resnet3d import (
    BlockKind,
    Trunk,
    TrunkPlan,
    check_clip,
    check_plan,
    spread_kernels,
)

Kernels = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class ResNet3dConfig:
    """One network. ``frames`` and ``crop`` only size the averaging window of ``pool="window"``."""

    num_classes: int = 400
    dropout: float = 0.5
    frames: int = 8
    crop: int = 224
    pool: PoolRule = "window"
    width: int = 64
    block: BlockKind = "bottleneck"
    depths: tuple[int, ...] = (3, 4, 6, 3)
    kernels: tuple[tuple[int, ...], ...] = ((1,), (1,), (1,), (1,), (1,))  # stem, res2-5; cyclic
    time_strides: tuple[int, int, int] = (1, 1, 1)  # stem convolution, stem pool, pool after res2
    pool_padding: int = 1  # of the stem's max-pool, in space
    dilation: int = 1  # of res5; 2 trades its stride for dilation, as detectors want
    nonlocals: tuple[tuple[int, ...], ...] = ((), (), (), ())  # after which blocks of res2-5
    pairwise: Pairwise = "embedded_gaussian"
    nonlocal_pool: tuple[int, int, int] = (1, 2, 2)
    nonlocal_groups: tuple[int, ...] = (1, 1, 1, 1)  # parts of time that attend to themselves


R18, R50, R101 = (2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 23, 3)
FLAT: Kernels = ((1,), (1,), (1,), (1,), (1,))
INFLATED: Kernels = ((5,), (3,), (3, 1), (3, 1), (1, 3))
SLOW: Kernels = ((1,), (1,), (1,), (3,), (3,))
DENSE_SLOW: Kernels = ((5,), (1,), (1,), (3,), (3,))
FIVE = ((), (1, 3), (1, 3, 5), ())  # five non-local blocks in R50
FIVE_DEEP = ((), (1, 3), (6, 13, 20), ())  # the paper's five in R101

_C2D = ResNet3dConfig(kernels=FLAT, time_strides=(1, 1, 2))
_C2D_NOPOOL = ResNet3dConfig(kernels=FLAT)
_I3D = ResNet3dConfig(kernels=INFLATED, time_strides=(1, 1, 2))
_SLOW_I3D = ResNet3dConfig(kernels=INFLATED)
_SLOW = ResNet3dConfig(kernels=SLOW)
_IMAGE = ResNet3dConfig(kernels=FLAT, frames=1, num_classes=1000, dropout=0.0)
_C2D_C2 = replace(_C2D, pool_padding=0)
_I3D_C2 = replace(_I3D, pool_padding=0)
_LONG: tuple[int, int, int] = (2, 2, 2)
_GROUPS = (1, 4, 1, 1)

VARIANTS: dict[str, ResNet3dConfig] = {
    "c2d_r18_8x8": replace(_C2D, block="basic", depths=R18),
    "c2d_r50_8x8": _C2D,
    "c2d_r101_8x8": replace(_C2D, depths=R101),
    "c2d_nl_r50_8x8": replace(_C2D, nonlocals=FIVE),
    "c2d_nl_r101_8x8": replace(_C2D, depths=R101, nonlocals=FIVE),
    "c2d_nopool_r18_8x8": replace(_C2D_NOPOOL, block="basic", depths=R18),
    "c2d_nopool_r50_8x8": _C2D_NOPOOL,
    "c2d_nopool_r101_8x8": replace(_C2D_NOPOOL, depths=R101),
    "i3d_r18_8x8": replace(_I3D, block="basic", depths=R18),
    "i3d_r50_8x8": _I3D,
    "i3d_r101_8x8": replace(_I3D, depths=R101),
    "i3d_nl_r50_8x8": replace(_I3D, nonlocals=FIVE),
    "i3d_nl_r101_8x8": replace(_I3D, depths=R101, nonlocals=FIVE),
    "slow_i3d_r18_8x8": replace(_SLOW_I3D, block="basic", depths=R18),
    "slow_i3d_r50_8x8": _SLOW_I3D,
    "slow_i3d_r101_8x8": replace(_SLOW_I3D, depths=R101),
    "slow_r18_8x8": replace(_SLOW, block="basic", depths=R18),
    "slow_r50_4x16": replace(_SLOW, frames=4),
    "slow_r50_8x8": _SLOW,
    "slow_r101_8x8": replace(_SLOW, depths=R101),
    "slow_nl_r50_4x16": replace(_SLOW, frames=4, nonlocals=FIVE, pairwise="dot_product"),
    "slow_nl_r50_8x8": replace(_SLOW, nonlocals=FIVE, pairwise="dot_product"),
    "slow_r50_32x8": ResNet3dConfig(
        kernels=DENSE_SLOW, time_strides=(2, 1, 1), frames=32, num_classes=101
    ),
    "2d_r18": replace(_IMAGE, block="basic", depths=R18),
    "2d_r50": _IMAGE,
    "2d_r101": replace(_IMAGE, depths=R101),
    "c2d_r50_8x8_caffe2": _C2D_C2,
    "c2d_nl_r50_8x8_caffe2": replace(_C2D_C2, nonlocals=FIVE),
    "i3d_r50_8x8_caffe2": _I3D_C2,
    "i3d_nl_r50_8x8_caffe2": replace(_I3D_C2, nonlocals=FIVE),
    "i3d_r50_32x4_caffe2": replace(_I3D_C2, frames=32),
    "i3d_nl_r50_32x4_caffe2": replace(_I3D_C2, frames=32, nonlocals=FIVE, nonlocal_groups=_GROUPS),
    "c2d_r50_32x2_caffe2": replace(_C2D_C2, frames=32, time_strides=_LONG),
    "c2d_nl_r50_32x2_caffe2": replace(_C2D_C2, frames=32, time_strides=_LONG, nonlocals=FIVE),
    "i3d_r50_32x2_caffe2": replace(_I3D_C2, frames=32, time_strides=_LONG),
    "i3d_nl_r50_32x2_caffe2": replace(_I3D_C2, frames=32, time_strides=_LONG, nonlocals=FIVE),
    "i3d_r50_128x1_caffe2": replace(_I3D_C2, frames=128, time_strides=_LONG),
    "i3d_nl_r50_128x1_caffe2": replace(
        _I3D_C2, frames=128, time_strides=_LONG, nonlocals=FIVE, nonlocal_groups=_GROUPS
    ),
    "i3d_r101_32x2_caffe2": replace(_I3D_C2, depths=R101, frames=32, time_strides=_LONG),
    "i3d_nl_r101_32x2_caffe2": replace(
        _I3D_C2, depths=R101, frames=32, time_strides=_LONG, nonlocals=FIVE_DEEP
    ),
}


class ResNet3d(ClipClassifier):
    """(B, 3, T, H, W) -> (B, K) logits, the mean over output positions."""

    def __init__(self, config: ResNet3dConfig) -> None:
        super().__init__()
        check_plan(
            width=config.width,
            depths=config.depths,
            kernels=config.kernels,
            nonlocals=config.nonlocals,
            counts={"num_classes": config.num_classes, "frames": config.frames},
        )
        self.config = config
        stem, *cycles = config.kernels
        rows = [spread_kernels(c, d) for c, d in zip(cycles, config.depths, strict=True)]
        plan = TrunkPlan(
            width=config.width,
            kernels=(stem, *rows),
            block=config.block,
            stem_stride=config.time_strides[0],
            stem_pool=config.time_strides[1],
            pool_padding=config.pool_padding,
            dilation=config.dilation,
            nonlocals=config.nonlocals,
            pairwise=config.pairwise,
            nonlocal_pool=config.nonlocal_pool,
            nonlocal_groups=config.nonlocal_groups,
        )
        self.trunk = Trunk(plan)
        self.widths = plan.widths[-1:]
        self.head = ClassifierHead(
            self.widths,
            config.num_classes,
            dropout=config.dropout,
            windows=None if config.pool == "global" else [_window(config)],
        )
        start_resnet(self)

    def stages(self, clip: Tensor) -> list[Tensor]:
        """Maps after the stem and after each of res2 to res5 (before the time pool of res2)."""
        side = 32 if any(self.config.nonlocals) else 16
        check_clip(clip, frames=prod(self.config.time_strides), side=side, name=self.name)
        maps = [self.trunk.stem(clip)]
        step = (self.config.time_strides[2], 1, 1)
        for i, stage in enumerate(self.trunk.steps[1:]):
            below = F.max_pool3d(maps[-1], step, step) if i == 1 and step[0] > 1 else maps[-1]
            maps.append(stage(below))
        return maps

    def features(self, clip: Tensor) -> tuple[Tensor, ...]:
        """The last map, (B, widths[0], T', H', W'), alone in a tuple."""
        return (self.stages(clip)[-1],)

    def stage_modules(self) -> list[nn.Module]:
        """Parts whose activations may be recomputed, each one map in and one map out."""
        return list(self.trunk.steps)


def _window(config: ResNet3dConfig) -> Triple:
    """Size of the last map of a training clip, the official averaging window."""
    stem, first, second = config.time_strides
    frames = -(-config.frames // stem) // first // second
    side = config.crop // (16 if config.dilation > 1 else 32)
    return max(frames, 1), max(side, 1), max(side, 1)
