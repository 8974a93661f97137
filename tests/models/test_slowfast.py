"""SlowFast: packing, lateral joins, every row's table, and life in a training loop."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from marey.models import slowfast
from marey.models.slowfast import VARIANTS, SlowFast, slow_frames


def tiny(name: str = "slowfast_nl_r50_8x8", **fields: object) -> SlowFast:
    """A narrow network of the variant's kind, every norm alive."""
    plain = {"width": 16, "depths": (1, 2, 2, 1), "num_classes": 5, "dropout": 0.0, "crop": 64}
    plain |= {"nonlocals": ((), (1,), (0,), ())} if "_nl_" in name else {}
    torch.manual_seed(0)
    network = SlowFast(replace(VARIANTS[name], **{**plain, **fields}))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
    return network


@pytest.mark.parametrize(
    ("frames", "alpha", "expected"),
    [
        (32, 4, [0, 4, 8, 13, 17, 22, 26, 31]),
        (32, 8, [0, 10, 20, 31]),
        (64, 4, [0, 4, 8, 12, 16, 21, 25, 29, 33, 37, 42, 46, 50, 54, 58, 63]),
        (4, 4, [0]),
    ],
)
def test_slow_frames_are_the_published_ones(frames: int, alpha: int, expected: list) -> None:
    clip = torch.arange(frames).view(1, 1, frames, 1, 1)
    assert slow_frames(clip, alpha).flatten().tolist() == expected


def test_the_shapes_of_the_docstring() -> None:
    rows = {}
    for line in (slowfast.__doc__ or "").splitlines():
        name, *numbers = line.split()[:11] or [""]
        if numbers and all(n.isdigit() for n in numbers):
            values = [int(n) for n in numbers]
            rows[name] = (
                [tuple(values[:5]), tuple(values[5:])] if len(values) == 10 else [tuple(values)]
            )
    with torch.device("meta"):
        network = SlowFast(VARIANTS["slowfast_r50_8x8"])
        clip = torch.empty(rows["input"][1])
        found = {"input": list(network.pathways(clip))}
        maps = network.stages(clip)
        found |= {
            n: list(m) for n, m in zip(("stem", "res2", "res3", "res4", "res5"), maps, strict=True)
        }
        found |= {"positions": [network.forward_positions(clip)], "logits": [network(clip)]}
    assert {n: [tuple(v.shape) for v in values] for n, values in found.items()} == rows
    assert network.widths == (2048, 256)


