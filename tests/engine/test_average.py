"""The moving average: its arithmetic, and that measuring it leaves the weights alone."""

from __future__ import annotations

import copy

import pytest
import tiny_run
import torch

from marey.engine.average import Average


def test_average_moves_by_its_decay_and_counts_are_copied() -> None:
    torch.manual_seed(0)
    model = tiny_run.TinyNet()
    first = model.head.weight.detach().clone()
    average = Average(model, 0.75)
    with torch.no_grad():
        model.head.weight += 1
        model.body[1].num_batches_tracked += 5
    average.update()
    average.update()
    expected = first + (1 - 0.75**2)
    torch.testing.assert_close(average.tensors["head.weight"], expected)
    assert int(average.tensors["body.1.num_batches_tracked"]) == 5


def test_applied_weights_go_and_come_back_bit_for_bit() -> None:
    model = tiny_run.TinyNet()
    average = Average(model, 0.5)
    with torch.no_grad():
        model.head.weight += 0.1
    own = copy.deepcopy(model.state_dict())
    with average.applied() as shown:
        assert torch.equal(shown.head.weight, average.tensors["head.weight"])
        shown.body[1].running_mean += 7  # statistics set while measuring
    assert all(torch.equal(v, own[n]) for n, v in model.state_dict().items())


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0])
def test_impossible_decay_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="run.ema is"):
        Average(tiny_run.TinyNet(), decay)
