"""C2D, I3D, Slow: shapes of the page, every row's table of kernels, and life in a training loop."""

from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import nn

from marey.layers.nonlocal_block import NonLocal, Pairwise
from marey.models import resnet3d
from marey.models.resnet3d import VARIANTS, ResNet3d


def tiny(name: str = "i3d_nl_r50_8x8", **fields: object) -> ResNet3d:
    """A narrow network of the variant's kind, every norm alive."""
    plain = {"width": 8, "depths": (1, 2, 2, 1), "num_classes": 5, "dropout": 0.0, "crop": 64}
    plain |= {"nonlocals": ((), (1,), (0,), ())} if "_nl_" in name else {}
    torch.manual_seed(0)
    network = ResNet3d(replace(VARIANTS[name], **{**plain, **fields}))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
    return network


def test_the_shapes_of_the_docstring() -> None:
    lines = [line.split() for line in (resnet3d.__doc__ or "").splitlines()]
    rows = {line[0]: tuple(map(int, line[1:])) for line in lines if line[1:2] == ["1"]}
    with torch.device("meta"):
        network = ResNet3d(VARIANTS["i3d_r50_8x8"])
        clip = torch.empty(rows["input"])
        maps = network.stages(clip)
        found = dict(zip(("stem", "res2", "res3", "res4", "res5"), maps, strict=True))
        found |= {"positions": network.forward_positions(clip), "logits": network(clip)}
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        name: shape for name, shape in rows.items() if name != "input"
    }
    assert network.widths == (2048,)


def kernels(network: ResNet3d) -> list[list[int]]:
    """Time kernels of the stem and of the first convolution of every block."""
    stages = network.trunk.steps[1:]
    rows = [[block.a.conv.kernel_size[0] for block in stage.blocks] for stage in stages]  # type: ignore[union-attr]
    return [[network.trunk.stem.conv.kernel_size[0]], *rows]


@pytest.mark.parametrize(
    ("name", "expected", "places"),
    [
        ("c2d_r50_8x8", [[1], [1] * 3, [1] * 4, [1] * 6, [1] * 3], {}),
        ("c2d_nopool_r50_8x8", [[1], [1] * 3, [1] * 4, [1] * 6, [1] * 3], {}),
        ("i3d_r50_8x8", [[5], [3] * 3, [3, 1] * 2, [3, 1] * 3, [1, 3, 1]], {}),
        ("slow_i3d_r50_8x8", [[5], [3] * 3, [3, 1] * 2, [3, 1] * 3, [1, 3, 1]], {}),
        ("slow_r50_8x8", [[1], [1] * 3, [1] * 4, [3] * 6, [3] * 3], {}),
        ("slow_r50_32x8", [[5], [1] * 3, [1] * 4, [3] * 6, [3] * 3], {}),
        (
            "i3d_nl_r101_8x8",
            [[5], [3] * 3, [3, 1] * 2, ([3, 1] * 12)[:23], [1, 3, 1]],
            {3: [1, 3], 4: [1, 3, 5]},
        ),
        (
            "i3d_nl_r101_32x2_caffe2",
            [[5], [3] * 3, [3, 1] * 2, ([3, 1] * 12)[:23], [1, 3, 1]],
            {3: [1, 3], 4: [6, 13, 20]},
        ),
    ],
)
def test_time_kernels_and_places(name: str, expected: list, places: dict) -> None:
    with torch.device("meta"):
        network = ResNet3d(VARIANTS[name])
    assert kernels(network) == expected
    stages = enumerate(network.trunk.steps[1:], start=2)
    found = {n: [int(i) for i in stage.nonlocals] for n, stage in stages if len(stage.nonlocals)}  # type: ignore[arg-type]
    assert found == places


@pytest.mark.parametrize(
    ("name", "frames", "time", "side"),
    [
        ("c2d_r50_8x8", 8, 4, 7),
        ("c2d_nopool_r50_8x8", 8, 8, 7),
        ("i3d_r50_8x8", 8, 4, 7),
        ("slow_r50_4x16", 4, 4, 7),
        ("slow_r50_32x8", 32, 16, 7),
        ("2d_r50", 1, 1, 7),
        ("i3d_r50_32x2_caffe2", 32, 4, 7),
        ("i3d_nl_r50_128x1_caffe2", 128, 16, 7),
    ],
)
def test_last_maps_and_one_position_at_the_training_size(
    name: str, frames: int, time: int, side: int
) -> None:
    with torch.device("meta"):
        network = ResNet3d(VARIANTS[name])
        clip = torch.empty(1, 3, frames, 224, 224)
        (last,) = network.features(clip)
        assert last.shape == (1, 2048, time, side, side)
        assert network.head([last]).shape[1] == 1
        assert network.head([torch.empty(1, 2048, time, 8, 8)]).shape[1] == 4


def test_published_pairwise_functions_and_pools() -> None:
    assert {VARIANTS[n].pairwise for n in VARIANTS if n.startswith("slow_nl")} == {"dot_product"}
    assert VARIANTS["i3d_nl_r50_8x8"].pairwise == "embedded_gaussian"
    assert VARIANTS["i3d_nl_r50_32x4_caffe2"].nonlocal_groups == (1, 4, 1, 1)
    assert VARIANTS["c2d_r50_8x8"].time_strides == (1, 1, 2)
    assert VARIANTS["c2d_nopool_r50_8x8"].time_strides == (1, 1, 1)
    assert all(c.nonlocal_pool == (1, 2, 2) for c in VARIANTS.values())


@pytest.mark.parametrize("pairwise", get_args(Pairwise))
def test_each_pairwise_function_is_a_field(pairwise: Pairwise) -> None:
    network = tiny(pairwise=pairwise).eval()
    kinds = {m.pairwise for m in network.modules() if isinstance(m, NonLocal)}
    assert kinds == {pairwise}
    assert network(torch.randn(1, 3, 4, 32, 33)).shape == (1, 5)


def test_recomputed_stages_give_the_same_gradients() -> None:
    from torch.utils.checkpoint import checkpoint

    network = tiny("c2d_r50_8x8").eval()
    clip = torch.randn(1, 3, 4, 32, 32)
    network(clip).sum().backward()
    plain = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    assert len(network.stage_modules()) == 5
    for stage in network.stage_modules():
        forward = stage.forward
        stage.forward = lambda x, forward=forward: checkpoint(forward, x, use_reentrant=False)  # type: ignore[method-assign]
    network(clip).sum().backward()
    again = [p.grad for p in network.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_a_reset_head_changes_config_and_outputs() -> None:
    network = tiny("slow_r50_8x8")
    network.reset_head(9)
    assert network.config.num_classes == 9
    assert network(torch.randn(2, 3, 2, 32, 32)).shape == (2, 9)
    assert set(network.head_parameters()) <= set(dict(network.named_parameters()))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="has 1 frames but ResNet3d needs at least 2"):
        tiny()(torch.zeros(1, 3, 1, 64, 64))
    with pytest.raises(ValueError, match="needs at least 32x32"):
        tiny()(torch.zeros(1, 3, 4, 31, 64))
    with pytest.raises(ValueError, match="after block 5 of res4, which has 1"):
        ResNet3d(
            replace(VARIANTS["i3d_nl_r50_8x8"], depths=(3, 4, 1, 3), nonlocals=((), (), (5,), ()))
        )
