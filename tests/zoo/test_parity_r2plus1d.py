"""R(2+1)D and its siblings against the original implementations: every array of every case."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from marey import zoo
from marey.zoo.weights import published_state

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


class FactorFirst:
    """pytorchvideo's R(2+1)D by its own tensor names, written out without any layer of ours."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state

    def conv(self, x: Tensor, name: str, stride: tuple[int, ...] = (1, 1, 1)) -> Tensor:
        kernel = self.state[f"{name}.weight"]
        around = tuple(size // 2 for size in kernel.shape[2:])
        return F.conv3d(x, kernel, stride=stride, padding=around)

    def norm(self, x: Tensor, name: str) -> Tensor:
        scale, shift, mean, var = (
            self.state[f"{name}.{leaf}"][:, None, None, None]
            for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    def stem(self, clip: Tensor) -> Tensor:
        return self.norm(self.conv(clip, "blocks.0.conv", (1, 2, 2)), "blocks.0.norm").relu()

    def block(self, x: Tensor, place: str, time: int, side: int) -> Tensor:
        inner = f"{place}.branch2"
        y = self.norm(self.conv(x, f"{inner}.conv_a"), f"{inner}.norm_a").relu()
        y = self.conv(y, f"{inner}.conv_b.conv_t", (time, 1, 1))
        y = self.norm(y, f"{inner}.conv_b.norm").relu()
        y = self.conv(y, f"{inner}.conv_b.conv_xy", (1, side, side))
        y = self.norm(y, f"{inner}.norm_b").relu()
        y = self.norm(self.conv(y, f"{inner}.conv_c"), f"{inner}.norm_c")
        if f"{place}.branch1_conv.weight" in self.state:
            x = self.conv(x, f"{place}.branch1_conv", (time, side, side))
            x = self.norm(x, f"{place}.branch1_norm")
        return (x + y).relu()

    def stages(self, clip: Tensor) -> list[Tensor]:
        maps = [self.stem(clip)]
        for stage, time in enumerate((1, 1, 2, 2), start=1):
            x = maps[-1]
            count = sum(
                f"blocks.{stage}.res_blocks.{i}.branch2.conv_a.weight" in self.state
                for i in range(9)
            )
            for i in range(count):
                strides = (time, 2) if i == 0 else (1, 1)
                x = self.block(x, f"blocks.{stage}.res_blocks.{i}", *strides)
            maps.append(x)
        return maps


def lively(network: Any) -> None:
    """Norms and a classifier that keep every map and the logits near 1: nothing saturates."""
    generator = torch.Generator().manual_seed(5)
    for name, value in network.state_dict().items():
        if name.endswith(("running_var", "norm.weight")):
            value.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith(("running_mean", "bias")) or name == "head.projection.weight":
            value.normal_(0, 0.1, generator=generator)


@pytest.mark.parametrize("layout", ["last", "first"])  # of channels in memory
def test_pytorchvideos_factors_time_first(layout: str) -> None:
    torch.manual_seed(0)
    network: Any = zoo.build(
        "r2plus1d_r50_ptv", width=8, depths=(1, 2, 1, 1), frames=8, crop=64, num_classes=6
    ).eval()
    lively(network)
    clip = torch.randn(2, 3, 9, 96, 70)
    if layout == "last":
        clip = clip.contiguous(memory_format=torch.channels_last_3d)
    theirs = FactorFirst(dict(published_state(network, "pytorchvideo")))
    with torch.inference_mode():
        expected = theirs.stages(clip)
        for found, wanted in zip(network.stages(clip), expected, strict=True):
            assert 0.1 < wanted.std() < 10
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.std()))
        pooled = F.avg_pool3d(expected[-1], (2, 2, 2), stride=1).flatten(2).transpose(1, 2)
        state = theirs.state
        logits = pooled @ state["blocks.5.proj.weight"].T + state["blocks.5.proj.bias"]
        assert logits.shape == (2, 8, 6)
        assert logits.softmax(dim=-1).max() < 0.999
        close = {"rtol": 1e-4, "atol": 1e-4 * float(logits.std())}
        torch.testing.assert_close(network.forward_positions(clip), logits, **close)
        torch.testing.assert_close(network(clip), logits.mean(dim=1), **close)
