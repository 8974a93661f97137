"""X3D: the table of shapes, every row's widths and cost, squeezing, refusals."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from marey.metrics.cost import measure
from marey.models import x3d
from marey.models.x3d import VARIANTS, X3D, X3DConfig, round_width

TINY = X3DConfig(
    width_factor=1.0, depth_factor=1.0, hidden=16, num_classes=5, dropout=0.0, frames=4, crop=64
)


def tiny(**fields: object) -> X3D:
    """A narrow network, every norm alive."""
    torch.manual_seed(0)
    network = X3D(replace(TINY, **fields))  # type: ignore[arg-type]
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
    return network.eval()


def test_the_shapes_of_the_docstring() -> None:
    lines = [line.split() for line in (x3d.__doc__ or "").splitlines()]
    rows = {w[0]: tuple(map(int, w[1:])) for w in lines if len(w) > 2 and w[1].isdigit()}
    with torch.device("meta"):
        network = X3D(VARIANTS["x3d_m"])
        clip = torch.empty(rows["input"])
        maps = network.stages(clip)
        found = dict(zip(("stem", "res2", "res3", "res4", "res5"), maps, strict=True))
        found |= {"input": clip, "pooled": network.head.pooled((maps[-1],))}
        found |= {"positions": network.forward_positions(clip), "logits": network(clip)}
    assert {name: tuple(value.shape) for name, value in found.items()} == rows
    assert network.widths == (192,)


XS, L = (24, 24, 48, 96, 192), (5, 10, 25, 15)
ROWS = {  # frames, stride, crop; widths; depths; millions; GMACs at crop; test size, GMACs there
    "x2d": ((1, 48, 112), XS, (1, 2, 5, 3), 1.634, 0.02066, 112, 0.02066),
    "x3d_xs": ((4, 12, 160), XS, (3, 5, 11, 7), 3.794, 0.605, 182, 0.84),
    "x3d_s": ((13, 6, 160), XS, (3, 5, 11, 7), 3.794, 1.963, 182, 2.73),
    "x3d_m": ((16, 5, 224), XS, (3, 5, 11, 7), 3.794, 4.732, 256, 6.19),
    "x3d_l": ((16, 5, 312), XS, L, 6.153, 18.37, 356, 24.78),
    "x3d_xl": ((16, 5, 312), (32, 32, 72, 136, 280), L, 11.096, 35.84, 356, 48.42),
}


@pytest.mark.parametrize("name", ROWS)
def test_every_published_row(name: str) -> None:
    clip, widths, depths, millions, gmacs, side, larger = ROWS[name]
    config = VARIANTS[name]
    assert (config.frames, config.stride, config.crop) == clip
    with torch.device("meta"):
        network = X3D(config)
    stages = (network.res2, network.res3, network.res4, network.res5)
    assert (network.stem.space.out_channels, *(stage.width for stage in stages)) == widths
    assert tuple(len(stage.blocks) for stage in stages) == depths
    inner = [int(config.bottleneck_factor * width) for width in widths[1:]]
    assert [stage.inner for stage in stages] == inner
    cost = measure(network, (1, 3, config.frames, config.crop, config.crop))
    assert cost.parameters / 1e6 == pytest.approx(millions, abs=0.0006)
    assert cost.multiply_adds / 1e9 == pytest.approx(gmacs, rel=0.001)
    cost = measure(network, (1, 3, config.frames, side, side))
    assert cost.multiply_adds / 1e9 == pytest.approx(larger, rel=0.006)


def test_widths_are_rounded_as_published() -> None:
    assert [round_width(12 * f) for f in (2.0, 2.9, 1.0, 0.1)] == [24, 32, 16, 8]
    assert [round_width(w * 2.9) for w in (24, 48, 96)] == [72, 136, 280]
    assert [round_width(w / 16) for w in (54, 108, 216, 432)] == [8, 8, 16, 32]


def test_every_other_block_weighs_its_channels() -> None:
    blocks = X3D(replace(TINY, depth_factor=2.0)).res4.blocks
    found = [isinstance(block.squeeze, x3d.Squeeze) for block in blocks]  # type: ignore[union-attr]
    assert found == [i % 2 == 0 for i in range(10)]


def test_squeezing_is_two_convolutions_of_the_average() -> None:
    torch.manual_seed(0)
    part, maps = x3d.Squeeze(32), torch.randn(2, 32, 3, 4, 5)
    mean = maps.mean(dim=(2, 3, 4), keepdim=True)
    gate = part.excite(F.relu(part.reduce(mean))).sigmoid()
    torch.testing.assert_close(part(maps), maps * gate)


def test_no_frame_is_skipped_and_order_matters() -> None:
    network = tiny()
    clip = torch.randn(1, 3, 4, 32, 32)
    assert network.features(clip)[0].shape[2] == 4
    assert not torch.allclose(network(clip), network(clip.flip(2)))


def test_positions_of_larger_clips() -> None:
    network = tiny()
    assert network.forward_positions(torch.randn(1, 3, 4, 96, 64)).shape == (1, 2, 5)
    assert network.forward_positions(torch.randn(1, 3, 6, 64, 64)).shape == (1, 3, 5)
    assert network.forward_positions(torch.randn(1, 3, 1, 33, 17)).shape == (1, 1, 5)
    assert tiny(pool="global").forward_positions(torch.randn(1, 3, 6, 96, 64)).shape == (1, 1, 5)


def test_pytorchvideos_realisation_lacks_one_norm() -> None:
    with torch.device("meta"):
        ours = X3D(VARIANTS["x3d_s"])
        theirs = X3D(replace(VARIANTS["x3d_s"], shortcut_norms="widening"))
    left = {n for n, _ in ours.named_parameters()} - {n for n, _ in theirs.named_parameters()}
    assert left == {f"res2.blocks.0.shortcut.norm.{leaf}" for leaf in ("weight", "bias")}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width_factor": 0.0}, "width_factor is 0.0; it must be above 0"),
        ({"depth_factor": float("nan")}, "depth_factor is nan"),
        ({"frames": 0}, "frames is 0; it must be 1 or more"),
    ],
)
def test_impossible_configurations_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        X3D(replace(TINY, **fields))


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, 3, 4, 8, 64), "at least 16x16"), ((1, 1, 4, 64, 64), "three colours")],
)
def test_clips_that_do_not_fit_are_refused(shape: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny()(torch.zeros(shape))
