"""TSM: what shifts where, and the online form against the offline network run causally."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from marey import zoo
from marey.layers.frames import fold, unfold
from marey.layers.nonlocal_block import NonLocal
from marey.models.tsm import TSM, VARIANTS, Shift
from marey.zoo.weights import published_state


def tiny(name: str = "tsm_online_r18_8f", **fields: object) -> TSM:
    """A narrow network with every norm alive."""
    plain = {"width": 8, "depths": (2, 1, 1, 1), "num_classes": 5, "dropout": 0.0, "frames": 4}
    torch.manual_seed(0)
    network = TSM(replace(VARIANTS[name], **{**plain, **fields}))  # type: ignore[arg-type]
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.running_mean, 0, 0.1)
    return network.eval()


def test_channels_take_the_next_and_the_last_frame() -> None:
    x = torch.arange(1, 13.0).view(3, 4, 1, 1)  # three frames of four channels
    both = Shift(4, "both")(x, 3)
    assert both[:, 0].flatten().tolist() == [5, 9, 0]  # the next frame
    assert both[:, 1].flatten().tolist() == [0, 2, 6]  # the last one
    assert torch.equal(both[:, 2:], x[:, 2:])
    past = Shift(4, "past")(x, 3)
    assert past[:, 0].flatten().tolist() == [0, 1, 5]
    assert torch.equal(past[:, 1:], x[:, 1:])
    assert Shift(4, "both")(x, 1)[:, :2].any() == torch.tensor(False)  # clips of one frame


@pytest.mark.parametrize("direction", ["both", "past"])
@pytest.mark.parametrize("frames", [1, 3])
def test_gradients_step_the_other_way(direction: Any, frames: int) -> None:
    x = torch.randn(2 * frames, 8, 2, 3, dtype=torch.double, requires_grad=True)
    found = Shift(4, direction)(x, frames)
    assert torch.equal(found, Shift(4, direction)(x.detach(), frames))
    clip = x.unflatten(0, (-1, frames))
    none = torch.zeros_like(clip[:, :1, :2])
    later = torch.cat([clip[:, 1:, :2], none], dim=1)
    back = slice(0, 2) if direction == "past" else slice(2, 4)
    earlier = torch.cat([none, clip[:, :-1, back]], dim=1)
    moved = [earlier] if direction == "past" else [later, earlier]
    plain = torch.cat([*moved, clip[:, :, 2 * len(moved) :]], dim=2).flatten(0, 1)
    assert torch.equal(found, plain)
    out = torch.randn_like(x)
    (own,) = torch.autograd.grad(found, x, out)
    (theirs,) = torch.autograd.grad(plain, x, out)
    assert torch.equal(own, theirs)


def test_clips_of_a_batch_do_not_touch() -> None:
    network = tiny("tsm_r18_8f")
    clips = torch.randn(2, 3, 4, 32, 32)
    torch.testing.assert_close(network(clips)[1:], network(clips[1:]))


def test_order_is_seen() -> None:
    network, clip = tiny("tsm_r18_8f"), torch.randn(1, 3, 4, 32, 32)
    assert not torch.allclose(network(clip.flip(2)), network(clip))


MOBILE = {"backbone": "mobilenet_v2", "width": 16}


@pytest.mark.parametrize("fields", [{}, {"place": "block"}, {"block": "bottleneck"}, MOBILE])
def test_a_stream_gives_what_the_whole_clip_gives(fields: dict[str, Any]) -> None:
    network, clip = tiny(**fields), torch.randn(2, 3, 6, 32, 40)
    with torch.inference_mode():
        whole = network.head.frame_logits(network.features(clip))
        state = None
        for t in range(6):
            logits, state = network.step(clip[:, :, t], state)
            torch.testing.assert_close(logits, whole[:, t])
        cut = network.head.frame_logits(network.features(clip[:, :, :5]))
    torch.testing.assert_close(cut, whole[:, :5])  # what comes later changes nothing
    assert state is not None
    if fields.get("backbone"):
        assert len(state) == 10  # the blocks that expand and are added to their input
    else:
        assert state[0].shape == (2, 1, 8, 10)  # an eighth of what enters the first block
        assert len(state) == 5


def test_two_streams_share_a_network_but_not_their_state() -> None:
    network = tiny()
    one, other = torch.randn(2, 4, 1, 3, 32, 32)
    with torch.inference_mode():
        alone, state = network.step(one[0])
        alone, _ = network.step(one[1], state)
        _, first = network.step(one[0])
        network.step(other[0])
        between, _ = network.step(one[1], first)
    assert torch.equal(between, alone)


@pytest.mark.parametrize(
    ("name", "fields", "why"),
    [
        ("tsm_r18_8f", {}, "direction='both'"),
        ("tsm_online_r18_8f", {"halves": True}, "halves"),
        ("tsm_online_r18_8f", {"nonlocals": ((0,), (), (), ())}, "non-local blocks"),
    ],
)
def test_a_network_that_looks_ahead_runs_on_no_stream(name: str, fields: dict, why: str) -> None:
    with pytest.raises(ValueError, match=f"looks ahead .{why}.* take one of tsm_online"):
        tiny(name, **fields).step(torch.zeros(1, 3, 32, 32))


def test_every_second_block_shifts_in_deep_networks() -> None:
    with torch.device("meta"):
        deep, plain = (TSM(VARIANTS[name]) for name in ("tsm_r101_8f", "tsm_r50_8f"))
    for network, every in ((deep, 2), (plain, 1)):
        for stage in network.trunk.stages:
            shifting = [block.shift is not None for block in stage.blocks]
            assert shifting == [i % every == 0 for i in range(len(shifting))]


def test_what_mobile_networks_cannot_do() -> None:
    with pytest.raises(ValueError, match="halves is True, which needs a ResNet"):
        tiny(backbone="mobilenet_v2", halves=True)
    with torch.device("meta"):
        network = TSM(VARIANTS["tsm_mobilenet_v2_8f"])
    assert sum(p.numel() for p in network.parameters()) == 2_736_272  # mmaction2 counts 2.736 M


def test_halved_time() -> None:
    network = tiny("tsm_r18_8f", halves=True)
    maps = network.stages(torch.randn(1, 3, 8, 32, 32))
    assert [m.shape[2] for m in maps] == [8, 8, 4, 4, 4]
    before = unfold(network.trunk.res2(fold(maps[0]), 8), 8)
    pooled = nn.functional.max_pool3d(before, (3, 1, 1), (2, 1, 1), (1, 0, 0))
    torch.testing.assert_close(unfold(network.trunk.res3(fold(pooled), 4), 4), maps[2])


def test_the_nonlocal_block_is_the_publishers() -> None:
    """Unscaled softmax; keys and values pooled after their projection."""
    block = NonLocal(4, scaled=False, pool_last=True).eval()
    nn.init.normal_(block.norm.weight)
    x = torch.randn(1, 4, 2, 4, 4)
    pool = nn.MaxPool3d((1, 2, 2))
    query, key = block.theta(x).flatten(2), pool(block.phi(x)).flatten(2)
    share = (query.transpose(1, 2) @ key).softmax(dim=-1)
    found = (share @ pool(block.g(x)).flatten(2).transpose(1, 2)).transpose(1, 2)
    expected = x + block.norm(block.out(found.unflatten(2, (2, 4, 4))))
    torch.testing.assert_close(block(x), expected)


def test_published_names_of_shifted_convolutions() -> None:
    def names(layout: str = "original", **fields: Any) -> set[str]:
        variant = fields.pop("variant", "tsm_r50_8f")
        with torch.device("meta"):
            return set(published_state(zoo.build(variant, **fields), layout))

    assert "base_model.layer1.0.conv1.net.weight" in names()
    assert "base_model.layer1.0.bn1.weight" in names()
    assert "base_model.layer1.0.net.conv1.weight" in names(place="block")
    assert "base_model.layer2.net.1.conv1.net.weight" in names(halves=True)
    assert "base_model.layer1.1.conv1.weight" in names(variant="tsm_r101_8f")
    assert "base_model.layer1.2.conv1.net.weight" in names(variant="tsm_r101_8f")
    nonlocal_names = names(variant="tsm_nl_r50_8f")
    assert {
        "base_model.layer2.0.block.conv1.net.weight",
        "base_model.layer2.0.nl.g.0.bias",
        "base_model.layer2.0.nl.W.1.running_var",
        "base_model.layer3.4.nl.theta.weight",
    } <= nonlocal_names
    mobile = names(variant="tsm_mobilenet_v2_8f")
    assert "base_model.features.3.conv.0.net.weight" in mobile  # the second block of 24 channels
    assert "base_model.features.2.conv.0.weight" in mobile
    assert "base_model.features.18.1.running_mean" in mobile
    demo = names(variant="tsm_online_mobilenet_v2_8f")
    assert {"features.3.conv.0.weight", "features.1.conv.3.weight", "classifier.bias"} <= demo
    assert "backbone.layer2.1.conv.0.net.conv.weight" in names(
        "mmaction2", variant="tsm_mobilenet_v2_8f"
    )
    assert "backbone.layer1.0.conv1.conv.net.weight" in names("mmaction2")
    assert "backbone.layer4.0.downsample.bn.bias" in names("mmaction2")
    with pytest.raises(ValueError, match="non-local blocks has no name in the mmaction2 layout"):
        names("mmaction2", variant="tsm_nl_r50_8f")
