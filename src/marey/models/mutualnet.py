"""MutualNet: one set of weights for every budget, over network width and the size of the clip.

A width uses the leading channels of each layer. In training the full network learns from labels
and the narrower ones, on smaller clips, from its answers (``tasks.mutual``); afterwards every
setting of width, frames and size gets norm statistics of its own, and a table says which setting
is best for a budget. ``network(clip, width=network.select(gflops=4))`` keeps to it.

    width 0.5    shape in mutualnet_slow_r50_8x8, brought to 4 frames of 96 pixels
    input        1 3 4 96 96
    stem         1 32 4 24 24
    res2         1 128 4 24 24
    res3         1 256 4 12 12
    res4         1 512 4 6 6
    res5         1 1024 4 3 3
    positions    1 1 400
    logits       1 400

Source: T. Yang, S. Zhu, C. Chen et al., "MutualNet", ECCV 2020, and the authors' code, for images;
T. Yang et al., "MutualNet: Adaptive ConvNet via Mutual Learning from Different Model
Configurations", TPAMI, for clips, of which no code was published.
Differs: what is not published is ours. Clip networks round as image networks do; the lateral maps
of SlowFast are resized to the slow map and thinned to its frames; the squeezed channels of X3D and
the hidden layer of its head do not narrow.
Configurations exceed the 14-field cap: they are those of the network underneath and five more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.frames import FrameClassifier, FrameHead
from marey.layers.mobilenet import MobileNetV1, MobileNetV2, start_mobilenet
from marey.layers.resnet2d import R50, R101, R152, Bottleneck2d, Trunk2d
from marey.layers.switch import Key, Slice
from marey.models import resnet3d, slowfast, x3d
from marey.models.query_table import Row
from marey.models.resnet3d import ResNet3d, ResNet3dConfig
from marey.models.slimming import Mutual, Slimming, resized, shrink
from marey.models.slowfast import SlowFast, SlowFastConfig
from marey.models.x3d import X3D, Squeeze, X3DConfig


@dataclass(frozen=True, kw_only=True)
class MobileConfig(Slimming):
    """MobileNet V1 or V2; a ``multiplier`` above 1 scales it up before anything narrows."""

    num_classes: int = 1000
    dropout: float = 0.0
    frames: int = 1
    crop: int = 224
    version: int = 1
    multiplier: float = 1.0


@dataclass(frozen=True, kw_only=True)
class ImageResNetConfig(Slimming):
    """A ResNet of bottlenecks over images."""

    num_classes: int = 1000
    dropout: float = 0.0
    frames: int = 1
    crop: int = 224
    width: int = 64
    depths: tuple[int, ...] = R50


@dataclass(frozen=True, kw_only=True)
class SlowConfig(Slimming, ResNet3dConfig):
    """One clip pathway; narrower networks see fewer frames of fewer pixels."""


@dataclass(frozen=True, kw_only=True)
class TwoPathConfig(Slimming, SlowFastConfig):
    """Only the slow pathway narrows, and only it sees smaller clips."""


@dataclass(frozen=True, kw_only=True)
class MutualX3DConfig(Slimming, X3DConfig):
    """One clip pathway of depth-wise blocks."""


def measured(*rows: tuple[int, float, int, float]) -> tuple[Row, ...]:
    """Rows of a published table: 1e6 multiply-adds, width, size, accuracy in per cent."""
    return tuple(
        Row(width=width, frames=1, size=size, gflops=mflops / 1000, accuracy=round(top1 / 100, 4))
        for mflops, width, size, top1 in rows
    )


V1_TABLE = measured(
    *((569, 1.0, 224, 72.4), (518, 0.95, 224, 71.7), (466, 0.9, 224, 71.2)),
    *((418, 1.0, 192, 70.9), (380, 0.95, 192, 70.6), (342, 0.9, 192, 70.2)),
    *((309, 0.85, 192, 69.7), (269, 0.8, 192, 69.1), (239, 0.75, 192, 68.4)),
    *((215, 0.85, 160, 67.7), (187, 0.8, 160, 67.2), (166, 0.75, 160, 66.5)),
    *((146, 0.7, 160, 65.6), (127, 0.65, 160, 64.7), (111, 0.6, 160, 63.5)),
    *((76, 0.5, 160, 60.3), (63, 0.45, 160, 58.9), (41, 0.35, 160, 54.4)),
    *((30, 0.25, 192, 52.7), (21, 0.25, 160, 50.1), (13, 0.25, 128, 45.5)),
)
V2_TABLE = measured(
    *((300, 1.0, 224, 72.9), (284, 0.95, 224, 72.7), (269, 0.9, 224, 72.4)),
    *((254, 0.85, 224, 72.0), (221, 1.0, 192, 71.8), (209, 0.95, 192, 71.6)),
    *((198, 0.9, 192, 71.4), (187, 0.85, 192, 71.0), (164, 0.8, 192, 70.4)),
    *((154, 0.75, 192, 70.1), (128, 0.7, 192, 69.6), (107, 0.75, 160, 68.3)),
    *((89, 0.7, 160, 67.6), (84, 0.85, 128, 65.8), (57, 0.7, 128, 64.2)),
)
_V1 = MobileConfig(widths=(0.25, 0.5, 1.0), table=V1_TABLE)
_V2 = MobileConfig(version=2, widths=(0.7, 0.9, 1.0), width_range=(0.7, 1.0), table=V2_TABLE)
_R50 = ImageResNetConfig(widths=(0.8, 0.9, 1.0), width_range=(0.8, 1.0))
_SLOW = SlowConfig(**vars(resnet3d.VARIANTS["slow_r50_8x8"]), frame_counts=(8, 4))
_X3D = MutualX3DConfig(**vars(x3d.VARIANTS["x3d_m"]), frame_counts=(16, 8, 4))
_SLOWFAST = TwoPathConfig(**vars(slowfast.VARIANTS["slowfast_r50_4x16"]), frame_counts=(4, 2))

VARIANTS: dict[str, Slimming] = {
    "mutualnet_mobilenet_v1": _V1,
    "mutualnet_mobilenet_v1_w16": replace(_V1, multiplier=1.6, crop=288, table=()),
    "mutualnet_mobilenet_v2": _V2,
    "mutualnet_resnet50": _R50,
    "mutualnet_resnet101": replace(_R50, depths=R101),
    "mutualnet_resnet152": replace(_R50, depths=R152),
    "mutualnet_slow_r50_8x8": _SLOW,
    "mutualnet_slowfast_r50_4x16": _SLOWFAST,
    "mutualnet_x3d_m": _X3D,
}


class MobileNet(FrameClassifier):
    """MobileNet over every frame: (B, 3, T, H, W) -> (B, K) logits."""

    def __init__(self, config: MobileConfig) -> None:
        super().__init__()
        if config.version not in (1, 2):
            raise ValueError(f"version is {config.version}; MobileNet has 1 and 2")
        self.config = config
        maker = MobileNetV1 if config.version == 1 else MobileNetV2
        self.trunk = maker(multiplier=config.multiplier)
        self.widths = self.trunk.widths[-1:]
        self.head = FrameHead(self.widths, config.num_classes, dropout=config.dropout)
        start_mobilenet(self)


class ImageResNet(FrameClassifier):
    """A ResNet over every frame: (B, 3, T, H, W) -> (B, K) logits."""

    def __init__(self, config: ImageResNetConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = Trunk2d(Bottleneck2d, config.depths, width=config.width)
        self.widths = self.trunk.widths[-1:]
        self.head = FrameHead(self.widths, config.num_classes, dropout=config.dropout)
        start_mobilenet(self)


class MutualMobileNet(Mutual, MobileNet):
    """Hidden channels of a V2 block follow the block's rounding; its tail does not narrow."""

    def slice_of(self, name: str, module: nn.Module) -> Slice | None:
        if name.startswith(("head", "trunk.tail")):
            return Slice(None)
        if ".expand." in name or ".deep." in name:
            block: Any = self.get_submodule(name.rpartition(".")[0].rpartition(".")[0])
            return Slice(float(getattr(block, "expansion", 1)))
        return Slice()


