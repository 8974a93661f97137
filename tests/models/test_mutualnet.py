"""MutualNet: settings, statistics, narrowing alone, the query table, and what it refuses."""

from typing import Any

import pytest
import torch
from torch import nn

from marey import zoo
from marey.layers.switch import Setting
from marey.models import mutualnet
from marey.models.query_table import Row
from marey.models.resnet3d import ResNet3d
from marey.models.slimming import shrink

SMALL = {"width": 16, "depths": (1, 1, 1, 1), "num_classes": 5, "dropout": 0.0, "crop": 64}


def slow(**fields: Any) -> Any:
    torch.manual_seed(0)
    network: Any = zoo.build(
        "mutualnet_slow_r50_8x8",
        **{**SMALL, "sizes": (64, 48), "width_range": (0.5, 1.0), **fields},
    )
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm3d):
            nn.init.uniform_(norm.weight, 0.5, 1.0)
            nn.init.normal_(norm.running_mean, 0, 0.2)
    return network.eval()


def test_the_shapes_of_the_docstring() -> None:
    lines = [line.split() for line in (mutualnet.__doc__ or "").splitlines()]
    rows = {r[0]: tuple(map(int, r[1:])) for r in lines if len(r) > 2 and r[-1].isdigit()}
    with torch.device("meta"):
        network: Any = zoo.build("mutualnet_slow_r50_8x8").eval()
        clip = torch.empty(1, 3, 8, 224, 224)
        setting = Setting(0.5, frames=4, size=96)
        with pytest.warns(UserWarning, match="no norm statistics"):
            maps = network.stages(clip, setting)
        positions = network.head(maps[-1:])
    names = ("stem", "res2", "res3", "res4", "res5")
    found = {n: tuple(m.shape) for n, m in zip(names, maps, strict=True)}
    found |= {
        "input": tuple(shrink(clip, *setting.key[1:]).shape),
        "positions": tuple(positions.shape),
    }
    assert found | {"logits": tuple(positions.mean(1).shape)} == rows


def test_clips_shrink_by_leaving_out_frames_and_resizing_the_rest() -> None:
    clip = torch.arange(8.0).view(1, 1, 8, 1, 1).expand(1, 3, 8, 40, 60)
    small = shrink(clip, 4, 20)
    assert small.shape == (1, 3, 4, 20, 30)
    assert small[0, 0, :, 0, 0].tolist() == [0, 2, 4, 6]
    assert shrink(clip, 0, 0) is clip


def test_full_width_is_the_plain_network() -> None:
    network = slow()
    plain: Any = zoo.build("slow_r50_8x8", **SMALL).eval()
    plain.load_state_dict(network.state_dict())
    clip = torch.randn(2, 3, 8, 64, 64)
    assert torch.equal(network(clip), plain(clip))


def test_statistics_of_a_setting_are_used_where_it_is_met() -> None:
    network, clip = slow(), torch.randn(2, 3, 8, 64, 64)
    setting = Setting(0.5, frames=4, size=48)
    full = network(clip)
    network.recalibrate([clip, clip + 1], [setting])
    first = network.trunk.stem.norm.own["0"]
    stem = nn.functional.conv3d(
        torch.cat([shrink(c, *setting.key[1:]) for c in (clip, clip + 1)]),
        network.trunk.stem.conv.weight[:8], stride=(1, 2, 2), padding=(0, 3, 3),
    )  # fmt: skip
    torch.testing.assert_close(first.running_mean, stem.mean((0, 2, 3, 4)), rtol=1e-4, atol=1e-5)
    assert not network.training
    assert torch.equal(network(clip), full)
    by_setting = network(clip, width=setting)
    assert torch.equal(network(shrink(clip, *setting.key[1:]), width=0.5), by_setting)
    network.width = setting
    assert torch.equal(network(clip), by_setting)
    assert network.stages(clip)[-1].shape == (2, 256, 4, 2, 2)
    network.width = 1.0
    assert torch.equal(network(clip), full)


def test_the_table_and_its_statistics_are_saved(tmp_path: Any) -> None:
    network, clip = slow(), torch.randn(2, 3, 8, 64, 64)
    setting = Setting(0.5, frames=4, size=48)
    network.recalibrate([clip], [setting])
    again: Any = zoo.load(zoo.save(network, tmp_path / "n.safetensors")).eval()
    assert again.config.table == network.config.table
    assert torch.equal(again(clip, width=setting), network(clip, width=setting))
    network.set_table([])
    assert not any(".own." in name for name in network.state_dict())


@pytest.mark.parametrize(
    ("name", "fields", "shape"),
    [
        ("mutualnet_slow_r50_8x8", SMALL, (2, 3, 8, 48, 48)),
        ("mutualnet_slowfast_r50_4x16", SMALL, (2, 3, 32, 48, 48)),
        ("mutualnet_resnet50", SMALL, (2, 3, 1, 48, 48)),
        ("mutualnet_x3d_m", {"depth_factor": 1.0, "num_classes": 5}, (2, 3, 8, 48, 48)),
        ("mutualnet_mobilenet_v1", {"multiplier": 0.25, "num_classes": 5}, (2, 3, 1, 48, 48)),
        ("mutualnet_mobilenet_v2", {"multiplier": 0.25, "num_classes": 5}, (2, 3, 1, 48, 48)),
    ],
)
def test_a_width_alone_is_an_ordinary_network(name: str, fields: dict, shape: tuple) -> None:
    torch.manual_seed(0)
    network: Any = zoo.build(name, **{**fields, "widths": (0.5, 1.0)}).eval()
    clip = torch.randn(shape)
    alone = network.narrowed(0.5)
    torch.testing.assert_close(alone(clip), network(clip, width=0.5))
    assert not any("switch" in type(m).__module__ for m in alone.modules())
    kept, whole = (sum(p.numel() for p in n.parameters()) for n in (alone, network))
    assert kept < 0.6 * whole
    assert network.row(Setting(0.5)).params_m == pytest.approx(kept / 1e6)


