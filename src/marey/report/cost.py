"""What a run's network costs: from the weights header, measured without its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from marey.config import from_plain
from marey.report.run import RunFolder
from marey.types import ClipSpec


@dataclass(frozen=True)
class Cost:
    """Learnable values, multiply-adds of one view, and the input they were counted for."""

    parameters: int | None = None
    multiply_adds: int | None = None
    input_shape: str = ""


def cost_of(run: RunFolder) -> Cost:
    """The cost metrics.json states, else measured on the network rebuilt from the weights header.

    Whatever cannot be found out stays None: a report is written without it.
    """
    stated = run.metrics.get("cost")
    if isinstance(stated, Mapping):
        return Cost(
            stated.get("parameters"), stated.get("multiply_adds"), str(stated.get("input", ""))
        )
    try:
        return _measured(run)
    except (KeyError, TypeError, ValueError, RuntimeError):
        # An old header or a network of another version costs the page one table row, not itself.
        return Cost(run.parameters)


def _measured(run: RunFolder) -> Cost:
    import torch

    from marey.metrics.cost import measure
    from marey.zoo import build

    fields = run.header["config"]
    spec = from_plain(ClipSpec, run.header["spec"], where="spec")
    with torch.device("meta"):
        model = build(run.header["variant"], **fields)
    shape = (1, spec.channels, spec.length, spec.test_size, spec.test_size)
    counted = measure(model, shape)
    return Cost(counted.parameters, counted.multiply_adds, "x".join(str(n) for n in shape[1:]))
