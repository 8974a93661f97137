"""Channel-separated networks: a ResNet whose 3x3x3 convolutions look within each channel only.

What mixes channels is 1x1x1, what mixes neighbours is depth-wise. The interaction-reduced block
(ir) has the depth-wise convolution alone in its middle; the interaction-preserved one (ip) puts a
1x1x1 convolution and a norm, without ReLU, before it.

    stage     shape of ircsn_r152 for a 32-frame clip at 224x224
    input     1 3 32 224 224
    stem      1 64 32 56 56
    res2      1 256 32 56 56
    res3      1 512 16 28 28
    res4      1 1024 8 14 14
    res5      1 2048 4 7 7
    positions 1 1 400
    logits    1 400

Source: D. Tran, H. Wang, L. Torresani, M. Feiszli, "Video Classification with Channel-Separated
Convolutional Networks", ICCV 2019, Section 3, and the code of facebookresearch/VMZ.
CsnConfig exceeds the 14-field cap: it is that of R(2+1)D and one more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn

from marey.layers.conv import Triple
from marey.layers.conv3d import called
from marey.models.r2plus1d import Block, ConvKind, R2Plus1d, R2Plus1dConfig


@dataclass(frozen=True, kw_only=True)
class CsnConfig(R2Plus1dConfig):
    """One network; ``convs`` says where time is seen, as in R3D."""

    frames: int = 32
    crop: int = 224
    block: Literal["bottleneck"] = "bottleneck"  # type: ignore[assignment]
    depths: tuple[int, ...] = (3, 4, 6, 3)
    convs: tuple[ConvKind, ...] = ("3d", "3d", "3d", "3d", "3d")
    entry: Literal["plain", "pool", "stride"] = "pool"
    interaction: Literal["reduced", "preserved"] = "reduced"


_R50 = CsnConfig()
_R152 = CsnConfig(depths=(3, 8, 36, 3))

VARIANTS: dict[str, CsnConfig] = {
    "ircsn_r50": _R50,
    "ircsn_r152": _R152,
    "ipcsn_r152": replace(_R152, interaction="preserved"),
}


class Preserved(nn.Module):
    """1x1x1 over channels, norm, then 3x3x3 within each: no ReLU in between."""

    def __init__(self, width: int, kernel: Triple, stride: Triple, *, eps: float) -> None:
        super().__init__()
        self.point = nn.Conv3d(width, width, 1, bias=False)
        self.norm = nn.BatchNorm3d(width, eps=eps)
        self.deep = depthwise(width, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        return called(self.deep, self.norm(self.point(x)))


class SeparatedBlock(Block):
    """A bottleneck with a depth-wise middle."""

    @staticmethod
    def kernel(
        config: Any, kind: ConvKind, width_in: int, width: int, stride: Triple, shared: int
    ) -> nn.Module:
        size = (1 if kind == "2d" else 3, 3, 3)
        if config.interaction == "preserved":
            return Preserved(width, size, stride, eps=config.eps)
        return depthwise(width, size, stride)


class Csn(R2Plus1d):
    """(B, 3, T, H, W) -> (B, K) logits."""

    block = SeparatedBlock

    def __init__(self, config: CsnConfig) -> None:
        if config.block != "bottleneck" or {"2+1d", "whole"} & set(config.convs):
            raise ValueError(
                f"block is {config.block!r} and convs {config.convs}; a channel-separated network "
                f"has bottlenecks, and '2d' or '3d' convolutions"
            )
        super().__init__(config)


def depthwise(width: int, kernel: Triple, stride: Triple) -> nn.Conv3d:
    """A convolution within each channel, without bias, padded so that stride 1 keeps the size."""
    padding = tuple(size // 2 for size in kernel)
    return nn.Conv3d(width, width, kernel, stride, padding, groups=width, bias=False)  # type: ignore[arg-type]
