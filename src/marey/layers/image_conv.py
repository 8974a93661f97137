"""A convolution over pictures and the norm behind it, as a processor answers fastest.

In inference on a CPU maps keep channels last in memory, the norm goes into the kernel as the call
runs, and kernels of one pixel multiply rows by matrices (``layers.linear``): where one thread has
few pictures torch hands them to MKL, which on some processors takes twice as long. Parameters stay
as they are. While learning, under compilers and exporters, and elsewhere than on a CPU it is the
two layers. Numbers are the same up to the order of sums.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.linear import TYPES, cpu_type, eager, linear


def answers(x: Tensor) -> bool:
    """Whether values are all that is wanted of maps (N, C, H, W): no gradient, plainly on a CPU."""
    return not torch.is_grad_enabled() and cpu_type(x) in TYPES and eager(x)


def channels_last(x: Tensor) -> Tensor:
    """The same pictures (N, C, H, W), in inference on a CPU with channels last in memory."""
    return x.contiguous(memory_format=torch.channels_last) if answers(x) else x


def conv_norm(x: Tensor, conv: nn.Module, norm: nn.Module) -> Tensor:
    """``norm(conv(x))`` of maps (N, C, H, W)."""
    if not (folds(conv, norm) and answers(x)):
        return norm(conv(x))
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    kernel, shift = conv.weight * scale.view(-1, 1, 1, 1), norm.bias - norm.running_mean * scale
    if conv.kernel_size == (1, 1):
        down, across = conv.stride
        rows = x[:, :, ::down, ::across].permute(0, 2, 3, 1)  # (N, H, W, C)
        return linear(rows, kernel.flatten(1), shift).permute(0, 3, 1, 2)
    return F.conv2d(x, kernel, shift, conv.stride, conv.padding)


def folds(conv: nn.Module, norm: nn.Module) -> bool:
    """Whether the two are torch's own layers, dense, without bias, nothing listening to either."""
    return (
        type(conv) is nn.Conv2d
        and type(norm) is nn.BatchNorm2d
        and not norm.training
        and norm.track_running_stats
        and norm.affine
        and conv.bias is None
        and conv.groups == 1
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and not (conv._forward_hooks or conv._forward_pre_hooks)
        and not (norm._forward_hooks or norm._forward_pre_hooks)
    )
