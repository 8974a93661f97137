"""MutualNet against the authors' image networks and the derived clip network, at many widths."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from marey import zoo
from marey.choices import TaskChoice
from marey.layers.switch import Setting
from marey.tasks.mutual import Mutual
from marey.zoo.weights import published_state


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


def test_one_step(filling: dict[str, Any], golden: Path) -> None:
    """Cross entropy at full width, three imitations, gradients and running statistics."""
    case = filling["read"](golden, "mutualnet_mobilenet_v1_step")
    told, expected = case["config"], case["expected"]
    network: Any = zoo.load("mutualnet_mobilenet_v1", filling["state"](case)).train()
    clips = torch.from_numpy(filling["clips"](case)[0]).unsqueeze(2)
    target = torch.nn.functional.one_hot(torch.tensor(told["labels"]), 1000).float()
    task = Mutual(TaskChoice(kind="mutual"), 1000, network.config)
    settings = [Setting(width, frames=1, size=size) for width, size in told["subnets"]]
    logits, losses = task.passes(network, clips, target, settings)
    torch.stack(losses).sum().backward()

    found = {"logits": logits.detach()}
    names = ["loss_full", *(f"loss_w{w:g}_r{s}" for w, s in told["subnets"])]
    found |= {n: v.detach()[None] for n, v in zip(names, losses, strict=True)}
    ours = {id(p): p for p in network.parameters()}
    theirs = zoo.names.published_names(
        zoo.registry.family_of("mutualnet_mobilenet_v1"),
        "original",
        [n for n, _ in network.named_parameters()],
        network.config,
    )
    gradients = {theirs[n]: p.grad for n, p in network.named_parameters()}
    found["grad_norms"] = torch.stack([gradients[n].norm() for n in told["grad_norm_order"]])
    found["grad_first_conv"] = gradients["features.0.0.weight"]
    found["grad_classifier_slice"] = gradients["classifier.0.weight"][:8, :64]
    state = published_state(network, "original")
    found["bn0_running_mean_w1"] = state["features.0.1.bn.2.running_mean"]
    found["bn0_running_mean_w0_5"] = state["features.0.1.bn.1.running_mean"]
    assert len(ours) == len(told["grad_norm_order"])
    stated = {n for n in expected if n != "fp64_max_abs_diff"}
    assert set(found) == stated
    gaps = {n: filling["gap"](found[n].numpy(), expected[n]) for n in stated}
    assert max(gaps.values()) < 10, gaps  # the case allows gradients 1e-3
    assert max(v for n, v in gaps.items() if not n.startswith("grad")) < 1, gaps
