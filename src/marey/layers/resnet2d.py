"""ResNets over images: stem, residual blocks and stages, with the arithmetic of torchvision.

Frame-based systems fold time into the batch, so that every map is (B * T, C, H, W). A block that
looks across frames is a class of its own, handed in; all are called ``block(x, frames)``, with the
T that was folded, and plain ones ignore it.

    step      shape of a ResNet-50 for 8 frames at 224x224
    input     8 3 224 224
    stem      8 64 56 56
    res2      8 256 56 56
    res3      8 512 28 28
    res4      8 1024 14 14
    res5      8 2048 7 7

Source: K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; the stride of a
bottleneck is on its 3x3 convolution, as in torchvision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.image_conv import channels_last, conv_norm, max_pool

R18, R34, R50, R101 = (2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 6, 3), (3, 4, 23, 3)
R152 = (3, 8, 36, 3)


class ConvNorm2d(nn.Module):
    """Conv2d without bias -> BatchNorm2d, padded so that stride 1 keeps the size.

    (N, C, H, W) -> (N, width, ceil(H/stride), ceil(W/stride)). With ``last`` the norm closes a
    residual branch, and its scale starts at zero (``init.start_resnet``).
    """

    def __init__(
        self, width_in: int, width: int, kernel: int, *, stride: int = 1, last: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            width_in, width, kernel, stride=stride, padding=kernel // 2, bias=False
        )
        self.norm = nn.BatchNorm2d(width)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        return conv_norm(x, self.conv, self.norm)


class Stem2d(ConvNorm2d):
    """7x7 convolution of stride 2, norm, ReLU, 3x3 max-pool of stride 2: a quarter of the size."""

    def __init__(self, channels: int, width: int, *, half_last: bool = False) -> None:
        super().__init__(channels, width, 7, stride=2)
        self.half_last = half_last

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        x = super().forward(channels_last(x, half=self.half_last))
        return F.relu(max_pool(x), inplace=True)  # of the largest, a quarter of the numbers


class Block2d(nn.Module):
    """ReLU(branch(x) + shortcut(x)); the shortcut projects where shapes differ.

    A kind of block sets ``expansion``, makes its parts, and says what ``branch`` computes.
    """

    expansion: ClassVar[int]

    def __init__(self, width_in: int, width_mid: int, *, stride: int = 1) -> None:
        super().__init__()
        width = width_mid * self.expansion
        self.projects = width_in != width or stride != 1
        if self.projects:
            self.shortcut = ConvNorm2d(width_in, width, 1, stride=stride)

    def branch(self, x: Tensor, frames: int) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        branch = self.branch(x, frames)
        return F.relu(branch + (self.shortcut(x) if self.projects else x), inplace=True)


class Basic2d(Block2d):
    """a 3x3 with the stride, b 3x3: the block of ResNet-18 and 34."""

    expansion = 1

    def __init__(self, width_in: int, width_mid: int, *, stride: int = 1) -> None:
        super().__init__(width_in, width_mid, stride=stride)
        self.a = ConvNorm2d(width_in, width_mid, 3, stride=stride)
        self.b = ConvNorm2d(width_mid, width_mid, 3, last=True)

    def branch(self, x: Tensor, frames: int) -> Tensor:
        return self.b(F.relu(self.a(x), inplace=True))


class Bottleneck2d(Block2d):
    """a 1x1, b 3x3 with the stride, c 1x1 to four times the width: the block of ResNet-50 up."""

    expansion = 4

    def __init__(self, width_in: int, width_mid: int, *, stride: int = 1) -> None:
        super().__init__(width_in, width_mid, stride=stride)
        self.a = ConvNorm2d(width_in, width_mid, 1)
        self.b = ConvNorm2d(width_mid, width_mid, 3, stride=stride)
        self.c = ConvNorm2d(width_mid, width_mid * 4, 1, last=True)

    def branch(self, x: Tensor, frames: int) -> Tensor:
        x = F.relu(self.a(x), inplace=True)
        return self.c(F.relu(self.b(x), inplace=True))


BLOCKS: dict[str, type[Block2d]] = {"basic": Basic2d, "bottleneck": Bottleneck2d}
BlockMaker = Callable[..., Block2d]  # (width_in, width_mid, *, stride): a class, as a rule


class Stage2d(nn.Module):
    """Blocks of one resolution; the first carries the stride and widens."""

    def __init__(
        self, block: BlockMaker, width_in: int, width_mid: int, depth: int, *, stride: int
    ) -> None:
        super().__init__()
        first = block(width_in, width_mid, stride=stride)
        self.width: int = width_mid * first.expansion
        self.blocks = nn.ModuleList([first])
        self.blocks.extend(block(self.width, width_mid, stride=1) for _ in range(depth - 1))

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        for block in self.blocks:
            x = block(x, frames)
        return x


class Trunk2d(nn.Module):
    """Stem and four ``stages``, to be run one after the other (``steps``), as step(x, frames).

    ``channels`` are those of a folded frame. ``widths`` holds the channels after each step.
    ``half_last``: on a CPU maps keep channels last also while they learn in half precision.
    Raises ValueError for a width or depths that make no trunk.
    """

    def __init__(
        self,
        block: BlockMaker,
        depths: Sequence[int],
        *,
        width: int = 64,
        channels: int = 3,
        half_last: bool = False,
    ) -> None:
        super().__init__()
        if width < 1 or channels < 1:
            raise ValueError(f"width is {width}, channels {channels}; both must be 1 or more")
        if len(depths) != 4 or min(depths) < 1:
            raise ValueError(f"depths is {tuple(depths)}; give four block counts, as {R50}")
        self.stem = Stem2d(channels, width, half_last=half_last)
        self.res2 = Stage2d(block, width, width, depths[0], stride=1)
        self.res3 = Stage2d(block, self.res2.width, width * 2, depths[1], stride=2)
        self.res4 = Stage2d(block, self.res3.width, width * 4, depths[2], stride=2)
        self.res5 = Stage2d(block, self.res4.width, width * 8, depths[3], stride=2)
        self.widths = (width, *(stage.width for stage in self.stages))

    @property
    def stages(self) -> tuple[Stage2d, ...]:
        return self.res2, self.res3, self.res4, self.res5

    @property
    def steps(self) -> tuple[nn.Module, ...]:
        return self.stem, *self.stages

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        """The last map, (N, widths[-1], H / 32, W / 32)."""
        for step in self.steps:
            x = step(x, frames)
        return x
