"""R(2+1)D and its siblings: one residual network, told apart by which convolutions see time.

R3D convolves space and time at once; R(2+1)D first space, then time, with a norm and a ReLU in
between and as many numbers as R3D; R2D swallows time in its first layer and f-R2D never looks
across frames. MCx are 3-D up to group x and 2-D from there on (groups 1 to 5 are the stem and
res2-5), rMCx the reverse.

    stage     shape of r2plus1d_34 for an 8-frame clip at 112x112
    input     1 3 8 112 112
    stem      1 64 8 56 56
    res2      1 64 8 56 56
    res3      1 128 4 28 28
    res4      1 256 2 14 14
    res5      1 512 1 7 7
    positions 1 1 400
    logits    1 400

The space-to-time convolution has a width of its own, and four publishers count it differently, so
that their weights fit only their own variant (``mid``, ``stem_mid``, ``factor_shortcut``):

    r2plus1d_18, _34, _152   VMZ: the formula of ``middle_width`` for each convolution; stem 45
    r2plus1d_18_tv           torchvision: the formula once a block, for both its convolutions
    r2plus1d_34_mm           mmaction2: as VMZ, but stem 83, shortcuts split too, a pool after stem
    r2plus1d_r50_ptv         pytorchvideo: time first, then space, both in the bottleneck's width

Source: D. Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition",
CVPR 2018, Table 1 and Section 3.5; the code of facebookresearch/VMZ, torchvision, mmaction2 and
pytorchvideo for what each computes. r3d_18 and mc3_18 are torchvision's; their originals, whose
norms have another epsilon, are r3d_18_vmz and mc3_18_vmz.
Differs: VMZ's PyTorch port updates norms with momentum 0.9; ours, like its Caffe2 code, with 0.1.
R2Plus1dConfig exceeds the 14-field cap: one field for each thing the published rows vary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.conv import Triple, channels_last, convolved
from marey.layers.heads import ClassifierHead, ClipClassifier, PoolRule
from marey.layers.init import start_resnet
from marey.layers.resnet3d import EXPANSION, BlockKind, check_clip, check_plan
from marey.types import Modality

CHANNELS: dict[Modality, int] = {"rgb": 3, "flow": 2}
ConvKind = Literal["2d", "3d", "2+1d", "whole"]  # whole: as many frames as the clip has
Middle = Literal["conv", "block", "width"]
Entry = Literal["plain", "pool", "stride"]


@dataclass(frozen=True, kw_only=True)
class R2Plus1dConfig:
    """One network. ``frames`` sizes the kernel of ``whole`` and, with ``crop``, pool windows."""

    num_classes: int = 400
    dropout: float = 0.0
    frames: int = 8
    crop: int = 112
    pool: PoolRule = "global"
    modality: Modality = "rgb"  # or "flow", of two channels
    width: int = 64
    block: BlockKind = "basic"
    depths: tuple[int, ...] = (2, 2, 2, 2)
    convs: tuple[ConvKind, ...] = ("2+1d",) * 5  # of the stem and of res2-5
    mid: Middle = "conv"  # whose widths the formula takes; "width": no formula, time first
    stem_mid: int = 45
    factor_shortcut: bool = False  # projections of 2+1d stages are split as well
    entry: Entry = "plain"  # between stem and res2: nothing, a max-pool, or a strided first block
    time_strides: tuple[int, ...] = (1, 2, 2, 2)  # of res2-5, where they see time
    eps: float = 1e-3  # of every norm


PLANS: dict[str, tuple[ConvKind, ...]] = {
    "r2d": ("whole", "2d", "2d", "2d", "2d"),
    "fr2d": ("2d", "2d", "2d", "2d", "2d"),
    "r3d": ("3d", "3d", "3d", "3d", "3d"),
    "mc2": ("3d", "2d", "2d", "2d", "2d"),
    "mc3": ("3d", "3d", "2d", "2d", "2d"),
    "mc4": ("3d", "3d", "3d", "2d", "2d"),
    "mc5": ("3d", "3d", "3d", "3d", "2d"),
    "rmc2": ("2d", "3d", "3d", "3d", "3d"),
    "rmc3": ("2d", "2d", "3d", "3d", "3d"),
    "rmc4": ("2d", "2d", "2d", "3d", "3d"),
    "rmc5": ("2d", "2d", "2d", "2d", "3d"),
    "r2plus1d": ("2+1d", "2+1d", "2+1d", "2+1d", "2+1d"),
}
_18 = R2Plus1dConfig()
_34 = R2Plus1dConfig(depths=(3, 4, 6, 3))
_152 = R2Plus1dConfig(depths=(3, 8, 36, 3), block="bottleneck", frames=32)
_TV = R2Plus1dConfig(eps=1e-5, mid="block", frames=16)

VARIANTS: dict[str, R2Plus1dConfig] = {
    **{f"{name}_18": replace(_18, convs=convs) for name, convs in PLANS.items()},
    **{f"{name}_34": replace(_34, convs=convs) for name, convs in PLANS.items()},
    **{f"{name}_152": replace(_152, convs=convs) for name, convs in PLANS.items()},
    "r3d_18": replace(_TV, convs=PLANS["r3d"]),
    "mc3_18": replace(_TV, convs=PLANS["mc3"]),
    "r3d_18_vmz": replace(_18, convs=PLANS["r3d"]),
    "mc3_18_vmz": replace(_18, convs=PLANS["mc3"]),
    "r2d_18_16f": replace(_18, convs=PLANS["r2d"], frames=16),
    "r2plus1d_34_flow": replace(_34, modality="flow", frames=32),
    "r2plus1d_18_tv": _TV,
    "r2plus1d_34_mm": replace(
        _34, stem_mid=83, factor_shortcut=True, entry="pool", dropout=0.5, crop=224
    ),
    "r2plus1d_r50_ptv": R2Plus1dConfig(
        depths=(3, 4, 6, 3),
        block="bottleneck",
        convs=("2d", "2+1d", "2+1d", "2+1d", "2+1d"),
        mid="width",
        entry="stride",
        time_strides=(1, 1, 2, 2),
        eps=1e-5,
        pool="window",
        dropout=0.5,
        frames=16,
        crop=224,
    ),
}


def middle_width(width_in: int, width: int, *, time: int = 3, side: int = 3) -> int:
    """Channels between the two halves of a split convolution, for as many numbers as a whole one.

    floor(t d^2 N_in N_out / (d^2 N_in + t N_out)) for a t x d x d kernel.
    Source: D. Tran et al., CVPR 2018, Section 3.5.
    """
    return time * side**2 * width_in * width // (side**2 * width_in + time * width)


class SplitConv(nn.Module):
    """Space (1, d, d), norm, ReLU, time (t, 1, 1), or time before space; each strides its own axis.

    (B, C, T, H, W) -> (B, width, ceil(T/st), ceil(H/sh), ceil(W/sw)).
    """

    def __init__(
        self,
        width_in: int,
        width_mid: int,
        width: int,
        kernel: Triple,
        *,
        stride: Triple,
        eps: float,
        time_first: bool = False,
    ) -> None:
        super().__init__()
        self.time_first = time_first
        into_space = (width_mid, width) if time_first else (width_in, width_mid)
        into_time = (width_in, width_mid) if time_first else (width_mid, width)
        self.space = _conv(*into_space, (1, *kernel[1:]), (1, *stride[1:]))
        self.norm = nn.BatchNorm3d(width_mid, eps=eps)
        self.time = _conv(*into_time, (kernel[0], 1, 1), (stride[0], 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        first, second = (self.time, self.space) if self.time_first else (self.space, self.time)
        middle = F.relu(self.norm(convolved(x, first)), inplace=True)
        return convolved(middle, second)


class Unit(nn.Module):
    """A convolution, whole or split, and its norm."""

    def __init__(self, conv: nn.Module, width: int, *, eps: float) -> None:
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm3d(width, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(convolved(x, self.conv))


class Stem(Unit):
    """7x7 in space, stride 2, with the time kernel of its kind; norm, ReLU, pool where wanted."""

    def __init__(self, config: R2Plus1dConfig) -> None:
        kind, stride = config.convs[0], (1, 2, 2)
        sizes = CHANNELS[config.modality], config.width
        if kind == "2+1d":
            super().__init__(
                SplitConv(
                    sizes[0], config.stem_mid, sizes[1], (3, 7, 7), stride=stride, eps=config.eps
                ),
                config.width,
                eps=config.eps,
            )
        else:
            kernel = ({"2d": 1, "3d": 3, "whole": config.frames}[kind], 7, 7)
            conv = _conv(*sizes, kernel, stride, pad_time=kind != "whole")
            super().__init__(conv, config.width, eps=config.eps)
        self.pools = config.entry == "pool"

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(super().forward(x), inplace=True)
        return F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1)) if self.pools else x


class Block(nn.Module):
    """ReLU(branch(x) + shortcut(x)); the shortcut projects where shapes differ.

    ``basic``: a with the stride, b. ``bottleneck``: a (1,1,1), b with the stride, c (1,1,1).
    """

    def __init__(
        self,
        config: R2Plus1dConfig,
        kind: ConvKind,
        width_in: int,
        width_mid: int,
        *,
        stride: Triple,
    ) -> None:
        super().__init__()
        width = width_mid * EXPANSION[config.block]
        shared = middle_width(width_in, width_mid) if config.mid == "block" else 0

        def unit(width_in: int, width: int, stride: Triple = (1, 1, 1)) -> Unit:
            conv = self.kernel(config, kind, width_in, width, stride, shared)
            return Unit(conv, width, eps=config.eps)

        def point(width_in: int, width: int) -> Unit:
            return Unit(_conv(width_in, width, (1, 1, 1), (1, 1, 1)), width, eps=config.eps)

        self.deep = config.block == "bottleneck"
        if self.deep:
            self.a = point(width_in, width_mid)
            self.b = unit(width_mid, width_mid, stride)
            self.c = point(width_mid, width)
        else:
            self.a = unit(width_in, width, stride)
            self.b = unit(width, width)
        self.projects = width_in != width or max(stride) > 1
        if self.projects:
            self.shortcut = Unit(
                _projection(config, kind, width_in, width, stride), width, eps=config.eps
            )

    def forward(self, x: Tensor) -> Tensor:
        branch = self.b(F.relu(self.a(x), inplace=True))
        if self.deep:
            branch = self.c(F.relu(branch, inplace=True))
        return F.relu(branch.add_(self.shortcut(x) if self.projects else x), inplace=True)

    @staticmethod
    def kernel(
        config: Any, kind: ConvKind, width_in: int, width: int, stride: Triple, shared: int
    ) -> nn.Module:
        """What stands for a 3x3x3 convolution; ``shared`` is the block's middle width, or 0."""
        if kind != "2+1d":
            return _conv(width_in, width, (3 if kind == "3d" else 1, 3, 3), stride)
        first = config.mid == "width"
        mid = width if first else shared or middle_width(width_in, width)
        return SplitConv(
            width_in, mid, width, (3, 3, 3), stride=stride, eps=config.eps, time_first=first
        )


