"""Colours and angle of a whole window changed alike, on (T, 3, H, W) uint8 RGB.

Source: the photometric distortion and rotation of BasicTAD's data pipeline. Hue is always shifted,
as in its code; everything else by the toss of a coin.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

BRIGHTNESS, CONTRAST, SATURATION, HUE = 32.0, 0.5, 0.5, 18.0  # HUE in degrees
_AT_ONCE = 16  # frames in floats together


def distort(frames: Tensor, generator: Generator) -> Tensor:
    """Brightness, contrast, saturation, hue and order of the colours, one draw for all frames."""
    coins = torch.rand(5, generator=generator) < 0.5
    spread = torch.rand(4, generator=generator) * 2 - 1
    order = torch.randperm(3, generator=generator) if coins[4] else torch.arange(3)
    shift = float(spread[0]) * BRIGHTNESS if coins[0] else 0.0
    gain = 1 + float(spread[1]) * CONTRAST if coins[1] else 1.0
    early = bool(coins[2])
    saturation = 1 + float(spread[2]) * SATURATION if coins[3] else 1.0
    changed = []
    for some in frames.split(_AT_ONCE):
        pixels = some.float() + shift
        pixels = pixels * gain if early else pixels
        pixels = turn_hue(pixels, float(spread[3]) * HUE, saturation)
        pixels = pixels if early else pixels * gain
        changed.append(pixels.round().clamp(0, 255).to(torch.uint8)[:, order])
    return torch.cat(changed)


def turn_hue(pixels: Tensor, degrees: float, saturation: float) -> Tensor:
    """(T, 3, H, W) float RGB with its hue turned and its saturation multiplied, value kept."""
    high, low = pixels.amax(1), pixels.amin(1)
    chroma = high - low
    red, green, blue = pixels.unbind(1)
    safe = chroma.clamp_min(1e-6)
    sixth = torch.where(
        high == red,
        (green - blue) / safe,
        torch.where(high == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixth = sixth + degrees / 60
    chroma = chroma * saturation
    turned = []
    for corner in (5, 3, 1):
        k = (corner + sixth) % 6
        turned.append(high - chroma * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(turned, dim=1)


def rotate(frames: Tensor, most: float, generator: Generator) -> Tensor:
    """Turned about the centre by up to ``most`` degrees either way; edges mirror what is inside."""
    angle = math.radians((float(torch.rand((), generator=generator)) * 2 - 1) * most)
    height, width = frames.shape[-2:]
    cos, sin = math.cos(angle), math.sin(angle)
    ratio = (height - 1) / max(width - 1, 1)
    turn = torch.tensor([[cos, -sin * ratio, 0.0], [sin / ratio, cos, 0.0]])
    grid = F.affine_grid(turn[None], [1, 3, height, width], align_corners=True)
    turned = []
    for some in frames.split(_AT_ONCE):
        moved = F.grid_sample(
            some.float(),
            grid.expand(len(some), -1, -1, -1),
            padding_mode="reflection",
            align_corners=True,
        )
        turned.append(moved.round().clamp(0, 255).to(torch.uint8))
    return torch.cat(turned)
