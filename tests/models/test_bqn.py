"""BQN: what each pathway sees, which way laterals go, how it starts, and what it refuses."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from marey import zoo
from marey.layers.frames import fold
from marey.models import bqn
from marey.models.bqn import VARIANTS, BandPassed, BqnConfig, BqnX3DConfig

SMALL = {"width": 16, "depths": (1, 2, 1, 1), "num_classes": 5, "dropout": 0.0, "frames": 4}
TINY_X3D = {"depth_factor": 1.0, "num_classes": 5, "dropout": 0.0, "frames": 4, "hidden": 64}


def resnet(**fields: Any) -> Any:
    torch.manual_seed(0)
    return bqn.bqn(replace(BqnConfig(), **{**SMALL, **fields})).eval()


def x3d(**fields: Any) -> Any:
    torch.manual_seed(0)
    return bqn.bqn(replace(BqnX3DConfig(), **{**TINY_X3D, **fields})).eval()


def alive(network: Any) -> Any:
    """Laterals that add something."""
    for module in network.modules():
        if isinstance(module, bqn.Lateral):
            nn.init.uniform_(module.norm.weight, 0.5, 1.0)
    return network


CLIP = torch.randn(2, 3, 12, 96, 96, generator=torch.Generator().manual_seed(1))


def test_the_shapes_of_the_docstring() -> None:
    rows = {}
    for line in (bqn.__doc__ or "").splitlines():
        name, *numbers = line.split() or [""]
        if numbers and all(n.isdigit() for n in numbers):
            values = list(map(int, numbers))
            rows[name] = [tuple(values[i : i + 5]) for i in range(0, len(values), 5)]
    with torch.device("meta"):
        network: Any = bqn.bqn(VARIANTS["bqn_r50_8x3"])
        clip = torch.empty(1, 3, 24, 256, 256)
        pairs = [[x.unflatten(0, (1, -1)).transpose(1, 2) for x in network.pathways(clip)]]
        pairs += network.stages(clip)
        names = ("input", "stem", "res2", "res3", "res4", "res5")
        found = dict(zip(names, pairs, strict=True))
        found |= {"positions": [network.forward_positions(clip)], "logits": [network(clip)]}
    assert {n: [tuple(v.shape) for v in values] for n, values in found.items()} == rows


@pytest.mark.parametrize(
    ("name", "params", "gflops", "size"),
    [
        ("bqn_r50_16x3", 48_141_580, 120.53, 256),
        ("bqn_x3d_m_16x3", 8_009_808, 10.2, 256),
        ("bqn_x3d_l_16x3", 13_220_000, None, 256),
        ("bqn_both_x3d_l_16x3", 14_140_000, None, 256),
    ],
)
def test_size_and_cost_of_rows_without_a_reference(
    name: str, params: int, gflops: float | None, size: int
) -> None:
    from marey.metrics.cost import measure

    with torch.device("meta"):
        network = zoo.build(name)
    cost = measure(network, (1, 3, 48, size, size))
    assert cost.parameters == pytest.approx(params, rel=1e-9 if params % 1000 else 4e-4)
    if gflops:
        assert cost.multiply_adds / 1e9 == pytest.approx(gflops, rel=0.01)


def ways(network: Any) -> str:
    """The directions of the laterals in order: d down, u up, b both."""
    return "".join(
        "b" if e.up is not None and e.down is not None else "u" if e.up is not None else "d"
        for e in network.exchanges
    )


def test_alternating_laterals_go_down_after_odd_blocks_of_the_network() -> None:
    assert ways(resnet()) == "dudud"
    assert ways(resnet(laterals="both", share=1.0)) == "bbbbb"
    with torch.device("meta"):
        m: Any = bqn.bqn(VARIANTS["bqn_x3d_m_16x3"])
    assert ways(m) == "du" * 13
    sizes = [e.up.band.size for e in m.exchanges if e.up is not None]
    assert sizes == [7] * 9 + [3] * 4  # the last stage has 192 channels
    assert all(e.up is None or e.up.conv is not None for e in m.exchanges)
    assert all(e.up is None or e.up.conv is None for e in resnet().exchanges)


@pytest.mark.parametrize("make", [resnet, x3d])
@pytest.mark.parametrize("laterals", ["alternating", "both"])
def test_at_first_it_is_the_mean_of_its_pathways_alone(make: Any, laterals: str) -> None:
    pair = make(laterals=laterals)
    logits = []
    for path in ("quiet", "busy"):
        alone = make(pathways=path)
        state = pair.state_dict()
        if make is x3d and path == "quiet":
            moved = {"head.paths.1": "head.paths.0", "head.projection_quiet": "head.projection"}
            for theirs, ours in moved.items():
                state |= {
                    n.replace(theirs, ours): v for n, v in state.items() if n.startswith(theirs)
                }
        alone.load_state_dict({n: state[n] for n in alone.state_dict()})
        logits.append(alone(CLIP))
    torch.testing.assert_close(pair(CLIP), torch.stack(logits).mean(0), rtol=1e-4, atol=1e-5)


def test_the_quiet_pathway_sees_first_frames_and_the_busy_one_what_moves() -> None:
    network = resnet()
    quiet, busy = network.pathways(CLIP)
    assert quiet.shape == (8, 3, 60, 60)
    assert busy.shape == (8, 3, 96, 96)
    first = CLIP[:, :, ::3]
    expected = nn.functional.interpolate(fold(first), (60, 60), mode="bilinear")
    torch.testing.assert_close(quiet, expected)
    still = first.repeat_interleave(3, dim=2)
    assert network.pathways(still)[1].abs().max() < 1e-3 * busy.abs().max()


@pytest.mark.parametrize("make", [resnet, x3d])
def test_laterals_reach_the_other_pathway(make: Any) -> None:
    network, moved = alive(make()), CLIP.clone()
    moved[:, :, 1::3] += 0.5 * torch.randn_like(moved[:, :, 1::3])  # only the busy one sees these
    before, after = network.stages(CLIP), network.stages(moved)
    assert torch.equal(before[0][0], after[0][0])
    assert not torch.equal(before[1][0], after[1][0])


def test_both_ways_at_once_or_one_after_the_other() -> None:
    torch.manual_seed(0)
    quiet, busy = torch.randn(4, 8, 6, 6), torch.randn(4, 8, 6, 6)
    for chained in (False, True):
        both = bqn.Exchange(8, up=3, down=True, mix=True, chained=chained).eval()
        q, b = both(quiet, busy, 4)
        torch.testing.assert_close(b, busy + both.up(quiet, 4, (6, 6)))
        torch.testing.assert_close(q, quiet + both.down(b if chained else busy, 4, (6, 6)))


def test_sizes_that_are_not_whole_parts_are_taken() -> None:
    for side in (90, 117):
        assert resnet()(torch.randn(1, 3, 12, side, side + 6)).shape == (1, 5)


def test_a_new_head_for_both_pathways() -> None:
    network = x3d()
    network.reset_head(3)
    assert network(CLIP).shape == (2, 3)
    assert network.config.num_classes == 3
    assert [network.get_parameter(n).shape[0] for n in network.head_parameters()] == [3] * 4


def test_the_band_pass_stands_before_any_network() -> None:
    plain: Any = zoo.build("slow_r18_8x8", width=8, depths=(1, 1, 1, 1), num_classes=5).eval()
    network = BandPassed(plain).eval()
    moving = network(torch.randn(1, 3, 24, 48, 48))
    still = network(torch.randn(1, 3, 1, 48, 48).expand(1, 3, 24, 48, 48))
    assert moving.shape == (1, 5)
    dark = plain(torch.zeros(1, 3, 8, 48, 48))
    torch.testing.assert_close(still, dark, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(moving, dark, atol=1e-2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: resnet()(torch.zeros(1, 3, 8, 96, 96)), "has 8 frames .* sample 9"),
        (lambda: resnet()(torch.zeros(1, 1, 12, 96, 96)), r"takes a clip \(B, 3, T, H, W\)"),
        (lambda: resnet()(torch.zeros(1, 3, 12, 64, 64)), "64x64 pixels but .* at least 79"),
        (lambda: resnet(share=0.0), "share is 0.0; the quiet clip"),
        (lambda: x3d(num_classes=0), "num_classes is 0"),
    ],
)
def test_refusals(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
