"""What a network costs: its parameters, and the multiply-adds of one forward pass.

Counted on the meta device, so nothing is computed and no memory is needed: convolutions, linear
layers and matrix products; norms, activations and pooling are left out, as papers leave them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """``parameters`` and ``multiply_adds`` of one pass (papers often call the latter FLOPs)."""

    parameters: int
    multiply_adds: int

    def __str__(self) -> str:
        return f"{self.parameters / 1e6:.2f} M parameters, {self.multiply_adds / 1e9:.2f} GMACs"


def measure(model: nn.Module, inputs: Sequence[int] | Tensor | Sequence[Tensor]) -> Cost:
    """Cost of one pass in evaluation mode over ``inputs``; the network itself is left as it is.

    ``inputs`` is a clip's shape (B, C, T, H, W), a clip, or a tuple of clips handed over as one
    argument. Raises ValueError for a shape that is not of positive whole numbers.
    """
    empty = {
        name: torch.empty_like(value, device="meta")
        for group in (model.named_parameters(), model.named_buffers())
        for name, value in group
    }
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            functional_call(model, empty, (_on_meta(inputs),))
    finally:
        model.train(training)
    parameters = sum(value.numel() for value in model.parameters())
    return Cost(parameters, counter.get_total_flops() // 2)


def _on_meta(inputs: Sequence[int] | Tensor | Sequence[Tensor]) -> Any:
    if isinstance(inputs, Tensor):
        return inputs.to("meta")
    if inputs and all(isinstance(value, Tensor) for value in inputs):
        return tuple(value.to("meta") for value in inputs if isinstance(value, Tensor))
    if not inputs or any(not isinstance(n, int) or n < 1 for n in inputs):
        raise ValueError(f"the shape is {tuple(inputs)}; give positive whole numbers B, C, T, H, W")
    return torch.empty([n for n in inputs if isinstance(n, int)], device="meta")
