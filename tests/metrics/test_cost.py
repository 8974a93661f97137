import pytest
import torch
from torch import nn

from marey.metrics.cost import Cost, measure


def test_layers_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv3d(3, 8, (1, 3, 3), padding=(0, 1, 1), bias=False),
        nn.BatchNorm3d(8),
        nn.Flatten(),
        nn.Linear(8 * 2 * 4 * 4, 10),
    ).train()
    cost = measure(network, (2, 3, 2, 4, 4))
    convolution = 2 * 8 * 3 * 9 * 2 * 4 * 4
    linear = 2 * 8 * 2 * 4 * 4 * 10
    assert cost == Cost(8 * 27 + 16 + 2560 + 10, convolution + linear)
    assert network.training, "the network is left as it was"
    assert not next(network.parameters()).is_meta
    assert str(Cost(1_234_000, 5_600_000_000)) == "1.23 M parameters, 5.60 GMACs"


def test_a_clip_or_a_pair_of_clips_in_place_of_a_shape() -> None:
    class Pair(nn.Module):
        def forward(self, clips: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
            return clips[0] @ clips[1]

    pair = (torch.ones(2, 3), torch.ones(3, 4))
    assert measure(Pair(), pair) == Cost(0, 24)
    assert measure(nn.Linear(3, 4), torch.ones(2, 3)).multiply_adds == 24


@pytest.mark.parametrize("shape", [(), (1, 0, 3), (1, 2.5)])
def test_shapes_that_are_none_are_refused(shape: tuple) -> None:
    with pytest.raises(ValueError, match="give positive whole numbers"):
        measure(nn.Linear(3, 4), shape)
