"""Parameter groups: which decay and which rate each parameter gets."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_run
import torch
from torch import nn

from marey.choices import OptimChoice
from marey.engine.calibrate import prepare_norms
from marey.engine.distributed import Ranks
from marey.engine.optim import build_optimizer, depths, lr_scale, parameter_groups, set_lr

ALONE = Ranks(rank=0, world=1, device=torch.device("cpu"))


def told(model: nn.Module, choice: OptimChoice) -> dict[str, tuple[float, float]]:
    """(decay, factor) of every parameter by its name."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: (group["weight_decay"], group["factor"])  # type: ignore[misc]
        for group in parameter_groups(model, choice)
        for p in group["params"]  # type: ignore[attr-defined]
    }


def test_sgd_spares_norms_only() -> None:
    found = told(tiny_run.TinyNet(), OptimChoice(weight_decay=1e-4))
    assert found == {
        "body.0.weight": (1e-4, 1.0),
        "body.0.bias": (1e-4, 1.0),
        "body.1.weight": (0.0, 1.0),
        "body.1.bias": (0.0, 1.0),
        "head.weight": (1e-4, 1.0),
        "head.bias": (1e-4, 1.0),
    }


def test_adamw_spares_biases_too_and_the_head_has_its_own_rate() -> None:
    choice = OptimChoice(kind="adamw", weight_decay=0.05, norm_weight_decay=0.01, head_lr_factor=10)
    found = told(tiny_run.TinyNet(), choice)
    assert found["body.0.bias"] == (0.01, 1.0)
    assert found["body.1.weight"] == (0.01, 1.0)
    assert found["head.weight"] == (0.05, 10)
    assert found["head.bias"] == (0.01, 10)


def test_converted_and_wrapped_norms_are_still_norms() -> None:
    class SubBatchNorm3d(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))
            self.split = nn.BatchNorm3d(4, affine=False)

    class ConvNorm(nn.Module):  # a block with a norm in its name decays as any block
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv3d(3, 4, 1), SubBatchNorm3d()

    found = told(nn.Sequential(ConvNorm(), nn.LayerNorm(4)), OptimChoice(weight_decay=0.1))
    assert found["0.conv.weight"][0] == 0.1
    assert found["0.norm.weight"][0] == 0.0
    assert found["1.weight"][0] == 0.0
    shared = prepare_norms(tiny_run.TinyNet(), ALONE, norm="batch", shared=True)
    assert told(shared, OptimChoice())["body.1.weight"][0] == 0.0


def test_layers_far_from_the_head_learn_slowly() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.Linear(2, 2))
    found = told(model, OptimChoice(layer_decay=0.5))
    assert [found[f"{i}.weight"][1] for i in (0, 2, 3)] == [0.25, 0.5, 1.0]
    assert depths(model)["3.bias"] == 2
    assert [depths(tiny_run.TinyNet())[n] for n in ("body.0.bias", "body.1.bias", "head.bias")] == [
        0,
        1,
        2,
    ]
    model.depth_of = lambda name: 7  # type: ignore[assignment]
    assert set(depths(model).values()) == {0}


def test_rates_scale_with_the_batch_and_follow_the_schedule() -> None:
    choice = OptimChoice(lr=0.1, reference_batch=64, head_lr_factor=10)
    assert lr_scale(choice, 16) == 0.25
    assert lr_scale(OptimChoice(lr=0.1), 16) == 1.0
    optimizer = build_optimizer(tiny_run.TinyNet(), choice, 16)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == [0.025, 0.25]
    set_lr(optimizer, 0.001)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == [0.001, 0.01]


def test_kinds_are_what_they_say() -> None:
    sgd = build_optimizer(tiny_run.TinyNet(), OptimChoice(), 1)
    assert isinstance(sgd, torch.optim.SGD)
    assert sgd.param_groups[0]["nesterov"]
    assert sgd.param_groups[0]["momentum"] == 0.9
    adamw = build_optimizer(tiny_run.TinyNet(), OptimChoice(kind="adamw", betas=(0.9, 0.95)), 1)
    assert isinstance(adamw, torch.optim.AdamW)
    assert adamw.param_groups[0]["betas"] == (0.9, 0.95)


def test_frozen_norms_leave_the_groups() -> None:
    frozen = prepare_norms(tiny_run.TinyNet(), ALONE, norm="frozen", shared=False)
    assert not any(name.startswith("body.1") for name in told(frozen, OptimChoice()))


@pytest.mark.parametrize("field", ["lr", "weight_decay", "head_lr_factor"])
def test_negative_numbers_are_refused(field: str) -> None:
    fields: dict[str, Any] = {field: -0.1}
    with pytest.raises(ValueError, match=f"optim.{field} is -0.1"):
        build_optimizer(tiny_run.TinyNet(), OptimChoice(**fields), 1)


def test_nothing_to_train_is_refused() -> None:
    with pytest.raises(ValueError, match="every one is frozen"):
        build_optimizer(tiny_run.TinyNet().requires_grad_(False), OptimChoice(), 1)


def test_biases_and_the_first_kernel_have_rates_of_their_own() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3))
    choice = OptimChoice(weight_decay=5e-4, first_lr_factor=5.0, bias_lr_factor=2.0)
    assert told(model, choice) == {
        "0.weight": (5e-4, 5.0),
        "0.bias": (0.0, 10.0),
        "1.weight": (0.0, 1.0),
        "1.bias": (0.0, 1.0),
        "2.weight": (5e-4, 1.0),
        "2.bias": (0.0, 2.0),
    }