def test_a_small_setting_alone_takes_small_clips() -> None:
    network, clip = slow(), torch.randn(2, 3, 8, 64, 64)
    setting = Setting(0.5, frames=4, size=48)
    network.recalibrate([clip], [setting])
    alone: Any = network.narrowed(setting)
    assert type(alone) is ResNet3d
    assert (alone.spec.frames, alone.spec.size) == (4, 48)
    torch.testing.assert_close(alone(shrink(clip, *setting.key[1:])), network(clip, width=setting))
    with pytest.raises(ValueError, match="carries no variant"):
        zoo.save(alone, "never.safetensors")


def test_only_the_slow_pathway_narrows_and_takes_lateral_maps_at_its_size() -> None:
    network: Any = zoo.build("mutualnet_slowfast_r50_4x16", **SMALL).eval()
    clip = torch.randn(1, 3, 32, 64, 64)
    setting = Setting(0.5, frames=2, size=32)
    with pytest.warns(UserWarning, match="no norm statistics"):
        maps = network.stages(clip, setting)
    whole = network.stages(clip)
    assert [m[0].shape[1:] for m in maps][-1] == (256, 2, 1, 1)
    assert all(torch.equal(a[1], b[1]) for a, b in zip(maps, whole, strict=True))


def test_compiled_at_a_width() -> None:
    network, clip = slow(widths=(0.5, 1.0)), torch.randn(2, 3, 8, 64, 64)
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(clip, width=0.5), network(clip, width=0.5))


TABLE = tuple(
    Row(width=w, frames=8, size=s, gflops=g, accuracy=a, latency_ms=t)
    for w, s, g, a, t in (
        *((1.0, 64, 4.0, 0.8, 9.0), (1.0, 48, 2.2, 0.7, 5.0)),
        *((0.5, 64, 2.0, 0.75, 6.0), (0.5, 48, 1.0, 0.6, 3.0)),
    )
)


@pytest.mark.parametrize(
    ("budget", "key"),
    [
        ({"gflops": 100.0}, (1.0, 8, 64)),
        ({"gflops": 3.0}, (0.5, 8, 64)),  # more accurate than the costlier row
        ({"latency_ms": 5.5}, (1.0, 8, 48)),
        ({"gflops": 2.1, "latency_ms": 5.5}, (0.5, 8, 48)),
    ],
)
def test_the_best_row_within_a_budget(budget: dict, key: tuple) -> None:
    assert slow(table=TABLE).select(**budget).key == key


def test_a_network_without_a_table_takes_the_costliest_setting_that_fits() -> None:
    network = slow()
    costs = {row.setting.key: row.gflops for row in network.grid()}
    assert len(costs) == 11 * 2 * 3  # widths, frames, sizes with that of the test
    budget = sorted(costs.values())[9] + 1e-9
    chosen = network.select(gflops=budget)
    assert costs[chosen.key] == max(cost for cost in costs.values() if cost <= budget)
    with pytest.warns(UserWarning, match="no norm statistics"):
        assert network(torch.randn(1, 3, 8, 64, 64), width=chosen).shape == (1, 5)


def test_published_tables() -> None:
    for name, key in (("v1", (0.8, 1, 160)), ("v2", (0.9, 1, 192))):
        with torch.device("meta"):
            network: Any = zoo.build(f"mutualnet_mobilenet_{name}").eval()
        assert network.select(gflops=0.2).key == key
        for row in network.config.table:
            assert network.row(row.setting).gflops == pytest.approx(row.gflops, rel=0.03, abs=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n: n.select(gflops=0.5), "gflops 0.5 is below the narrowest .* 0.5x8x48 needs 1"),
        (lambda n: n.select(), "no budget was given"),
        (lambda n: n.select(params_m=1.0), "has no params_m; measure it .* 'marey tabulate'"),
        (lambda n: n(torch.zeros(1, 3, 8, 64, 64), width=0), "width is 0; it must be above 0"),
        (lambda n: n.recalibrate([], [0.5]), "there are no clips"),
        (lambda n: slow(width_range=(0.9, 0.5)), "width_range is"),
        (lambda n: slow(widths=(2.0,)), "width is 2"),
    ],
)
def test_refusals(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(slow(table=TABLE))


def test_the_widths_of_published_statistics_are_read_off_their_shapes() -> None:
    for name, widths in (
        ("mutualnet_mobilenet_v1", (0.25, 1.0)),
        ("mutualnet_mobilenet_v2", (0.7, 0.85, 1.0)),
        ("mutualnet_resnet50", (0.9, 1.0)),
    ):
        network: Any = zoo.build(name, widths=widths)
        state = zoo.weights.published_state(network, "original")
        again: Any = zoo.load(name, state)
        assert again.config.widths == widths
    assert zoo.recognise(state)[0] == (name, "original")
    with pytest.raises(ValueError, match="original layout holds|it holds image networks only"):
        zoo.weights.published_state(slow(), "original")
