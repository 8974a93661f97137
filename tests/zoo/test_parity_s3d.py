"""S3D against torchvision's network and the MIL-NCE release: every number of the cases.

The MIL-NCE case drives its gates far into saturation, where rounding grows: the original code in
float32 and in float64 differs by 21 tolerances at ``mixed_5c`` and by 3 at the embedding, so these
arrays are held to a bound of that size. The stated arrays are float32 themselves: exact arithmetic
misses them by 14 tolerances at ``mixed_5c`` and 2.0 at the embedding, so another order of sums
does not meet them. In float64 our outputs and those of the original code are the same to the last
bit; in float32 the original misses the stated arrays by 16 and 1.9 tolerances, ours by 18 and 2.6.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from marey import zoo
from marey.layers.inception import space_to_depth

STAGES = {
    "torchvision": ("stem", "sepconv2", "mixed_3c", "mixed_4f", "mixed_5c"),
    "original": ("conv1", "conv_2c", "mixed_3c", "mixed_4f", "mixed_5c_map"),
}

AMPLIFIED = {"mixed_5c": 40, "mixed_5c_map_slice": 8, "video_embedding": 8}  # tolerances


def described(name: str, value: Tensor) -> dict[str, Tensor]:
    """A map as the cases state it: mean, spread, shape and 64 values in even steps."""
    flat = value.flatten()
    return {
        f"{name}_mean": value.mean(),
        f"{name}_std": value.std(),
        f"{name}_shape": torch.tensor(value.shape),
        f"{name}_slice": flat[:: len(flat) // 64][:64],
    }


def outputs(layout: str) -> Callable[[Any, list[Tensor]], dict[str, Tensor]]:
    def answer(network: Any, clips: list[Tensor]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        maps = network.stages(clips[0])
        named = dict(zip(STAGES[layout], maps, strict=True))
        if layout == "original":  # stated before the stem is cut and before the gate
            named["conv1"] = network.stem.fold(space_to_depth(clips[0]))
            named["conv_2c"] = network.conv2c(network.conv2b(network.pool2(maps[0])))
        for name, value in named.items():
            found |= described(name, value)
        pooled = network.head.pooled(maps[-1:])
        logits = network.head(maps[-1:]).mean(dim=1)
        return found | {
            "logits": logits,
            "video_embedding": logits,
            "mixed_5c": pooled.flatten(1),
        }

    return answer


@pytest.mark.parametrize(
    ("name", "variant", "layout"),
    [
        ("torchvision_s3d_16x224", "s3d", "torchvision"),
        ("torchvision_s3d_16x224_gain", "s3d", "torchvision"),
        ("torchvision_s3d_64x224", "s3d", "torchvision"),
        ("milnce_s3dg_16x224_gain", "s3dg_milnce", "original"),
    ],
)
def test_case(parity: Callable[..., None], name: str, variant: str, layout: str) -> None:
    def steady(array: str) -> bool:
        return layout != "original" or array not in AMPLIFIED

    parity(name, variant, layout, outputs(layout), stated=steady)


def test_arrays_in_which_rounding_grows(filling: dict[str, Any], golden: Path) -> None:
    case = filling["read"](golden, "milnce_s3dg_16x224_gain")
    network: Any = zoo.load("s3dg_milnce", filling["state"](case))
    clips = [torch.from_numpy(clip) for clip in filling["clips"](case)]
    with torch.inference_mode():
        found = outputs("original")(network.eval(), clips)
    for name, most in AMPLIFIED.items():
        assert filling["gap"](found[name].numpy(), case["expected"][name]) < most, name
