"""MViT: the table of blocks, sizes that change, detection maps, and what is refused."""

from dataclasses import replace
from math import prod
from typing import Any

import pytest
import torch

from marey.layers.pooling_attention import TokenPool
from marey.models import mvit
from marey.models.mvit import VARIANTS, MViT, MViTConfig, plan_blocks

SMALL: dict[str, Any] = {"depths": (1, 1, 1), "strides": (1, 2, 2), "width": 16, "crop": 32}


def tiny(name: str = "mvitv2_s_16x4", **fields: Any) -> MViT:
    torch.manual_seed(0)
    plain = {**SMALL, "num_classes": 5, "frames": 1 if VARIANTS[name].image else 4}
    return MViT(replace(VARIANTS[name], **{**plain, **fields})).eval()


def test_the_shapes_of_the_docstring() -> None:
    rows = {}
    for line in (mvit.__doc__ or "").splitlines():
        name, *numbers = line.split() or [""]
        if numbers and all(n.isdigit() for n in numbers):
            rows[name] = tuple(int(n) for n in numbers)
    with torch.device("meta"):
        network = MViT(VARIANTS["mvitv2_s_16x4"])
        clip = torch.empty(rows["input"])
        found = {"input": clip, "tokens": network.tokens(clip)[0]}
        found |= {f"stage{i}": m for i, m in enumerate(network.stages(clip), start=1)}
        found |= {"positions": network.forward_positions(clip), "logits": network(clip)}
    assert {n: tuple(v.shape) for n, v in found.items()} == rows
    assert network.widths == (768,)


@pytest.mark.parametrize(
    ("name", "tables"),
    [
        ("mvitv2_s_16x4", [111, 55, 55, *[27] * 12, 13]),
        ("mvitv2_t", [111, 55, 55, 55, 27, 27, 27, 27, 27, 13]),
    ],
)
def test_lengths_of_relative_tables(name: str, tables: list[int]) -> None:
    assert [plan.attention.rows_space for plan in plan_blocks(VARIANTS[name])] == tables


def test_large_at_312_holds_the_released_tables() -> None:
    plans = plan_blocks(VARIANTS["mvitv2_l_40x3"])
    assert sorted({plan.attention.rows_space for plan in plans}) == [17, 37, 77, 155]
    assert {plan.attention.rows_time for plan in plans} == {39}


def test_strides_and_widths_of_the_first_version() -> None:
    plans = plan_blocks(VARIANTS["mvit_b_16x4"])
    rows = [(p.attention.width_in, p.attention.width, p.width, p.attention.heads) for p in plans]
    assert rows[:4] == [(96, 96, 192, 1), (192, 192, 192, 2), (192, 192, 384, 2), (384,) * 3 + (4,)]
    assert [p.attention.stride_kv[1] for p in plans] == [8, 4, 4, *[2] * 11, 1, 1]
    assert [i for i, p in enumerate(plans) if p.attention.kernel_q != (1, 1, 1)] == [1, 3, 14]
    kernels = [p.attention.kernel_kv for p in plan_blocks(VARIANTS["mvit_b_24_32x3"])]
    assert sorted(set(kernels)) == [(1, 1, 1), (1, 3, 3), (1, 5, 5), (1, 9, 9)]


@pytest.mark.parametrize("name", ["mvit_b_16x4", "mvitv2_s_16x4", "mvit_b_16", "mvitv2_t"])
def test_fused_and_plain_networks_agree(name: str) -> None:
    fused, plain = tiny(name), tiny(name, attention="plain")
    plain.load_state_dict(fused.state_dict())
    clip = torch.randn(2, 3, fused.config.frames, 44, 36)
    with torch.no_grad():
        torch.testing.assert_close(fused(clip), plain(clip), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["mvit_b_16x4", "mvitv2_s_16x4"])
def test_other_sizes_go_in(name: str) -> None:
    network = tiny(name)
    with torch.no_grad():
        for shape in ((1, 3, 8, 48, 32), (1, 3, 5, 33, 50), (1, 3, 1, 16, 16)):
            assert network(torch.randn(shape)).isfinite().all()
    assert network.stages(torch.randn(1, 3, 8, 48, 32))[-1].shape == (1, 64, 4, 3, 2)


def test_a_map_of_features_has_no_class_token() -> None:
    network = tiny()
    clip = torch.randn(1, 3, 4, 32, 32)
    (found,) = network.features(clip)
    assert found.shape == (1, 64, 2, 2, 2)
    mean = tiny(pool="mean")
    pooled = mean.pooled(clip)
    torch.testing.assert_close(pooled, mean.features(clip)[0].mean((2, 3, 4)))


