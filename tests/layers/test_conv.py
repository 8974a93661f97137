import torch

from marey.layers.conv import ConvNorm


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
