"""Memory and time of a pass: counted by hand on a small chain, measured on a sleeping one."""

import time

import torch
from torch import Tensor, nn

from marey.metrics.footprint import latency, peak_memory


def chain(*, inplace: bool) -> nn.Module:
    return nn.Sequential(nn.Conv3d(3, 8, 1, bias=False), nn.ReLU(inplace=inplace), nn.ReLU(inplace))


def test_memory_is_what_lives_at_once() -> None:
    places, weights = 4 * 8 * 8, 4 * 3 * 8
    clip, wide = 4 * 3 * places, 4 * 8 * places
    assert peak_memory(chain(inplace=False), (1, 3, 4, 8, 8)) == weights + clip + 2 * wide
    assert peak_memory(chain(inplace=True), (1, 3, 4, 8, 8)) == weights + clip + wide


def test_memory_grows_with_the_clip_and_leaves_the_network_alone() -> None:
    network = chain(inplace=False).train()
    one, two = (peak_memory(network, (1, 3, frames, 8, 8)) for frames in (2, 4))
    assert two - 96 == 2 * (one - 96)
    assert network.training
    assert not next(network.parameters()).is_meta


class Sleeping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.naps = 0

    def forward(self, clip: Tensor) -> Tensor:
        self.naps += 1
        time.sleep(0.2 if self.naps <= 2 else 0.02)
        return clip


def test_latency_is_the_median_after_two_to_warm_up() -> None:
    network = Sleeping()
    assert 0.015 < latency(network, (1, 3, 1, 4, 4), repeats=5) < 0.15
    assert network.naps == 7
    assert torch.is_inference_mode_enabled() is False
