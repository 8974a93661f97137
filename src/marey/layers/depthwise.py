"""Depthwise 3-D convolutions that learn on a CPU as fast as they run.

torch computes their gradients on a CPU without its fast library: in bf16 that takes a hundred times
the way there. But the gradient of the input is itself a depthwise convolution, of the gradient
spread out by the stride with the kernel turned round; and the gradient of the kernel is a 2-D one
for each frame of the kernel. Both of these are fast. Anywhere but on a CPU it is torch's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from marey.layers.linear import cpu_type, eager

Triple = tuple[int, int, int]


def depthwise(x: Tensor, kernel: Tensor, stride: Triple, padding: Triple) -> Tensor:
    """(B, C, T, H, W) with a kernel (C, 1, t, h, w) of its own for each channel, without bias."""
    learns = torch.is_grad_enabled() and (x.requires_grad or kernel.requires_grad)
    inside = all(p < k for p, k in zip(padding, kernel.shape[2:], strict=True))
    wide = cpu_type(x)
    if not (learns and inside and wide != torch.float16 and eager(x) and eager(kernel)):
        return F.conv3d(x, kernel, None, stride, padding, groups=len(kernel))
    with torch.autocast("cpu", enabled=False):
        found: Tensor = _Depthwise.apply(x.to(wide), kernel.to(wide), stride, padding)
    return found


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, stride: Triple, padding: Triple) -> Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.stride, ctx.padding = stride, padding
        return F.conv3d(x, kernel, None, stride, padding, groups=len(kernel))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (given,), (x, kernel) = gradients, ctx.saved_tensors
        of_x, of_kernel = ctx.needs_input_grad[:2]
        return (
            input_gradient(given, x, kernel, ctx.stride, ctx.padding) if of_x else None,
            kernel_gradient(given, x, kernel, ctx.stride, ctx.padding) if of_kernel else None,
            None,
            None,
        )


def input_gradient(
    given: Tensor, x: Tensor, kernel: Tensor, stride: Triple, padding: Triple
) -> Tensor:
    """The gradient of ``x`` from that of the output, ``given`` (B, C, T', H', W')."""
    reach = kernel.shape[2:]
    if stride != (1, 1, 1):
        size = [n + 2 * p - k + 1 for n, p, k in zip(x.shape[2:], padding, reach, strict=True)]
        spread = given.new_zeros(given.shape[0], *size, given.shape[1]).movedim(-1, 1)
        t, h, w = stride
        spread[:, :, ::t, ::h, ::w] = given
        given = spread
    t, h, w = (k - 1 - p for k, p in zip(reach, padding, strict=True))
    return F.conv3d(given, kernel.flip(2, 3, 4), None, 1, (t, h, w), groups=len(kernel))


def kernel_gradient(
    given: Tensor, x: Tensor, kernel: Tensor, stride: Triple, padding: Triple
) -> Tensor:
    """The gradient of ``kernel``: frame by frame of it, over the frames of ``x`` it meets."""
    found = torch.zeros_like(kernel)
    for at in range(kernel.shape[2]):
        made, met = met_frames(given, x, at, stride[0], padding[0])
        if made.start == made.stop:
            continue
        found[:, :, at] = torch.ops.aten.convolution_backward(
            _flat(given[:, :, made]),
            _flat(x[:, :, met]),
            kernel[:, :, at].contiguous(),
            None,
            stride[1:],
            padding[1:],
            (1, 1),
            False,
            (0, 0),
            len(kernel),
            (False, True, False),
        )[1]
    return found


def met_frames(given: Tensor, x: Tensor, at: int, step: int, before: int) -> tuple[slice, slice]:
    """Frames of the output that frame ``at`` of a kernel helps to make, and those it meets.

    Output frame i meets frame i * step + at - before, of ``before`` frames of padding.
    """
    first = max(0, -((at - before) // step))
    last = max(first, min(given.shape[2], (x.shape[2] - 1 + before - at) // step + 1))
    start = first * step + at - before
    return slice(first, last), slice(start, start + (last - first) * step, step)


def _flat(clip: Tensor) -> Tensor:
    """Frames as samples: (B, C, T, H, W) -> (B * T, C, H, W)."""
    return clip.transpose(1, 2).flatten(0, 1)
