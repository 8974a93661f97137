"""STM: every residual block of an image network also sees where features go and how they change.

CSTM, a depth-wise convolution over three frames in front of the 3x3 one, mixes time channel by
channel; CMM, beside it, takes differences of features of neighbouring frames. Their sum goes
through the block's last convolution; time is never pooled before the end.

    stage     shape of stm_r50_8f for 8 frames at 224x224
    input     1 3 8 224 224
    stem      1 64 8 56 56
    res2      1 256 8 56 56
    res3      1 512 8 28 28
    res4      1 1024 8 14 14
    res5      1 2048 8 7 7
    positions 1 1 174
    logits    1 174

Source: B. Jiang et al., "STM: SpatioTemporal and Motion Encoding for Action Recognition", ICCV
2019, Section 3. What the text leaves open (norm and activation of the motion branch, its pool where
a block strides) follows a public file signed by the first author; no weights were ever published.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.frames import FrameClassifier, FrameHead, TimeConv
from marey.layers.init import start_resnet
from marey.layers.resnet2d import R50, R101, R152, Bottleneck2d, ConvNorm2d, Trunk2d

REDUCTION = 16  # channels of a block for one of its motion branch


@dataclass(frozen=True, kw_only=True)
class StmConfig:
    """One network. ``frames`` are those of a training clip."""

    num_classes: int = 174
    dropout: float = 0.5
    frames: int = 8
    crop: int = 224
    depths: tuple[int, ...] = R50
    width: int = 64


_R50 = StmConfig()

VARIANTS: dict[str, StmConfig] = {
    "stm_r50_8f": _R50,
    "stm_r50_16f": replace(_R50, frames=16),
    "stm_r101_8f": replace(_R50, depths=R101),
    "stm_r101_16f": replace(_R50, depths=R101, frames=16),
    "stm_r152_8f": replace(_R50, depths=R152),
    "stm_r152_16f": replace(_R50, depths=R152, frames=16),
}


class Motion(nn.Module):
    """CMM: the next frame, filtered, minus this one, in a sixteenth of the channels.

    (B * T, C, H, W) -> the same shape. The last frame has no next one and moves by zero.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        narrow = max(width // REDUCTION, 1)
        self.reduce = ConvNorm2d(width, narrow, 1)
        self.filter = nn.Conv2d(narrow, narrow, 3, padding=1, groups=narrow, bias=False)
        self.expand = nn.Conv2d(narrow, width, 1, bias=False)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        return self.expand(forward_difference(self.reduce(x), self.filter, frames))


def forward_difference(x: Tensor, filtered: nn.Module, frames: int) -> Tensor:
    """filtered(x[t + 1]) - x[t], zero for the last frame: (B * T, C, H, W) -> the same shape."""
    moved = filtered(x).unflatten(0, (-1, frames))[:, 1:] - x.unflatten(0, (-1, frames))[:, :-1]
    return F.pad(moved, (0, 0, 0, 0, 0, 0, 0, 1)).flatten(0, 1)


class StmBlock(Bottleneck2d):
    """A bottleneck whose middle is CSTM plus CMM, pooled where the block strides."""

    def __init__(self, width_in: int, width_mid: int, *, stride: int = 1) -> None:
        super().__init__(width_in, width_mid, stride=stride)
        self.time = TimeConv(width_mid)
        self.motion = Motion(width_mid)
        self.stride = stride

    def branch(self, x: Tensor, frames: int) -> Tensor:
        x = F.relu(self.a(x), inplace=True)
        seen = F.relu(self.b(self.time(x, frames)), inplace=True)
        moved = self.motion(x, frames)
        if self.stride == 2:
            moved = F.max_pool2d(moved, 2, ceil_mode=True)  # odd sizes round up, as strides do
        return self.c(seen + moved)


class STM(FrameClassifier):
    """(B, 3, T, H, W) -> (B, K) logits, the mean over frames."""

    def __init__(self, config: StmConfig) -> None:
        super().__init__()
        for name in ("num_classes", "frames"):
            if getattr(config, name) < 1:
                raise ValueError(f"{name} is {getattr(config, name)}; it must be 1 or more")
        self.config = config
        self.trunk = Trunk2d(StmBlock, config.depths, width=config.width)
        self.widths = self.trunk.widths[-1:]
        self.head = FrameHead(self.widths, config.num_classes, dropout=config.dropout)
        start_resnet(self, head_std=FrameHead.start_std)
        for module in self.modules():
            if isinstance(module, StmBlock):
                start_shifting(module.time, quarter=1 / 4)


@torch.no_grad()
def start_shifting(conv: TimeConv, *, quarter: float) -> None:
    """The first channels start as the previous frame, the last as the next, the others as this."""
    weight = conv.weight.squeeze(1)
    some = int(len(weight) * quarter)
    weight.zero_()
    weight[:some, 0] = 1.0
    weight[some : len(weight) - some, 1] = 1.0
    weight[len(weight) - some :, 2] = 1.0
