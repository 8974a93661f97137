"""X3D: a tiny image network grown along six axes, one at a time, into a video network.

All channels are few and nothing strides over time; what sees motion is a depthwise 3x3x3
convolution in each block, cheap enough to be run on many frames at high resolution. A block widens
its channels, looks, re-weighs them by what the whole clip holds, and narrows them again. The six
axes are fields of the configuration, and ``engine.expand`` grows them on other data and budgets.

    stage     shape of x3d_m for a 16-frame clip at 224x224
    input     1 3 16 224 224
    stem      1 24 16 112 112
    res2      1 24 16 56 56
    res3      1 48 16 28 28
    res4      1 96 16 14 14
    res5      1 192 16 7 7
    pooled    1 2048 1 1 1
    positions 1 1 400
    logits    1 400

Source: C. Feichtenhofer, "X3D: Expanding Architectures for Efficient Video Recognition", CVPR 2020;
the numbers of every row from the authors' code. ``x2d`` is the paper's start, X2D.
Differs: ``width_factor`` counts from 12 channels, as the code does; the paper's gamma_w is half it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.conv import FoldingConvNorm, Triple, channels_last, convolve, eager_on_cpu
from marey.layers.heads import ClassifierHead, ClipClassifier, PoolRule
from marey.layers.init import start_resnet
from marey.layers.resnet3d import check_clip

STEM_WIDTH = 12  # before width_factor, as are the widths of res2 to res5
WIDTHS = (12, 24, 48, 96)
DEPTHS = (1, 2, 5, 3)  # before depth_factor


@dataclass(frozen=True, kw_only=True)
class X3DConfig:
    """One network; the six axes of expansion come first.

    ``frames`` and ``crop`` only size the averaging window of ``pool="window"``, ``stride`` changes
    no tensor: with ``frames`` it says how long and how dense the clips are.
    """

    frames: int = 13
    stride: int = 6  # frames apart at 30 a second; fewer with as many more frames: a faster rate
    crop: int = 160
    width_factor: float = 2.0  # of all channels
    bottleneck_factor: float = 2.25  # inner channels of a block per outer one
    depth_factor: float = 2.2  # blocks of each stage
    num_classes: int = 400
    dropout: float = 0.5
    pool: PoolRule = "window"
    hidden: int = 2048  # width of the layer before the classifier
    shortcut_norms: Literal["all", "widening"] = "all"  # pytorchvideo norms only where widths grow


_S = X3DConfig()
_L = replace(_S, frames=16, stride=5, crop=312, depth_factor=5.0)

VARIANTS: dict[str, X3DConfig] = {
    "x2d": replace(_S, frames=1, stride=48, crop=112, bottleneck_factor=1.0, depth_factor=1.0),
    "x3d_xs": replace(_S, frames=4, stride=12),
    "x3d_s": _S,
    "x3d_m": replace(_S, frames=16, stride=5, crop=224),
    "x3d_l": _L,
    "x3d_xl": replace(_L, width_factor=2.9),
}


def round_width(width: float, *, divisor: int = 8) -> int:
    """The multiple of ``divisor`` nearest to a width, never more than a tenth below it."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


