"""TSM: an image network whose channels step to the next and the previous frame before each block.

An eighth of the channels takes the values of the following frame and another eighth those of the
preceding one, which costs no multiply-add and no parameter. With ``direction="past"`` only the
preceding frame is used: such a network also runs on a stream (``step``), one frame at a time, with
what it remembers of the last frame as an argument and a result.

    stage     shape of tsm_r50_8f for 8 frames at 224x224
    input     1 3 8 224 224
    stem      1 64 8 56 56
    res2      1 256 8 56 56
    res3      1 512 8 28 28
    res4      1 1024 8 14 14
    res5      1 2048 8 7 7
    positions 1 1 400
    logits    1 400

Source: J. Lin, C. Gan, S. Han, "TSM: Temporal Shift Module for Efficient Video Understanding",
ICCV 2019; the rows and every number from mit-han-lab/temporal-shift-module.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from marey.layers.frames import FrameClassifier, FrameHead, fold, snippet_width, unfold
from marey.layers.init import start_resnet
from marey.layers.mobilenet import InvertedResidual, MobileNetV2
from marey.layers.nonlocal_block import NonLocal
from marey.layers.resnet2d import R18, R50, R101, Basic2d, Block2d, Bottleneck2d, Trunk2d
from marey.layers.resnet3d import BlockKind
from marey.types import Modality

Direction = Literal["both", "past"]
Place = Literal["residual", "block"]


@dataclass(frozen=True, kw_only=True)
class TsmConfig:
    """One network. ``frames`` are those of a training clip."""

    num_classes: int = 400
    dropout: float = 0.5
    frames: int = 8
    crop: int = 224
    backbone: Literal["resnet", "mobilenet_v2"] = "resnet"
    block: BlockKind = "bottleneck"
    depths: tuple[int, ...] = R50
    width: int = 64  # of a ResNet's stem; 64 is MobileNetV2's own width too
    modality: Modality = "rgb"
    snippet: int = 5  # flow pairs, or differences, in one snippet
    share: int = 8  # one channel in so many comes from each neighbour
    direction: Direction = "both"  # past: only the preceding frame, in the first channels
    place: Place = "residual"  # block: the shortcut sees the shifted input too
    halves: bool = False  # max-pool of time in front of res3
    nonlocals: tuple[tuple[int, ...], ...] = ((), (), (), ())  # after which blocks of res2-5


FIVE = ((), (0, 2), (0, 2, 4), ())
_R50 = TsmConfig()
_R18 = replace(_R50, block="basic", depths=R18)
_MOBILE = replace(_R50, backbone="mobilenet_v2")

VARIANTS: dict[str, TsmConfig] = {
    "tsm_r18_8f": _R18,
    "tsm_r50_8f": _R50,
    "tsm_r50_16f": replace(_R50, frames=16),
    "tsm_r101_8f": replace(_R50, depths=R101, num_classes=174),
    "tsm_dense_r50_8f": _R50,
    "tsm_nl_r50_8f": replace(_R50, nonlocals=FIVE),
    "tsm_mobilenet_v2_8f": _MOBILE,
    "tsm_dense_mobilenet_v2_8f": _MOBILE,
    "tsm_online_r18_8f": replace(_R18, direction="past"),
    "tsm_online_r50_8f": replace(_R50, direction="past"),
    "tsm_online_mobilenet_v2_8f": replace(_MOBILE, direction="past", num_classes=27),
}


class Shift(NamedTuple):
    """Which channels step in time: one in ``share`` for each direction."""

    share: int
    direction: Direction

    def __call__(self, x: Tensor, frames: int) -> Tensor:
        """(B * T, C, H, W) with the first channels of the next frame, the second of the last.

        Under ``past`` the first are of the last frame. Outside the clip all is zero.
        """
        some = x.shape[1] // self.share
        first, second = slice(0, some), slice(some, 2 * some)
        ahead, back = (first, second) if self.direction == "both" else (slice(0), first)
        if torch.is_grad_enabled() and x.requires_grad and not torch.compiler.is_compiling():
            return _Moved.apply(x, frames, ahead, back)  # type: ignore[no-any-return]
        return moved(x, frames, ahead, back)


def moved(x: Tensor, frames: int, ahead: slice, back: slice) -> Tensor:
    """(B * T, C, H, W) with channels ``ahead`` of the next frame and ``back`` of the last."""
    found = x.clone()  # keeps the memory format; joining shifted parts takes ten times as long
    clip, to = x.unflatten(0, (-1, frames)), found.unflatten(0, (-1, frames))  # (B, T, C, H, W)
    to[:, :-1, ahead] = clip[:, 1:, ahead]
    to[:, -1:, ahead] = 0
    to[:, 1:, back] = clip[:, :-1, back]
    to[:, :1, back] = 0
    return found


class _Moved(torch.autograd.Function):
    """``moved``, whose gradient steps the other way; torch's own copies the maps for each part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, frames: int, ahead: slice, back: slice) -> Tensor:
        ctx.form = frames, ahead, back
        return moved(x, frames, ahead, back)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        frames, ahead, back = ctx.form
        return moved(gradients[0], frames, back, ahead), None, None, None


