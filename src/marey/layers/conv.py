"""A convolution without bias and the batch norm that follows it: the brick of every ResNet here."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.conv3d import Triple, called, conv3d, half


class ConvNorm(nn.Module):
    """Conv3d -> BatchNorm3d (eps 1e-5, momentum 0.1), padded so that stride 1 keeps the size.

    (B, C, T, H, W) -> (B, width, ceil(T/st), ceil(H/sh), ceil(W/sw)). As many ``groups`` as
    channels make it depthwise. With ``last`` the norm closes a residual branch, and its scale
    starts at zero (``init.start_resnet``).
    """

    def __init__(
        self,
        width_in: int,
        width: int,
        kernel: Triple,
        *,
        stride: Triple = (1, 1, 1),
        dilation: int = 1,
        groups: int = 1,
        last: bool = False,
    ) -> None:
        super().__init__()
        time, high, wide = kernel
        self.conv = nn.Conv3d(
            width_in,
            width,
            kernel,
            stride=stride,
            padding=(time // 2, high // 2 * dilation, wide // 2 * dilation),
            dilation=(1, dilation, dilation),
            groups=groups,
            bias=False,
        )
        self.norm = nn.BatchNorm3d(width)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(called(self.conv, x))


class FoldingConvNorm(ConvNorm):
    """A ConvNorm for many small convolutions, each as a CPU does it fastest (``conv_norm``)."""

    def forward(self, x: Tensor) -> Tensor:
        return conv_norm(x, self.conv, self.norm)


def conv_norm(x: Tensor, conv: nn.Module, norm: nn.Module) -> Tensor:
    """``norm(conv(x))``, on a CPU as ``convolve`` does it where memory has channels last.

    In inference the norm is folded into the kernel as the call goes. Parameters stay as they are;
    under a compiler, and elsewhere than on a CPU, it is the two layers.
    """
    if not eager_on_cpu(conv, x) or type(norm) is not nn.BatchNorm3d:
        return norm(called(conv, x))
    assert isinstance(conv, nn.Conv3d)
    if norm.training or torch.is_grad_enabled():
        return norm(convolve(x, conv, conv.weight, conv.bias))
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    kernel = conv.weight * scale.view(-1, 1, 1, 1, 1)
    return convolve(x, conv, kernel, norm.bias - norm.running_mean * scale)


def eager_on_cpu(conv: nn.Module, x: Tensor) -> bool:
    """Whether ``convolve`` may stand for ``conv``: torch's own layer, no compiler, a CPU, channels
    last in memory."""
    if type(conv) is not nn.Conv3d or x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return x.is_contiguous(memory_format=torch.channels_last_3d)


def convolved(x: Tensor, conv: nn.Module) -> Tensor:
    """``conv(x)``, for large dense convolutions: as ``convolve`` does it in float32 on a CPU.

    In half precision torch's own call is the fastest.
    """
    if not eager_on_cpu(conv, x) or half(x):
        return called(conv, x)
    assert isinstance(conv, nn.Conv3d)
    return convolve(x, conv, conv.weight, conv.bias)


def channels_last(clip: Tensor) -> Tensor:
    """The same clip; on a CPU with channels last in memory, where most layers are faster."""
    if clip.device.type != "cpu":
        return clip
    return clip.contiguous(memory_format=torch.channels_last_3d)


def fast_inference(x: Tensor) -> bool:
    """Whether values are all that is wanted of ``x``, on a CPU: no gradient, no compiler."""
    wanted = torch.is_grad_enabled() or torch.compiler.is_compiling()
    return x.device.type == "cpu" and not wanted


def convolve(x: Tensor, conv: nn.Conv3d, kernel: Tensor, shift: Tensor | None = None) -> Tensor:
    """``conv`` with a kernel and bias of its form, in the way that is fastest on a CPU.

    1x1x1 kernels multiply matrices, and kernels of one frame become 2-D convolutions over frames;
    so do strided 1x1x1 ones that learn, as gradients of strided places come back channels first.
    Those over time alone become 2-D ones over (T, H W) in float32, which takes a third of the time.
    Depthwise kernels of one place get a zero on either side: as they are, torch computes them
    without its fast library on a single thread.
    """
    groups, padding = conv.groups, cast(Triple, conv.padding)
    over, down, across = conv.stride
    gathers = max(conv.stride) == 1 or not torch.is_grad_enabled()
    if conv.kernel_size == (1, 1, 1) and groups == 1 and gathers:
        places = x[:, :, ::over, ::down, ::across].permute(0, 2, 3, 4, 1)  # (B, T, H, W, C)
        return F.linear(places, kernel.flatten(1), shift).permute(0, 4, 1, 2, 3)
    if conv.kernel_size[0] == over == 1:
        frames = x.transpose(1, 2).flatten(0, 1)  # (B T, C, H, W)
        kernel = kernel.squeeze(2)  # whose gradient, unlike a slice's, is no copy
        step, dilation = (down, across), conv.dilation[1:]
        found = F.conv2d(frames, kernel, shift, step, padding[1:], dilation, groups)
        return found.unflatten(0, (len(x), -1)).transpose(1, 2)
    flat = conv.kernel_size[1:] == conv.stride[1:] == (1, 1) and padding[1:] == (0, 0)
    if groups == over == 1 and flat and not half(x):
        kernel = kernel.flatten(3).contiguous(memory_format=torch.channels_last)
        found = F.conv2d(x.flatten(3), kernel, shift, padding=(padding[0], 0))  # (B, C, T, H W)
        return found.unflatten(3, x.shape[3:])
    if groups > 1 and conv.kernel_size[1:] == (1, 1):
        kernel, padding = F.pad(kernel, (1, 1)), (padding[0], 0, 1)
    form: Any = (conv.stride, padding, conv.dilation, groups)
    return conv3d(x, kernel, shift, *form)
