"""S3D and its relatives: Inception-V1 over clips, told apart by where and how time is convolved.

I3D gives every convolution three frames, I2D none; top-heavy and bottom-heavy networks give them
to the upper or lower layers only. S3D splits each into space, then time, which costs less and
classifies better; S3D-G lets each channel be scaled by what the whole clip shows. Fast S3D keeps
the split convolutions in its two top blocks only.

    stage     shape of s3d for a 64-frame clip at 224x224
    input     1 3 64 224 224
    stem      1 64 32 112 112
    conv2c    1 192 32 56 56
    mixed3c   1 480 32 28 28
    mixed4f   1 832 16 14 14
    mixed5c   1 1024 8 7 7
    positions 1 1 400
    logits    1 400

Source: S. Xie, C. Sun, J. Huang, Z. Tu, K. Murphy, "Rethinking Spatiotemporal Feature Learning:
Speed-Accuracy Trade-offs in Video Classification", ECCV 2018, Sections 3 and 4; J. Carreira,
A. Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017 (I3D).
Differs: ``s3d``, ``s3dg`` and ``fast_s3d`` compute as torchvision's port, with a norm after each
half; ``s3d_tf`` and ``s3dg_tf`` as the authors' release; ``s3dg_milnce`` as the network of A. Miech
et al., "End-to-End Learning of Visual Representations from Uncurated Instructional Videos", CVPR
2020, whose outputs are an embedding. Gates close every branch, as in all code published; the text
of the paper has them after each convolution over time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from torch import Tensor, nn

from marey.layers.conv import Triple, channels_last
from marey.layers.heads import ClassifierHead, ClipClassifier, PoolRule
from marey.layers.inception import (
    ConvUnit,
    Form,
    Gate,
    Mixed,
    Pool,
    Separable,
    space_to_depth,
    spatiotemporal,
)
from marey.layers.init import start_inception
from marey.types import Modality

FormName = Literal["torchvision", "tensorflow", "deepmind", "milnce"]
Stem = Literal["separable", "joint", "blocks"]

FORMS: dict[FormName, Form] = {
    "torchvision": Form(),
    "tensorflow": Form(padding="same", time_norm=False),
    "deepmind": Form(padding="same", momentum=1e-2),
    "milnce": Form(padding="trailing", eps=1e-5, momentum=0.1, gate_bias=True),
}
CHANNELS: dict[Modality, int] = {"rgb": 3, "flow": 2, "rgb_difference": 3}
WINDOW: Triple = (2, 7, 7)
LEAST = 16  # channels of the narrowest layer of a narrow network
UNITS = ("2c", "3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")  # that may span time
ALL = (0, len(UNITS))
MIXED: dict[str, tuple[int, ...]] = {  # b0; b1 inside, out; b2 inside, out; b3
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}


@dataclass(frozen=True, kw_only=True)
class S3dConfig:
    """One network. ``frames`` and ``crop`` are those it is trained on; others are taken too.

    ``pool="window"`` averages 2x7x7 places (the whole map where it is smaller), then the windows.
    """

    num_classes: int = 400
    dropout: float = 0.2
    frames: int = 64
    crop: int = 224
    pool: PoolRule = "window"
    modality: Modality = "rgb"
    width: int = 64  # of the stem; the others in proportion
    form: FormName = "torchvision"
    stem: Stem = "separable"  # blocks: 2x2x2 pixels become channels first
    stem_kernel: int = 7  # frames
    separable: bool = True
    time: tuple[int, int] = ALL  # the units that span time: from, up to (not including)
    gating: bool = False


_S3D = S3dConfig()
_TF = S3dConfig(form="tensorflow", stem="joint", stem_kernel=3)
_I3D = S3dConfig(form="deepmind", stem="joint", separable=False)
_I2D = replace(_I3D, stem_kernel=1, time=(0, 0))

VARIANTS: dict[str, S3dConfig] = {
    "i2d_inception": _I2D,
    "i3d_inception": _I3D,
    "i3d_flow_inception": replace(_I3D, modality="flow"),
    **{f"i3d_top{k}_inception": replace(_I2D, time=(10 - k, 10)) for k in range(1, 11)},
    **{f"i3d_bottom{k}_inception": replace(_I3D, time=(0, k - 1)) for k in range(1, 11)},
    "s3d": replace(_S3D, frames=128),
    "s3d_flow": replace(_S3D, modality="flow"),
    "s3d_stem7": replace(_S3D, stem="joint"),
    "s3d_stem3": replace(_S3D, stem="joint", stem_kernel=3),
    "s3d_tf": _TF,
    "s3dg": replace(_S3D, gating=True),
    "s3dg_flow": replace(_S3D, gating=True, modality="flow"),
    "s3dg_tf": replace(_TF, gating=True),
    "fast_s3d": replace(_S3D, stem="joint", stem_kernel=1, time=(8, 10)),
    "s3dg_milnce": S3dConfig(
        num_classes=512,
        dropout=0.0,
        frames=32,
        pool="global",
        form="milnce",
        stem="blocks",
        stem_kernel=2,
        gating=True,
    ),
}


class BlockStem(nn.Module):
    """A stem that first folds 2x2x2 pixels into channels: half of the size in each direction."""

    def __init__(self, channels: int, width: int, form: Form) -> None:
        super().__init__()
        self.fold = ConvUnit(8 * channels, width, (2, 4, 4), form, padding=(1, 2, 2))

    def forward(self, clip: Tensor) -> Tensor:
        found = self.fold(channels_last(space_to_depth(clip)))
        return channels_last(found[:, :, 1:, 1:, 1:])


class S3d(ClipClassifier):
    """(B, C, T, H, W) -> (B, K) logits, the mean over output positions; C is 2 for flow, else 3."""

    def __init__(self, config: S3dConfig) -> None:
        super().__init__()
        check_config(config)
        self.config = config
        form, width = FORMS[config.form], self._width
        self.stem = self._stem(form)
        self.conv2b = ConvUnit(width(64), width(64), (1, 1, 1), form)
        self.conv2c = spatiotemporal(
            width(64),
            width(192),
            (self._frames("2c"), 3, 3),
            form,
            separable=config.separable,
        )
        if config.gating:
            self.gate2c = Gate(width(192), bias=form.gate_bias)
        last = width(192)
        for name, widths in MIXED.items():
            block = Mixed(
                last,
                [width(n) for n in widths],
                form,
                time=self._frames(name),
                separable=config.separable,
                gates=config.gating,
            )
            self.add_module(f"mixed{name}", block)
            last = block.width
        flat, deep = (1, 3, 3), (1, 2, 2)
        self.pool2, self.pool3 = Pool(flat, deep, form), Pool(flat, deep, form)
        self.pool4 = Pool((3, 3, 3), (2, 2, 2), form)
        self.pool5 = Pool((2, 2, 2), (2, 2, 2), form)
        self.widths = (last,)
        self.head = ClassifierHead(
            self.widths,
            config.num_classes,
            dropout=config.dropout,
            windows=None if config.pool == "global" else [WINDOW],
        )
        start_inception(self)

    def _stem(self, form: Form) -> nn.Module:
        config, channels, width = self.config, CHANNELS[self.config.modality], self._width(64)
        if config.stem == "blocks":
            return BlockStem(channels, width, form)
        kind = Separable if config.stem == "separable" else ConvUnit
        return kind(channels, width, (config.stem_kernel, 7, 7), form, stride=(2, 2, 2))

    def _width(self, full: int) -> int:
        """Channels of a layer that has ``full`` in the network of full width."""
        return max(full * self.config.width // 64, min(LEAST, full))

    def _frames(self, unit: str) -> int:
        """Extent of a unit over time."""
        low, high = self.config.time
        return 3 if low <= UNITS.index(unit) < high else 1

    def stage_modules(self) -> list[nn.Module]:
        """Parts whose activations may be recomputed, each one map in and one map out."""
        mixed = [self.get_submodule(f"mixed{name}") for name in MIXED]
        return [self.stem, self.conv2b, self.conv2c, *mixed]

    def stages(self, clip: Tensor) -> list[Tensor]:
        """Maps after the stem, conv 2c with its gate, and mixed 3c, 4f, 5c: before each pool."""
        check_size(clip, self.config, self.name)
        if self.config.modality == "rgb_difference":
            clip = clip[:, :, 1:] - clip[:, :, :-1]
        stem = self.stem(channels_last(clip))
        conv2c = self.conv2c(self.conv2b(self.pool2(stem)))
        maps = [stem, self.gate2c(conv2c) if self.config.gating else conv2c]
        for pool, group in ((self.pool3, "3"), (self.pool4, "4"), (self.pool5, "5")):
            x = pool(maps[-1])
            for name in MIXED:
                if name.startswith(group):
                    x = self.get_submodule(f"mixed{name}")(x)
            maps.append(x)
        return maps

    def features(self, clip: Tensor) -> tuple[Tensor, ...]:
        """The last map, (B, widths[0], T', H', W'), alone in a tuple."""
        return (self.stages(clip)[-1],)

    def forward_positions(self, clip: Tensor) -> Tensor:
        """(B, 1, K): all published forms average the logits of their windows, not probabilities."""
        return self.head(self.features(clip)).mean(dim=1, keepdim=True)


def check_config(config: S3dConfig) -> None:
    """Raises ValueError for a configuration that makes no network."""
    positive = ("num_classes", "frames", "crop", "width")
    for name in positive:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be 1 or more")
    if config.modality not in CHANNELS:
        raise ValueError(f"modality is {config.modality!r}; choose one of {', '.join(CHANNELS)}")
    if config.form not in FORMS:
        raise ValueError(f"form is {config.form!r}; choose one of {', '.join(FORMS)}")
    if config.stem not in get_args(Stem):
        raise ValueError(f"stem is {config.stem!r}; choose one of {', '.join(get_args(Stem))}")
    if config.stem != "blocks" and config.stem_kernel not in (1, 3, 5, 7):
        raise ValueError(f"stem_kernel is {config.stem_kernel}; choose 1, 3, 5 or 7 frames")
    low, high = config.time
    if not 0 <= low <= high <= len(UNITS):
        raise ValueError(
            f"time is ({low}, {high}); give two numbers of units from (0, 0), none, to (0, 10), all"
        )


def check_size(clip: Tensor, config: S3dConfig, name: str) -> None:
    """Raises ValueError for a clip that has no place left before the last pool."""
    channels = CHANNELS[config.modality]
    if clip.dim() != 5 or clip.shape[1] != channels:
        raise ValueError(
            f"{name} takes a {config.modality} clip (B, {channels}, T, H, W) but got "
            f"{tuple(clip.shape)}; stack frames along the third axis, channels in the second"
        )
    frames, side = least_size(config)
    frames += config.modality == "rgb_difference"
    _, _, time, high, wide = clip.shape
    if time < frames or min(high, wide) < side:
        raise ValueError(
            f"clip is {time} frames of {high}x{wide} pixels but {name} halves time three times and "
            f"space five times: it needs at least {frames} frames of {side}x{side}"
        )
    if config.stem == "blocks" and any(n % 2 for n in (time, high, wide)):
        raise ValueError(
            f"clip is {time} frames of {high}x{wide} pixels but {name} folds blocks of 2x2x2 into "
            f"channels: all three must be even; crop or sample one less"
        )


def least_size(config: S3dConfig) -> tuple[int, int]:
    """The fewest frames and pixels a side that leave a place at the end."""
    return {"symmetric": (5, 17), "same": (1, 1), "trailing": (2, 2)}[FORMS[config.form].padding]
