import pytest
import torch

from marey.layers.conv import (
    ConvNorm,
    FoldingConvNorm,
    Triple,
    convolve,
    convolved,
    eager_on_cpu,
)


def test_padding_keeps_the_size_and_strides_round_up() -> None:
    layer = ConvNorm(3, 5, (3, 3, 3), stride=(1, 2, 2))
    assert layer(torch.zeros(2, 3, 4, 9, 8)).shape == (2, 5, 4, 5, 4)
    assert layer.conv.bias is None
    assert (layer.norm.eps, layer.norm.momentum) == (1e-5, 0.1)


def test_dilation_spreads_over_space_only() -> None:
    layer = ConvNorm(1, 1, (1, 3, 3), dilation=2).eval()
    torch.nn.init.ones_(layer.conv.weight)
    clip = torch.zeros(1, 1, 3, 7, 7)
    clip[0, 0, 1, 3, 3] = 1.0
    lit = layer(clip)[0, 0].nonzero()
    expected = [[1, y, x] for y in (1, 3, 5) for x in (1, 3, 5)]
    assert lit.tolist() == expected


@pytest.mark.parametrize(
    ("kernel", "stride", "groups"),
    [((1, 1, 1), (1, 1, 1), 1), ((1, 1, 1), (1, 2, 2), 1), ((3, 3, 3), (1, 2, 2), 8)],
)
def test_folding_changes_no_number_and_no_parameter(
    kernel: Triple, stride: Triple, groups: int
) -> None:
    torch.manual_seed(0)
    network = FoldingConvNorm(8, 16, kernel, stride=stride, groups=groups)
    for value in (network.norm.weight, network.norm.running_mean, network.norm.running_var):
        torch.nn.init.uniform_(value, 0.5, 1.5)  # type: ignore[arg-type]
    network.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    clip = torch.randn(2, 8, 4, 7, 5).contiguous(memory_format=torch.channels_last_3d)
    plain = network(clip)  # with gradients: convolution, then norm
    with torch.no_grad():
        folded = network(clip)
        torch.testing.assert_close(folded, plain)
        torch.testing.assert_close(network(clip.contiguous()), plain)
        assert not torch.equal(folded, plain), "it took the plain way"
    assert folded.is_contiguous(memory_format=torch.channels_last_3d)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_training_is_that_of_a_plain_layer() -> None:
    torch.manual_seed(0)
    for kernel, groups in (((1, 1, 1), 1), ((3, 3, 3), 8)):
        network = FoldingConvNorm(8, 8, kernel, groups=groups)
        plain = ConvNorm(8, 8, kernel, groups=groups)
        plain.load_state_dict(network.state_dict())
        clip = torch.randn(2, 8, 4, 6, 6).contiguous(memory_format=torch.channels_last_3d)
        weight = torch.randn(2, 8, 4, 6, 6)
        for layer in (network, plain):
            (layer(clip) * weight).sum().backward()
        torch.testing.assert_close(  # sums in another order
            network.conv.weight.grad, plain.conv.weight.grad, atol=1e-4, rtol=1e-4
        )
        torch.testing.assert_close(network.norm.running_var, plain.norm.running_var)


def test_every_way_of_convolving_is_the_plain_one() -> None:
    torch.manual_seed(0)
    clip = torch.randn(2, 8, 5, 7, 6).contiguous(memory_format=torch.channels_last_3d)
    for kernel, stride, groups in (
        ((1, 1, 1), (1, 2, 2), 1),
        ((1, 3, 3), (1, 2, 2), 1),
        ((1, 3, 3), (1, 1, 1), 8),
        ((5, 1, 1), (1, 1, 1), 8),
        ((3, 1, 1), (2, 1, 1), 1),
        ((7, 1, 1), (1, 1, 1), 1),
        ((3, 3, 3), (1, 2, 2), 8),
        ((3, 3, 3), (2, 1, 1), 1),
    ):
        conv = ConvNorm(8, 8, kernel, stride=stride, groups=groups).conv
        assert eager_on_cpu(conv, clip)
        found = convolve(clip, conv, conv.weight)
        torch.testing.assert_close(found, conv(clip))
        assert found.is_contiguous(memory_format=torch.channels_last_3d), kernel


def test_a_swapped_convolution_is_called_as_it_is() -> None:
    network = FoldingConvNorm(4, 4, (1, 1, 1)).eval()
    network.conv = torch.nn.Sequential(network.conv)  # type: ignore[assignment]
    clip = torch.randn(1, 4, 2, 3, 3).contiguous(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        torch.testing.assert_close(network(clip), network.norm(network.conv(clip)))


@pytest.mark.parametrize(
    ("kernel", "stride", "flat"),
    [
        ((3, 1, 1), (1, 1, 1), True),
        ((1, 3, 3), (1, 2, 2), True),
        ((1, 1, 1), (1, 2, 2), True),
        ((1, 1, 1), (2, 2, 2), False),
    ],
)
def test_dense_kernels_learn_alike_in_two_dimensions(
    kernel: Triple, stride: Triple, flat: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    padding = tuple(size // 2 for size in kernel)
    conv = torch.nn.Conv3d(6, 4, kernel, stride, padding)  # type: ignore[arg-type]
    clip = torch.randn(2, 6, 5, 7, 3).contiguous(memory_format=torch.channels_last_3d)
    clip.requires_grad_()
    answers = []
    for call in (conv, lambda x: convolved(x, conv)):
        conv.zero_grad()
        clip.grad = None
        found = call(clip)
        found.square().sum().backward()
        assert clip.grad is not None
        assert conv.bias is not None
        answers.append((found, clip.grad, conv.weight.grad, conv.bias.grad))
        if flat:
            monkeypatch.delattr(torch.nn.functional, "conv3d", raising=False)  # not for the second
    for plain, ours in zip(*answers, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)


def test_half_precision_and_other_memory_run_as_they_are() -> None:
    conv = ConvNorm(4, 4, (3, 1, 1)).conv
    clip = torch.randn(1, 4, 5, 6, 6)
    assert torch.equal(convolved(clip, conv), conv(clip))
    clip = clip.contiguous(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(convolved(clip, conv), conv(clip))