class Stage(nn.Module):
    """Blocks of one resolution; the first carries the stride, in time only where it sees time."""

    def __init__(self, config: R2Plus1dConfig, at: int, width_in: int, block: type[Block]) -> None:
        super().__init__()
        kind = config.convs[at + 1]
        side = 2 if at > 0 or config.entry == "stride" else 1
        stride = (1 if kind == "2d" else config.time_strides[at], side, side)
        mid = config.width * 2**at
        self.width = mid * EXPANSION[config.block]
        self.blocks = nn.ModuleList(
            block(
                config,
                kind,
                self.width if i else width_in,
                mid,
                stride=(1, 1, 1) if i else stride,
            )
            for i in range(config.depths[at])
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class R2Plus1d(ClipClassifier):
    """(B, C, T, H, W) -> (B, K) logits; C is 3, or 2 for flow. Time of any length is averaged."""

    block = Block

    def __init__(self, config: R2Plus1dConfig) -> None:
        super().__init__()
        _check(config)
        self.config = config
        self.stem = Stem(config)
        width = config.width
        for at in range(4):
            stage = Stage(config, at, width, self.block)
            self.add_module(f"res{at + 2}", stage)
            width = stage.width
        self.widths = (width,)
        self.head = ClassifierHead(
            self.widths,
            config.num_classes,
            dropout=config.dropout,
            windows=None if config.pool == "global" else [_window(config)],
        )
        start_resnet(self)

    def stages(self, clip: Tensor) -> list[Tensor]:
        """Maps after the stem (and its pool) and after each of res2 to res5."""
        config = self.config
        frames = config.frames if config.convs[0] == "whole" else 1
        channels = CHANNELS[config.modality]
        check_clip(clip, frames=frames, side=16, name=self.name, channels=channels)
        clip = channels_last(clip)
        maps = []
        for step in self.stage_modules():
            clip = step(clip)
            maps.append(clip)
        return maps

    def features(self, clip: Tensor) -> tuple[Tensor, ...]:
        """The last map, (B, widths[0], T', H', W'), alone in a tuple."""
        return (self.stages(clip)[-1],)

    def stage_modules(self) -> list[nn.Module]:
        """Parts whose activations may be recomputed, each one map in and one map out."""
        return [self.get_submodule(name) for name in ("stem", "res2", "res3", "res4", "res5")]


def _conv(
    width_in: int, width: int, kernel: Triple, stride: Triple, *, pad_time: bool = True
) -> nn.Conv3d:
    """A convolution without bias, padded so that stride 1 keeps the size."""
    time, high, wide = kernel
    padding = (time // 2 if pad_time else 0, high // 2, wide // 2)
    return nn.Conv3d(width_in, width, kernel, stride=stride, padding=padding, bias=False)


def _projection(
    config: R2Plus1dConfig, kind: ConvKind, width_in: int, width: int, stride: Triple
) -> nn.Module:
    """The 1x1x1 convolution of a shortcut; mmaction2 splits it like any other."""
    if not (config.factor_shortcut and kind == "2+1d"):
        return _conv(width_in, width, (1, 1, 1), stride)
    mid = 3 * width_in * width // (width_in + 3 * width)  # its formula keeps t = 3
    return SplitConv(width_in, mid, width, (1, 1, 1), stride=stride, eps=config.eps)


def _window(config: R2Plus1dConfig) -> Triple:
    """Size of the last map of a training clip."""
    frames, side = config.frames, config.crop // (16 if config.entry == "plain" else 32)
    for stride in config.time_strides:
        frames = -(-frames // stride)
    return max(frames, 1), max(side, 1), max(side, 1)


def _check(config: R2Plus1dConfig) -> None:
    """Raises ValueError where a configuration cannot make a network."""
    check_plan(
        width=config.width,
        depths=config.depths,
        kernels=((1,),) * 5,
        nonlocals=((), (), (), ()),
        counts={
            "num_classes": config.num_classes,
            "frames": config.frames,
            "stem_mid": config.stem_mid,
        },
    )
    if config.modality not in CHANNELS:
        options = ", ".join(CHANNELS)
        raise ValueError(f"modality is {config.modality!r}; choose one of {options}")
    _one_each("convs", config.convs, 5, "stem, res2-5", ("2d", "3d", "2+1d", "whole"))
    _one_each("time_strides", config.time_strides, 4, "res2-5", (1, 2))
    if "whole" in config.convs[1:]:
        raise ValueError(f"convs is {config.convs}; only the stem, its first, can be 'whole'")


def _one_each(name: str, row: Sequence[object], count: int, of: str, known: tuple) -> None:
    if len(row) != count or any(value not in known for value in row):
        options = ", ".join(map(str, known))
        raise ValueError(f"{name} is {tuple(row)}; give {count} ({of}), each of {options}")
