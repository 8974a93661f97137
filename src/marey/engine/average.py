"""The moving average of a network's weights, which is evaluated and saved in their place.

    average <- decay * average + (1 - decay) * weights      after every optimiser step

Statistics of norms are averaged too; counters are copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Averaged copies of all tensors of ``model``, sharded where they are."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0.0 < decay < 1.0:
            raise ValueError(f"run.ema is {decay}; a decay lies between 0 and 1, usually 0.999")
        self.model, self.decay = model, decay
        self.tensors = {name: value.detach().clone() for name, value in _tensors(model)}

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the model's present weights."""
        for name, value in _tensors(self.model):
            own = self.tensors[name]
            if own.is_floating_point():
                own.lerp_(value.detach(), 1 - self.decay)
            else:
                own.copy_(value)

    @contextmanager
    def applied(self) -> Iterator[nn.Module]:
        """The model with the averaged weights; its own come back, bit for bit, at the end."""
        kept = {name: value.detach().clone() for name, value in _tensors(self.model)}
        _fill(self.model, self.tensors)
        try:
            yield self.model
        finally:
            _fill(self.model, kept)


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


@torch.no_grad()
def _fill(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    for name, value in _tensors(model):
        value.copy_(tensors[name])
