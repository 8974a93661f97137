"""MViT's published layouts both ways, what a state tells about its network, and resized tables."""

import warnings
from typing import Any

import pytest
import torch

from marey import zoo
from marey.zoo.names import read_form
from marey.zoo.published.mvit_names import infer
from marey.zoo.recognition import inferred
from marey.zoo.registry import HOMES
from marey.zoo.weights import published_state

TINY: dict[str, Any] = {"depths": (1, 2, 1), "strides": (1, 2, 2), "width": 16, "crop": 32}
HELD = {
    "mvit_b_16x4": ("pyslowfast", "torchvision", "pytorchvideo"),
    "mvitv2_s_16x4": ("pyslowfast", "torchvision"),
    "mvit_b_16": ("pyslowfast", "mvit", "pytorchvideo"),
    "mvit_b_16_ptv": ("pyslowfast", "mvit", "pytorchvideo"),
    "mvitv2_t": ("pyslowfast", "mvit", "timm"),
    "mvitv2_l": ("pyslowfast", "mvit", "timm"),
}
PAIRS = [(name, layout) for name, layouts in HELD.items() for layout in layouts]


def tiny(name: str, **fields: Any) -> Any:
    torch.manual_seed(0)
    clip = {} if zoo.config_of(name).image else {"frames": 4}
    return zoo.build(name, **{**TINY, **clip, "num_classes": 5, "heads": 1, **fields}).eval()


@pytest.mark.parametrize(("name", "layout"), PAIRS)
def test_every_layout_both_ways(name: str, layout: str) -> None:
    network = tiny(name)
    stored = published_state(network, layout)
    fields = {**TINY, "frames": network.config.frames, "heads": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again: Any = zoo.load(name, stored, **fields)
    assert again.provenance == f"the weights given ({layout})"
    own, theirs = network.state_dict(), again.state_dict()
    assert all(torch.equal(own[n], theirs[n]) for n in own)
    back = published_state(again, layout)
    assert {n: v.shape for n, v in back.items()} == {n: v.shape for n, v in stored.items()}


def test_layouts_store_other_shapes() -> None:
    stored = published_state(tiny("mvitv2_t"), "mvit")
    assert stored["blocks.0.attn.pool_k.weight"].dim() == 4
    stored = published_state(tiny("mvitv2_t"), "pyslowfast")
    assert stored["blocks.0.attn.pool_k.weight"].dim() == 5
    assert stored["patch_embed.proj.weight"].dim() == 4
    stored = published_state(tiny("mvit_b_16x4"), "torchvision")
    assert stored["pos_encoding.class_token"].shape == (16,)
    stored = published_state(tiny("mvit_b_16x4"), "pytorchvideo")
    assert stored["blocks.0.attn._attention_pool_k.pool.weight"].dim() == 5
    assert "blocks.0.attn.q.weight" in stored
    assert "norm_embed.weight" in stored


@pytest.mark.parametrize(
    ("name", "layout"),
    [("mvitv2_s_16x4", "pytorchvideo"), ("mvit_b_16x4", "timm"), ("mvitv2_s_16x4", "mvit")],
)
def test_layouts_that_cannot_hold_a_network_say_so(name: str, layout: str) -> None:
    with pytest.raises(ValueError, match=f"no name in the {layout} layout"):
        published_state(tiny(name), layout)


@pytest.mark.parametrize("name", HELD)
def test_a_state_tells_its_own_fields(name: str) -> None:
    network = tiny(name)
    layout = "timm" if name == "mvitv2_l" else HELD[name][0]
    read = read_form(HOMES[name], layout, published_state(network, layout))
    told = infer(read, network.config)
    assert all(getattr(network.config, field) == value for field, value in told.items())
    assert told or layout == "timm"


def test_maskfeat_networks_are_known_by_their_growth() -> None:
    four: dict[str, Any] = {"depths": (1, 1, 2, 1), "strides": (1, 2, 2, 2)}
    network = tiny("mvitv2_s_16x4", grow="mlp", pool="mean_then_norm", **four)
    state = published_state(network, "pyslowfast")
    assert inferred(state) == "mvitv2_s_16x4"
    with pytest.warns(UserWarning, match="grow='mlp', .*pool='mean_then_norm'"):
        again: Any = zoo.load("mvitv2_s_16x4", state)
    clip = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        assert torch.equal(again.eval()(clip), network(clip))


def test_tables_follow_the_frames_and_crop_asked_for() -> None:
    state = published_state(tiny("mvitv2_s_16x4"), "pyslowfast")
    fields = {**TINY, "heads": 1, "frames": 8, "crop": 64}
    with pytest.warns(UserWarning, match="tables were resized"):
        network: Any = zoo.load("mvitv2_s_16x4", state, **fields)
    assert network.blocks[0].attn.rel_pos_h.shape == (31, 16)
    assert network.blocks[0].attn.rel_pos_t.shape == (7, 16)
    state = published_state(tiny("mvit_b_16x4"), "pyslowfast")
    with pytest.warns(UserWarning, match="tables were resized"):
        network = zoo.load("mvit_b_16x4", state, **fields)
    assert network.positions.spatial.shape == (1, 256, 16)
    assert network(torch.randn(1, 3, 8, 64, 64)).isfinite().all()
