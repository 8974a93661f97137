import pytest
import torch
from torch import nn

from marey.layers.conv import ConvNorm
from marey.layers.init import start_head, start_resnet
from marey.layers.resnet3d import Block


def test_kernels_norms_and_classifier_start_as_published() -> None:
    torch.manual_seed(0)
    block = Block(64, 64, kind="bottleneck", kernel=3, stride=1, dilation=1)
    network = nn.ModuleDict({"block": block, "head": nn.Linear(256, 100)})
    start_resnet(network)
    fan_out = 64 * 9
    assert block.b.conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.02)
    assert block.a.norm.weight.eq(1).all()
    assert block.c.norm.weight.eq(0).all(), "the last norm of a branch starts at zero"
    assert block.shortcut.norm.weight.eq(1).all()
    assert network["head"].weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert network["head"].bias.eq(0).all()


def test_a_network_without_memory_is_left_alone() -> None:
    with torch.device("meta"):
        layer = ConvNorm(3, 4, (1, 1, 1))
    start_resnet(layer)
    assert layer.conv.weight.is_meta


def test_a_fresh_classifier_is_drawn_anew() -> None:
    head = nn.Linear(1000, 50)
    start_head(head, std=0.5)
    assert head.weight.std().item() == pytest.approx(0.5, rel=0.05)
    assert head.bias.eq(0).all()