@pytest.mark.parametrize(
    ("name", "frames", "alpha", "fusion", "reach", "places", "pool"),
    [
        ("slowfast_r50_4x16", 32, 8, 5, (6, 6), {}, (1, 2, 2)),
        ("slowfast_r50_8x8", 32, 4, 7, (6, 6), {}, (1, 2, 2)),
        ("slowfast_nl_r50_4x16", 32, 8, 5, (6, 6), {3: [1, 3], 4: [1, 3, 5]}, (1, 2, 2)),
        ("slowfast_nl_r50_8x8", 32, 4, 5, (6, 6), {3: [1, 3], 4: [1, 3, 5]}, (1, 2, 2)),
        ("slowfast_r50_16x8", 64, 4, 7, (6, 6), {}, (1, 2, 2)),
        ("slowfast_r101_8x8", 32, 4, 5, (6, 6), {}, (1, 2, 2)),
        ("slowfast_r101_50_101_8x8", 32, 4, 5, (6, 23), {}, (1, 2, 2)),
        ("slowfast_r101_full_8x8", 32, 4, 5, (23, 23), {}, (1, 2, 2)),
        ("slowfast_r101_16x8", 64, 4, 5, (6, 6), {}, (1, 2, 2)),
        ("slowfast_nl_r101_16x8", 64, 4, 5, (6, 6), {4: [6, 13, 20]}, (1, 2, 2)),
        ("slowfast_nl_r101_16x8_paper", 64, 4, 5, (6, 6), {4: [6, 13, 20]}, (2, 2, 2)),
        ("slowfast_nl_r101_8x8", 32, 4, 5, (6, 6), {4: [6, 13, 20]}, (2, 2, 2)),
    ],
)
def test_every_published_row(
    name: str, frames: int, alpha: int, fusion: int, reach: tuple, places: dict, pool: tuple
) -> None:
    with torch.device("meta"):
        network = SlowFast(VARIANTS[name])
    depth = 23 if "r101" in name else 6
    for trunk, count, early in ((network.slow, reach[0], 1), (network.fast, reach[1], 3)):
        spans = [
            [block.a.conv.kernel_size[0] for block in stage.blocks]  # type: ignore[union-attr]
            for stage in trunk.steps[1:]
        ]
        assert spans == [[early] * 3, [early] * 4, [3] * count + [1] * (depth - count), [3] * 3]
    laterals = [(m.conv.kernel_size[0], m.conv.stride[0]) for m in network.laterals]  # type: ignore[union-attr]
    assert laterals == [(fusion, alpha)] * 4
    stages = enumerate(network.slow.steps[1:], start=2)
    found = {n: [int(i) for i in stage.nonlocals] for n, stage in stages if len(stage.nonlocals)}  # type: ignore[arg-type]
    assert found == places
    assert not any(len(stage.nonlocals) for stage in network.fast.steps[1:])  # type: ignore[arg-type]
    config = network.config
    assert (config.frames, config.nonlocal_pool, config.pairwise) == (frames, pool, "dot_product")
    assert set(VARIANTS) >= {name}


def test_a_pair_equals_the_clip_it_was_taken_from() -> None:
    network = tiny().eval()
    clip = torch.randn(1, 3, 16, 48, 40)
    pair = (slow_frames(clip, 4), clip)
    torch.testing.assert_close(network(pair), network(clip))


def test_what_the_fast_pathway_sees_reaches_the_slow_one() -> None:
    network = tiny("slowfast_r50_8x8").eval()
    clip = torch.randn(1, 3, 16, 32, 32)
    other = clip.clone()
    other[:, :, 1] += 1.0  # a frame the slow pathway skips
    before, after = network.stages(clip), network.stages(other)
    assert torch.equal(before[0][0], after[0][0])
    assert not torch.equal(before[1][0], after[1][0])


def test_positions_of_larger_and_longer_clips() -> None:
    network = tiny("slowfast_r50_8x8", frames=16).eval()
    assert network.forward_positions(torch.randn(1, 3, 16, 64, 96)).shape == (1, 2, 5)
    assert network.forward_positions(torch.randn(1, 3, 24, 64, 64)).shape == (1, 3, 5)
    assert network.forward_positions(torch.randn(1, 3, 8, 64, 64)).shape == (1, 1, 5)


def test_a_dilated_res5_keeps_the_size_of_res4() -> None:
    with torch.device("meta"):
        network = SlowFast(replace(VARIANTS["slowfast_r50_8x8"], dilation=2))
        slow, fast = network.features(torch.empty(1, 3, 32, 224, 224))
    assert slow.shape == (1, 2048, 8, 14, 14)
    assert fast.shape == (1, 256, 32, 14, 14)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 18, 64, 64), "has 18 frames but SlowFast needs a multiple of 4 .* sample 20"),
        ((1, 3, 2, 64, 64), "has 2 frames"),
        ((1, 4, 16, 64, 64), "three colours"),
        ((1, 3, 16, 16, 64), "at least 32x32"),
    ],
)
def test_clips_that_do_not_fit_are_refused(shape: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny()(torch.zeros(shape))


def test_pairs_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="4 fast frames per slow frame"):
        tiny()((torch.zeros(1, 3, 8, 64, 64), torch.zeros(1, 3, 16, 64, 64)))
    with pytest.raises(ValueError, match="frames is 0"):
        SlowFast(replace(VARIANTS["slowfast_r50_8x8"], frames=2))
