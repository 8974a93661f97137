"""A convolution without bias and the batch norm that follows it: the brick of every ResNet here."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Triple = tuple[int, int, int]


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
        return self.norm(self.conv(x))


class FoldingConvNorm(ConvNorm):
    """A ConvNorm for many small convolutions, which cost a CPU more to begin than to compute.

    In inference on a CPU, on maps with channels last in memory, the norm is folded into the kernel
    as the call goes, and a 1x1x1 kernel multiplies matrices. Parameters stay as they are; in
    training, under a compiler and elsewhere it is a plain ConvNorm.
    """

    def forward(self, x: Tensor) -> Tensor:
        plain = type(self.conv) is nn.Conv3d and type(self.norm) is nn.BatchNorm3d
        if not plain or self.norm.training or not _in_plain_inference(x):
            return super().forward(x)
        conv, norm = self.conv, self.norm
        assert norm.running_var is not None
        assert norm.running_mean is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        shift = norm.bias - norm.running_mean * scale
        kernel = conv.weight * scale.view(-1, 1, 1, 1, 1)
        if conv.kernel_size != (1, 1, 1) or conv.groups != 1:
            return F.conv3d(x, kernel, shift, conv.stride, conv.padding, conv.dilation, conv.groups)
        time, high, wide = conv.stride
        places = x[:, :, ::time, ::high, ::wide].permute(0, 2, 3, 4, 1)  # (B, T, H, W, C)
        return F.linear(places, kernel.flatten(1), shift).permute(0, 4, 1, 2, 3)


def _in_plain_inference(x: Tensor) -> bool:
    """No gradients, no compiler, on a CPU, channels last in memory."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    return x.device.type == "cpu" and x.is_contiguous(memory_format=torch.channels_last_3d)
