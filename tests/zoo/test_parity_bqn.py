"""BQN against the authors' code: both kinds of laterals, over ResNets and over X3Ds."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from marey.layers.frames import fold


def summary(x: torch.Tensor) -> torch.Tensor:
    """Mean, deviation, and 62 values at equal steps of a map."""
    flat = x.flatten()
    return torch.cat([flat.mean()[None], flat.std()[None], flat[:: len(flat) // 62][:62]])


def outputs(network: Any, clips: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    (packed,) = clips  # (1, T * 9, H, W), frames one after another
    clip = packed.unflatten(1, (-1, 3)).transpose(1, 2)
    maps = network.stages(clip)
    found = {"logits": network.head(maps[-1]).mean(1)}
    _, busy = network.pathways(clip)
    found["mbpf1_summary"] = summary(busy)
    for i, pair in enumerate(maps):
        for path, x in zip(("quiet", "busy"), pair, strict=True):
            found[f"layer{i}_{path}_summary"] = summary(fold(x))  # their ResNet folds frames
            found[f"blocks_{i}_{path}_summary"] = summary(x)
    return found


@pytest.mark.parametrize(
    ("case", "variant", "shape"),
    [
        ("bqn_r50_alt_8x3_sthv1", "bqn_r50_8x3", (1, 3, 24, 256, 256)),
        ("bqn_r50_both_8x3_sthv1", "bqn_both_r50_8x3", (1, 3, 24, 224, 224)),
        ("bqn_x3dm_both_16x3_k400", "bqn_both_x3d_m_16x3", (1, 3, 48, 256, 256)),
    ],
)
def test_case(parity: Callable[..., None], case: str, variant: str, shape: tuple) -> None:
    parity(case, variant, "original", outputs, cost_input=shape)
