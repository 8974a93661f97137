"""F.conv3d that learns the right kernel on a CPU, and fast where there is little to learn from.

torch's gradient of a kernel (2.14) reads memory that nobody wrote where a clip has fewer frames
than the kernel, more than one: in bf16, and in float32 for kernels of seven frames, where it may
end the process. Here that gradient is a matrix product for each frame of the kernel, over places of
the output and what they look at: for 98 places and 512 channels in a third of torch's time, and so
also where torch is right but places are few beside channels. Kernels of each channel's own learn as
``layers/depthwise.py`` says. Values and the clip's gradient are torch's; so is all of it elsewhere
than on a CPU, and for other groups and dilations.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from marey.layers.depthwise import depthwise, kernel_gradient, met_frames
from marey.layers.linear import cpu_type, eager

Triple = tuple[int, int, int]
ONE: Triple = (1, 1, 1)
LAST = torch.channels_last_3d


def called(conv: nn.Module, x: Tensor) -> Tensor:
    """``conv(x)``; as ``conv3d`` if it is torch's own layer over clips (B, C, T, H, W)."""
    if type(conv) is not nn.Conv3d:
        return conv(x)
    form: Any = (conv.stride, conv.padding, conv.dilation, conv.groups)
    if not _own(x, conv.weight, *form):
        return conv(x)
    return conv3d(x, conv.weight, conv.bias, *form)


def conv3d(
    x: Tensor,
    kernel: Tensor,
    shift: Tensor | None = None,
    stride: Triple = ONE,
    padding: Triple = (0, 0, 0),
    dilation: Triple = ONE,
    groups: int = 1,
) -> Tensor:
    """``F.conv3d`` of a clip (B, C, T, H, W); while it learns on a CPU, to be derived only once."""
    if not _own(x, kernel, stride, padding, dilation, groups):
        return F.conv3d(x, kernel, shift, stride, padding, dilation, groups)
    if groups > 1 and shift is None and eager(x):
        return depthwise(x, kernel, stride, padding)
    kind = cpu_type(x)
    given = (x.to(kind), kernel.to(kind), None if shift is None else shift.to(kind))
    return cast(Tensor, _Conv3d.apply(*given, stride, padding, groups))


def half(x: Tensor) -> bool:
    """Whether a CPU computes convolutions of ``x`` in another precision than float32."""
    return cpu_type(x) != torch.float32


def _own(
    x: Tensor, kernel: Tensor, stride: Triple, padding: Triple, dilation: Triple, groups: int
) -> bool:
    """Whether the way back is that of this page."""
    learns = torch.is_grad_enabled() and x.device.type == "cpu"
    own = groups == len(kernel) and kernel.shape[1] == 1  # a kernel for each channel
    if not learns or dilation != ONE or not (groups == 1 or own):
        return False
    reach = kernel.shape[2]
    wrong = 1 < x.shape[2] <= reach and (reach > 5 or half(x))
    if not eager(x):
        return wrong and torch.compiler.is_compiling() and not torch.compiler.is_exporting()
    if wrong or groups > 1:
        return True
    over, down, across = stride
    places = x[:, 0, ::over, ::down, ::across].numel()
    return reach > 1 and 2 * places <= kernel.shape[1]


class _Conv3d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        kernel: Tensor,
        shift: Tensor | None,
        stride: Triple,
        padding: Triple,
        groups: int,
    ) -> Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.form = stride, padding, groups
        return F.conv3d(x, kernel, shift, stride, padding, 1, groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, kernel = ctx.saved_tensors
        stride, padding, groups = ctx.form
        of_clip = of_kernel = None
        if ctx.needs_input_grad[0]:
            form = (stride, padding, ONE, False, (0, 0, 0), groups, (True, False, False))
            of_clip = torch.ops.aten.convolution_backward(grad, x, kernel, None, *form)[0]
        if ctx.needs_input_grad[1]:
            learn = _by_products if groups == 1 else kernel_gradient
            of_kernel = learn(grad, x, kernel, stride, padding)
        of_shift = grad.sum((0, 2, 3, 4)) if ctx.needs_input_grad[2] else None
        return of_clip, of_kernel, of_shift, None, None, None


def _by_products(
    grad: Tensor, x: Tensor, kernel: Tensor, stride: Triple, padding: Triple
) -> Tensor:
    """The gradient of a dense kernel (D, C, t, h, w) from that of the output."""
    (_, high, wide), (_, down, across) = kernel.shape[2:], stride
    places = grad.permute(2, 1, 0, 3, 4).flatten(2)  # (T', D, B H' W')
    framed = F.pad(x, (padding[2], padding[2], padding[1], padding[1]))
    windows = framed.unfold(3, high, down).unfold(4, wide, across)  # (B, C, T, H', W', h, w)
    last = kernel.is_contiguous(memory_format=LAST)
    order = (2, 0, 3, 4, 5, 6, 1) if last else (2, 0, 3, 4, 1, 5, 6)
    seen = windows.permute(order).flatten(1, 3).flatten(2)  # (T, B H' W', h w C), or C h w
    found = []
    for at in range(kernel.shape[2]):
        made, met = met_frames(grad, x, at, stride[0], padding[0])
        found.append(places[made].transpose(0, 1).flatten(1) @ seen[met].flatten(0, 1))
    if last:
        return torch.stack(found, 1).unflatten(2, (high, wide, -1)).movedim(-1, 1)
    return torch.stack([part.unflatten(1, (-1, high, wide)) for part in found], 2)
