"""Two-stream fusion: shapes, sizes the paper states, what meets where, what is refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from marey import zoo
from marey.layers.frames import snippets
from marey.models.two_stream import VARIANTS, TwoStream, TwoStreamConfig

SMALL: dict[str, Any] = {"num_classes": 5, "dropout": 0.0, "snippet": 2}
TINY: dict[str, Any] = {**SMALL, "crop": 64, "width": 4}
NET: dict[str, Any] = {**SMALL, "crop": 48, "width": 8, "depths": (1, 1, 1, 1)}


def made(name: str, **fields: Any) -> Any:
    torch.manual_seed(0)
    return zoo.build(name, **fields).eval()


def streams(moments: int = 1, size: int = 64, snippet: int = 2) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    rgb = torch.randn(2, 3, moments, size, size, generator=draw)
    return rgb, torch.randn(2, 2, moments * snippet, size, size, generator=draw)


def test_shapes_are_those_of_the_table() -> None:
    with torch.device("meta"):
        network = TwoStream(VARIANTS["two_stream_conv3d_vgg16_5f"])
        maps = network.stages(torch.empty(1, 3, 5, 224, 224), torch.empty(1, 2, 50, 224, 224))
    sizes = [64, 224, 128, 112, 256, 56, 512, 28, 512, 14]
    for (spatial, temporal), width, side in zip(maps[:5], sizes[::2], sizes[1::2], strict=True):
        assert spatial.shape == temporal.shape == (1, width, 5, side, side)
    assert [[tuple(x.shape) for x in pair] for pair in maps[5:]] == [[(1, 4096, 1, 1, 1)] * 2] * 2
    assert network.head(maps[-1]).shape == (1, 2, 101)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("two_stream_vgg_m", 181.34),
        ("two_stream_max_vgg_m", 97.24),
        ("two_stream_concat_vgg_m", 172.73),
        ("two_stream_conv_vgg_m", 97.76),
        ("two_stream_conv3d_single_vgg16_5f", 163.56),
        ("two_stream_conv3d_vgg16_5f", 283.51),
    ],
)
def test_sizes_are_those_counted_for_the_paper(name: str, millions: float) -> None:
    with torch.device("meta"):
        network = TwoStream(VARIANTS[name])
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=5e-3)


def test_one_tower_of_vgg_m_is_as_large_as_the_paper_says() -> None:
    with torch.device("meta"):
        network = TwoStream(VARIANTS["two_stream_bilinear_vgg_m"])
    assert network.temporal is not None
    tower = sum(p.numel() for p in network.temporal.parameters())
    assert tower / 1e6 == pytest.approx(6.61, abs=5e-3)


def test_streams_come_apart_together_or_as_one_clip() -> None:
    network = made("two_stream_conv_vgg_m", **TINY)
    rgb, flow = streams()
    stacks = snippets(flow, "flow", 2)  # (2, 4, 1, 64, 64): x0 y0 x1 y1
    torch.testing.assert_close(stacks[:, :, 0], flow.transpose(1, 2).flatten(1, 2))
    whole = network(rgb, flow)
    for given in ((rgb, stacks), ((rgb, flow),), (torch.cat([rgb, stacks], 1),)):
        assert torch.equal(network(*given), whole)
    assert not torch.allclose(network(rgb, -flow), whole)
    assert not torch.allclose(network(-rgb, flow), whole)


def test_a_fused_map_goes_on_and_the_other_tower_to_its_last_place() -> None:
    rgb, flow = streams()
    one = made("two_stream_sum_vgg_m", **TINY)
    maps = one.stages(rgb, flow)
    assert [len(pair) for pair in maps] == [2, 2, 2, 2, 1, 1, 1]
    spatial, temporal = maps[3]
    steps = one.spatial.steps, one.temporal.steps
    parts = [step["relu5"](x[:, :, 0]) for step, x in zip(steps, (spatial, temporal), strict=True)]
    torch.testing.assert_close(maps[4][0][:, :, 0], sum(parts))
    both = made("two_stream_conv_relu3_relu5_fc6_vgg_m", **TINY)
    assert [len(pair) for pair in both.stages(rgb, flow)] == [2, 2, 2, 2, 2, 1, 1]
    assert list(both.fusions) == ["relu3", "relu5", "fc6"]
    assert list(both.temporal.steps) == ["relu1", "relu2", "relu3", "relu4", "relu5", "fc6"]


def test_late_fusion_is_the_mean_of_both_answers() -> None:
    network = made("two_stream_r18", **NET)
    rgb, flow = streams(size=48)
    each = network(rgb, flow, each=True)
    assert each.shape == (2, 2, 5)
    torch.testing.assert_close(network(rgb, flow), each.mean(1))
    assert not torch.allclose(each[:, 0], each[:, 1])
    changed = network(rgb, flow + 1, each=True)
    assert torch.equal(changed[:, 0], each[:, 0])
    assert not torch.allclose(changed[:, 1], each[:, 1])


def test_moments_meet_in_space_and_time_only_where_asked() -> None:
    rgb, flow = streams(5)
    alone = made("two_stream_conv_vgg_m", **TINY, frames=5)
    together = made("two_stream_conv_vgg_m", **TINY, frames=5, fusion="conv3d", pool="3d")
    order = torch.tensor([4, 1, 3, 0, 2])
    mixed = rgb[:, :, order], flow.unflatten(2, (5, 2))[:, :, order].flatten(2, 3)
    gaps = []
    for network in (alone, together):
        logits = network(rgb, flow)
        gaps.append(((network(*mixed) - logits).abs().max() / logits.std()).item())
    assert gaps[0] < 1e-4 < 1e-2 < gaps[1]
    assert together.stages(rgb, flow)[-1][0].shape[2] == 1
    longer = streams(9)
    assert together.stages(*longer)[-1][0].shape[2] == 3  # windows of five, two apart


def test_a_larger_picture_is_answered_at_every_place() -> None:
    network = made("two_stream_conv_vgg_m", **TINY)
    rgb, flow = streams(size=96)
    last = network.stages(rgb, flow)[-1][0]
    assert last.shape[-2:] == (2, 2)
    logits = network.head.projection(last[:, :, 0].flatten(2).transpose(1, 2)).mean(1)
    torch.testing.assert_close(network(rgb, flow), logits)


def test_full_layers_are_the_linear_ones_of_the_image_network() -> None:
    network = made("two_stream_vgg_m", **TINY, streams="spatial")
    step = network.spatial.steps["fc6"]
    x = torch.randn(3, step.full.in_features // step.window**2, step.window, step.window)
    torch.testing.assert_close(step(x).flatten(1), step.full(x.flatten(1)).relu())


def test_one_stream_alone() -> None:
    rgb, flow = streams()
    spatial = made("two_stream_vgg_m", **TINY, streams="spatial")
    temporal = made("two_stream_vgg_m", **TINY, streams="temporal")
    assert spatial(rgb).shape == temporal(flow).shape == (2, 5)
    assert (spatial.temporal, temporal.spatial) == (None, None)
    assert (spatial.spec.modality, len(spatial.spec.mean)) == ("rgb", 3)
    assert (temporal.spec.modality, temporal.spec.segment_frames) == ("flow", 2)
    assert temporal.spec.mean == (128.0, 128.0)
    assert made("two_stream_vgg_m", **TINY).spec.flow_frames == 2


def test_nothing_learns_up_to_the_stop() -> None:
    network = made("two_stream_conv3d_vgg16_5f", **TINY, stop="relu5").train()
    network(*streams(5), each=True).square().sum().backward()
    for name, parameter in network.named_parameters():
        below = ".steps.relu" in name
        assert parameter.requires_grad is not below, name
        assert (parameter.grad is None) is below, name
    network.requires_grad_(True)  # as loading does
    assert not network.spatial.steps["relu5"].convs[0].weight.requires_grad


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"places": ("relu6",)}, "places has 'relu6'.* did you mean 'relu"),
        ({"places": ()}, "give one or more, each once and in order"),
        ({"places": ("fc6", "relu3")}, "give one or more, each once and in order"),
        ({"fusion": "bilinear", "places": ("relu5", "logits")}, "leaves no map to go on with"),
        ({"temporal": "resnet"}, "a ResNet fuses with a ResNet only"),
        ({"temporal": "vgg_m", "places": ("fc7",)}, "as many channels, not 4096 and 2048"),
        ({"stop": "res5"}, "stop is 'res5'"),
        ({"snippet": 0}, "snippet is 0; it must be 1 or more"),
        ({"crop": 16}, "has no map left for it"),
    ],
)
def test_what_makes_no_network_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why), torch.device("meta"):
        TwoStream(replace(TwoStreamConfig(), **fields))
    with pytest.raises(ValueError, match="concat widens"), torch.device("meta"):
        TwoStream(replace(VARIANTS["two_stream_r18"], fusion="concat", places=("res3",)))


def test_clips_that_do_not_belong_together_are_refused() -> None:
    network = made("two_stream_conv_vgg_m", **TINY, frames=3)
    rgb, flow = streams(3)
    with pytest.raises(ValueError, match="reads frames and their flow: give both"):
        network(rgb)
    with pytest.raises(ValueError, match="frames and flow are of 3x64x64 and 4x64x64"):
        network(rgb, streams(4)[1])
    with pytest.raises(ValueError, match="clip has 2 frames but two_stream_conv_vgg_m needs 3"):
        network(*streams(2))
    with pytest.raises(ValueError, match="no whole snippets of 2"):
        network(rgb, flow[:, :, :5])
    with pytest.raises(ValueError, match="give clips as large as crop"):
        made("two_stream_conv_vgg_m", **{**TINY, "crop": 96})(*streams(1))


def test_towers_that_end_with_maps_a_row_apart_are_joined() -> None:
    network = made("two_stream_conv3d_vgg16_vgg_m_5f", **{**TINY, "crop": 224, "snippet": 1})
    with torch.no_grad():
        maps = network.stages(*streams(5, size=224, snippet=1))
    assert [tuple(x.shape[-2:]) for x in maps[4]] == [(14, 14), (13, 13)]
    assert network.num_answers == 2
