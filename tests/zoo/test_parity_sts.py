"""STS networks against the authors' code: every array of every case."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

CASES = {
    "sts_slowonly_r50_k400_8x224": "sts_slow_r50_8x8",
    "sts_ircsn_r50_k400_8x128": "sts_ircsn_r50",
}


def outputs(network: Any, clips: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Logits, and mean, deviation, shape and 64 spread values of the stem (before its pool) and of
    each stage."""
    stem = network.trunk.stem if hasattr(network, "trunk") else network.stem
    first = torch.relu(stem.norm(stem.conv(clips[0])))
    maps = [first, *network.stages(clips[0])[1:]]
    found = {"logits": network.head([maps[-1]]).mean(dim=1)}
    for name, value in zip(("conv1", "layer1", "layer2", "layer3", "layer4"), maps, strict=True):
        found |= {
            f"{name}_mean": value.mean(),
            f"{name}_std": value.std(),
            f"{name}_shape": torch.tensor(value.shape),
            f"{name}_slice": value.flatten()[:: value.numel() // 64][:64],
        }
    return found


@pytest.mark.parametrize("name", CASES)
def test_case(parity: Callable[..., None], name: str) -> None:
    parity(name, CASES[name], "mmaction2", outputs)