class MutualImageResNet(Mutual, ImageResNet):
    """Inner channels and stem are a quarter of a rounded block width."""

    def slice_of(self, name: str, module: nn.Module) -> Slice | None:
        return residual(name)


class MutualSlow(Mutual, ResNet3d):
    """C2D, I3D or Slow at any width."""

    def slice_of(self, name: str, module: nn.Module) -> Slice | None:
        return residual(name, basic=self.config.block == "basic")


class MutualSlowFast(Mutual, SlowFast):
    """SlowFast whose slow pathway narrows; takes what the fast one offers at its own size."""

    def slice_of(self, name: str, module: nn.Module) -> Slice | None:
        if name.startswith("head"):
            return Slice(None, joined=self.widths[1])
        if not name.startswith("slow"):
            return None
        takes = name.endswith((".blocks.0.a.conv", ".blocks.0.shortcut.conv"))
        lateral: Any = self.laterals[int(name.split(".")[1][3:]) - 2] if takes else None
        return replace(residual(name), joined=lateral.norm.num_features if takes else 0)

    @property
    def slow_frames(self) -> int:
        return self.config.frames // self.config.alpha

    def shrunk(self, clip: Any, key: Key) -> Any:
        slow, fast = self.pathways(clip)
        return shrink(slow, *key[1:]), fast

    def pathways(self, clip: Any) -> tuple[Tensor, Tensor]:
        if self.switch.busy and not isinstance(clip, Tensor):
            return clip  # checked before the slow one shrank
        return super().pathways(clip)

    def joined(self, slow: Tensor, lateral: Tensor) -> Tensor:
        """The lateral map at every so manieth frame, resized to the slow map."""
        lateral = lateral[:, :, :: lateral.shape[2] // slow.shape[2]][:, :, : slow.shape[2]]
        if lateral.shape[3:] != slow.shape[3:]:
            lateral = resized(lateral, *slow.shape[3:])
        return super().joined(slow, lateral)

    def reading(self, clip: Any) -> tuple[int, int]:
        if not isinstance(clip, Tensor):
            return super().reading(clip[0])
        frames, size = super().reading(clip)
        return frames // self.config.alpha, size


class CalledSqueeze(Squeeze):
    """The same, its two layers called as such, so that they can narrow."""

    def forward(self, x: Tensor) -> Tensor:
        gate = self.excite(F.relu(self.reduce(x.mean(dim=(2, 3, 4), keepdim=True))))
        return x * gate.sigmoid()


class MutualX3D(Mutual, X3D):
    """X3D whose inner channels follow the rounding of their block's width."""

    def __init__(self, config: MutualX3DConfig) -> None:
        super().__init__(config)
        for module in self.modules():
            if isinstance(module, Squeeze):
                module.__class__ = CalledSqueeze

    def slice_of(self, name: str, module: nn.Module) -> Slice | None:
        if name.endswith((".reduce", "head.hidden", "head.projection")):
            return Slice(None)
        inner = {"a", "b", "squeeze", "inner"} & set(name.split("."))
        return Slice(self.config.bottleneck_factor if inner else 1.0)


def residual(name: str, *, basic: bool = False) -> Slice:
    """How a layer of a ResNet narrows, by its name."""
    if name.startswith("head"):
        return Slice(None)
    closing = name.split(".")[-2] in ("c", "shortcut")
    return Slice(1.0 if basic or closing else 0.25)


def mutualnet(config: Any) -> Mutual:
    """The network of a configuration."""
    return NETWORKS[type(config)](config)


NETWORKS: dict[type, type[Mutual]] = {
    MobileConfig: MutualMobileNet,
    ImageResNetConfig: MutualImageResNet,
    SlowConfig: MutualSlow,
    TwoPathConfig: MutualSlowFast,
    MutualX3DConfig: MutualX3D,
}
