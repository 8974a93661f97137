"""Layers replaced by a rule: which are asked for, what stays, what an error leaves behind."""

import pytest
import torch
from torch import nn

from marey.layers.swap import swap


def small() -> nn.Sequential:
    inner = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    return nn.Sequential(nn.Linear(2, 3), inner, nn.Linear(3, 2))


class Doubled(nn.Linear):
    """Twice the plain layer, around its own tensors."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__(plain.in_features, plain.out_features)
        self.weight, self.bias = plain.weight, plain.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_chosen_layers_change_and_their_tensors_stay() -> None:
    network = small().eval()
    names, kept = list(network.state_dict()), network[0].weight
    x = torch.randn(4, 2)
    plain = network[2](network[1](network[0](x)))
    found = swap(network, lambda name, layer: Doubled(layer) if name == "2" else None)
    assert found == ("2",)
    torch.testing.assert_close(network(x), 2 * plain)
    assert list(network.state_dict()) == names
    assert network[0].weight is kept
    assert not network[2].training
    assert network.train()[2].training


def test_nested_layers_are_found_and_those_inside_a_new_one_are_not_asked_for() -> None:
    asked = []

    def rule(name: str, layer: nn.Module) -> nn.Module | None:
        asked.append(name)
        return nn.Identity() if isinstance(layer, nn.Sequential) else None

    network = small()
    assert swap(network, rule) == ("1",)
    assert asked == ["0", "1", "2"]
    assert isinstance(network[1], nn.Identity)
    assert swap(small(), lambda name, layer: Doubled(layer) if name == "1.0" else None) == ("1.0",)


def test_an_error_names_the_layer_and_changes_nothing() -> None:
    def rule(name: str, layer: nn.Module) -> nn.Module | None:
        if name == "2":
            raise ValueError("too wide")
        return nn.Identity()

    network = small()
    with pytest.raises(ValueError, match="^2: too wide$"):
        swap(network, rule)
    assert isinstance(network[0], nn.Linear)
