"""R(2+1)D and its siblings: the plans of the paper's table, four ways to count, two streams."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from marey import zoo
from marey.metrics.cost import measure
from marey.models import r2plus1d
from marey.models.r2plus1d import VARIANTS, R2Plus1d, SplitConv, middle_width

COSTS = {  # millions of parameters, 1e9 multiply-adds of 8 and 16 frames (norms counted) at 112
    "r2d_18": (11.45, 1.94),
    "fr2d_18": (11.38, 13.83),
    "r3d_18_vmz": (33.37, 20.37),
    "mc2_18": (11.40, 14.30),
    "mc3_18_vmz": (11.70, 21.70),
    "mc4_18": (12.73, 20.00),
    "mc5_18": (16.86, 19.97),
    "rmc2_18": (33.35, 19.90),
    "rmc3_18": (33.06, 12.50),
    "rmc4_18": (32.03, 14.57),
    "rmc5_18": (27.90, 15.42),
    "r2plus1d_18": (33.37, 20.81),
    "r2plus1d_34": (63.70, 38.19),
    "r2plus1d_152": (118.23, 63.2),
}
LAST_FRAMES = {  # frames of the last map for 8 and for 16 frames
    "r2d": (1, 1),
    "fr2d": (8, 16),
    "r3d": (1, 2),
    "mc2": (8, 16),
    "mc3": (8, 16),
    "mc4": (4, 8),
    "mc5": (2, 4),
    "rmc2": (1, 2),
    "rmc3": (1, 2),
    "rmc4": (2, 4),
    "rmc5": (4, 8),
    "r2plus1d": (1, 2),
}


def meta(name: str, **fields: object) -> R2Plus1d:
    with torch.device("meta"):
        return R2Plus1d(replace(VARIANTS[name], **fields))


def test_the_shapes_of_the_docstring() -> None:
    rows = {}
    for line in (r2plus1d.__doc__ or "").splitlines():
        name, *numbers = line.split() or [""]
        if numbers and all(n.isdigit() for n in numbers):
            rows[name] = tuple(int(n) for n in numbers)
    network = meta("r2plus1d_34")
    clip = torch.empty(rows["input"], device="meta")
    found = {"input": clip, "positions": network.forward_positions(clip), "logits": network(clip)}
    maps = network.stages(clip)
    found |= dict(zip(("stem", "res2", "res3", "res4", "res5"), maps, strict=True))
    assert {n: tuple(v.shape) for n, v in found.items()} == rows


@pytest.mark.parametrize(
    ("width_in", "width", "side", "expected"),
    [
        (64, 64, 3, 144),
        (64, 128, 3, 230),
        (128, 128, 3, 288),
        (128, 256, 3, 460),
        (256, 256, 3, 576),
        (256, 512, 3, 921),
        (512, 512, 3, 1152),
        (3, 64, 7, 83),
    ],
)
def test_the_middle_width(width_in: int, width: int, side: int, expected: int) -> None:
    assert middle_width(width_in, width, side=side) == expected


@pytest.mark.parametrize("name", COSTS)
def test_parameters_and_cost_of_the_published_rows(name: str) -> None:
    network = meta(name, frames=8)
    cost = measure(network, (1, 3, 8, 112, 112))
    params, gmacs = COSTS[name]
    assert cost.parameters / 1e6 == pytest.approx(params, abs=0.0051)
    assert cost.multiply_adds / 1e9 == pytest.approx(gmacs, rel=0.005)


def test_cost_of_the_other_publishers() -> None:
    assert sum(p.numel() for p in meta("r2plus1d_18_tv").parameters()) == 31505325
    mm = measure(meta("r2plus1d_34_mm"), (1, 3, 8, 224, 224))
    assert mm.parameters == 63759281  # as mmaction2's own table counts
    assert mm.multiply_adds / 1e9 == pytest.approx(40.69, rel=0.005)
    ptv = measure(meta("r2plus1d_r50_ptv"), (1, 3, 16, 224, 224))
    assert ptv.parameters / 1e6 == pytest.approx(28.11, abs=0.005)
    assert ptv.multiply_adds / 1e9 == pytest.approx(57.9, rel=0.01)


@pytest.mark.parametrize("plan", LAST_FRAMES)
def test_frames_of_the_last_map(plan: str) -> None:
    for frames, last in zip((8, 16), LAST_FRAMES[plan], strict=True):
        network = meta(f"{plan}_18", frames=frames)
        (found,) = network.features(torch.empty(1, 3, frames, 112, 112, device="meta"))
        assert found.shape == (1, 512, last, 7, 7)


def middles(network: R2Plus1d, name: str) -> list[int]:
    """Middle widths of the split convolutions in one part."""
    parts = network.get_submodule(name).modules()
    return [m.norm.num_features for m in parts if isinstance(m, SplitConv)]


def test_four_realisations_of_the_first_block_of_res3() -> None:
    place = "res3.blocks.0"
    assert middles(meta("r2plus1d_34"), place) == [230, 288]
    assert middles(meta("r2plus1d_18_tv"), place) == [230, 230]
    assert middles(meta("r2plus1d_34_mm"), place) == [230, 288, 54]  # the shortcut is split too
    assert middles(meta("r2plus1d_r50_ptv"), place) == [128]
    stems = ("r2plus1d_34", "r2plus1d_18_tv", "r2plus1d_34_flow", "r2plus1d_34_mm")
    assert [middles(meta(n), "stem") for n in stems] == [[45], [45], [45], [83]]
    assert middles(meta("r2plus1d_r50_ptv"), "stem") == []
    assert middles(meta("r2plus1d_152"), "res5.blocks.0") == [1152]


def test_time_comes_first_where_pytorchvideo_has_it_so() -> None:
    split = SplitConv(2, 3, 4, (3, 3, 3), stride=(2, 2, 2), eps=1e-5, time_first=True)
    assert (split.time.in_channels, split.time.out_channels, split.time.stride[0]) == (2, 3, 2)
    assert (split.space.in_channels, split.space.out_channels) == (3, 4)
    assert split(torch.randn(1, 2, 8, 16, 16)).shape == (1, 4, 4, 8, 8)


def test_space_then_time_by_hand() -> None:
    torch.manual_seed(0)
    split = SplitConv(2, 3, 4, (3, 3, 3), stride=(1, 1, 1), eps=1e-3).eval()
    clip = torch.randn(1, 2, 5, 6, 7)
    inner = torch.relu(split.norm(split.space(clip)))
    padded = nn.functional.pad(inner, (0, 0, 0, 0, 1, 1))
    taps = split.time.weight[..., 0, 0]  # (4, 3, 3)
    expected = sum(
        torch.einsum("oi,bithw->bothw", taps[:, :, k], padded[:, :, k : k + 5]) for k in range(3)
    )
    torch.testing.assert_close(split(clip), expected)


def test_short_clips_and_single_frames() -> None:
    network = meta("r2plus1d_34")
    for frames in (1, 2, 4, 11):
        assert network(torch.empty(1, 3, frames, 64, 80, device="meta")).shape == (1, 400)


def test_flow_has_two_channels_and_says_so() -> None:
    network = meta("r2plus1d_34_flow")
    assert network(torch.empty(1, 2, 32, 112, 112, device="meta")).shape == (1, 400)
    spec = zoo.spec_of("r2plus1d_34_flow")
    assert (spec.modality, spec.frames, spec.mean) == ("flow", 32, (0.0047, 0.0046))
    other = zoo.spec_of("r2plus1d_18", zoo.config_of("r2plus1d_18", modality="flow"))
    assert (other.modality, other.frames, other.std) == ("flow", 8, (0.972, 0.755))
    with pytest.raises(ValueError, match="keep the two directions of flow in the second"):
        network(torch.empty(1, 3, 32, 112, 112, device="meta"))


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("r2plus1d_18", {"convs": ("2d", "3d")}, "give 5 .stem, res2-5."),
        ("r2plus1d_18", {"convs": ("2d", "3d", "2d", "2d", "whole")}, "only the stem"),
        ("r2plus1d_18", {"time_strides": (1, 2, 2)}, "time_strides is .* give 4"),
        ("r2plus1d_18", {"depths": (2, 2, 2)}, "depths is"),
        ("r2plus1d_18", {"modality": "depth"}, "modality is 'depth'; choose one of rgb, flow"),
    ],
)
def test_configurations_that_cannot_be_are_refused(name: str, fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        meta(name, **fields)


def test_clips_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="r2d.* has 4 frames|clip has 4 frames .* at least 8"):
        meta("r2d_18")(torch.empty(1, 3, 4, 64, 64, device="meta"))
    with pytest.raises(ValueError, match="at least 16x16"):
        meta("r2plus1d_18")(torch.empty(1, 3, 8, 12, 64, device="meta"))
