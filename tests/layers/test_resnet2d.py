"""Image ResNets against torchvision's own: names aside, the same numbers."""

from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from marey.layers import resnet2d
from marey.layers.init import start_resnet
from marey.layers.resnet2d import R18, R50, R101, Basic2d, Bottleneck2d, Trunk2d


def theirs_of(name: str) -> str:
    """Our tensor name in torchvision's network."""
    leaf = name.removeprefix("stem.")
    if leaf != name:
        return leaf.replace("conv.", "conv1.").replace("norm.", "bn1.")
    stage, _, block, part, kind, leaf = name.split(".")
    if part == "shortcut":
        return f"layer{int(stage[3]) - 1}.{block}.downsample.{int(kind == 'norm')}.{leaf}"
    kind = {"conv": "conv", "norm": "bn"}[kind]
    return f"layer{int(stage[3]) - 1}.{block}.{kind}{'abc'.index(part) + 1}.{leaf}"


@pytest.mark.parametrize(
    ("maker", "block", "depths"),
    [("resnet18", Basic2d, R18), ("resnet50", Bottleneck2d, R50)],
)
def test_the_numbers_are_torchvisions(maker: str, block: Any, depths: tuple) -> None:
    theirs: Any = getattr(torchvision.models, maker)(weights=None).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.2, 0.8)
    trunk = Trunk2d(block, depths).eval()
    state = theirs.state_dict()
    trunk.load_state_dict({name: state[theirs_of(name)] for name in trunk.state_dict()})
    assert len(trunk.state_dict()) == len(state) - 2  # all but the classifier
    x = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        pooled = trunk(x, 2).mean(dim=(2, 3))
        torch.testing.assert_close(theirs.fc(pooled), theirs(x))


def test_the_shapes_of_the_docstring() -> None:
    rows = {}
    for line in (resnet2d.__doc__ or "").splitlines():
        name, *numbers = line.split() or [""]
        if len(numbers) == 4 and all(n.isdigit() for n in numbers):
            rows[name] = tuple(int(n) for n in numbers)
    with torch.device("meta"):
        trunk = Trunk2d(Bottleneck2d, R50)
        x = torch.empty(rows["input"])
        for name, step in zip(("stem", "res2", "res3", "res4", "res5"), trunk.steps, strict=True):
            x = step(x, 8)
            assert tuple(x.shape) == rows[name]
    assert trunk.widths == (64, 256, 512, 1024, 2048)


def test_a_resnet_101_of_ten_channels() -> None:
    with torch.device("meta"):
        trunk = Trunk2d(Bottleneck2d, R101, channels=10)
    assert trunk.stem.conv.weight.shape == (64, 10, 7, 7)
    assert len(trunk.res4.blocks) == 23


def test_branches_start_silent() -> None:
    trunk = Trunk2d(Bottleneck2d, (1, 1, 1, 1), width=8)
    start_resnet(trunk)
    block: Any = trunk.res3.blocks[0]
    assert not block.c.norm.weight.any()
    assert block.b.norm.weight.eq(1).all()
    spread = block.b.conv.weight.std().item()
    assert spread == pytest.approx((2 / (16 * 9)) ** 0.5, rel=0.05)  # fan out


def test_a_trunk_that_cannot_be_made() -> None:
    with pytest.raises(ValueError, match=r"depths is \(1, 2\); give four"):
        Trunk2d(Basic2d, (1, 2))
    with pytest.raises(ValueError, match="width is 0"):
        Trunk2d(Basic2d, R18, width=0)
