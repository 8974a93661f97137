"""Width-switchable layers: rounding, leading channels, statistics by place."""

import copy
import pickle

import pytest
import torch
from torch import nn

from marey.layers.switch import (
    FULL,
    NONE,
    Setting,
    Slice,
    Statistics,
    Switch,
    divisible,
    key_of,
    leading,
    make_plain,
    make_switchable,
)


@pytest.mark.parametrize(
    ("channels", "width", "ratio", "expected"),
    [
        (64, 1.0, 1.0, 64),
        (64, 0.9, 0.25, 58),
        (256, 0.9, 1.0, 232),
        (64, 0.8, 0.25, 52),
        (256, 0.8, 1.0, 208),
        (512, 0.9, 0.25, 460),
        (144, 0.7, 6.0, 96),
        (32, 0.25, 1.0, 8),
        (54, 0.5, 2.25, 36),
        (3, 0.1, 0.25, 2),
    ],
)
def test_published_channel_counts(channels: int, width: float, ratio: float, expected: int) -> None:
    assert leading(channels, width, ratio) == expected


def test_rounding_down_loses_at_most_a_tenth() -> None:
    assert [divisible(v) for v in (4, 11, 12, 19.9, 20, 921.6)] == [8, 16, 16, 24, 24, 920]


def network() -> tuple[nn.Sequential, Switch]:
    """Two dense convolutions around a depth-wise one, with norms."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.BatchNorm2d(16),
        nn.Conv2d(16, 16, 3, groups=16),
        nn.Conv2d(16, 32, 1, bias=False),
        nn.BatchNorm2d(32),
    )
    for norm in (net[1], net[4]):
        nn.init.normal_(norm.running_mean, 0, 0.3)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    switch = Switch()
    make_switchable(net, switch, lambda name, module: Slice())
    return net.eval(), switch


def test_a_narrow_network_is_the_wide_one_with_channels_set_to_zero() -> None:
    net, switch = network()
    x, wide = torch.randn(2, 3, 8, 8), copy.deepcopy(net)
    for i, kept in ((1, 8), (2, 8)):
        wide[i].register_forward_hook(
            lambda module, inputs, output, kept=kept: torch.cat(
                [output[:, :kept], output[:, kept:] * 0], 1
            )
        )
    with switch.at(0.5, NONE):
        narrow = net(x)
    assert narrow.shape == (2, 16, 4, 4)
    torch.testing.assert_close(narrow, wide(x)[:, :16])
    assert (switch.width, switch.place) == (1.0, FULL)


def test_a_plain_copy_answers_alike_with_a_quarter_of_the_weights() -> None:
    net, switch = network()
    x = torch.randn(2, 3, 8, 8)
    with switch.at(0.5, NONE):
        expected = net(x)
        alone = copy.deepcopy(net)
        make_plain(alone, lambda: alone(x))
    assert [type(m) for m in alone] == [
        *(nn.Conv2d, nn.BatchNorm2d, nn.Conv2d, nn.Conv2d, nn.BatchNorm2d)
    ]
    assert torch.equal(alone(x), expected)
    assert alone[3].weight.shape == (16, 8, 1, 1)
    assert alone[2].groups == 8


def test_statistics_belong_to_their_place() -> None:
    net, switch = network()
    norm = net[1]
    norm.own["0"] = Statistics(8)
    x = 5 + torch.randn(4, 8, 6, 6)
    before = norm.running_mean.clone()
    net.train()
    with switch.at(0.5, 0):
        norm(x)
    own = norm.own["0"]
    torch.testing.assert_close(own.running_mean, 0.1 * x.mean((0, 2, 3)))
    assert own.num_batches_tracked == 1
    with switch.at(0.4, NONE):
        norm(x)  # tracks nothing
    assert torch.equal(norm.running_mean, before)
    norm.eval()
    with switch.at(0.5, 0):
        mean, var = own.running_mean.view(-1, 1, 1), own.running_var.view(-1, 1, 1)
        torch.testing.assert_close(norm(x), (x - mean) / (var + norm.eps).sqrt())


def test_joined_columns_are_the_last() -> None:
    conv, switch = nn.Conv2d(10, 4, 1, bias=False), Switch()
    make_switchable(nn.Sequential(conv), switch, lambda name, module: Slice(joined=2))
    x = torch.randn(1, 6, 3, 3)  # four of eight own channels and the two joined
    with switch.at(0.5, NONE):
        found = conv(x)
    kernel = torch.cat([conv.weight[:, :4], conv.weight[:, 8:]], 1)
    torch.testing.assert_close(found, nn.functional.conv2d(x, kernel)[:, : found.shape[1]])


def test_a_setting_is_a_number_that_survives_copies() -> None:
    setting = Setting(0.5, frames=4, size=96)
    for twin in (copy.deepcopy(setting), pickle.loads(pickle.dumps(setting))):
        assert twin.key == (0.5, 4, 96)
    assert setting == 0.5
    assert str(setting) == "0.5x4x96"
    with pytest.raises(ValueError, match=r"width is 1.5; it must be above 0 and at most 1"):
        key_of(1.5)
