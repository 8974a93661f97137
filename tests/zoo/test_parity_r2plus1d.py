"""R(2+1)D and its siblings against the original implementations: every array of every case."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

CASES = {
    "torchvision_r3d_18_16x112": ("r3d_18", "torchvision"),
    "torchvision_mc3_18_16x112": ("mc3_18", "torchvision"),
    "torchvision_r2plus1d_18_8x112": ("r2plus1d_18_tv", "torchvision"),
    "torchvision_r2plus1d_18_16x112": ("r2plus1d_18_tv", "torchvision"),
    "vmz_r2d_18_8x112": ("r2d_18", "vmz"),
    "vmz_fr2d_18_8x112": ("fr2d_18", "vmz"),
    "vmz_mc2_18_8x112": ("mc2_18", "vmz"),
    "vmz_rmc3_18_16x112": ("rmc3_18", "vmz"),
    "vmz_r2plus1d_34_8x112": ("r2plus1d_34", "vmz"),
}


def outputs(network: Any, clips: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Logits, and mean, deviation, shape and 64 spread values of the map after each stage."""
    maps = network.stages(clips[0])
    found = {"logits": network.head([maps[-1]]).mean(dim=1)}
    for name, value in zip(("stem", "layer1", "layer2", "layer3", "layer4"), maps, strict=True):
        found |= {
            f"{name}_mean": value.mean(),
            f"{name}_std": value.std(),
            f"{name}_shape": torch.tensor(value.shape),
            f"{name}_slice": value.flatten()[:: value.numel() // 64][:64],
        }
    return found


@pytest.mark.parametrize("name", CASES)
def test_case(parity: Callable[..., None], name: str) -> None:
    parity(name, *CASES[name], outputs)


def test_torchvision_itself_agrees_on_a_clip_of_another_size() -> None:
    from torchvision.models import video

    from marey import zoo

    clip = torch.randn(2, 3, 7, 50, 38, generator=torch.Generator().manual_seed(0))
    for theirs, ours in (
        ("r3d_18", "r3d_18"),
        ("mc3_18", "mc3_18"),
        ("r2plus1d_18", "r2plus1d_18_tv"),
    ):
        torch.manual_seed(0)
        peer = getattr(video, theirs)(num_classes=9).eval()
        for name, value in peer.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
        network = zoo.load(ours, peer.state_dict()).eval()
        with torch.inference_mode():
            expected = peer(clip)
            torch.testing.assert_close(network(clip), expected, rtol=1e-4, atol=1e-5)
