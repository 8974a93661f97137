"""The table of `models.py`: which network of ours stands beside which of somebody else.

A row is a line: our variant, the peer's name and maker, and the published layout in which our
tensors enter the peer, so that both compute with the same weights. Where the peer reads its clip
in another form, ``feed`` makes it from ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from marey.zoo.published.resnet_names import torchvision as torchvision_name
from marey.zoo.weights import published_state

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Row:
    """``layout`` names a published layout of our variant, or is a function from network to state.

    ``feed`` turns our network and clip (B, 3, T, H, W) into the input of the peer. ``crop`` and
    ``frames`` of 0 are those our variant was published with; ``fields`` change its configuration.
    With a ``budget`` the peer is another network: ours may take so many times what the peer would
    take for as many multiply-adds.
    """

    ours: str
    peer: str
    make: Callable[[], nn.Module]
    layout: str | Callable[[Any], State] = ""
    feed: Callable[[Any, Tensor], Any] = lambda network, clip: clip
    crop: int = 0
    frames: int = 0
    channels: int = 3
    fields: Mapping[str, Any] = field(default_factory=dict)
    budget: float = 0.0

    def state(self, network: Any) -> State:
        """Our tensors under the peer's names."""
        if callable(self.layout):
            return self.layout(network)
        return published_state(network, self.layout)


def maker(path: str, **options: Any) -> Callable[[], nn.Module]:
    """``torchvision.models.video:s3d`` as a function that imports and calls it."""
    module, name = path.split(":")
    return lambda: getattr(import_module(module), name)(**options)


def hub(name: str, **options: Any) -> Callable[[], nn.Module]:
    """A network of pytorchvideo's hub, answering logits: its closing softmax is taken off."""

    def make() -> nn.Module:
        network = maker(f"pytorchvideo.models.hub:{name}", **options)()
        for module in network.modules():
            if isinstance(getattr(module, "activation", None), nn.Softmax):
                setattr(module, "activation", None)  # noqa: B010
        return network

    return make


class FrameByFrame(nn.Module):
    """An image network on every frame of a clip, logits averaged."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, clip: Tensor) -> Tensor:
        frames = clip.transpose(1, 2).flatten(0, 1)  # (B T, C, H, W)
        return self.network(frames).unflatten(0, (len(clip), -1)).mean(dim=1)


def image_resnet(network: Any) -> State:
    """A C2D without time pooling as torchvision's ResNet, frame by frame."""
    named = {torchvision_name(name): value for name, value in network.state_dict().items()}
    state = {
        f"network.{name}": value.squeeze(2) if value.dim() == 5 else value
        for name, value in named.items()
        if name is not None
    }
    head = network.head.projection
    return state | {"network.fc.weight": head.weight, "network.fc.bias": head.bias}


def resnet50() -> nn.Module:
    return FrameByFrame(maker("torchvision.models:resnet50", num_classes=400)())


def pair(network: Any, clip: Tensor) -> list[Tensor]:
    """Slow and fast frames, as pytorchvideo's SlowFast takes them."""
    return list(network.pathways(clip))


ROWS = (
    Row("c2d_r50_8x8", "pytorchvideo c2d_r50", hub("c2d_r50"), "pytorchvideo"),
    Row("i3d_r50_8x8", "pytorchvideo i3d_r50", hub("i3d_r50"), "pytorchvideo"),
    Row("slow_r50_8x8", "pytorchvideo slow_r50", hub("slow_r50"), "pytorchvideo"),
    Row("slowfast_r50_8x8", "pytorchvideo slowfast_r50", hub("slowfast_r50"), "pytorchvideo", pair),
    Row("s3d", "torchvision s3d", maker("torchvision.models.video:s3d"), "torchvision", frames=16),
    Row("c2d_nopool_r50_8x8", "torchvision resnet50", resnet50, image_resnet),
    Row(
        "mvitv2_s_16x4",
        "torchvision mvit_v2_s",
        maker("torchvision.models.video:mvit_v2_s"),
        "torchvision",
    ),
    Row(
        "mvit_b_16x4",
        "torchvision mvit_v1_b",
        maker("torchvision.models.video:mvit_v1_b"),
        "torchvision",
    ),
    Row("tsn_r50_8seg", "torchvision resnet50", resnet50, image_resnet),
    Row("tsm_r50_8f", "torchvision resnet50", resnet50, budget=1.15),
    Row("stm_r50_8f", "torchvision resnet50", resnet50, budget=1.3),
    Row("tea_r50_8f", "torchvision resnet50", resnet50, budget=1.3),
    Row("r3d_18", "torchvision r3d_18", maker("torchvision.models.video:r3d_18"), "torchvision"),
    Row("mc3_18", "torchvision mc3_18", maker("torchvision.models.video:mc3_18"), "torchvision"),
    Row(
        "r2plus1d_18_tv",
        "torchvision r2plus1d_18",
        maker("torchvision.models.video:r2plus1d_18"),
        "torchvision",
    ),
    Row("r2plus1d_r50_ptv", "pytorchvideo r2plus1d_r50", hub("r2plus1d_r50"), "pytorchvideo"),
    Row("sts_slow_r50_8x8", "pytorchvideo slow_r50", hub("slow_r50"), budget=1.0),
    Row("bqn_r50_8x3", "torchvision resnet50", resnet50, frames=24, budget=1.3),
    Row(
        "x3d_m",
        "pytorchvideo x3d_m",
        hub("x3d_m"),
        "pytorchvideo",
        fields={"shortcut_norms": "widening"},
    ),
)


def lively(network: nn.Module, seed: int = 0) -> None:
    """Weights that let every part be seen in the output: fresh networks hold zeros and ones.

    Norms get scales near 1, small shifts, and statistics; whatever is all zero gets small numbers.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(value: Tensor) -> Tensor:
        return torch.randn(value.shape, generator=generator).to(value)

    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_mean"):
                value.copy_(0.1 * normal(value))
            elif name.endswith("running_var"):
                value.copy_(0.5 + normal(value).abs())
            elif value.dim() == 1 and name.endswith("weight"):
                value.copy_(1 + 0.1 * normal(value))
            elif value.is_floating_point() and not value.any():
                value.copy_(0.05 * normal(value))
