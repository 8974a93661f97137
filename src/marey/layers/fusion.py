"""Two maps of the same moment made one: sum, max, concat, conv, conv3d, bilinear.

    kind       y for maps xa, xb of D channels           channels
    sum        xa + xb                                   D
    max        the larger at each place                  D
    concat     xa, then xb                               2 D
    conv       ReLU(1x1 convolution of both)             D
    conv3d     ReLU(3x3x3 convolution of both)           D
    bilinear   outer products summed over all places     D^2, one place

Convolutions start as a weighted sum, a quarter of xa and three quarters of xb (whose values are
about three times smaller); over space and time the weights spread as a Gaussian. Maps that differ
by a row or column are made alike by zeros at the far edge.

Source: C. Feichtenhofer, A. Pinz, A. Zisserman, CVPR 2016, Section 3, and the authors' code.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.config import nearest
from marey.layers.conv3d import called
from marey.layers.frames import fold, unfold

FusionKind = Literal["sum", "max", "concat", "conv", "conv3d", "bilinear"]
SHARES = (0.25, 0.75)  # spatial, temporal
TINY = 1e-10  # under the square root, whose slope at zero has no end


class Fusion(nn.Module):
    """(N, C, H, W) of two streams, N = B * T -> (N, ``width``, H, W); bilinear (N, D^2, 1, 1).

    ``widths`` are the channels of both. Raises ValueError for widths that cannot be joined so.
    """

    def __init__(
        self,
        kind: FusionKind,
        widths: tuple[int, int],
        *,
        shares: tuple[float, float] = SHARES,
        sigma: float = 1.0,
    ) -> None:
        super().__init__()
        if kind not in get_args(FusionKind):
            raise ValueError(
                f"fusion is {kind!r}; choose one of {', '.join(get_args(FusionKind))}"
                f"{nearest(str(kind), get_args(FusionKind))}"
            )
        first, second = widths
        if first != second and kind not in ("concat", "bilinear"):
            raise ValueError(
                f"fusion {kind!r} joins maps of as many channels, not {first} and {second}; fuse "
                f"after another step, or take 'concat'"
            )
        self.kind, self.shares, self.sigma = kind, shares, sigma
        self.width = {"concat": first + second, "bilinear": first * second}.get(kind, first)
        if kind == "conv":
            self.conv: nn.Module = nn.Conv2d(first + second, first, 1)
        elif kind == "conv3d":
            self.conv = nn.Conv3d(first + second, first, 3, padding=1)
        self.start()

    @torch.no_grad()
    def start(self) -> None:
        """The weighted sum."""
        if self.kind not in ("conv", "conv3d"):
            return
        size = (3, 3, 3) if self.kind == "conv3d" else (1, 1)
        kernel = fusion_kernel(self.width, size, shares=self.shares, sigma=self.sigma)
        self.conv.weight.copy_(kernel)  # type: ignore[union-attr, operator]
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, first: Tensor, second: Tensor, frames: int = 1) -> Tensor:
        """``frames`` is the T that was folded; only conv3d looks across it."""
        first, second = aligned(first, second)
        if self.kind == "sum":
            return first + second
        if self.kind == "max":
            return torch.maximum(first, second)
        if self.kind == "bilinear":
            return signed_root(bilinear(first, second))[..., None, None]
        both = torch.cat([first, second], dim=1)
        if self.kind == "conv":
            return F.relu(self.conv(both), inplace=True)
        if self.kind == "conv3d":
            return fold(F.relu(called(self.conv, unfold(both, frames)), inplace=True))
        return both


def bilinear(first: Tensor, second: Tensor) -> Tensor:
    """Outer product of two streams' channels, summed over places: (N, C, H, W) -> (N, C * C')."""
    product = first.flatten(2) @ second.flatten(2).transpose(1, 2)  # (N, C, C')
    return product.flatten(1)


def signed_root(x: Tensor) -> Tensor:
    """sign(x) * sqrt(abs(x)) of (N, D), each row of length one."""
    return F.normalize(x.sign() * (x.abs() + TINY).sqrt(), dim=1)


def aligned(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the larger size, the smaller filled up with zeros below and on the right.

    Raises ValueError for maps more than one row or column apart.
    """
    (h, w), (high, wide) = first.shape[2:], second.shape[2:]
    if max(abs(h - high), abs(w - wide)) > 1:
        raise ValueError(
            f"maps of {h}x{w} and {high}x{wide} show no common places; fuse after steps of "
            f"(nearly) one size"
        )
    if (h, w) == (high, wide):
        return first, second
    rows, columns = max(h, high), max(w, wide)
    return (
        F.pad(first, (0, columns - w, 0, rows - h)),
        F.pad(second, (0, columns - wide, 0, rows - high)),
    )


def fusion_kernel(
    width: int, size: tuple[int, ...], *, shares: tuple[float, float] = SHARES, sigma: float = 1.0
) -> Tensor:
    """(width, 2 * width, *size): each channel the ``shares`` of its own two, spread as a Gaussian.

    The Gaussian of deviation ``sigma``, in steps, sums to one; a size of 1 leaves it out.
    """
    spread = torch.ones(())
    for steps in size:
        places = torch.arange(steps) - (steps - 1) / 2
        bell = torch.exp(-(places**2) / (2 * sigma**2))
        spread = spread[..., None] * bell
    spread = spread / spread.sum()
    same = torch.eye(width).reshape(width, width, *(1 for _ in size))
    return torch.cat([share * same * spread for share in shares], dim=1)