class Stem(nn.Module):
    """(1, 3, 3) convolution of stride 2 in space, depthwise (5, 1, 1) over time, norm, ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.space = nn.Conv3d(3, width, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1), bias=False)
        self.time = FoldingConvNorm(width, width, (5, 1, 1), groups=width)

    def forward(self, clip: Tensor) -> Tensor:
        if eager_on_cpu(self.space, clip):
            return F.relu(self.time(convolve(clip, self.space, self.space.weight)), inplace=True)
        return F.relu(self.time(self.space(clip)), inplace=True)


class Squeeze(nn.Module):
    """Channels weighed by a small network of their averages: (B, C, T, H, W) -> the same.

    The two layers keep the shape of 1x1x1 convolutions, and run as linear ones.
    Source: J. Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        narrow = round_width(width / 16)
        self.reduce = nn.Conv3d(width, narrow, 1)
        self.excite = nn.Conv3d(narrow, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = F.relu(_linear(self.reduce, x.mean(dim=(2, 3, 4))))
        return x * _linear(self.excite, gate).sigmoid()[..., None, None, None]


class Block(nn.Module):
    """Widen, look at 3x3x3 neighbours in each channel, weigh, narrow; added to the shortcut.

    Only every other block of a stage weighs its channels (``squeeze``). SiLU follows the look
    alone; elsewhere ReLU.
    """

    def __init__(
        self, width_in: int, inner: int, width: int, *, stride: int, squeeze: bool, norms: str
    ) -> None:
        super().__init__()
        step: Triple = (1, stride, stride)
        self.a = FoldingConvNorm(width_in, inner, (1, 1, 1))
        self.b = FoldingConvNorm(inner, inner, (3, 3, 3), stride=step, groups=inner)
        self.squeeze = Squeeze(inner) if squeeze else nn.Identity()
        self.c = FoldingConvNorm(inner, width, (1, 1, 1), last=True)
        self.projects = width_in != width or stride != 1
        if self.projects:
            self.shortcut = FoldingConvNorm(width_in, width, (1, 1, 1), stride=step)
            if norms == "widening" and width_in == width:
                self.shortcut.norm = nn.Identity()  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        branch = self.b(F.relu(self.a(x), inplace=True))
        branch = self.c(F.silu(self.squeeze(branch), inplace=True))
        return F.relu(branch.add_(self.shortcut(x) if self.projects else x), inplace=True)


class Stage(nn.Module):
    """Blocks of one resolution, half that of the maps that come in."""

    def __init__(self, width_in: int, width: int, depth: int, config: X3DConfig) -> None:
        super().__init__()
        self.width, self.inner = width, int(config.bottleneck_factor * width)
        self.blocks = nn.Sequential(
            *(
                Block(
                    width if i else width_in,
                    self.inner,
                    width,
                    stride=1 if i else 2,
                    squeeze=i % 2 == 0,
                    norms=config.shortcut_norms,
                )
                for i in range(depth)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class Head(ClassifierHead):
    """Widen to the inner width of res5, average, a hidden layer without norm, project."""

    def __init__(self, width: int, inner: int, config: X3DConfig) -> None:
        side = ceil(config.crop / 32)
        window: Triple = (config.frames, side, side)
        super().__init__(
            (config.hidden,),
            config.num_classes,
            dropout=config.dropout,
            windows=None if config.pool == "global" else [window],
        )
        self.inner = FoldingConvNorm(width, inner, (1, 1, 1))
        self.hidden = nn.Conv3d(inner, config.hidden, 1, bias=False)

    def pooled(self, maps: tuple[Tensor, ...]) -> Tensor:  # type: ignore[override]
        """Input of the projection as a map, (B, hidden, T', H', W')."""
        means = super().pooled([F.relu(self.inner(maps[0]), inplace=True)])
        return F.relu(self.hidden(means), inplace=True)


class X3D(ClipClassifier):
    """(B, 3, T, H, W) -> (B, K) logits, the mean over output positions; any T, sides from 16."""

    def __init__(self, config: X3DConfig) -> None:
        super().__init__()
        _check(config)
        self.config = config
        stem = round_width(STEM_WIDTH * config.width_factor)
        widths = [round_width(width * config.width_factor) for width in WIDTHS]
        depths = [ceil(depth * config.depth_factor) for depth in DEPTHS]
        self.stem = Stem(stem)
        before = (stem, *widths)
        self.res2, self.res3, self.res4, self.res5 = (
            Stage(before[i], widths[i], depths[i], config) for i in range(4)
        )
        self.widths = (widths[-1],)
        self.head = Head(widths[-1], self.res5.inner, config)
        start_resnet(self)

    def stages(self, clip: Tensor) -> list[Tensor]:
        """Maps after the stem and after each of res2 to res5."""
        check_clip(clip, frames=1, side=16, name=self.name)
        maps = [channels_last(clip)]  # depthwise kernels of CPUs are twice as fast so
        for step in self.stage_modules():
            maps.append(step(maps[-1]))
        return maps[1:]

    def features(self, clip: Tensor) -> tuple[Tensor, ...]:
        """The last map, (B, widths[0], T, H / 32, W / 32), alone in a tuple."""
        return (self.stages(clip)[-1],)

    def stage_modules(self) -> list[nn.Module]:
        """Parts whose activations may be recomputed, each one map in and one map out."""
        return [self.stem, self.res2, self.res3, self.res4, self.res5]


def _linear(layer: nn.Conv3d, x: Tensor) -> Tensor:
    """A 1x1x1 convolution of single positions, (B, C) -> (B, width)."""
    return F.linear(x, layer.weight.flatten(1), layer.bias)


def _check(config: X3DConfig) -> None:
    """Raises ValueError for a configuration that makes no network."""
    for name in ("frames", "stride", "crop", "num_classes", "hidden"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be 1 or more")
    for name in ("width_factor", "bottleneck_factor", "depth_factor"):
        if not 0 < getattr(config, name) < float("inf"):
            raise ValueError(f"{name} is {getattr(config, name)}; it must be above 0")
