"""MViT against the original implementations, and against torchvision's and timm's networks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "mvit_v1_b_16x4_k400": ("mvit_b_16x4", "pyslowfast", {}),
    "mvitv2_s_16x4_k400": ("mvitv2_s_16x4", "pyslowfast", {}),
    "mvitv2_s_16x4_maskfeat_ft_k400": (
        "mvitv2_s_16x4",
        "pyslowfast",
        {"grow": "mlp", "pool": "mean_then_norm"},
    ),
    "mvit_v1_b_16_in1k": ("mvit_b_16", "pyslowfast", {}),
    "mvitv2_t_in1k_slowfast_layout": ("mvitv2_t", "pyslowfast", {}),
    "torchvision_mvit_v1_b": ("mvit_b_16x4", "torchvision", {}),
    "torchvision_mvit_v2_s": ("mvitv2_s_16x4", "torchvision", {"rule": "exact"}),
}


def outputs(network: Any, clips: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Logits, and what the case says of the blocks."""
    found = {}
    tokens, grid = network.tokens(clips[0])
    for i, block in enumerate(network.blocks):
        tokens, grid = block(tokens, grid)
        found |= {
            f"block{i}_mean": tokens.mean(),
            f"block{i}_std": tokens.std(correction=0),
            f"block{i}_first8": tokens[0, 0, :8],
            f"block{i}_last8": tokens[0, -1, :8],
            f"block{i}_shape": torch.tensor([*tokens.shape, *grid]),
        }
    return {"logits": network(clips[0]), **found}


def levels(network: Any, clips: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the detection case says of each map."""
    found = {}
    for i, level in enumerate(network.pyramid(clips[0]), start=2):
        found |= {
            f"scale{i}_mean_hw": level.mean(dim=(2, 3)),
            f"scale{i}_patch": level[:, :8, :4, :4],
            f"scale{i}_corner": level[:, :8, -2:, -2:],
            f"scale{i}_shape": torch.tensor(level.shape),
        }
    return found


@pytest.mark.parametrize("name", CASES)
def test_case(parity: Callable[..., None], name: str) -> None:
    variant, layout, fields = CASES[name]
    parity(name, variant, layout, outputs, **fields)


def test_detection_backbone(parity: Callable[..., None]) -> None:
    fields = {"pyramid": "hybrid"}
    parity("mvitv2_t_detection_backbone", "mvitv2_t", "mvit", levels, **fields)


def test_reversible(parity: Callable[..., None]) -> None:
    def logits(network: Any, clips: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"logits": network(clips[0])}

    parity("rev_mvit_b_16_in1k", "rev_mvit_b_16", "pyslowfast", logits)
