"""BN-Inception, the image network of TSN: blocks of four branches, each convolution normalised.

Like every trunk over frames its steps are called step(x, frames) on (B * T, C, H, W).

    step        shape for 3 frames at 224x224
    input       3 3 224 224
    stem        3 192 28 28
    inception3  3 576 14 14
    inception4  3 1056 7 7
    inception5  3 1024 7 7

Source: S. Ioffe, C. Szegedy, "Batch Normalization", ICML 2015, Appendix; the realisation of
yjxiong/tensorflow-model-zoo.torch (bn_inception.yaml): convolutions keep their bias, every pool
rounds its size up, the second 3x3 convolution is 192 wide.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Branches(NamedTuple):
    """Widths of one block; ``single`` 0 marks a block of stride 2 without a projected pool."""

    single: int  # 1x1
    three: tuple[int, int]  # 1x1, 3x3
    twice: tuple[int, int, int]  # 1x1, 3x3, 3x3
    pool: int  # 1x1 after the pool; 0: the pool as it is
    kind: Literal["average", "max"] = "average"

    def width(self, width_in: int) -> int:
        """Channels that leave the block."""
        return self.single + self.three[-1] + self.twice[-1] + (self.pool or width_in)


TABLE: dict[str, dict[str, Branches]] = {
    "3": {
        "a": Branches(64, (64, 64), (64, 96, 96), 32),
        "b": Branches(64, (64, 96), (64, 96, 96), 64),
        "c": Branches(0, (128, 160), (64, 96, 96), 0, "max"),
    },
    "4": {
        "a": Branches(224, (64, 96), (96, 128, 128), 128),
        "b": Branches(192, (96, 128), (96, 128, 128), 128),
        "c": Branches(160, (128, 160), (128, 160, 160), 128),
        "d": Branches(96, (128, 192), (160, 192, 192), 128),
        "e": Branches(0, (128, 192), (192, 256, 256), 0, "max"),
    },
    "5": {
        "a": Branches(352, (192, 320), (160, 224, 224), 128),
        "b": Branches(352, (192, 320), (192, 224, 224), 128, "max"),
    },
}


class Brick(nn.Module):
    """Conv2d with a bias -> BatchNorm2d -> ReLU."""

    def __init__(self, width_in: int, width: int, kernel: int = 1, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width, kernel, stride=stride, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)), inplace=True)


class InceptionStem(nn.Module):
    """7x7 of stride 2, pool, 1x1, 3x3, pool: an eighth of the size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.wide = Brick(channels, 64, 7, stride=2)
        self.reduce = Brick(64, 64)
        self.three = Brick(64, 192, 3)

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        if x.shape[2] % 32 or x.shape[3] % 32:
            raise ValueError(
                f"frames are {x.shape[2]}x{x.shape[3]} pixels but BN-Inception halves its maps "
                f"five times and needs multiples of 32; crop to {max(x.shape[2] // 32, 1) * 32}"
            )
        x = F.max_pool2d(self.wide(x), 3, 2, ceil_mode=True)
        return F.max_pool2d(self.three(self.reduce(x)), 3, 2, ceil_mode=True)


class InceptionBlock(nn.Module):
    """Branches side by side on one map, joined along the channels; the last convolutions stride."""

    def __init__(self, width_in: int, plan: Branches) -> None:
        super().__init__()
        self.stride, self.kind = 1 if plan.single else 2, plan.kind
        if plan.single:
            self.single = Brick(width_in, plan.single)
        first, last = plan.three
        self.three = nn.Sequential(
            Brick(width_in, first), Brick(first, last, 3, stride=self.stride)
        )
        first, middle, last = plan.twice
        self.twice = nn.Sequential(
            Brick(width_in, first),
            Brick(first, middle, 3),
            Brick(middle, last, 3, stride=self.stride),
        )
        if plan.pool:
            self.pool = Brick(width_in, plan.pool)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 2:
            pooled = F.max_pool2d(x, 3, 2, ceil_mode=True)
            return torch.cat([self.three(x), self.twice(x), pooled], dim=1)
        pool = F.max_pool2d if self.kind == "max" else F.avg_pool2d
        pooled = self.pool(pool(x, 3, 1, 1))
        return torch.cat([self.single(x), self.three(x), self.twice(x), pooled], dim=1)


class InceptionStage(nn.Module):
    """The blocks of one number, in the order of their letters."""

    def __init__(self, width_in: int, plans: dict[str, Branches]) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict()
        for letter, plan in plans.items():
            self.blocks[letter] = InceptionBlock(width_in, plan)
            width_in = plan.width(width_in)
        self.width = width_in

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        for block in self.blocks.values():
            x = block(x)
        return x


class BNInception(nn.Module):
    """Stem and three stages, to be run one after the other (``steps``), each as step(x, frames).

    ``channels`` are those of a folded frame. ``widths`` holds the channels after each step.
    """

    def __init__(self, *, channels: int = 3) -> None:
        super().__init__()
        self.stem = InceptionStem(channels)
        self.inception3 = InceptionStage(192, TABLE["3"])
        self.inception4 = InceptionStage(self.inception3.width, TABLE["4"])
        self.inception5 = InceptionStage(self.inception4.width, TABLE["5"])
        stages = (self.inception3, self.inception4, self.inception5)
        self.widths = (192, *(stage.width for stage in stages))

    @property
    def steps(self) -> tuple[nn.Module, ...]:
        return self.stem, self.inception3, self.inception4, self.inception5
