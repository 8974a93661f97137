"""The query table of a network that runs at several widths: what each setting costs and reaches.

    setting    multiply-adds    accuracy    latency
    0.25       0.4 G            0.58        3.1 ms
    0.5        1.4 G            0.66        7.9 ms      best(budget of 2 G) is this row
    1.0        5.2 G            0.72        24 ms

The figures above are made up. Source: T. Yang et al., "MutualNet", ECCV 2020, Section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from marey.layers.switch import Setting


@dataclass(frozen=True, kw_only=True)
class Row:
    """One setting of the query table: its cost, and where they were measured its accuracy (0-1),
    the time of one clip, and whether it has norm statistics of its own (``calibrated``)."""

    width: float
    frames: int
    size: int
    gflops: float  # 1e9 multiply-adds of one clip
    accuracy: float | None = None
    latency_ms: float | None = None
    params_m: float | None = None
    calibrated: bool = False

    @property
    def setting(self) -> Setting:
        return Setting(self.width, frames=self.frames, size=self.size)


def best(name: str, table: Sequence[Row], wanted: Mapping[str, float]) -> Row:
    """The most accurate row that keeps to every figure of ``wanted`` (gflops, latency_ms,
    params_m); the costliest where accuracies were not measured. ``name`` is the network's.

    Raises ValueError for no figure, one nobody measured, or one below the narrowest network.
    """
    if not wanted:
        raise ValueError("no budget was given; name gflops, latency_ms or params_m")
    for figure, value in wanted.items():
        costs = [getattr(row, figure) for row in table if getattr(row, figure) is not None]
        if not costs:
            raise ValueError(
                f"the query table of {name} has no {figure}; measure it on this machine "
                f"with 'marey tabulate'"
            )
        if value < min(costs):
            row = next(row for row in table if getattr(row, figure) == min(costs))
            raise ValueError(
                f"{figure} {value:g} is below the narrowest network of {name} (setting "
                f"{row.setting} needs {min(costs):.4g}); raise the budget"
            )
    fitting = [row for row in table if all(fits(row, *pair) for pair in wanted.items())]
    if not fitting:
        raise ValueError(f"no setting of {name} keeps to {dict(wanted)} at once; raise one")
    return max(fitting, key=worth)


def fits(row: Row, figure: str, value: float) -> bool:
    """Whether a row is known to keep to a budget."""
    cost = getattr(row, figure)
    return cost is not None and cost <= value


def worth(row: Row) -> tuple[float, float]:
    """What to prefer among rows within a budget: accuracy, where measured, then cost."""
    return (-1.0 if row.accuracy is None else row.accuracy), row.gflops


@torch.no_grad()
def counted(network: nn.Module, run: Callable[[], Any]) -> tuple[int, int]:
    """Multiply-adds and parameters that ``run`` uses of a network, narrowed layers as they are."""
    adds, parameters = 0, 0

    def count(module: Any, inputs: Any, output: Tensor) -> None:
        nonlocal adds, parameters
        weight = module.weight
        if hasattr(module, "cut"):
            tensors = module.cut(inputs[0])[0]
            weight = tensors["weight"]
            parameters += sum(tensors[n].numel() for n in ("weight", "bias") if n in tensors)
        else:
            parameters += sum(value.numel() for value in module.parameters(recurse=False))
        if weight.dim() > 1:
            adds += output.numel() * math.prod(weight.shape[1:])

    leaves = [m for m in network.modules() if getattr(m, "weight", None) is not None]
    hooks = [module.register_forward_hook(count) for module in leaves]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return adds, parameters
