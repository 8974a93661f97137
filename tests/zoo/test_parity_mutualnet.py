"""MutualNet against the authors' image networks and the derived clip network, at many widths."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from marey.layers.switch import Setting


def images(*points: tuple[float, int]) -> Callable[[Any, list[torch.Tensor]], dict]:
    """Logits of one set of weights at several widths and sizes, by the case's names."""

    def outputs(network: Any, clips: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        clip = clips[0].unsqueeze(2)
        found = {"logits": network(clip)}
        for width, size in points:
            setting = Setting(width, frames=1, size=size)
            found[f"logits_w{width:g}_r{size}"] = network(clip, width=setting)
        return found

    return outputs


def test_mobilenet_v1(parity: Callable[..., None]) -> None:
    outputs = images((0.5, 192), (0.25, 128))
    parity("mutualnet_mobilenet_v1", "mutualnet_mobilenet_v1", "original", outputs)


def test_resnet50(parity: Callable[..., None]) -> None:
    outputs = images((0.9, 192), (0.8, 160))
    parity("mutualnet_resnet50", "mutualnet_resnet50", "original", outputs)


def slow(network: Any, clips: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    clip, *calibration = clips
    found = {"logits": network(clip)}
    for width, frames, size in ((1.0, 8, 160), (0.75, 8, 128), (0.5, 4, 96)):
        name = f"logits_w{width:g}_t{frames}_r{size}"
        setting = Setting(width, frames=frames, size=size)
        if width < 1:
            with pytest.warns(UserWarning, match="no norm statistics of its own"):
                found[name] = network(clip, width=setting)
        network.recalibrate(calibration, [setting])
        found[f"{name}_recal"] = network(clip, width=setting)
        place = [p.key for p in network.places].index(setting.key)
        found[f"{name}_recal_bn"] = network.trunk.stem.norm.own[str(place)].running_var
    return found


def test_slow(parity: Callable[..., None]) -> None:
    parity("mutualnet_slow_8x8_r50", "mutualnet_slow_r50_8x8", "pyslowfast", slow)