@pytest.mark.parametrize("kind", ["hybrid", "window", "global"])
def test_pyramids(kind: Any) -> None:
    depths: dict[str, Any] = {"depths": (1, 2, 2, 1), "strides": (1, 2, 2, 2)}
    network = tiny("mvitv2_t", pyramid=kind, **depths, crop=64)
    image = torch.randn(1, 3, 72, 104)
    with torch.no_grad():
        maps = network.pyramid(image)
        other = image.clone()
        other[..., :8, :8] += 1.0
        moved = network.pyramid(other)
    assert [tuple(m.shape) for m in maps] == [
        (1, 16, 18, 26),
        (1, 32, 9, 13),
        (1, 64, 5, 7),
        (1, 128, 3, 4),
    ]
    far = [float((a - b)[..., -1, -1].abs().max()) for a, b in zip(maps, moved, strict=True)]
    assert (far[0] == 0) == (kind != "global")  # windows keep the corners apart


def test_layers_for_decay() -> None:
    network = tiny("mvit_b_16x4")
    found = {name: network.depth_of(name) for name, _ in network.named_parameters()}
    assert found["positions.class_token"] == found["patch_embed.weight"] == 0
    assert found["blocks.0.attn.qkv.weight"] == 1
    assert found["norm.weight"] == found["head.projection.weight"] == 4


def test_a_small_start_for_the_classifier() -> None:
    network = tiny(head_scale=0.001)
    assert 0 < network.head.projection.weight.std() < 1e-4
    network.reset_head(7)
    assert network.head.projection.weight.shape == (7, 64)
    assert 0 < network.head.projection.weight.std() < 1e-4


@pytest.mark.parametrize("mode", ["max", "avg", "conv_unshared"])
def test_other_ways_of_pooling(mode: Any) -> None:
    network = tiny(pool_mode=mode, heads=2, frames=8).train()
    network(torch.randn(2, 3, 8, 64, 64)).sum().backward()
    held = [name for name, _ in network.named_parameters() if "pool_" in name]
    assert bool(held) == (mode == "conv_unshared")


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("mvitv2_s_16x4", (1, 1, 4, 32, 32), r"takes \(B, 3, T, H, W\) but got"),
        ("mvitv2_s_16x4", (1, 3, 4, 3, 32), "needs at least 4x4"),
        ("mvitv2_s_16x4", (1, 3, 0, 32, 32), "clip has no frames"),
        ("mvitv2_t", (1, 3, 2, 32, 32), "has 2 frames but .* reads single images"),
    ],
)
def test_clips_that_do_not_fit_are_refused(name: str, shape: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(name)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"crop": 16}, "would be empty: this network needs at least 2 frames at 32 pixels"),
        ({"frames": 1}, "would be empty"),
        ({"class_token": False}, "set pool to 'mean'"),
        ({"heads": 5}, "does not divide into 5 heads"),
        ({"depths": (1, 2)}, "one of each a stage"),
        ({"pyramid": "hybrid"}, "needs an image variant"),
        ({"width": 0}, "width is 0"),
    ],
)
def test_configurations_that_cannot_be_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MViT(replace(MViTConfig(), **fields))


def test_a_classifier_has_no_maps_and_a_backbone_no_classes() -> None:
    with pytest.raises(ValueError, match="pyramid='hybrid'"):
        tiny("mvitv2_t").pyramid(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="has no classifier"):
        tiny("mvitv2_t", pyramid="global").features(torch.zeros(1, 3, 32, 32))


def test_inference_takes_the_class_tokens_row_and_training_gives_all_weights_a_gradient() -> None:
    model = tiny(crop=64)
    clip = torch.randn(2, 3, 4, 64, 64)
    with torch.no_grad():
        found = model(clip)
    expected = model(clip)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-5)
    expected.square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("kv", [1, 2, 4, 8])
def test_what_no_window_reads_is_left_out_and_missed_by_nobody(kv: int) -> None:
    torch.manual_seed(0)
    pool = TokenPool(8, 2, (3, 3, 3), (1, kv, kv))
    for grid in ((2, 8, 8), (3, 11, 14), (1, 5, 17)):
        tokens = torch.randn(2, 1 + prod(grid), 8)
        kept, small, stride = pool.windows(tokens, grid)
        assert (small == grid) == (kv < 4)
        found = pool(kept, small, stride)
        torch.testing.assert_close(found, pool(tokens, grid), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["mvitv2_s_16x4", "mvit_b_16x4", "mvitv2_t"])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)])
def test_gradients_of_training_are_those_of_the_plain_form_in_double(
    name: str, dtype: torch.dtype, near: float
) -> None:
    """Each parameter's gap as a share of its gradient's length, or of a twentieth of the longest:
    a shift of all keys changes nothing, and its gradient is rounding alone."""
    fused = tiny(name, crop=64, kv_stride=8)
    plain = tiny(name, crop=64, kv_stride=8, attention="plain").double()
    plain.load_state_dict(fused.state_dict())
    clip = torch.randn(2, 3, fused.config.frames, 64, 64)
    weigh = torch.randn(2, 5)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        (fused(clip) * weigh).sum().backward()
    (plain(clip.double()) * weigh).sum().backward()
    wanted = [p.grad for p in plain.parameters() if p.grad is not None]
    least = max(float(g.norm()) for g in wanted) / 20
    for (named, p), exact in zip(fused.named_parameters(), wanted, strict=True):
        assert p.grad is not None
        assert (p.grad - exact).norm() / exact.norm().clamp_min(least) < near, named
