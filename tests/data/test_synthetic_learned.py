"""What can be learned from the drawn world: one frame is at chance where it should be, and a small
3-D network is not.

Sizes are the smallest at which the bounds hold with room; figures in percent of a full two-minute
run are printed by studies, not here.
"""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from marey.data import synthetic
from marey.video.sampling import linspace_indices

SIGMAS = 3.0


def one_frame_each(task: str, split: str, count: int, **options: object) -> tuple[Tensor, Tensor]:
    """A uniformly random frame of each clip as (N, 3, 48, 64) floats, and the labels."""
    rng = np.random.RandomState(len(split))
    frames, labels = [], []
    for index in range(count):
        clip = synthetic.draw(task, split, index, size=(48, 64), difficulty=0, **options)
        frames.append(clip.frames[rng.randint(len(clip.frames))])
        labels.append(clip.label)
    pixels = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float()
    return (pixels - 115) / 60, torch.tensor(labels)


def small_net(classes: int) -> nn.Module:
    """Three convolutions and a linear layer over frames."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for width_in, width in ((3, 16), (16, 32), (32, 48)):
        layers += [nn.Conv2d(width_in, width, 5, 2, 2), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(432, classes))


def fit(net: nn.Module, clips: Tensor, labels: Tensor, epochs: int) -> nn.Module:
    """AdamW with a cosine schedule and random shifts of up to 4 pixels."""
    draws = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
    steps = epochs * (len(clips) // 16)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(len(clips), generator=draws)
        for k in range(len(clips) // 16):
            rows = order[16 * k : 16 * k + 16]
            dy, dx = torch.randint(-4, 5, (2,), generator=draws).tolist()
            batch = clips[rows].roll((dy, dx), (-2, -1))
            loss = functional.cross_entropy(net(batch), labels[rows], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval()


@torch.no_grad()
def scores(net: nn.Module, clips: Tensor) -> Tensor:
    return torch.cat([net(part) for part in clips.split(32)])


def bound(chance: float, count: int) -> float:
    return float(SIGMAS * np.sqrt(chance * (1 - chance) / count))


@pytest.mark.slow
def test_one_frame_of_direction_tells_the_pair_and_not_the_class() -> None:
    train = one_frame_each("direction", "train", 240)
    clips, labels = one_frame_each("direction", "test", 144)
    found = scores(fit(small_net(12), *train, epochs=8), clips)
    rows = torch.arange(len(labels))
    within = (found[rows, labels] > found[rows, labels ^ 1]).float().mean().item()
    assert abs(within - 0.5) <= bound(0.5, len(labels))
    pair = (found.argmax(1) // 2 == labels // 2).float().mean().item()
    assert pair > 1 / 6 + 2 * bound(1 / 6, len(labels))  # the classifier did learn


@pytest.mark.slow
def test_one_frame_of_both_tells_the_prop_and_not_the_tempo() -> None:
    train = one_frame_each("both", "train", 270, frames=16)
    clips, labels = one_frame_each("both", "test", 135, frames=16)
    guess = scores(fit(small_net(9), *train, epochs=14), clips).argmax(1)
    tempo = (guess % 3 == labels % 3).float().mean().item()
    prop = (guess // 3 == labels // 3).float().mean().item()
    assert abs(tempo - 1 / 3) <= bound(1 / 3, len(labels))
    assert (guess == labels).float().mean().item() <= 1 / 3 + bound(1 / 3, len(labels))
    assert prop > 1 / 3 + 1.2 * bound(1 / 3, len(labels))  # the classifier did learn


def whole_clips(task: str, split: str, count: int, **options: object) -> tuple[Tensor, Tensor]:
    """Clips as (N, 3, T, 48, 64) floats, and the labels."""
    drawn = [
        synthetic.draw(task, split, k, size=(48, 64), difficulty=0, **options) for k in range(count)
    ]
    pixels = torch.from_numpy(np.stack([clip.frames for clip in drawn]))
    return (pixels.permute(0, 4, 1, 2, 3).float() - 115) / 60, torch.tensor(
        [clip.label for clip in drawn]
    )


Plan = tuple[tuple[int, int, tuple[int, int, int], tuple[int, int, int]], ...]
SHALLOW: Plan = (
    (3, 12, (1, 5, 5), (1, 2, 2)),
    (12, 24, (3, 3, 3), (1, 2, 2)),
    (24, 48, (3, 3, 3), (2, 2, 2)),
)
DEEP: Plan = (
    (3, 12, (3, 5, 5), (1, 2, 2)),
    (12, 24, (3, 3, 3), (1, 2, 2)),
    (24, 48, (3, 3, 3), (2, 2, 2)),
    (48, 64, (3, 3, 3), (2, 2, 2)),
)


def small_3d_net(plan: Plan, classes: int) -> nn.Module:
    """Convolutions (width in and out, kernel, stride) over time and place, and a linear layer."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for width_in, width, size, stride in plan:
        padding = tuple(n // 2 for n in size)
        layers += [nn.Conv3d(width_in, width, size, stride, padding), nn.BatchNorm3d(width)]
        layers += [nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(width, classes))


def learned(plan: Plan, task: str, train: int, test: int, epochs: int, **options: object) -> float:
    """Accuracy of a small 3-D network on drawn clips it has not seen."""
    clips, labels = whole_clips(task, "train", train, **options)
    net = fit(small_3d_net(plan, int(labels.max()) + 1), clips, labels, epochs=epochs)
    clips, labels = whole_clips(task, "test", test, **options)
    return (scores(net, clips).argmax(1) == labels).float().mean().item()


@pytest.mark.slow
def test_a_small_3d_network_tells_the_arrow_of_time() -> None:
    """Two pairs, seconds on one core; one frame could reach one half."""
    chosen = ("approach", "retreat", "open", "close")
    accuracy = learned(SHALLOW, "direction", 128, 80, epochs=24, frames=8, classes=chosen)
    assert accuracy > 0.5 + 1.5 * bound(0.5, 80)


@pytest.mark.slow
def test_a_small_3d_network_tells_the_tempo() -> None:
    """Of one action, from a second at full rate; one frame, or eight slow ones, reach a third."""
    chosen = ("wave slow", "wave medium", "wave fast")
    assert learned(DEEP, "rhythm", 144, 60, epochs=16, frames=24, classes=chosen) > 0.7


@pytest.mark.slow
def test_slow_sampling_tells_the_action_and_not_the_tempo() -> None:
    """Eight frames spread over the clip, the poses of every tempo."""
    assert linspace_indices(0.0, 64.0, 8, 64).tolist() == [9 * k for k in range(8)]
    slow = {"frames": 8, "fps": 25 / 9}
    net = fit(small_3d_net(DEEP, 9), *whole_clips("rhythm", "train", 270, **slow), epochs=10)
    clips, labels = whole_clips("rhythm", "test", 135, **slow)
    guess = scores(net, clips).argmax(1)
    tempo = (guess % 3 == labels % 3).float().mean().item()
    assert abs(tempo - 1 / 3) <= bound(1 / 3, len(labels))
    action = (guess // 3 == labels // 3).float().mean().item()
    assert action > 0.75  # the network did learn
