"""MeMViT clip by clip, and boxes on an MViT, against the original implementations."""

import gc
from pathlib import Path
from typing import Any

import pytest
import torch

from marey import zoo
from marey.models.action_detector import BoxHead
from marey.zoo.weights import published_state


@pytest.mark.filterwarnings("ignore:.*is not quite memvit")
@pytest.mark.parametrize("name", ["memvit_16_ava_small", "memvit_16_ava_224"])
def test_every_step(name: str, filling: dict[str, Any], golden: Path) -> None:
    case = filling["read"](golden, name)
    network: Any = zoo.load("memvit_16x4_ava", filling["state"](case)).eval()
    assert network.provenance == "the weights given (original)"
    assert sum(p.numel() for p in network.parameters()) == case["params"]
    back = published_state(network, "original")
    assert {n: list(v.shape) for n, v in back.items()} == case["state"]
    boxes = torch.from_numpy(case["expected"]["boxes"]).float()
    boxes = torch.cat([boxes[:, :1], boxes[:, 1:] / case["config"]["crop"]], dim=1)
    state, video = network.init_state(), case["steps"][0]["video"]
    for told, made in zip(case["steps"], filling["clips"](case), strict=True):
        assert network.selected(state) == told["selected"]
        if told["video"] != video:
            state, video = state.reset(torch.tensor([True])), told["video"]
        clip = torch.from_numpy(made)
        with torch.inference_mode():
            logits, state = network(clip, state, boxes)
        assert state.tokens() == told["cached_token_counts"]
        expected = case["expected"][f"logits_step{told['step']}"]
        assert filling["gap"](logits.numpy(), expected) < 1
    with torch.inference_mode():
        alone = network(clip, None, boxes)
    expected = case["expected"]["logits_last_clip_without_memory"]
    assert filling["gap"](alone.numpy(), expected) < 1
    gc.collect()


def test_boxes_on_an_mvit(filling: dict[str, Any], golden: Path) -> None:
    case = filling["read"](golden, "mvitv2_s_16x4_ava_roi")
    state = filling["state"](case)
    backbone: Any = zoo.load("mvitv2_s_16x4", state).eval()
    head = BoxHead(backbone.widths, 80).eval()
    head.projection = backbone.head.projection
    boxes = torch.from_numpy(case["expected"]["boxes"]).float()
    boxes = torch.cat([boxes[:, :1], boxes[:, 1:] / 224], dim=1)
    clip = torch.from_numpy(filling["clips"](case)[0])
    with torch.inference_mode():
        maps = backbone.features(clip)
        inside, logits = head.inside(maps, boxes, (224, 224)), head(maps, boxes, (224, 224))
    assert filling["gap"](inside.numpy(), case["expected"]["features"]) < 1
    assert filling["gap"](logits.numpy(), case["expected"]["logits"]) < 1
