"""TEA: motion chooses the channels, and time is taken in step by step inside each block.

ME, after a block's first convolution, compares neighbouring frames and turns channels up that
move. MTA splits the channels in four; each part passes a convolution over three frames and one over
space, and is added to the next part first, so that the last parts have seen the longest time.

    stage     shape of tea_r50_8f for 8 frames at 224x224
    input     1 3 8 224 224
    stem      1 64 8 56 56
    res2      1 256 8 56 56
    res3      1 512 8 28 28
    res4      1 1024 8 14 14
    res5      1 2048 8 7 7
    positions 1 1 174
    logits    1 174

Source: Y. Li et al., "TEA: Temporal Excitation and Aggregation for Action Recognition", CVPR 2020;
its numbers from Phoenix1327/tea-action-recognition; S. Gao et al., "Res2Net", TPAMI 2019, for the
four parts. No weights were ever published.
Differs: the paper's gate is 2 sigmoid(a) - 1, its code's sigmoid(a) - 0.5; the code's is the
default (``gate``). The paper draws the parts added on in every block; like the code we leave that
out in the first block of a stage.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.frames import FrameClassifier, FrameHead, TimeConv
from marey.layers.image_conv import mean_pool
from marey.layers.init import start_resnet
from marey.layers.resnet2d import R50, R101, Block2d, ConvNorm2d, Trunk2d
from marey.models.stm import forward_difference

Gate = Literal["code", "paper"]
REDUCTION = 16  # channels of a block for one of its motion branch
PARTS = 4


@dataclass(frozen=True, kw_only=True)
class TeaConfig:
    """One network. ``frames`` are those of a training clip."""

    num_classes: int = 174
    dropout: float = 0.5
    frames: int = 8
    crop: int = 224
    depths: tuple[int, ...] = R50
    width: int = 64
    part: int = 26  # channels of each of the four parts, for every 64 of width
    gate: Gate = "code"


_R50 = TeaConfig()

VARIANTS: dict[str, TeaConfig] = {
    "tea_r50_8f": _R50,
    "tea_r50_16f": replace(_R50, frames=16),
    "tea_r101_8f": replace(_R50, depths=R101),
}


class Excitation(nn.Module):
    """ME: (B * T, C, H, W) -> the same shape, each channel of each frame scaled by its motion."""

    def __init__(self, width: int, *, gate: Gate) -> None:
        super().__init__()
        narrow = max(width // REDUCTION, 1)
        self.scale = 1.0 if gate == "code" else 2.0
        self.reduce = ConvNorm2d(width, narrow, 1)
        self.filter = nn.Conv2d(narrow, narrow, 3, padding=1, groups=narrow, bias=False)
        self.expand = ConvNorm2d(narrow, width, 1)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        moved = forward_difference(self.reduce(x), self.filter, frames)
        moving = self.expand(moved.mean(dim=(2, 3), keepdim=True))  # (B * T, C, 1, 1)
        return x * (1 + self.scale * (moving.sigmoid() - 0.5))


class TeaBlock(Block2d):
    """a 1x1, ME, MTA in four parts, c 1x1 to four times the width.

    The first block of a stage (``first``) adds no part to the next, pools the last and may stride.
    """

    expansion = 4

    def __init__(
        self,
        width_in: int,
        width_mid: int,
        *,
        stride: int = 1,
        part: int,
        gate: Gate,
    ) -> None:
        super().__init__(width_in, width_mid, stride=stride)
        width = width_mid * part // 64
        self.stride, self.first = stride, width_in != width_mid * self.expansion
        self.a = ConvNorm2d(width_in, width * PARTS, 1)
        self.excite = Excitation(width * PARTS, gate=gate)
        self.times = nn.ModuleList(TimeConv(width) for _ in range(PARTS))
        self.convs = nn.ModuleList(
            ConvNorm2d(width, width, 3, stride=stride) for _ in range(PARTS - 1)
        )
        self.c = ConvNorm2d(width * PARTS, width_mid * self.expansion, 1, last=True)

    def branch(self, x: Tensor, frames: int) -> Tensor:
        x = self.excite(F.relu(self.a(x), inplace=True), frames)
        *parts, last = x.chunk(PARTS, dim=1)
        done: list[Tensor] = []
        for i, part in enumerate(parts):
            below = part if self.first or i == 0 else part + done[-1]
            done.append(F.relu(self.convs[i](self.times[i](below, frames)), inplace=True))
        last = self.times[-1](last, frames)
        if self.first:
            last = mean_pool(last, self.stride)
        return self.c(torch.cat([*done, last], dim=1))


class TEA(FrameClassifier):
    """(B, 3, T, H, W) -> (B, K) logits, the mean over frames."""

    def __init__(self, config: TeaConfig) -> None:
        super().__init__()
        for name in ("num_classes", "frames", "part"):
            if getattr(config, name) < 1:
                raise ValueError(f"{name} is {getattr(config, name)}; it must be 1 or more")
        if config.gate not in get_args(Gate):
            raise ValueError(f"gate is {config.gate!r}; choose one of {', '.join(get_args(Gate))}")
        self.config = config
        block = partial(TeaBlock, part=config.part, gate=config.gate)
        self.trunk = Trunk2d(block, config.depths, width=config.width)
        self.widths = self.trunk.widths[-1:]
        self.head = FrameHead(self.widths, config.num_classes, dropout=config.dropout)
        start_resnet(self, head_std=FrameHead.start_std)
        for module in self.modules():
            if isinstance(module, TeaBlock):
                start_last(module.times[-1])


@torch.no_grad()
def start_last(conv: nn.Module) -> None:
    """The fourth part starts with its first half the next frame, its second half the previous."""
    weight = conv.get_parameter("weight").squeeze(1)
    half = len(weight) // 2
    weight.zero_()
    weight[:half, 2] = 1.0
    weight[half:, 0] = 1.0
