"""The parts of Inception networks over clips: convolutions with norm, their separable form, gates.

A mixed block looks at one map through four branches and stacks what they find:

    branch   layers                                      channels in mixed 3b, 16 frames at 224x224
    b0       1x1x1                                       1 64 8 28 28
    b1       1x1x1, then 3x3x3                           1 128 8 28 28
    b2       1x1x1, then 3x3x3 (5x5 in the image net)    1 32 8 28 28
    b3       max-pool 3x3x3, then 1x1x1                  1 32 8 28 28
    stacked                                              1 256 8 28 28

Publishers disagree on padding, norms and biases; a ``Form`` is what one of them does.

Source: C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, Table 1; S. Xie et al.,
"Rethinking Spatiotemporal Feature Learning", ECCV 2018, Section 4, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.conv import Triple, conv_norm, convolve, eager_on_cpu, fast_inference
from marey.layers.conv3d import called

ONE: Triple = (1, 1, 1)
POOL_3: Triple = (3, 3, 3)


@dataclass(frozen=True, kw_only=True)
class Form:
    """How one publisher computes: ``eps`` and ``momentum`` of batch norm, and three habits.

    ``padding``: ``symmetric``; ``same`` as TensorFlow pads, by the size of the map, the odd one at
    the end; ``trailing``, the odd one of every pool at the end and last windows kept.
    ``time_norm``: convolutions over time are followed by a norm, not by a bias alone.
    ``gate_bias``: gates add a bias.
    """

    padding: Literal["symmetric", "same", "trailing"] = "symmetric"
    eps: float = 1e-3
    momentum: float = 1e-3
    time_norm: bool = True
    gate_bias: bool = False


class ConvUnit(nn.Module):
    """Conv3d -> BatchNorm3d -> ReLU; with ``norm`` false a bias takes the norm's place.

    (B, C, T, H, W) -> (B, width, ceil(T/st), ceil(H/sh), ceil(W/sw)). ``padding`` None is that of
    the form.
    """

    def __init__(
        self,
        width_in: int,
        width: int,
        kernel: Triple,
        form: Form,
        *,
        stride: Triple = ONE,
        padding: Triple | None = None,
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.by_size = padding is None and form.padding == "same" and stride != ONE
        time, high, wide = (0, 0, 0) if self.by_size else kernel
        around = padding or (time // 2, high // 2, wide // 2)
        self.conv = nn.Conv3d(width_in, width, kernel, stride=stride, padding=around, bias=not norm)
        if norm:
            self.norm = nn.BatchNorm3d(width, eps=form.eps, momentum=form.momentum)
        self.normed = norm

    def forward(self, x: Tensor) -> Tensor:
        if self.by_size:
            x = pad_same(x, self.conv.kernel_size, self.conv.stride)
        if self.normed:
            return F.relu(conv_norm(x, self.conv, self.norm), inplace=True)
        if eager_on_cpu(self.conv, x):
            return F.relu(convolve(x, self.conv, self.conv.weight, self.conv.bias), inplace=True)
        return F.relu(called(self.conv, x), inplace=True)


class Separable(nn.Module):
    """A kxkxk convolution in two steps: ``space`` 1xkxk with the spatial stride, ``time`` kx1x1."""

    def __init__(
        self, width_in: int, width: int, kernel: Triple, form: Form, *, stride: Triple = ONE
    ) -> None:
        super().__init__()
        self.space = ConvUnit(width_in, width, (1, *kernel[1:]), form, stride=(1, *stride[1:]))
        self.time = ConvUnit(
            width,
            width,
            (kernel[0], 1, 1),
            form,
            stride=(stride[0], 1, 1),
            norm=form.time_norm,
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.time(self.space(x))


class Gate(nn.Module):
    """Y = sigmoid(W mean(X)) * X, the mean over time and space: channels that fit the clip pass."""

    def __init__(self, width: int, *, bias: bool) -> None:
        super().__init__()
        self.mix = nn.Linear(width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.sigmoid(self.mix(x.mean(dim=(2, 3, 4))))
        return weight[:, :, None, None, None] * x


class Pool(nn.Module):
    """Max-pool of maps that are nowhere negative, padded as the form says."""

    def __init__(self, kernel: Triple, stride: Triple, form: Form) -> None:
        super().__init__()
        self.kernel, self.stride, self.form = kernel, stride, form

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel == POOL_3 and self.stride == ONE and fast_inference(x):
            return largest_around(x)
        if self.form.padding == "symmetric" or self.stride == ONE:
            half = tuple((k - 1) // 2 for k in self.kernel)
            return F.max_pool3d(x, self.kernel, self.stride, half)
        if self.form.padding == "same":
            return F.max_pool3d(pad_same(x, self.kernel, self.stride), self.kernel, self.stride)
        total = [max(k - s, 0) for k, s in zip(self.kernel, self.stride, strict=True)]
        x = pad_by(x, total)
        return F.max_pool3d(x, self.kernel, self.stride, ceil_mode=True)


class Mixed(nn.Module):
    """Four branches side by side: (B, width_in, T, H, W) -> (B, width, T, H, W).

    ``widths`` are those of b0; b1 inside and out; b2 inside and out; b3. ``time`` is the extent of
    the inner convolutions over frames; with ``gates`` each branch ends in a gate.
    """

    def __init__(
        self,
        width_in: int,
        widths: Sequence[int],
        form: Form,
        *,
        time: int,
        separable: bool,
        gates: bool,
    ) -> None:
        super().__init__()
        b0, b1_in, b1, b2_in, b2, b3 = widths
        self.b0 = ConvUnit(width_in, b0, ONE, form)
        self.b1_in = ConvUnit(width_in, b1_in, ONE, form)
        self.b1 = spatiotemporal(b1_in, b1, (time, 3, 3), form, separable=separable)
        self.b2_in = ConvUnit(width_in, b2_in, ONE, form)
        self.b2 = spatiotemporal(b2_in, b2, (time, 3, 3), form, separable=separable)
        self.pool = Pool(POOL_3, ONE, form)
        self.b3 = ConvUnit(width_in, b3, ONE, form)
        out = (b0, b1, b2, b3)
        self.gates = nn.ModuleList(Gate(n, bias=form.gate_bias) for n in (out if gates else ()))
        self.width = sum(out)

    def forward(self, x: Tensor) -> Tensor:
        found = [
            self.b0(x),
            self.b1(self.b1_in(x)),
            self.b2(self.b2_in(x)),
            self.b3(self.pool(x)),
        ]
        for i, gate in enumerate(self.gates):
            found[i] = gate(found[i])
        return torch.cat(found, dim=1)


def spatiotemporal(
    width_in: int,
    width: int,
    kernel: Triple,
    form: Form,
    *,
    separable: bool,
    stride: Triple = ONE,
) -> nn.Module:
    """One convolution, in two steps where it is ``separable`` and spans more than a frame."""
    kind = Separable if separable and kernel[0] > 1 else ConvUnit
    return kind(width_in, width, kernel, form, stride=stride)


def largest_around(x: Tensor) -> Tensor:
    """A 3x3x3 max-pool of stride 1, one axis after the other: the same values in half the time."""
    for axis in (2, 3, 4):
        rest = x.shape[axis] - 1
        found = x.clone()
        for at, other in ((0, 1), (1, 0)):
            place = found.narrow(axis, at, rest)
            torch.maximum(place, x.narrow(axis, other, rest), out=place)
        x = found
    return x


def space_to_depth(clip: Tensor) -> Tensor:
    """Blocks of 2x2x2 pixels become channels: (B, C, T, H, W) -> (B, 8 C, T/2, H/2, W/2).

    Channels count the place in the block first (frame, row, column) and the colour last.
    """
    blocks = clip.unflatten(4, (-1, 2)).unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    return blocks.permute(0, 3, 5, 7, 1, 2, 4, 6).flatten(1, 4)


def pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Zeros around a map, so that a layer gives ceil(size / stride) places; the odd one at the end.

    Source: TensorFlow's rule SAME.
    """
    sizes = zip(kernel, stride, x.shape[2:], strict=True)
    return pad_by(x, [max((-(-n // s) - 1) * s + k - n, 0) for k, s, n in sizes])


def pad_by(x: Tensor, total: Sequence[int]) -> Tensor:
    """``total`` zeros along T, H and W, half of them (rounded down) before the map."""
    pads = [side for n in reversed(total) for side in (n // 2, n - n // 2)]
    return F.pad(x, pads) if any(pads) else x
