"""A convolution without bias and the batch norm that follows it: the brick of every ResNet here."""

from __future__ import annotations

from torch import Tensor, nn

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
