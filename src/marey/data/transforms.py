"""Deterministic clip operations, and the one place where pixels become floats.

Training resizes bytes; testing resizes floats, after ``to_input``, with the official arithmetic
(bilinear, corners not aligned, no antialiasing), so that published numbers can be reproduced.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from marey.types import ClipSpec

SPACES = (1, 3, 10)  # crops of a test view


def to_input(frames: Tensor, spec: ClipSpec) -> Tensor:
    """(..., T, C, H, W) uint8 to (..., C, T, H, W) float32, in the spec's order, range and norm.

    Raises ValueError for frames that are not bytes or have not the spec's number of channels.
    """
    if frames.dtype != torch.uint8:
        raise ValueError(f"frames are {frames.dtype}, not uint8; give the reader's frames")
    channels = frames.shape[-3]
    if channels != len(spec.mean) or channels != len(spec.std):
        raise ValueError(
            f"frames have {channels} channels but the spec has {len(spec.mean)} means and "
            f"{len(spec.std)} deviations; make them equal"
        )
    if spec.channel_order == "bgr":
        frames = frames.flip(-3)
    pixels = frames.movedim(-3, -4)  # (..., C, T, H, W)
    # copy_ converts while it moves, in one pass.
    clip = torch.empty(pixels.shape, dtype=torch.float32).copy_(pixels).div_(255.0)
    if spec.value_range != 1.0:
        clip.mul_(spec.value_range)
    mean = torch.tensor(spec.mean).view(-1, 1, 1, 1)
    std = torch.tensor(spec.std).view(-1, 1, 1, 1)
    return clip.sub_(mean).div_(std)


def from_input(clip: Tensor, spec: ClipSpec) -> Tensor:
    """(..., C, T, H, W) float back to (..., T, C, H, W) uint8 RGB, for pictures of what went in."""
    mean = torch.tensor(spec.mean).view(-1, 1, 1, 1)
    std = torch.tensor(spec.std).view(-1, 1, 1, 1)
    pixels = (clip.cpu().float() * std + mean) * (255.0 / spec.value_range)
    frames = pixels.round().clamp(0, 255).to(torch.uint8).movedim(-4, -3)  # (..., T, C, H, W)
    return frames.flip(-3) if spec.channel_order == "bgr" else frames


def short_side_size(height: int, width: int, side: int) -> tuple[int, int]:
    """(H, W) with the short side at ``side`` and the other truncated.

    Source: PySlowFast ``random_short_side_scale_jitter``.
    """
    if side < 1:
        raise ValueError(f"short side {side} is below 1 pixel; give a positive size")
    if min(height, width) == side:
        return height, width
    if width < height:
        return math.floor(float(height) / width * side), side
    return side, math.floor(float(width) / height * side)


def resize(pixels: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, (..., C, H, W) uint8 or float to (..., C, height, width), without antialiasing."""
    if pixels.shape[-2:] == (height, width):
        return pixels
    flat = pixels.reshape(-1, *pixels.shape[-3:]) if pixels.ndim != 4 else pixels
    scaled = functional.interpolate(
        flat, size=(height, width), mode="bilinear", align_corners=False
    )
    return scaled.reshape(*pixels.shape[:-2], height, width)


def crop_offset(height: int, width: int, size: int, position: int) -> tuple[int, int]:
    """(top, left) of the square test crop 0, 1 or 2: left, centre, right; top to bottom if tall.

    Source: PySlowFast ``uniform_crop``; the centre is rounded up.
    """
    if position not in (0, 1, 2):
        raise ValueError(f"crop position {position} is not 0, 1 or 2 (left, centre, right)")
    if size > min(height, width):
        raise ValueError(f"crop {size} does not fit into {height}x{width}; scale the frames up")
    top = math.ceil((height - size) / 2)
    left = math.ceil((width - size) / 2)
    if position == 1:
        return top, left
    if height > width:
        return (0 if position == 0 else height - size), left
    return top, (0 if position == 0 else width - size)


def test_scale(spec: ClipSpec, space: int) -> int:
    """Short side at test time: the crop itself for three crops, the spec's for one and for ten.

    Raises ValueError for another number of crops, or a crop larger than its short side.
    """
    if space not in SPACES:
        raise ValueError(
            f"{space} spatial views are not defined; use 1 (centre), 3 (along the long side) or "
            "10 (corners, centre, and their mirror images)"
        )
    if space == 3:
        return spec.test_size
    if spec.test_size > spec.short_side:
        raise ValueError(
            f"test_size {spec.test_size} is above short_side {spec.short_side}; one centre crop "
            "cannot be larger than the scaled frame: raise short_side"
        )
    return spec.short_side


def scale_for_test(clip: Tensor, spec: ClipSpec, space: int) -> Tensor:
    """(C, T, H, W) float with its short side as ``space`` test crops want it."""
    side = test_scale(spec, space)
    # Frames stand where channels are wont to: the official layout, and four times as fast.
    return resize(clip, *short_side_size(clip.shape[-2], clip.shape[-1], side))


def test_offsets(height: int, width: int, spec: ClipSpec, space: int) -> list[tuple[int, int]]:
    """(top, left) of the test crops of scaled frames: the centre, or three along the long side.

    Of ten crops five: the corners and the centre; the others are their mirror images.
    """
    if space == 10:
        down, right = height - spec.test_size, width - spec.test_size
        return [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    positions = (1,) if space == 1 else (0, 1, 2)
    return [crop_offset(height, width, spec.test_size, position) for position in positions]


def test_views(clip: Tensor, spec: ClipSpec, space: int) -> Tensor:
    """(C, T, H, W) float to the spatial test crops (space, C, T, S, S), S = ``spec.test_size``.

    Source: PySlowFast, Kinetics loader in test mode.
    Differs: one crop is always the centre; the official Charades and Something loaders take the
    left one.
    """
    scaled, size = scale_for_test(clip, spec, space), spec.test_size
    offsets = test_offsets(scaled.shape[-2], scaled.shape[-1], spec, space)
    views = torch.stack([scaled[..., t : t + size, x : x + size] for t, x in offsets])
    return torch.cat([views, mirrored(views, spec)]) if space == 10 else views


def mirrored(clip: Tensor, spec: ClipSpec) -> Tensor:
    """(..., C, T, H, W) float seen in a mirror; flow along x also points the other way."""
    clip = clip.flip(-1)
    if spec.modality == "flow":
        mean, std = spec.mean[0], spec.std[0]
        clip[..., 0, :, :, :] = (spec.value_range - 2 * mean) / std - clip[..., 0, :, :, :]
    return clip
