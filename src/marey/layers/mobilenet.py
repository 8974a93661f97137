"""MobileNet V1 and V2: depth-wise convolutions look around, 1x1 convolutions mix channels.

    step of V2   shape for 8 frames at 224x224
    input        8 3 224 224
    stem         8 32 112 112
    stages.0     8 16 112 112
    stages.1     8 24 56 56
    stages.2     8 32 28 28
    stages.3     8 64 14 14
    stages.4     8 96 14 14
    stages.5     8 160 7 7
    stages.6     8 320 7 7
    tail         8 1280 7 7

Trunks like those of ``resnet2d``: ``steps`` are called step(x, frames) on (B * T, C, H, W).

Source: A. Howard et al., "MobileNets", 2017, Table 1; M. Sandler et al., "MobileNetV2", CVPR 2018,
Table 2. V1 clips at six (ReLU6) as V2 does, as in the code of its slimmable descendants.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.switch import divisible

V1 = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))  # width, depth, stride
V2 = (  # expansion, width, depth, stride
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM, TAIL = 32, 1280


class ConvNormSix(nn.Module):
    """Conv2d without bias -> BatchNorm2d -> ReLU6, padded so that stride 1 keeps the size.

    (N, C, H, W) -> (N, width, ceil(H/stride), ceil(W/stride)). ``deep``: every channel for itself.
    ``linear``: without the ReLU6.
    """

    def __init__(
        self,
        width_in: int,
        width: int,
        kernel: int,
        *,
        stride: int = 1,
        deep: bool = False,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            width_in,
            width,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=width_in if deep else 1,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(width)
        self.linear = linear

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        x = self.norm(self.conv(x))
        return x if self.linear else F.relu6(x)


class Separable(nn.Module):
    """V1: 3x3 depth-wise with the stride, then 1x1 to the new width."""

    def __init__(self, width_in: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.deep = ConvNormSix(width_in, width_in, 3, stride=stride, deep=True)
        self.project = ConvNormSix(width_in, width, 1)

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        return self.project(self.deep(x))


class InvertedResidual(nn.Module):
    """V2: 1x1 to ``expansion`` times the width, 3x3 depth-wise, 1x1 back without activation.

    Added to its input where the shapes agree. A block that looks across frames overrides
    ``branch``.
    """

    def __init__(self, width_in: int, width: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        inner = width_in * expansion
        self.expands = expansion > 1
        if self.expands:
            self.expand = ConvNormSix(width_in, inner, 1)
        self.deep = ConvNormSix(inner, inner, 3, stride=stride, deep=True)
        self.project = ConvNormSix(inner, width, 1, linear=True)
        self.expansion, self.adds = expansion, stride == 1 and width_in == width

    def branch(self, x: Tensor, frames: int) -> Tensor:
        return self.project(self.deep(self.expand(x) if self.expands else x))

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        branch = self.branch(x, frames)
        return x + branch if self.adds else branch


class MobileStage(nn.Module):
    """Blocks of one width; the first carries the stride."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        for block in self.blocks:
            x = block(x, frames)
        return x


class MobileNetV1(nn.Module):
    """Stem and five stages; every width times ``multiplier``, rounded to multiples of eight.

    ``widths`` holds the channels after each step. Raises ValueError for a multiplier not above 0.
    """

    def __init__(self, *, multiplier: float = 1.0) -> None:
        super().__init__()
        check_multiplier(multiplier)
        width = divisible(STEM * multiplier)
        self.stem = ConvNormSix(3, width, 3, stride=2)
        stages, widths = [], [width]
        for base, depth, stride in V1:
            after = divisible(base * multiplier)
            blocks: list[nn.Module] = []
            for i in range(depth):
                blocks.append(Separable(width, after, stride=stride if i == 0 else 1))
                width = after
            stages.append(MobileStage(blocks))
            widths.append(after)
        self.stages = nn.ModuleList(stages)
        self.widths = tuple(widths)

    @property
    def steps(self) -> tuple[nn.Module, ...]:
        return self.stem, *self.stages


class MobileNetV2(nn.Module):
    """Stem, seven stages, and a 1x1 convolution to ``tail`` channels that only a multiplier above
    one widens.

    ``block`` makes the blocks: a class, as a rule. ``widths`` holds the channels after each step.
    Raises ValueError for a multiplier not above 0.
    """

    def __init__(
        self, *, multiplier: float = 1.0, block: type[InvertedResidual] = InvertedResidual
    ) -> None:
        super().__init__()
        check_multiplier(multiplier)
        width = divisible(STEM * multiplier)
        self.stem = ConvNormSix(3, width, 3, stride=2)
        stages, widths = [], [width]
        for expansion, base, depth, stride in V2:
            after = divisible(base * multiplier)
            blocks: list[nn.Module] = []
            for i in range(depth):
                step = stride if i == 0 else 1
                blocks.append(block(width, after, stride=step, expansion=expansion))
                width = after
            stages.append(MobileStage(blocks))
            widths.append(after)
        self.stages = nn.ModuleList(stages)
        self.tail = ConvNormSix(width, divisible(TAIL * max(1.0, multiplier)), 1)
        self.widths = (*widths, self.tail.norm.num_features)

    @property
    def steps(self) -> tuple[nn.Module, ...]:
        return self.stem, *self.stages, self.tail


def check_multiplier(multiplier: float) -> None:
    if not multiplier > 0:
        raise ValueError(f"multiplier is {multiplier}; it must be above 0")


@torch.no_grad()
def start_mobilenet(network: nn.Module) -> None:
    """Convolutions from N(0, 2 / (k k out)), linear layers from N(0, 0.01), unit norms.

    Source: the authors' code of slimmable networks, for their image networks of every kind.
    """
    if next(network.parameters()).is_meta:
        return  # nothing to draw into
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            high, wide = cast(tuple[int, int], module.kernel_size)
            nn.init.normal_(module.weight, std=math.sqrt(2 / (high * wide * module.out_channels)))
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
