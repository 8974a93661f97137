"""Folding frames into the batch and back, and one answer for all of them."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from marey.layers.frames import (
    FrameClassifier,
    FrameHead,
    TimeConv,
    along_time,
    fold,
    over_time,
    unfold,
)
from marey.layers.resnet2d import Basic2d, Trunk2d


class Plain(FrameClassifier):
    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(frames=3)
        self.trunk = Trunk2d(Basic2d, (1, 1, 1, 1), width=8)
        self.widths = self.trunk.widths[-1:]
        self.head = FrameHead(self.widths, 5, dropout=0.0)


def test_folding_keeps_frames_of_a_clip_together() -> None:
    clip = torch.arange(2 * 3 * 4.0).view(2, 3, 4, 1, 1)
    assert fold(clip)[:, 0].flatten().tolist() == [0, 1, 2, 3, 12, 13, 14, 15]
    assert torch.equal(unfold(fold(clip), 4), clip)


def test_an_answer_is_the_mean_of_the_frames_answers() -> None:
    network = Plain().eval()
    clip = torch.randn(2, 3, 3, 32, 40)
    frames = network.head.frame_logits(network.features(clip))
    assert frames.shape == (2, 3, 5)
    torch.testing.assert_close(network(clip), frames.mean(dim=1))
    alone = network.head.frame_logits((unfold(network.trunk(clip[:, :, 1], 1), 1),))
    torch.testing.assert_close(alone[:, 0], frames[:, 1])
    assert network.forward_positions(clip).shape == (2, 1, 5)
    assert [m.shape[2] for m in network.stages(clip)] == [3] * 5


def test_dropout_drops_each_frame_on_its_own() -> None:
    network = Plain()
    network.head.dropout = nn.Dropout(0.5)
    same = torch.ones(1, 64, 3, 1, 1)
    logits = network.head.frame_logits((same,))
    assert not torch.equal(logits[:, 0], logits[:, 1])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 2, 32, 32), "clip has 2 frames but Plain needs 3, one for each segment; sample 3"),
        ((1, 4, 3, 32, 32), r"rgb snippets of 1 frames are \(B, 3, S"),
        ((1, 3, 3, 16, 32), "at least 32x32"),
    ],
)
def test_clips_that_do_not_fit_are_refused(shape: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Plain()(torch.zeros(shape))


def test_a_convolution_over_time_is_torchs() -> None:
    conv = TimeConv(5)
    assert conv.weight.squeeze(1).tolist() == [[0, 1, 0]] * 5
    torch.nn.init.normal_(conv.weight)
    clip = torch.randn(2, 5, 4, 3, 6, requires_grad=True)
    found = unfold(conv(fold(clip), 4), 4)
    kernel = conv.weight[..., None, None]
    expected = torch.nn.functional.conv3d(clip, kernel, padding=(1, 0, 0), groups=5)
    torch.testing.assert_close(found, expected)
    ways = [torch.autograd.grad(x.square().sum(), [clip, conv.weight]) for x in (found, expected)]
    for ours, theirs in zip(*ways, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_gradients_over_time_are_torchs(frames: int) -> None:
    conv = TimeConv(3).double()
    torch.nn.init.normal_(conv.weight)
    x = torch.randn(2 * frames, 3, 4, 5, dtype=torch.double, requires_grad=True)
    out = torch.randn(2 * frames, 3, 4, 5, dtype=torch.double)
    found = torch.autograd.grad(conv(x, frames), [x, conv.weight], out)
    clip = x.unflatten(0, (-1, frames))
    plain = over_time(clip, conv.weight.squeeze(1)).flatten(0, 1)
    assert torch.equal(plain, conv(x, frames))
    for own, theirs in zip(found, torch.autograd.grad(plain, [x, conv.weight], out), strict=True):
        torch.testing.assert_close(own, theirs, rtol=0, atol=1e-12)


def test_half_maps_stay_half_over_time() -> None:
    conv, x = TimeConv(3), torch.randn(8, 3, 4, 5)
    torch.nn.init.normal_(conv.weight)
    half = x.bfloat16().requires_grad_()
    found = conv(half, 4)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), conv(half.detach().float(), 4), rtol=0.02, atol=0.05)
    found.sum().backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16
    assert conv.weight.grad is not None
    assert conv.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_ends_that_repeat_have_torchs_gradients(frames: int) -> None:
    weight = torch.randn(3, 3, dtype=torch.double, requires_grad=True)
    x = torch.randn(2 * frames, 3, 4, 5, dtype=torch.double, requires_grad=True)
    found = along_time(x, weight, frames, repeat=True)
    clip = x.unflatten(0, (-1, frames))
    framed = torch.cat([clip[:, :1], clip, clip[:, -1:]], dim=1)
    before, same, after = weight[..., None, None].unbind(1)
    plain = framed[:, :-2] * before + clip * same + framed[:, 2:] * after
    torch.testing.assert_close(found, plain.flatten(0, 1), rtol=0, atol=1e-12)
    out = torch.randn_like(x)
    ways = [torch.autograd.grad(y, [x, weight], out) for y in (found, plain.flatten(0, 1))]
    for own, theirs in zip(*ways, strict=True):
        torch.testing.assert_close(own, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("repeat", [False, True])
def test_half_maps_are_summed_in_the_weights_precision(repeat: bool) -> None:
    """Rounded once: what stands still leaves nothing behind, however large it is."""
    weight = (torch.tensor([[-1.0, 2.0, -1.0]] * 4) / 3).requires_grad_()
    x = torch.randn(2 * 4, 4, 5, 6).bfloat16().requires_grad_()
    found = along_time(x, weight, 4, repeat=repeat)
    assert found.dtype == torch.bfloat16
    exact = x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    wanted = along_time(*exact, 4, repeat=repeat)
    torch.testing.assert_close(found.double(), wanted, rtol=2**-8, atol=1e-6)
    out = torch.randn_like(found)
    own = torch.autograd.grad(found, [x, weight], out)
    theirs = torch.autograd.grad(wanted, exact, out.double())
    assert [g.dtype for g in own] == [torch.bfloat16, torch.float32]
    torch.testing.assert_close(own[0].double(), theirs[0], rtol=2**-8, atol=1e-6)
    torch.testing.assert_close(own[1].double(), theirs[1], rtol=0.01, atol=0.05)
    if repeat:
        still = torch.randn(1, 4, 5, 6).bfloat16().expand(4, -1, -1, -1)
        assert along_time(still, weight, 4, repeat=True).abs().max() <= 1e-6
