from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.conv import ConvNorm
from marey.layers.conv3d import Triple, called, conv3d
from marey.layers.switch import Slice, Switch, make_switchable
from marey.models.sts import SplitDepthwise

LAST = torch.channels_last_3d


@pytest.mark.parametrize("kernel", [(3, 3, 3), (7, 1, 1), (7, 7, 7)])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("frames", [1, 2, 5, 6, 7, 9])
def test_kernels_longer_than_a_clip_learn_the_right_gradient(
    kernel: Triple, half: bool, frames: int
) -> None:
    torch.manual_seed(0)
    layer = ConvNorm(16, 16, kernel, stride=(2 if kernel[0] == 7 else 1, 1, 1))
    layer.norm = nn.Identity()  # type: ignore[assignment]
    assert gradient_gap(layer, layer.conv, frames, half=half) < (0.03 if half else 1e-5)


@pytest.mark.parametrize("frames", [2, 4])
def test_so_do_layers_that_were_made_of_others(frames: int) -> None:
    torch.manual_seed(0)
    deep = SplitDepthwise(nn.Conv3d(16, 16, 3, padding=1, groups=16, bias=False))
    assert gradient_gap(deep, deep, frames, half=True) < 0.03
    narrow: Any = nn.Sequential(nn.Conv3d(16, 16, 3, padding=1, bias=False))
    make_switchable(narrow, Switch(), lambda name, module: Slice())
    assert gradient_gap(narrow, narrow[0], frames, half=True) < 0.03


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "groups", "clip"),
    [
        ((3, 3, 3), (1, 1, 1), 1, (2, 7, 5)),  # shorter than the kernel
        ((3, 3, 3), (2, 2, 2), 1, (3, 6, 6)),
        ((7, 1, 1), (2, 1, 1), 1, (5, 2, 2)),
        ((5, 3, 3), (1, 1, 2), 1, (4, 1, 4)),
        ((3, 3, 3), (1, 2, 2), 8, (2, 6, 6)),  # a kernel for each channel
        ((3, 3, 3), (1, 1, 1), 8, (2, 4, 4)),
    ],
)
def test_gradients_are_torchs_in_float64(
    kernel: Triple, stride: Triple, groups: int, clip: Triple, last: bool
) -> None:
    torch.manual_seed(0)
    half = tuple(size // 2 for size in kernel)
    conv = nn.Conv3d(8, 8, kernel, stride, half, groups=groups).double()  # type: ignore[arg-type]
    x = torch.randn(2, 8, *clip, dtype=torch.float64)
    if last:
        conv, x = conv.to(memory_format=LAST), x.contiguous(memory_format=LAST)  # type: ignore[call-overload]
    leaves = (x.requires_grad_(), conv.weight, conv.bias)
    form: Any = (conv.stride, conv.padding, conv.dilation, groups)
    wanted, found = F.conv3d(*leaves, *form), called(conv, x)
    assert found.grad_fn is not None
    assert found.grad_fn.name() == "_Conv3dBackward"
    assert torch.equal(found, wanted)
    weight = torch.randn_like(wanted)
    gradients = [torch.autograd.grad((y * weight).sum(), leaves) for y in (found, wanted)]
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain)


def test_where_places_are_few_the_kernel_learns_by_products() -> None:
    torch.manual_seed(0)
    conv = nn.Conv3d(64, 8, 3, padding=1, bias=False)
    clip = torch.randn(1, 64, 4, 2, 2)  # 16 places, 64 channels
    found = called(conv, clip)
    assert "_Conv3d" in str(found.grad_fn)
    assert "_Conv3d" not in str(called(conv, torch.randn(1, 64, 9, 2, 2)).grad_fn)
    found.square().sum().backward()
    ours = conv.weight.grad
    conv.weight.grad = None
    F.conv3d(clip, conv.weight, padding=1).square().sum().backward()
    torch.testing.assert_close(ours, conv.weight.grad, rtol=1e-4, atol=1e-3)


def test_a_kernel_for_each_channel_learns_in_bf16_by_its_own_page() -> None:
    torch.manual_seed(0)
    layer = ConvNorm(16, 16, (3, 3, 3), stride=(1, 2, 2), groups=16)
    layer.norm = nn.Identity()  # type: ignore[assignment]
    assert "_Depthwise" in str(layer(torch.randn(1, 16, 6, 8, 8)).grad_fn)
    assert gradient_gap(layer, layer.conv, 6, half=True) < 0.03


def test_values_alone_and_frozen_layers_are_left_to_torch() -> None:
    conv = nn.Conv3d(4, 4, 3, padding=1, groups=4).requires_grad_(False)
    clip = torch.randn(1, 4, 5, 6, 6)
    assert called(conv, clip).grad_fn is None
    with torch.no_grad():
        assert torch.equal(called(conv, clip), conv(clip))


def test_a_second_derivative_is_refused() -> None:
    clip = torch.randn(1, 64, 3, 2, 2, requires_grad=True)
    kernel = torch.randn(64, 64, 3, 3, 3)
    found = conv3d(clip, kernel, padding=(1, 1, 1))
    (first,) = torch.autograd.grad(found.square().sum(), clip, create_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        first.sum().backward()


def test_a_compiled_layer_learns_the_right_kernel() -> None:
    torch.manual_seed(0)
    conv = nn.Conv3d(16, 16, 3, padding=1, bias=False)
    clip = torch.randn(1, 16, 2, 6, 6)

    def gradient(call: Any) -> Tensor:
        conv.weight.grad = None
        with torch.autocast("cpu"):
            call(clip).float().square().sum().backward()
        assert conv.weight.grad is not None
        return conv.weight.grad

    eager = gradient(lambda x: called(conv, x))
    compiled = torch.compile(lambda x: called(conv, x), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(gradient(compiled), eager)


def gradient_gap(layer: nn.Module, conv: nn.Conv3d, frames: int, *, half: bool) -> float:
    """The largest error of the kernel's gradient beside float64, as a share of its largest."""
    clip = torch.randn(2, 16, frames, 8, 8)
    with torch.autocast("cpu", enabled=half):
        found = layer(clip)
    found.float().square().mean().backward()
    assert conv.weight.grad is not None
    got = conv.weight.grad.clone()
    layer.double().zero_grad()
    exact = layer(clip.double())
    exact.square().mean().backward()
    assert found.shape == exact.shape
    return float((got - conv.weight.grad).abs().max() / conv.weight.grad.abs().max())
