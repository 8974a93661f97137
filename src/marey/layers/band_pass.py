"""The motion band-pass: what moves at a middle scale, neither noise nor the still background.

A Laplacian of Gaussian in space and a negated Laplacian in time, one pair a channel, both
learnable. It stands before a network, where every three frames become one, or between maps of
networks, where every frame is compared with its neighbours.

    place       frames in   frames out   sigma   kernel
    input       3 T         T            1.1     9
    maps        T           T            0.9     7, or 3 on the smallest maps

Source: G. Huang, A. Bors, "Busy-Quiet Video Disentangling for Video Classification", WACV 2022,
Section 3.2, and the authors' code. The Gaussian's kernel is divided by its sum, which is nearly
zero: the filter amplifies some hundredfold, by an amount that depends on float32 rounding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from marey.layers.frames import along_time

TIME = (-1.0, 2.0, -1.0)  # thirds


def band_kernel(sigma: float, size: int) -> Tensor:
    """The normalised Laplacian of a Gaussian, (size, size), in float32 as the original."""
    at = torch.arange(size, dtype=torch.float32, device="cpu") - (size - 1) / 2
    square = at[:, None] ** 2 + at**2
    scale = square / (2 * sigma**2)
    kernel = (-1 / (math.pi * sigma**4)) * (1 - scale) * torch.exp(-scale)
    return kernel / kernel.sum()


class BandPass(nn.Module):
    """Band-pass of folded frames: (B * T, C, H, W) -> the same, or of triples, (B * 3T, C, H, W).

    Beyond the clip the first and last frame repeat; in space the picture is mirrored.
    Raises ValueError for an even kernel.
    """

    def __init__(self, channels: int, *, sigma: float, size: int, triples: bool = False) -> None:
        super().__init__()
        if size % 2 == 0 or size < 1 or sigma <= 0:
            raise ValueError(f"size is {size}, sigma {sigma}: give an odd size and a width above 0")
        self.space = nn.Conv2d(
            channels,
            channels,
            size,
            padding=size // 2,
            padding_mode="reflect",
            groups=channels,
            bias=False,
        )
        self.time = nn.Parameter(torch.empty(channels, 1, 3))
        self.sigma, self.size, self.triples = sigma, size, triples
        self.start()

    @torch.no_grad()
    def start(self) -> None:
        """The initial kernels, the same in every channel."""
        if not self.time.is_meta:
            self.space.weight.copy_(band_kernel(self.sigma, self.size).expand_as(self.space.weight))
            self.time.copy_((torch.tensor(TIME) / 3).expand_as(self.time))

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        """``frames`` is the T that was folded; triples come one after another and need none."""
        weight = self.time.squeeze(1)
        if not self.triples:
            return along_time(self.space(x), weight, frames, repeat=True)
        if x.device.type == "cpu":  # few channels: several times as fast when they are last
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.space(x).unflatten(0, (-1, 3))  # (B * T, 3, C, H, W)
        before, same, after = weight[..., None, None].unbind(1)  # (C, 1, 1) each
        y = (x[:, 0] * before).addcmul_(x[:, 1], same).addcmul_(x[:, 2], after)
        return y.contiguous()  # as networks that learn in bf16 take it
