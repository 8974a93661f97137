"""The family against the original implementations: names, parameters, cost, and every number.

Each case's published tensors go through the zoo's own reading of that layout. Full-size networks
run one at a time.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from marey import zoo

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


def tuples(maps: list) -> list[tuple]:
    return [m if isinstance(m, tuple) else (m,) for m in maps]


def outputs(network: Any, clips: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Everything a case may state, under its name there."""
    clip: Any = tuple(clips) if len(clips) > 1 else clips[0]
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


@pytest.mark.parametrize("name", CASES)
def test_case(parity: Callable[..., None], name: str) -> None:
    variant, layout = CASES[name]
    if name == "slowfast_32x2_r50_ava":  # the box head is not of this page

        def stated(array: str) -> bool:
            return array.endswith("_stats")

        parity(name, variant, layout, outputs, stated=stated, dilation=2, num_classes=80)
    else:
        parity(name, variant, layout, outputs)


def test_one_clip_is_packed_as_the_pair_was() -> None:
    """The reference feeds pairs; people feed clips."""
    network: Any = zoo.build("slowfast_r50_8x8", width=16, depths=(1, 1, 1, 1), crop=64).eval()
    clip = torch.randn(1, 3, 32, 64, 64)
    slow = clip[:, :, [0, 4, 8, 13, 17, 22, 26, 31]]
    assert torch.equal(network(clip), network((slow, clip)))
