"""A tiny network of the zoo, one whose answer is known, and drawn files."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import marey
from marey.types import ClipSpec
from marey.video import write_video

WriteVideo = Callable[..., Path]


class Brightness(nn.Module):
    """Class 1 ``light`` where the mean pixel is above the middle, else class 0 ``dark``."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(8.0))
        self.spec = ClipSpec(
            frames=4, stride=4, rate=20.0, size=16, test_size=16, short_side=16,
            mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), views=(3, 1),
        )  # fmt: skip
        self.classes = ("dark", "light")
        self.variant = "brightness"
        self.config = SimpleNamespace(num_classes=2)

    def forward(self, clip: Tensor) -> Tensor:
        level = clip.mean((1, 2, 3, 4)) * self.scale
        return torch.stack([-level, level], dim=1)

    def features(self, clip: Tensor) -> tuple[Tensor, ...]:
        return (clip[:, :2], clip[:, 2:, :1])


@pytest.fixture
def brightness() -> Brightness:
    return Brightness()


@pytest.fixture(scope="session")
def tiny() -> nn.Module:
    torch.manual_seed(0)
    return marey.build(
        "slow_r50_8x8", width=8, depths=(1, 1, 1, 1), num_classes=6, frames=4, crop=32
    ).eval()


@pytest.fixture
def draw(tmp_path: Path) -> WriteVideo:
    """draw(name, levels, fps): a file whose i-th frame is grey ``levels[i]``, with a moving dot."""

    def write(name: str, levels: list[int], fps: float = 20, size: int = 32) -> Path:
        frames = np.zeros((len(levels), size, size, 3), dtype=np.uint8)
        for i, level in enumerate(levels):
            frames[i] = level
            frames[i, 4:8, (i % (size - 4)) : (i % (size - 4)) + 4] = 255 - level
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_video(path, frames, fps)

    return write
