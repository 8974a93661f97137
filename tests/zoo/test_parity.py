"""The family against the original implementations: names, parameters, cost, and every number.

Each case's published tensors go through the zoo's own reading of that layout. Full-size networks
run one at a time.
"""

import gc
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marey import zoo
from marey.metrics.cost import measure
from marey.zoo.weights import published_state

CASES = {
    "c2d_8x8_r50": ("c2d_r50_8x8", "pyslowfast"),
    "i3d_8x8_r50": ("i3d_r50_8x8", "pyslowfast"),
    "i3d_nln_8x8_r50": ("i3d_nl_r50_8x8", "pyslowfast"),
    "slow_8x8_r50": ("slow_r50_8x8", "pyslowfast"),
    "slow_nln_4x16_r50": ("slow_nl_r50_4x16", "pyslowfast"),
    "maclr_slow_r50_32x8_ucf101": ("slow_r50_32x8", "pyslowfast"),
    "slowfast_4x16_r50": ("slowfast_r50_4x16", "pyslowfast"),
    "slowfast_8x8_r50": ("slowfast_r50_8x8", "pyslowfast"),
    "ptv_slowfast_8x8_r50": ("slowfast_r50_8x8", "pytorchvideo"),
    "slowfast_32x2_r50_ava": ("slowfast_r50_8x8", "pyslowfast"),
}
Filling = dict[str, Any]


@pytest.fixture(scope="module")
def filling() -> Filling:
    return runpy.run_path(str(Path(__file__).parents[1] / "golden" / "filling.py"))


def tuples(maps: list) -> list[tuple]:
    return [m if isinstance(m, tuple) else (m,) for m in maps]


def outputs(network: Any, clip: Any) -> dict[str, torch.Tensor]:
    """Everything a case may state, under its name there."""
    maps = network.stages(clip)
    last = tuples(maps)[-1]
    pooled, positions = network.head.pooled(last), network.head(last)
    found = {
        "logits": positions.mean(dim=1),
        "probs": positions.softmax(dim=-1).mean(dim=1),
        "features": pooled.flatten(1),
        "feat_mean": pooled.flatten(1),
        "logits_map": positions.unflatten(1, pooled.shape[2:]),
    }
    for i, row in enumerate(tuples(maps)):
        found[f"s{i + 1}_stats"] = summary(row)
        if len(row) == 2:
            joined = row[0]
            if i < 4:
                lateral = network.laterals[i](row[1]).relu()
                joined = torch.cat([joined, lateral], dim=1)
            found[f"blocks{i}_stats"] = summary((joined, row[1]))
    if len(last) == 2:
        found["blocks5_stats"] = summary((pooled,))
    return found


def summary(maps: tuple) -> torch.Tensor:
    return torch.tensor([[m.mean(), m.std()] for m in maps])


def flops_input(text: str) -> Any:
    shapes = [tuple(map(int, part.split(":")[-1].split("x"))) for part in text.split(" + ")]
    clips = tuple(torch.empty(shape, device="meta") for shape in shapes)
    return clips if len(clips) > 1 else clips[0]


@pytest.mark.parametrize("name", CASES)
def test_case(filling: Filling, golden: Path, name: str) -> None:
    variant, layout = CASES[name]
    case = filling["read"](golden, name)
    state = filling["state"](case)
    detects = case["config"].get("detection", False)
    fields = {"dilation": 2} if detects else {}
    network: Any = zoo.load(variant, state, **fields)
    assert network.provenance == f"the weights given ({layout})"
    assert sum(p.numel() for p in network.parameters()) == case["params"]
    cost = measure(network, flops_input(case["flops_input"]))
    assert cost.multiply_adds / 1e9 == pytest.approx(case["gflops"], rel=0.01)

    back = published_state(network, layout)
    assert {n: list(v.shape) for n, v in back.items()} == case["state"]
    assert all(np.array_equal(back[n].numpy(), state[n]) for n in state)
    assert network.config.num_classes == case["config"].get("num_classes", 400)

    del back, state
    clips = [torch.from_numpy(clip) for clip in filling["clips"](case)]
    with torch.inference_mode():
        found = outputs(network.eval(), tuple(clips) if len(clips) > 1 else clips[0])
    stated = set(case["expected"]) - {"fp64_max_abs_diff"}
    if detects:  # the box head is not of this page
        stated = {n for n in stated if n.endswith("_stats")}
    assert stated <= set(found)
    gaps = {n: filling["gap"](found[n].numpy(), case["expected"][n]) for n in sorted(stated)}
    assert max(gaps.values()) < 1, gaps
    del network, found
    gc.collect()


def test_one_clip_is_packed_as_the_pair_was() -> None:
    """The reference feeds pairs; people feed clips."""
    network: Any = zoo.build("slowfast_r50_8x8", width=16, depths=(1, 1, 1, 1), crop=64).eval()
    clip = torch.randn(1, 3, 32, 64, 64)
    slow = clip[:, :, [0, 4, 8, 13, 17, 22, 26, 31]]
    assert torch.equal(network(clip), network((slow, clip)))
