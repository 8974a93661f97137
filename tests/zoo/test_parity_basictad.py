"""BasicTAD against the original implementation: whole networks, and their parts in miniature."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from marey.layers.temporal import DeformConv1d
from marey.models.basictad import BasicTADConfig, Halving, Pooling, SegmentHead
from marey.zoo.published.basictad import original


def outputs(network: Any, clips: list[Tensor]) -> dict[str, Tensor]:
    """Everything a case states, under its name there."""
    stages = network.backbone.stages(clips[0])
    maps, levels = network.maps(clips[0]), network.levels(clips[0])
    found = {"block5_slice": maps[0, :8, :4, 0, 0]}
    for name, value in (("block0", stages[0]), ("block4", stages[-1]), ("block5", maps)):
        found |= {f"{name}_mean": value.mean(), f"{name}_std": value.std()}
    for i, x in enumerate(levels):
        found |= {f"neck_{i}_slice": x[0, :8], f"neck_{i}_mean": x.mean()}
        found[f"cls_{i}"], found[f"reg_{i}"] = network.head.level(x, i)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("head", ["ab", "af"])
def test_a_whole_network(parity: Callable[..., None], head: str) -> None:
    parity(f"basictad_{head}_3fps", f"basictad_{head}", "original", outputs)


@pytest.fixture
def units(filling: dict[str, Any], golden: Path) -> dict[str, Any]:
    """The case of parts: its inputs by name, its state, and what is expected."""
    case = filling["read"](golden, "basictad_units")
    inputs = filling["clips"](case)
    case["inputs"] = {
        told["name"]: torch.from_numpy(x) for told, x in zip(case["inputs"], inputs, strict=True)
    }
    case["state"] = {n: torch.from_numpy(v) for n, v in filling["state"](case).items()}
    case["gap"] = filling["gap"]
    return case


def fill(part: torch.nn.Module, place: str, units: dict[str, Any], config: Any, own: str) -> None:
    """Load a part from the case's tensors, whose names begin with ``place``, by the name rule."""
    names = {n: original(f"{own}.{n}", config) for n in part.state_dict()}
    theirs = {n: str(name).replace(f"{own.split('.')[0]}.", place, 1) for n, name in names.items()}
    wanted = {n for n in units["state"] if n.startswith(place)}
    assert set(theirs.values()) == wanted
    part.load_state_dict({n: units["state"][name] for n, name in theirs.items()})
    part.eval()


def check(units: dict[str, Any], **found: Tensor) -> None:
    gaps = {n: units["gap"](v.detach().numpy(), units["expected"][n]) for n, v in found.items()}
    assert max(gaps.values()) < 1, gaps


def test_deformable_convolution(units: dict[str, Any]) -> None:
    layer, x = DeformConv1d(16, 16), units["inputs"]["deform_x"]
    names = {"offset": "p_conv", "mask": "m_conv", "conv": "conv"}
    layer.load_state_dict(
        {
            n: units["state"][f"deform.{names[n.split('.')[0]]}.{n.split('.')[1]}"]
            for n in layer.state_dict()
        }
    )
    check(units, deform_y=layer(x), deform_offset=layer.offset(x))
    check(units, deform_mask=layer.mask(x).sigmoid())


def test_softmax_head(units: dict[str, Any]) -> None:
    config = BasicTADConfig(head="softmax")
    head = SegmentHead(32, config)
    fill(head, "fcos.", units, config, "head")
    levels = [units["inputs"][f"fcos_x{i}"] for i in range(5)]
    for i, x in enumerate(levels):
        classes, offsets = head.level(x, i)
        check(units, **{f"fcos_cls_{i}": classes, f"fcos_reg_{i}": offsets})
    answers = head(levels)
    assert answers.shape == (2, 93, 23)
    assert torch.equal(answers[:, 48:72, :21], head.level(levels[1], 1)[0].transpose(1, 2))


@pytest.mark.parametrize("kind", ["tdm", "vdm"])
def test_halving_necks(units: dict[str, Any], kind: str) -> None:
    neck = Halving(32, 16, 4, keeps_space=kind == "vdm", still=True)
    fill(neck, f"{kind}.", units, BasicTADConfig(neck=kind), "neck")
    x = units["inputs"][f"{kind}_x"]
    levels = neck(x if kind == "vdm" else x[..., None, None])
    check(units, **{f"{kind}_{i}": level for i, level in enumerate(levels)})


def test_pooling_neck(units: dict[str, Any]) -> None:
    levels = Pooling(8, 4)(units["inputs"]["pool_x"])
    check(units, **{f"pool_{i}": level for i, level in enumerate(levels)})
