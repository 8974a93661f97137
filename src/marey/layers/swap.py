"""Layers of a built network replaced by a rule: how one system enters another's networks.

    swap(network, lambda name, layer: Split(layer) if name.endswith(".a.conv") else None)

The rule sees every layer once, outer ones first, and answers with the layer that takes its place,
or None to keep it. What it builds it may build around the old layer's own tensors, so that names,
weights and optimiser state stay what they were.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

Rule = Callable[[str, nn.Module], nn.Module | None]


def swap(network: nn.Module, rule: Rule) -> tuple[str, ...]:
    """Names of the layers replaced, in the network's own order; the network is changed in place.

    A layer inside one that was replaced is not asked for. New layers are in the mode (training or
    evaluation) of those they replace. An error of the rule names the layer and leaves the network
    as it was.
    """
    found: dict[str, nn.Module] = {}
    for name, layer in network.named_modules():
        if not name or name.startswith(tuple(f"{above}." for above in found)):
            continue
        try:
            other = rule(name, layer)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        if other is not None:
            found[name] = other.train(layer.training)
    for name, other in found.items():
        network.set_submodule(name, other)
    return tuple(found)