class Shifts(nn.Module):
    """What blocks that shift have in common: ``shift``, and how they go through a stream."""

    shift: Shift | None

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        moved = x if self.shift is None else self.shift(x, frames)
        return self.joined(moved, x, frames)

    def joined(self, moved: Tensor, x: Tensor, frames: int) -> Tensor:
        """The block's output from its input and the shifted one."""
        raise NotImplementedError

    def step(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """One frame (B, C, H, W) after another: ``before`` are the channels the last one left."""
        assert self.shift is not None
        some = x.shape[1] // self.shift.share
        moved = torch.cat([before, x[:, some:]], dim=1)
        return self.joined(moved, x, 1), x[:, :some]


class Shifting(Shifts, Block2d):
    """A residual block in front of whose branch (or, ``whole``, of all of it) channels shift."""

    def __init__(
        self,
        width_in: int,
        width_mid: int,
        *,
        stride: int = 1,
        shift: Shift | None,
        whole: bool = False,
    ) -> None:
        super().__init__(width_in, width_mid, stride=stride)
        self.shift, self.whole = shift, whole

    def joined(self, moved: Tensor, x: Tensor, frames: int) -> Tensor:
        below = moved if self.whole else x
        shortcut = self.shortcut(below) if self.projects else below
        return F.relu(self.branch(moved, frames) + shortcut, inplace=True)


class ShiftingBasic(Shifting, Basic2d):
    """The block of ResNet-18 with a shift."""


class ShiftingBottleneck(Shifting, Bottleneck2d):
    """The block of ResNet-50 with a shift."""


class ShiftingInverted(Shifts, InvertedResidual):
    """The block of MobileNetV2, which shifts where it expands and is added to its input."""

    def __init__(
        self, width_in: int, width: int, *, stride: int, expansion: int, shift: Shift
    ) -> None:
        super().__init__(width_in, width, stride=stride, expansion=expansion)
        self.shift = shift if self.adds and self.expands else None

    def joined(self, moved: Tensor, x: Tensor, frames: int) -> Tensor:
        return x + self.branch(moved, frames) if self.adds else self.branch(moved, frames)


SHIFTING: dict[str, type[Shifting]] = {"basic": ShiftingBasic, "bottleneck": ShiftingBottleneck}
State = tuple[Tensor, ...]


class Attended(nn.Module):
    """A block and the non-local block that follows it, called block(x, frames)."""

    def __init__(self, block: nn.Module, width: int) -> None:
        super().__init__()
        self.block = block
        self.attention = NonLocal(width, scaled=False, pool_last=True)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        return fold(self.attention(unfold(self.block(x, frames), frames)))


def shifts(config: TsmConfig, block: int) -> bool:
    """Whether a block of a stage, counted from 0, shifts: every second in ResNet-101 and deeper."""
    return config.place == "block" or config.depths[2] < 23 or block % 2 == 0


class TSM(FrameClassifier):
    """(B, 3, T, H, W) -> (B, K) logits, the mean over frames.

    Flow is (B, 10, T, H, W), five x and y pairs a frame, or (B, 2, 5 T, H, W).
    """

    trunk: Trunk2d | MobileNetV2

    def __init__(self, config: TsmConfig) -> None:
        super().__init__()
        check_config(config)
        self.config = config
        self.trunk = mobile_trunk(config) if config.backbone != "resnet" else resnet_trunk(config)
        self.widths = self.trunk.widths[-1:]
        self.head = FrameHead(self.widths, config.num_classes, dropout=config.dropout)
        start_resnet(self, head_std=FrameHead.start_std)

    @property
    def online(self) -> bool:
        """Whether it can run on a stream, frame by frame (``step``)."""
        return not looks_ahead(self.config)

    def stages(self, clip: Tensor) -> list[Tensor]:
        """Maps after the stem and each of res2 to res5, (B, C, T, H, W)."""
        x, frames = self.folded(clip)
        maps = []
        for step in self.trunk.steps:
            if self.config.halves and step is self.trunk.steps[2]:
                x = fold(F.max_pool3d(unfold(x, frames), (3, 1, 1), (2, 1, 1), (1, 0, 0)))
                frames = (frames + 1) // 2
            x = step(x, frames)
            maps.append(unfold(x, frames))
        return maps

    def step(self, frame: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits of the newest frame of a stream, (B, K), and what the next call is to be given.

        ``frame`` (B, C, H, W) is one frame as the trunk takes it; ``state`` what the call before
        returned, None at the start. Frame by frame the logits are those that the whole clip gives
        (``head.frame_logits``); ``forward`` averages them.
        Raises ValueError for a network that looks ahead.
        """
        if why := looks_ahead(self.config):
            raise ValueError(
                f"{self.name} looks ahead ({why}) and cannot run on a stream; take one of "
                f"tsm_online_*, or build it with direction='past' and without the others"
            )
        x, kept = frame, list[Tensor]()
        for step in self.trunk.steps:
            for part in getattr(step, "blocks", [step]):
                if getattr(part, "shift", None) is None:
                    x = part(x)
                    continue
                some = x.shape[1] // self.config.share
                before = torch.zeros_like(x[:, :some]) if state is None else state[len(kept)]
                x, left = part.step(x, before)
                kept.append(left)
        return self.head.projection(self.head.dropout(x.mean(dim=(2, 3)))), tuple(kept)


def resnet_trunk(config: TsmConfig) -> Trunk2d:
    """A ResNet whose blocks shift, and are followed by non-local ones where asked for."""
    shift, whole = Shift(config.share, config.direction), config.place == "block"
    trunk = Trunk2d(
        partial(SHIFTING[config.block], shift=shift, whole=whole),
        config.depths,
        width=config.width,
        channels=snippet_width(config.modality, config.snippet),
    )
    for stage, row in zip(trunk.stages, config.nonlocals, strict=True):
        for i, block in enumerate(stage.blocks):
            assert isinstance(block, Shifting)
            block.shift = shift if shifts(config, i) else None
        for at in row:
            stage.blocks[at] = Attended(stage.blocks[at], stage.width)
    return trunk


def mobile_trunk(config: TsmConfig) -> MobileNetV2:
    """A MobileNetV2 whose blocks shift."""
    shift = Shift(config.share, config.direction)
    block = partial(ShiftingInverted, shift=shift)
    return MobileNetV2(multiplier=config.width / 64, block=block)  # type: ignore[arg-type]


def check_config(config: TsmConfig) -> None:
    """Raises ValueError where a configuration makes no network."""
    for name in ("num_classes", "frames", "snippet", "share"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be 1 or more")
    if config.share < 2 and config.direction == "both":
        raise ValueError("share is 1 in both directions; at most every second channel can shift")
    if config.backbone != "resnet":
        odd = {
            "modality": config.modality != "rgb",
            "place": config.place == "block",
            "halves": config.halves,
            "nonlocals": any(config.nonlocals),
        }
        for name, true in odd.items():
            if true:
                raise ValueError(f"{name} is {getattr(config, name)!r}, which needs a ResNet")
    if len(config.nonlocals) != 4:
        raise ValueError(f"nonlocals is {config.nonlocals}; give four rows of block numbers")
    for stage, (row, depth) in enumerate(zip(config.nonlocals, config.depths, strict=True), 2):
        if not all(0 <= at < depth for at in row):
            raise ValueError(f"nonlocals puts blocks after {row} of res{stage}, which has {depth}")


def looks_ahead(config: TsmConfig) -> str:
    """Why a network's answer needs frames that are still to come; empty where it does not."""
    ahead = {
        "direction='both'": config.direction == "both",
        "halves": config.halves,
        "non-local blocks": any(config.nonlocals),
    }
    return ", ".join(why for why, true in ahead.items() if true)
