"""Image MViTs start clip networks and the reverse; classifiers start detection backbones."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from marey import zoo
from marey.zoo.token_inflation import inflate
from marey.zoo.weights import published_state

TINY: dict[str, Any] = {"depths": (1, 2, 1), "strides": (1, 2, 2), "width": 16, "num_classes": 5}
MEAN: dict[str, Any] = {"class_token": False, "pool": "mean", "kv_stride": 4}


def made(name: str, **fields: Any) -> Any:
    torch.manual_seed(0)
    frames = {} if zoo.config_of(name).image else {"frames": 4}
    return zoo.build(name, **{**TINY, **frames, "crop": 32, **fields}).eval()


def start(name: str, state: Any, **fields: Any) -> Any:
    with pytest.warns(UserWarning, match="is a network for other input"):
        return zoo.load(name, state, **{**TINY, "crop": 32, **fields}).eval()


@pytest.mark.parametrize("layout", ["pyslowfast", "mvit", "timm", "marey"])
def test_a_still_clip_gives_what_the_image_gave(layout: str) -> None:
    image = made("mvitv2_t")
    clips = start("mvitv2_s_16x4", published_state(image, layout), frames=8, **MEAN)
    still = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = image.features(still)[0]
        found = clips.features(still.unsqueeze(2).expand(-1, -1, 8, -1, -1))[0]
    torch.testing.assert_close(found, expected.expand_as(found), rtol=0, atol=1e-5)
    assert clips.blocks[0].attn.rel_pos_t.abs().max() == 0


def test_joint_positions_become_those_of_space() -> None:
    bare: dict[str, Any] = {"class_token": False, "pool": "mean"}  # one token a clip weighs less
    image = made("mvit_b_16", **bare)
    state = published_state(image, "pyslowfast")
    clips = start("mvit_b_16x4", state, frames=4, kv_stride=4, **bare)
    still = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        expected = image.features(still)[0]
        found = clips.features(still.unsqueeze(2).expand(-1, -1, 4, -1, -1))[0]
    torch.testing.assert_close(found, expected.expand_as(found), rtol=0, atol=1e-5)
    back = start("mvit_b_16", published_state(clips, "pyslowfast"), **bare)
    with torch.no_grad():
        torch.testing.assert_close(back.features(still)[0], expected, rtol=0, atol=1e-5)


def test_other_ways_to_spread_kernels() -> None:
    image, name = made("mvitv2_t"), "blocks.0.attn.pool_k.weight"
    flat = image.get_parameter(name)[:, :, 0]
    for kernels, factor in (("repeat", 1.0), ("mean", 1 / 3)):
        clips = made("mvitv2_s_16x4", **MEAN)
        told = inflate(clips, image.state_dict(), kernels=kernels)  # type: ignore[arg-type]
        spread = clips.get_parameter(name)
        for frame in range(3):
            torch.testing.assert_close(spread[:, :, frame], flat * factor)
        assert set(told.left) == {"head.projection.weight", "head.projection.bias"}
        assert set(told.unused) == {"head.projection.weight", "head.projection.bias"}


def test_tables_follow_a_larger_crop() -> None:
    state = published_state(made("mvitv2_t"), "mvit")
    clips = start("mvitv2_s_16x4", state, frames=4, **MEAN | {"crop": 64})
    assert clips.blocks[0].attn.rel_pos_h.shape == (31, 16)


def test_a_classifier_starts_a_detection_backbone(tmp_path: Path) -> None:
    image = made("mvitv2_t")
    file = zoo.save(image, tmp_path / "net.safetensors")
    for source in (published_state(image, "timm"), file):
        maps = start("mvitv2_t", source, pyramid="global")
        x = torch.randn(1, 3, 48, 32)
        with torch.no_grad():
            found, expected = maps.pyramid(x), image.stages(x)
        last = expected[-1].squeeze(2)
        normed = torch.nn.functional.layer_norm(last.movedim(1, -1), (64,), eps=1e-6)
        torch.testing.assert_close(found[-1].movedim(1, -1), normed, rtol=0, atol=1e-5)


def test_weights_of_its_own_kind_are_loaded_and_not_a_start() -> None:
    image = made("mvitv2_t")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zoo.load("mvitv2_t", published_state(image, "mvit"), **TINY, crop=32)


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="do not start this network: .* take its own size"):
        inflate(made("mvitv2_s_16x4", width=32), made("mvitv2_t").state_dict())
    with pytest.raises(ValueError, match="not the tensors of an MViT"):
        inflate(made("mvitv2_t"), {"conv1.weight": torch.zeros(3)})
