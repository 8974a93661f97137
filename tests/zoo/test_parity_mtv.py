"""MTV against the authors' network: both ways of fusion, both ways of merging, and MTV-B."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from marey.models.mtv import View


def summary(tokens: torch.Tensor) -> torch.Tensor:
    flat = tokens.flatten()
    picked = flat[:: flat.numel() // 62][:62]
    return torch.cat([torch.stack([flat.mean(), flat.std(correction=0)]), picked])


def outputs(network: Any, clips: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    (clip,) = clips
    found = {"logits": network(clip), "pre_logits": network.pooled(clip)}
    for i, (tokens, start) in enumerate(zip(network.encoded(clip), network.tubelets, strict=True)):
        found[f"encoder_out_view{i}_summary"] = summary(tokens)
        found[f"embedding_view{i}_summary"] = summary(start.project(clip).movedim(1, -1))
    return found


def tiny(depths: tuple[int, int, int]) -> tuple[View, ...]:
    ti = {"width": 192, "heads": 3, "hidden": 768}
    return (
        View(**ti, depth=depths[0], tubelet=(8, 16, 16)),
        View(**ti, depth=depths[1], tubelet=(4, 16, 16)),
        View(width=384, heads=6, hidden=1536, depth=depths[2], tubelet=(2, 16, 16)),
    )


CASES: dict[str, dict[str, Any]] = {
    "mtv_tiny_cva": {
        "views": tiny((2, 3, 4)),
        "fusion_layers": (1, 3),
        "encoder": View(width=96, heads=4, hidden=256, depth=2),
    },
    "mtv_tiny_bottleneck": {
        "views": tiny((3, 3, 3)),
        "fusion": "bottleneck",
        "fusion_layers": (1, 2),
        "merge": "time",
        "encoder": View(width=96, heads=4, hidden=256, depth=2),
    },
}


@pytest.mark.parametrize("name", CASES)
def test_small_case(parity: Callable[..., None], name: str) -> None:
    fields = {**CASES[name], "frames": 16, "crop": 64, "num_classes": 50}
    shape = (1, 3, 16, 64, 64)
    parity(name, "mtv_b2_s4_ti8", "flax", outputs, cost_input=shape, **fields)


@pytest.mark.slow
def test_published_network(parity: Callable[..., None]) -> None:
    parity("mtv_b2_cva_k400", "mtv_b2_s4_ti8", "flax", outputs, cost_input=(1, 3, 32, 224, 224))
