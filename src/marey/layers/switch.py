"""Layers that can run narrower: one set of weights, of which a width uses the leading channels.

    width     64 channels    64 inside a bottleneck (ratio 1/4)    144 inside a block of expansion 6
    1.0       64             64                                    144
    0.9       56             58                                    132
    0.5       32             32                                     72

A layer reads as many input channels as come in, and gives as many as the width of its network's
``Switch`` says. Channels are rounded to multiples of eight; a layer of ratio r to multiples of
8 r, so that it follows the rounding of the block around it. Norms share their scale and shift
between widths, but not their statistics: a setting may own some.

Source: J. Yu, T. Huang, "Universally Slimmable Networks", ICCV 2019, Section 3.2; T. Yang et al.,
"MutualNet", ECCV 2020, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from marey.layers.conv3d import conv3d

FULL = -1  # the statistics of the network at full width
NONE = -2  # no statistics of its own


Key = tuple[float, int, int]  # width, frames, short side; 0 where a clip is taken as it comes


class Setting(float):
    """A width, and where they are not 0 the frames and short side a clip is brought to first.

    A number like any other: a plain 0.5 is a setting that takes clips as they come.
    """

    frames: int
    size: int

    def __new__(cls, width: float, *, frames: int = 0, size: int = 0) -> Setting:
        made = super().__new__(cls, width)
        made.frames, made.size = frames, size
        return made

    @property
    def key(self) -> Key:
        return float(self), self.frames, self.size

    def __getnewargs_ex__(self) -> Any:  # so that copies keep frames and size
        return (float(self),), {"frames": self.frames, "size": self.size}

    def __str__(self) -> str:
        parts = [f"{float(self):g}", *(str(n) for n in (self.frames, self.size) if n)]
        return "x".join(parts)


def key_of(width: float) -> Key:
    """What a width or setting says. Raises ValueError unless it is above 0 and at most 1."""
    if not 0 < width <= 1:
        raise ValueError(f"width is {float(width):g}; it must be above 0 and at most 1")
    return width.key if isinstance(width, Setting) else (float(width), 0, 0)


def divisible(value: float, by: int = 8) -> int:
    """The nearest multiple of ``by``, the next one where that loses more than a tenth."""
    rounded = max(1, int(value + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * value else rounded


def leading(channels: int, width: float, ratio: float = 1.0) -> int:
    """How many of ``channels`` a width uses, at least one."""
    if width >= 1:
        return channels
    return min(channels, max(1, int(divisible(channels * width / ratio) * ratio)))


class Switch:
    """What the layers of one network look at: the width, and the place of its statistics."""

    def __init__(self) -> None:
        self.width, self.place, self.busy = 1.0, FULL, False

    @contextmanager
    def at(self, width: float, place: int) -> Iterator[None]:
        """The network narrowed while the context lasts."""
        before = self.width, self.place, self.busy
        self.width, self.place, self.busy = float(width), place, True
        try:
            yield
        finally:
            self.width, self.place, self.busy = before


@dataclass(frozen=True)
class Slice:
    """How a layer narrows. ``ratio`` None: its outputs never do. Of its inputs the last ``joined``
    come from elsewhere and are always there."""

    ratio: float | None = 1.0
    joined: int = 0


class Switchable(nn.Module):
    """What switchable layers have in common: they are made from plain ones, in place."""

    switch: Switch
    slice: Slice

    def width_of(self, channels: int) -> int:
        """How many of ``channels`` outputs there are now."""
        ratio = self.slice.ratio
        return channels if ratio is None else leading(channels, self.switch.width, ratio)

    def columns(self, weight: Tensor, channels: int) -> Tensor:
        """The columns of ``weight`` that ``channels`` inputs meet."""
        if channels == weight.shape[1]:
            return weight
        joined = self.slice.joined
        first = weight[:, : channels - joined]
        return torch.cat([first, weight[:, -joined:]], dim=1) if joined else first

    def cut(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, int]]:
        """Tensors and sizes of the ordinary layer that would do the same to ``x``."""
        raise NotImplementedError


class SwitchConv(Switchable):
    """A convolution, dense or depth-wise, over the leading channels."""

    weight: Tensor
    bias: Tensor | None

    def kernel(self, channels: int) -> tuple[Tensor, Tensor | None, int]:
        """Weight, bias and groups for ``channels`` inputs."""
        deep = self.groups > 1  # type: ignore[operator]
        rows = channels if deep else self.width_of(self.out_channels)  # type: ignore[arg-type]
        weight = self.weight if rows == self.out_channels else self.weight[:rows]
        bias = self.bias if self.bias is None or rows == len(self.bias) else self.bias[:rows]
        return (weight if deep else self.columns(weight, channels)), bias, channels if deep else 1

    def forward(self, x: Tensor) -> Tensor:
        weight, bias, groups = self.kernel(x.shape[1])
        convolve: Any = F.conv2d if weight.dim() == 4 else conv3d
        return convolve(x, weight, bias, self.stride, self.padding, self.dilation, groups)  # type: ignore[no-any-return]

    def cut(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, int]]:
        weight, bias, groups = self.kernel(x.shape[1])
        tensors = {"weight": weight} | ({} if bias is None else {"bias": bias})
        sizes = {"in_channels": x.shape[1], "out_channels": len(weight), "groups": groups}
        return tensors, sizes


class SwitchConv2d(SwitchConv, nn.Conv2d):
    """``SwitchConv`` over images."""


class SwitchConv3d(SwitchConv, nn.Conv3d):
    """``SwitchConv`` over clips."""


class SwitchLinear(Switchable, nn.Linear):
    """A classifier over the leading features; its outputs never narrow."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.columns(self.weight, x.shape[-1]), self.bias)

    def cut(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, int]]:
        weight = self.columns(self.weight, x.shape[-1])
        return {"weight": weight, "bias": self.bias}, {"in_features": x.shape[-1]}


