"""RandAugment and colour jitter on (T, C, H, W) uint8, one draw for all frames.

torchvision's own classes draw from the global generator; here the parameters are drawn first and
its functional operations carry them out.

Source: E. Cubuk et al., "RandAugment", 2019; the increasing ranges with magnitude noise 0.5 and
probability 0.5 that "rand-mM-nN-mstd0.5-inc1" names.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as ops

FILL = [128.0]
_PROBABILITY = 0.5
_SPREAD = 0.5


def _affine(
    frames: Tensor,
    *,
    angle: float = 0.0,
    shift: tuple[float, float] = (0, 0),
    shear: tuple[float, float] = (0, 0),
) -> Tensor:
    return ops.affine(
        frames,
        angle=angle,
        translate=list(shift),
        scale=1.0,
        shear=list(shear),
        interpolation=InterpolationMode.BILINEAR,
        fill=FILL,
    )


def _shear_x(frames: Tensor, level: float, sign: int) -> Tensor:
    degrees = float(torch.rad2deg(torch.atan(torch.tensor(sign * level * 0.3))))
    return _affine(frames, shear=(degrees, 0.0))


def _shear_y(frames: Tensor, level: float, sign: int) -> Tensor:
    degrees = float(torch.rad2deg(torch.atan(torch.tensor(sign * level * 0.3))))
    return _affine(frames, shear=(0.0, degrees))


def _shift_x(frames: Tensor, level: float, sign: int) -> Tensor:
    return _affine(frames, shift=(sign * level * 0.45 * frames.shape[-1], 0.0))


def _shift_y(frames: Tensor, level: float, sign: int) -> Tensor:
    return _affine(frames, shift=(0.0, sign * level * 0.45 * frames.shape[-2]))


def _solarize(frames: Tensor, level: float, sign: int) -> Tensor:
    threshold = 256 - int(level * 256)
    if threshold > 255:
        return frames
    above = frames >= threshold
    return frames ^ above.to(torch.uint8).mul_(255)


def _solarize_add(frames: Tensor, level: float, sign: int) -> Tensor:
    dark = (frames < 128).to(torch.uint8)
    return frames + dark.mul_(int(level * 110))  # at most 127 + 110


def _strength(level: float, sign: int) -> float:
    return max(0.1, 1.0 + sign * level * 0.9)


# name -> operation on (frames, level in 0 to 1, sign)
OPERATIONS: dict[str, Callable[[Tensor, float, int], Tensor]] = {
    "autocontrast": lambda x, level, sign: ops.autocontrast(x.contiguous()),
    "equalize": lambda x, level, sign: ops.equalize(x),
    "invert": lambda x, level, sign: ops.invert(x),
    "rotate": lambda x, level, sign: _affine(x, angle=sign * level * 30.0),
    "posterize": lambda x, level, sign: ops.posterize(x, 4 - int(level * 4)),
    "solarize": _solarize,
    "solarize_add": _solarize_add,
    "colour": lambda x, level, sign: ops.adjust_saturation(x, _strength(level, sign)),
    "contrast": lambda x, level, sign: ops.adjust_contrast(x, _strength(level, sign)),
    "brightness": lambda x, level, sign: ops.adjust_brightness(x, _strength(level, sign)),
    "sharpness": lambda x, level, sign: ops.adjust_sharpness(x, _strength(level, sign)),
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "shift_x": _shift_x,
    "shift_y": _shift_y,
}


def apply(frames: Tensor, layers: int, magnitude: float, generator: Generator) -> Tensor:
    """``layers`` operations drawn with repetition, each done with probability 1/2."""
    names = list(OPERATIONS)
    for _ in range(layers):
        chosen = names[int(torch.randint(0, len(names), (), generator=generator))]
        done, sign = torch.rand(2, generator=generator).tolist()
        noise = float(torch.randn((), generator=generator)) * _SPREAD
        if done < _PROBABILITY:
            level = min(max(magnitude + noise, 0.0), 10.0) / 10
            frames = OPERATIONS[chosen](frames, level, -1 if sign < 0.5 else 1)
    return frames


def colour_jitter(frames: Tensor, strength: float, generator: Generator) -> Tensor:
    """Brightness, contrast and saturation by factors in 1 - strength to 1 + strength, any order."""
    changes = (ops.adjust_brightness, ops.adjust_contrast, ops.adjust_saturation)
    order = torch.randperm(3, generator=generator).tolist()
    low, high = max(0.0, 1 - strength), 1 + strength
    factors = torch.rand(3, generator=generator, dtype=torch.float64) * (high - low) + low
    for i in order:
        frames = changes[i](frames, float(factors[i]))
    return frames
