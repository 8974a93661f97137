"""Recomputed stages: the same gradients and statistics, less memory held."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from marey import zoo
from marey.engine.recompute import recompute_stages, stages_of


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        parts = [[nn.Conv3d(3, 3, 3, padding=1), nn.BatchNorm3d(3), nn.ReLU()] for _ in range(6)]
        self.body = nn.Sequential(*[part for row in parts for part in row], nn.Dropout(0.4))
        self.head = nn.Linear(3, 2)

    def forward(self, clip: Tensor) -> Tensor:
        return self.head(self.body(clip).mean((2, 3, 4)))


def held_by(model: nn.Module, clip: Tensor) -> tuple[Tensor, int]:
    """Loss, and bytes that the graph keeps until the backward pass."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(clip).square().sum()
    return loss, sum(kept.values())


def share_held(plain: nn.Module, thrifty: nn.Module, clip: Tensor) -> float:
    """Which share of the bytes ``plain`` holds the other does, once both learnt the same."""
    losses, held = [], []
    for model in (plain, thrifty):
        torch.manual_seed(1)
        loss, size = held_by(model, clip)
        loss.backward()
        losses.append(loss)
        held.append(size)
    assert torch.equal(*losses)
    for (name, a), (_, b) in zip(plain.named_parameters(), thrifty.named_parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        assert a.grad is None or torch.equal(a.grad, b.grad), name
    return held[1] / held[0]


def test_gradients_statistics_and_dropout_are_the_same_with_less_memory() -> None:
    torch.manual_seed(0)
    plain, clip = Deep(), torch.randn(2, 3, 4, 8, 8)
    thrifty = copy.deepcopy(plain)
    assert recompute_stages(thrifty) == 1
    assert share_held(plain, thrifty, clip) < 1 / 5
    assert all(value.grad is not None for value in plain.parameters())
    for (name, a), (_, b) in zip(plain.named_buffers(), thrifty.named_buffers(), strict=True):
        assert torch.equal(a, b), name


def test_the_network_may_name_its_stages() -> None:
    model = Deep()
    model.stage_modules = lambda: [model.body[0], model.body[3]]  # type: ignore[assignment]
    assert stages_of(model) == [model.body[0], model.body[3]]
    assert recompute_stages(model) == 2


def test_a_network_without_stages_is_refused() -> None:
    with pytest.raises(ValueError, match="Linear has no stages to recompute"):
        recompute_stages(nn.Linear(2, 2))


def test_a_transformer_that_recomputes_its_blocks_learns_the_same_with_less_memory() -> None:
    torch.manual_seed(0)
    small = {"frames": 4, "crop": 64, "depths": (1, 1, 2, 1), "width": 8, "num_classes": 3}
    plain = zoo.build("mvitv2_s_16x4", **small, drop_path=0.5).train()
    thrifty, clip = copy.deepcopy(plain), torch.randn(2, 3, 4, 64, 64)
    assert recompute_stages(thrifty) == 5
    assert share_held(plain, thrifty, clip) < 1 / 2
