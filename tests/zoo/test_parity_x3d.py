"""X3D against the original implementations, and between the two publishers' layouts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from marey import zoo
from marey.zoo.recognition import only_variant
from marey.zoo.weights import published_state

CASES = {
    "x3d_xs": ("x3d_xs", "pyslowfast"),
    "x3d_s": ("x3d_s", "pyslowfast"),
    "x3d_m": ("x3d_m", "pyslowfast"),
    "ptv_x3d_s": ("x3d_s", "pytorchvideo"),
}


def outputs(network: Any, clips: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Everything a case may state, under its name there."""
    maps = network.stages(clips[0])
    pooled, positions = network.head.pooled(maps[-1:]), network.head(maps[-1:])
    rows = [torch.stack([m.mean(), m.std()])[None] for m in maps]
    return {
        "logits": positions.mean(dim=1),
        "probs": positions.softmax(dim=-1).mean(dim=1),
        "features": pooled.flatten(1),
        "logits_map": positions.unflatten(1, pooled.shape[2:]),
        **{f"s{i + 1}_stats": row for i, row in enumerate(rows)},
        **{f"blocks{i}_stats": row for i, row in enumerate(rows)},
    }


@pytest.mark.parametrize("name", CASES)
def test_case(parity: Callable[..., None], name: str) -> None:
    parity(name, *CASES[name], outputs)


def tiny(**fields: Any) -> Any:
    """A narrow network with every norm alive."""
    torch.manual_seed(0)
    made = {"width_factor": 1.0, "depth_factor": 1.0, "num_classes": 5, "crop": 32, "hidden": 16}
    network: Any = zoo.build("x3d_s", **{**made, **fields})
    for value in network.state_dict().values():
        if value.dim() == 1 and value.is_floating_point():
            torch.nn.init.uniform_(value, 0.5, 1.5)
    return network.eval()


def test_weights_of_pytorchvideo_become_pyslowfast_ones_with_a_norm_that_changes_nothing() -> None:
    theirs = tiny(shortcut_norms="widening")
    state = published_state(theirs, "pyslowfast")
    again: Any = zoo.load("x3d_s", state, **{**fields_of(theirs), "shortcut_norms": "all"}).eval()
    clip = torch.randn(1, 3, 13, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(again(clip), theirs(clip))
    norm = "s2.pathway0_res0.branch1_bn.weight"
    assert torch.equal(state[norm], torch.ones_like(state[norm]))


def fields_of(network: Any) -> dict[str, Any]:
    names = ("width_factor", "depth_factor", "num_classes", "crop", "hidden")
    return {name: getattr(network.config, name) for name in names}


def test_a_norm_pytorchvideo_has_no_place_for_is_not_dropped() -> None:
    with pytest.raises(ValueError, match="no norm on the first shortcut of res2"):
        published_state(tiny(), "pytorchvideo")


@pytest.mark.parametrize("case", ["x3d_s", "ptv_x3d_s"])
def test_sizes_of_one_shape_are_told_apart_by_settings_in_the_file(golden: Path, case: str) -> None:
    shapes = json.loads((golden / f"{case}.json").read_text())["state"]
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    with pytest.raises(ValueError, match="the file fits x3d_xs, x3d_s, x3d_m: say which"):
        only_variant(state, {}, "the file")
    settings = "DATA: {NUM_FRAMES: 16, SAMPLING_RATE: 5}\nMODEL: {ARCH: x3d}"
    assert only_variant(state, {"cfg": settings}, "the file") == "x3d_m"
