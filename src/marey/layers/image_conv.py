"""A convolution over pictures and the norm behind it, as a processor computes them fastest.

On a CPU maps keep channels last in memory, and kernels of one pixel multiply rows by matrices
(``layers.linear``): where one thread has few pictures torch hands them to MKL, which on some
processors takes twice as long. In inference the norm goes into the kernel as the call runs.
Parameters stay as they are; under compilers and exporters, and elsewhere than on a CPU, it is the
two layers. Numbers are the same up to the order of sums.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from marey.layers.linear import TYPES, cpu_type, eager, linear

POOL = 3, 2, 1  # size, stride and padding of a stem's pool


def plain(x: Tensor) -> bool:
    """Whether maps (N, C, H, W) are seen by nothing but a CPU, in a type it is fast in.

    What learns in half precision goes this way only where its maps have channels last already:
    TSM's step takes a tenth less so, and that of networks in narrow parts, as TEA, more.
    """
    slow = (
        torch.is_grad_enabled()
        and cpu_type(x) != torch.float32
        and not x.is_contiguous(memory_format=torch.channels_last)
    )
    return cpu_type(x) in TYPES and not slow and eager(x)


def channels_last(x: Tensor, *, half: bool = False) -> Tensor:
    """The same pictures (N, C, H, W), on a CPU with channels last in memory.

    ``half``: also of a network that learns in half precision.
    """
    if plain(x) or (half and cpu_type(x) in TYPES and eager(x)):
        return x.contiguous(memory_format=torch.channels_last)
    return x


def conv_norm(x: Tensor, conv: nn.Module, norm: nn.Module) -> Tensor:
    """``norm(conv(x))`` of maps (N, C, H, W)."""
    if not (dense(conv) and plain(x)):
        return norm(conv(x))
    assert isinstance(conv, nn.Conv2d)
    if torch.is_grad_enabled() or not fixed(norm):
        return norm(convolve(x, conv, conv.weight))
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    kernel = conv.weight * scale.view(-1, 1, 1, 1)
    return convolve(x, conv, kernel, norm.bias - norm.running_mean * scale)


def convolve(x: Tensor, conv: nn.Conv2d, kernel: Tensor, shift: Tensor | None = None) -> Tensor:
    """``conv`` with a kernel of its form and a bias."""
    if conv.kernel_size != (1, 1):
        return F.conv2d(x, kernel, shift, conv.stride, conv.padding)
    down, across = conv.stride
    rows = x[:, :, ::down, ::across].permute(0, 2, 3, 1).contiguous()  # (N, H, W, C)
    return linear(rows, kernel.flatten(1), shift).permute(0, 3, 1, 2)


def max_pool(x: Tensor) -> Tensor:
    """``F.max_pool2d`` of 3x3 with stride 2: (N, C, H, W) to half the size, rounded up.

    On a CPU by way of channels last there and back, where torch takes a tenth of the time.
    """
    if not (eager(x) and x.is_contiguous()):
        return F.max_pool2d(x, *POOL)
    return cast(Tensor, _MaxPool.apply(x))


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        last = x.contiguous(memory_format=torch.channels_last)
        pool = torch.ops.aten.max_pool2d_with_indices
        found, at = pool(last, *((n, n) for n in POOL))
        ctx.save_for_backward(last, at)
        return cast(Tensor, found.contiguous())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        last, at = ctx.saved_tensors
        given = gradients[0].contiguous(memory_format=torch.channels_last)
        back = torch.ops.aten.max_pool2d_with_indices_backward
        size, stride, padding = ((n, n) for n in POOL)
        return cast(
            Tensor, back(given, last, size, stride, padding, (1, 1), False, at).contiguous()
        )


def mean_pool(x: Tensor, stride: int = 1) -> Tensor:
    """``F.avg_pool2d`` of 3x3, zeros beyond the edge counted in: (N, C, H, W).

    On a CPU it is a convolution, which takes a tenth of the time there and back.
    """
    if not eager(x):
        return F.avg_pool2d(x, 3, stride, 1)
    kernel = x.new_ones(x.shape[1], 1, 3, 3)
    summed = F.conv2d(x, kernel, padding=1, groups=x.shape[1])
    return summed[:, :, ::stride, ::stride] / 9


def dense(conv: nn.Module) -> bool:
    """Whether it is torch's own layer over all channels, without bias, and nothing listens."""
    return (
        type(conv) is nn.Conv2d
        and conv.bias is None
        and conv.groups == 1
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and not heard(conv)
    )


def fixed(norm: nn.Module) -> bool:
    """Whether it scales and shifts by numbers it holds, and nothing listens."""
    return (
        type(norm) is nn.BatchNorm2d
        and not norm.training
        and norm.track_running_stats
        and norm.affine
        and not heard(norm)
    )


def heard(layer: nn.Module) -> bool:
    """Whether hooks listen to the layer's own call."""
    return bool(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
    )