class Statistics(nn.Module):
    """Running mean and variance of one setting, with the count of batches behind them."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64))


class SwitchBatchNorm(Switchable, _BatchNorm):
    """Batch norm of the leading channels; ``own`` holds statistics by the place of a setting.

    In training a setting without statistics tracks none; in evaluation it takes the leading ones of
    the full network. A norm that never narrows keeps one set for all widths.
    """

    own: nn.ModuleDict

    @property
    def found(self) -> Any:
        """The statistics of the present place, None where it has none."""
        return dict(self.own.items()).get(str(self.switch.place))

    def forward(self, x: Tensor) -> Tensor:
        channels, found = x.shape[1], self.found
        if found is None and (self.switch.place == FULL or self.slice.ratio is None):
            return super().forward(x)
        momentum = self.momentum or 0.0
        if found is None and self.training:
            mean = variance = None
        elif found is None:
            assert self.running_mean is not None
            assert self.running_var is not None
            mean, variance = self.running_mean[:channels], self.running_var[:channels]
        else:
            mean, variance = found.running_mean, found.running_var
            if self.training:
                found.num_batches_tracked.add_(1)
                if self.momentum is None:
                    momentum = 1.0 / float(found.num_batches_tracked)
        weight, bias = self.weight[:channels], self.bias[:channels]
        return F.batch_norm(x, mean, variance, weight, bias, self.training, momentum, self.eps)

    def cut(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, int]]:
        channels, source = x.shape[1], self if self.found is None else self.found
        tensors = {"weight": self.weight[:channels], "bias": self.bias[:channels]}
        for name in ("running_mean", "running_var"):
            tensors[name] = getattr(source, name)[:channels]
        return tensors, {"num_features": channels}


class SwitchBatchNorm2d(SwitchBatchNorm, nn.BatchNorm2d):
    """``SwitchBatchNorm`` over images."""


class SwitchBatchNorm3d(SwitchBatchNorm, nn.BatchNorm3d):
    """``SwitchBatchNorm`` over clips."""


KINDS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: SwitchConv2d,
    nn.Conv3d: SwitchConv3d,
    nn.Linear: SwitchLinear,
    nn.BatchNorm2d: SwitchBatchNorm2d,
    nn.BatchNorm3d: SwitchBatchNorm3d,
}
PLAIN = {kind: plain for plain, kind in KINDS.items()}


def make_switchable(
    network: nn.Module, switch: Switch, rule: Callable[[str, nn.Module], Slice | None]
) -> None:
    """Let the layers of a built network follow ``switch``, in place: its tensors stay the same.

    ``rule`` says how a layer of a name narrows; None leaves it as it is.
    """
    for name, module in network.named_modules():
        if type(module) not in KINDS:
            continue
        cut = rule(name, module)
        if cut is None:
            continue
        kept: Any = module
        kept.__class__ = KINDS[type(module)]
        kept.switch, kept.slice = switch, cut
        if isinstance(module, _BatchNorm):
            kept.own = nn.ModuleDict()


def switch_norms(network: nn.Module) -> list[SwitchBatchNorm]:
    """All norms of a network that follow its switch."""
    return [module for module in network.modules() if isinstance(module, SwitchBatchNorm)]


@torch.no_grad()
def make_plain(network: nn.Module, run: Callable[[], Any]) -> None:
    """Cut every switchable layer to what it uses in ``run``, in place: ordinary layers remain.

    ``run`` sends something through the network at the width and place that are meant.
    """
    kept: dict[Any, tuple[Any, ...]] = {}

    def note(module: Any, inputs: tuple[Tensor, ...]) -> None:
        kept[module] = module.cut(inputs[0])

    found = [module for module in network.modules() if isinstance(module, Switchable)]
    hooks = [module.register_forward_pre_hook(note) for module in found]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    for module in found:
        tensors, sizes = kept[module]
        plain: Any = module
        for name, value in tensors.items():
            learned = isinstance(getattr(module, name), nn.Parameter)
            setattr(plain, name, nn.Parameter(value.clone()) if learned else value.clone())
        for name, value in sizes.items():
            setattr(plain, name, value)
        plain.__class__ = PLAIN[type(module)]
        plain.__dict__.pop("switch")
        plain.__dict__.pop("slice")
        plain._modules.pop("own", None)
