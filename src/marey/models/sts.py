"""STS: half of each convolution over time is kept for pictures; image training carries over.

Trained on single images, a video network learns only the middle tap of its kernels over time. In
fine-tuning the first half of every such convolution's channels stays *static*: its taps look along
the rows and columns of each frame instead of along time. The other half is *dynamic*, the plain
convolution. Tensors, names and cost are those of the plain network; only the forward pass differs.

    layer       of sts_slow_r50_8x8    shape for an 8-frame clip at 224x224
    input                              1 3 8 224 224
    res4 a      trunk.res4.blocks.1.a  1 256 8 14 14
    static rows    the first quarter   1 64 8 14 14
    static columns      the second     1 64 8 14 14
    dynamic          the last half     1 128 8 14 14

``split`` puts it into any built network with convolutions that fit: k x 1 x 1, or 3x3x3 within
each channel, without stride in time. The variants are SlowOnly, SlowFast, ir-CSN, X3D and R(2+1)D
as the paper has them; ``slowfast_*_mm`` is mmaction2's SlowFast, on which it builds.

Source: X. Li et al., "In Defense of Image Pre-Training for Spatiotemporal Recognition", ECCV 2022,
Section 3, and the authors' code. Where a depth-wise convolution strides in space, the rows and
columns of its static half are the official ones: every fourth value of the raster, not aligned with
the other kernels. ``aligned`` gives those that are, for training anew.
Configurations exceed the 14-field cap: they are those of the network underneath and two more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.conv3d import conv3d
from marey.layers.heads import ClipClassifier
from marey.layers.swap import swap
from marey.models import csn, r2plus1d, resnet3d, slowfast, x3d
from marey.models.csn import Csn, CsnConfig
from marey.models.r2plus1d import R2Plus1d, R2Plus1dConfig
from marey.models.resnet3d import ResNet3d, ResNet3dConfig
from marey.models.slowfast import SlowFast, SlowFastConfig
from marey.models.x3d import X3D, X3DConfig


class SplitTime(nn.Conv3d):
    """k x 1 x 1: quarter of the channels along rows, quarter along columns, half along time.

    (B, C, T, H, W) -> (B, width, T, H, W). Rows are the raster of a frame from end to end: a tap
    reaches from the end of one row to the start of the next, and only the first and last value of
    a frame see zeros. Columns likewise. Raises ValueError for a convolution that does not fit.
    """

    def __init__(self, plain: nn.Conv3d) -> None:
        time, high, wide = plain.kernel_size
        if (high, wide) != (1, 1) or plain.groups != 1 or time % 2 == 0 or plain.out_channels < 4:
            raise ValueError(f"{plain} has no rows and columns to look along; keep it plain")
        _adopt(self, plain)

    def forward(self, x: Tensor) -> Tensor:
        reach = self.kernel_size[0] // 2
        static, dynamic = self.weight.flatten(3).chunk(2)  # (O / 2, I, k, 1)
        along_rows, along_columns = static.transpose(2, 3).chunk(2)  # (O / 4, I, 1, k)
        raster = x.flatten(3)  # (B, C, T, H W)
        rows = F.conv2d(raster, along_rows, padding=(0, reach)).unflatten(3, x.shape[3:])
        turned = x.transpose(3, 4)
        columns = F.conv2d(turned.flatten(3), along_columns, padding=(0, reach))
        columns = columns.unflatten(3, turned.shape[3:]).transpose(3, 4)
        moving = F.conv2d(raster, dynamic, padding=(reach, 0)).unflatten(3, x.shape[3:])
        return torch.cat([rows, columns, moving], dim=1)


class SplitDepthwise(nn.Conv3d):
    """3 x 3 x 3 within each channel: half of the channels see space only, half space and time.

    Of a static kernel the middle slice is a 3x3 in space; the slice before it becomes nine taps
    along rows, the one after it nine along columns; the three are summed. (B, C, T, H, W) ->
    (B, C, T, H / s, W / s). Raises ValueError for a convolution that does not fit, and for a map
    that its stride does not divide.
    """

    def __init__(self, plain: nn.Conv3d, *, aligned: bool = False) -> None:
        if plain.kernel_size != (3, 3, 3) or not plain.groups == plain.in_channels > 1:
            raise ValueError(f"{plain} is not a 3x3x3 within each channel; keep it plain")
        if plain.stride[1] != plain.stride[2] or plain.out_channels != plain.in_channels:
            raise ValueError(f"{plain} strides unevenly; keep it plain")
        _adopt(self, plain)
        self.aligned = aligned

    def forward(self, x: Tensor) -> Tensor:
        high, wide = x.shape[3:]
        step = self.stride[1]
        if high % step or wide % step:
            raise ValueError(
                f"a map of {high}x{wide} does not divide into {step}x{step}, which split "
                f"convolutions need; give clips whose sides are multiples of 32"
            )
        still, moving = x.chunk(2, dim=1)
        static, dynamic = self.weight.chunk(2)
        before, middle, after = static.flatten(3).unbind(2)  # (C / 2, 1, 9) each
        spatial = F.conv3d(
            still,
            middle.unflatten(2, (1, 3, 3)),
            stride=(1, step, step),
            padding=(0, 1, 1),
            groups=len(static),
        )
        rows = self._along(still, before)
        columns = self._along(still.transpose(3, 4), after).transpose(3, 4)
        form: Any = (self.stride, self.padding, self.dilation, len(dynamic))
        deep = conv3d(moving, dynamic, None, *form)
        return torch.cat([spatial + rows + columns, deep], dim=1)

    def _along(self, x: Tensor, taps: Tensor) -> Tensor:
        """Nine taps along the raster of each frame; the result on the grid of the strided map."""
        step = self.stride[1]
        pace = 1 if self.aligned else step**2
        raster = F.conv2d(
            x.flatten(3), taps.unsqueeze(2), stride=(1, pace), padding=(0, 4), groups=len(taps)
        )
        if self.aligned:
            return raster.unflatten(3, x.shape[3:])[..., ::step, ::step]
        return raster.unflatten(3, (x.shape[3] // step, x.shape[4] // step))


def _adopt(layer: nn.Conv3d, plain: nn.Conv3d) -> None:
    """Set ``layer`` up as ``plain``, around its own weight; ValueError for what cannot be."""
    if plain.stride[0] != 1:
        raise ValueError(
            f"{plain} strides in time, which split convolutions cannot; build the network with "
            f"time strides of 1"
        )
    same = tuple(size // 2 for size in plain.kernel_size)
    if plain.bias is not None or plain.dilation != (1, 1, 1) or plain.padding != same:
        raise ValueError(f"{plain} has a bias, a dilation or another padding; keep it plain")
    nn.Conv3d.__init__(
        layer,
        plain.in_channels,
        plain.out_channels,
        plain.kernel_size,  # type: ignore[arg-type]
        stride=plain.stride,  # type: ignore[arg-type]
        padding=plain.padding,  # type: ignore[arg-type]
        groups=plain.groups,
        bias=False,
        device="meta",
    )
    layer.weight = plain.weight


def split(network: nn.Module, *, aligned: bool = False) -> tuple[str, ...]:
    """Put STS into a built network, in place; names of the convolutions that changed.

    Those are all of more than one frame that look only at time, or within each channel at 3x3x3;
    stems of time alone and the lateral convolutions of SlowFast, which stride, keep plain.
    Raises ValueError where there are none, or where one strides in time.
    """

    def rule(name: str, layer: nn.Module) -> nn.Module | None:
        if not isinstance(layer, nn.Conv3d) or isinstance(layer, SplitTime | SplitDepthwise):
            return None
        if layer.kernel_size[0] == 1 or name.startswith("laterals."):
            return None
        if layer.kernel_size[1:] == (1, 1) and layer.groups == 1:
            return SplitTime(layer)
        if layer.kernel_size == (3, 3, 3) and layer.groups > 1:
            return SplitDepthwise(layer, aligned=aligned)
        return None

    names = swap(network, rule)
    if not names:
        raise ValueError(
            f"{type(network).__name__} has no convolution over time alone and none within channels"
        )
    return names


@dataclass(frozen=True, kw_only=True)
class Split:
    """``split`` off leaves the plain network of the same tensors."""

    split: bool = True
    aligned: bool = False  # strided rows and columns in place; not what published weights know


@dataclass(frozen=True, kw_only=True)
class SlowConfig(Split, ResNet3dConfig):
    """SlowOnly."""


@dataclass(frozen=True, kw_only=True)
class TwoPathConfig(Split, SlowFastConfig):
    """SlowFast as mmaction2 builds it."""


@dataclass(frozen=True, kw_only=True)
class SeparatedConfig(Split, CsnConfig):
    """ir-CSN."""


@dataclass(frozen=True, kw_only=True)
class FactoredConfig(Split, R2Plus1dConfig):
    """R(2+1)D as mmaction2 builds it."""


@dataclass(frozen=True, kw_only=True)
class GrownConfig(Split, X3DConfig):
    """X3D."""


_SLOW = SlowConfig(**{**vars(resnet3d.VARIANTS["slow_r50_8x8"]), "pool": "global"})
_FAST = {
    name: TwoPathConfig(**{**vars(slowfast.VARIANTS[name]), "pool": "global"})
    for name in ("slowfast_r50_4x16", "slowfast_r50_8x8")
}
_FLAT = {"time_strides": (1, 1, 1, 1)}

VARIANTS: dict[str, Any] = {
    "sts_slow_r50_8x8": _SLOW,
    "sts_slowfast_r50_4x16": _FAST["slowfast_r50_4x16"],
    "sts_slowfast_r50_8x8": _FAST["slowfast_r50_8x8"],
    "sts_ircsn_r50": SeparatedConfig(**{**vars(csn.VARIANTS["ircsn_r50"]), **_FLAT}),
    "sts_x3d_s": GrownConfig(**{**vars(x3d.VARIANTS["x3d_s"]), "pool": "global"}),
    "sts_r2plus1d_34": FactoredConfig(**{**vars(r2plus1d.VARIANTS["r2plus1d_34_mm"]), **_FLAT}),
    "slowfast_r50_4x16_mm": replace(_FAST["slowfast_r50_4x16"], split=False),
    "slowfast_r50_8x8_mm": replace(_FAST["slowfast_r50_8x8"], split=False),
}


class PlainSlowFast(SlowFast):
    """mmaction2's SlowFast: every alpha-th frame from the first for the slow pathway, lateral
    convolutions without norm or ReLU, and the fast map before the slow one in the classifier."""

    def __init__(self, config: TwoPathConfig) -> None:
        super().__init__(config)
        if config.pool != "global":
            raise ValueError(f"pool is {config.pool!r}; this SlowFast averages the whole map")
        swap(self.laterals, lambda name, part: nn.Identity() if name.endswith("norm") else None)
        self.widths = (self.widths[1], self.widths[0])

    def pathways(self, clip: Any) -> tuple[Tensor, Tensor]:
        slow, fast = super().pathways(clip)
        return (fast[:, :, :: self.config.alpha] if isinstance(clip, Tensor) else slow), fast

    def lateral(self, at: int, fast: Tensor) -> Tensor:
        return self.laterals[at](fast)

    def features(self, clip: Any) -> tuple[Tensor, ...]:
        """The last fast map and the last slow map."""
        slow, fast = self.stages(clip)[-1]
        return fast, slow


NETWORKS: dict[type, type[ClipClassifier]] = {
    SlowConfig: ResNet3d,
    TwoPathConfig: PlainSlowFast,
    SeparatedConfig: Csn,
    FactoredConfig: R2Plus1d,
    GrownConfig: X3D,
}


def sts(config: Any) -> ClipClassifier:
    """The network of a configuration, its convolutions split unless it says otherwise."""
    network: Any = NETWORKS[type(config)](config)
    if config.split:
        split(network, aligned=config.aligned)
    return network
