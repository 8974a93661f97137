"""Activation checkpointing: a stage forgets what it computed and computes it again when needed.

The network names its parts (``stage_modules()``); a network that does not has its containers of
blocks taken. The second pass draws the same random numbers and leaves running statistics alone, so
gradients and norms are those of an ordinary step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute_stages(model: nn.Module) -> int:
    """Let every stage of ``model`` recompute its activations; returns how many there are.

    Raises ValueError when the network has no parts to recompute.
    """
    stages = stages_of(model)
    if not stages:
        raise ValueError(
            f"run.checkpointing: {type(model).__name__} has no stages to recompute; leave it off"
        )
    for stage in stages:
        stage.forward = _forgetting(stage)
    return len(stages)


def stages_of(model: nn.Module) -> list[nn.Module]:
    """The parts of a network that hold most of its work, each called like a function."""
    told = getattr(model, "stage_modules", None)
    return list(told()) if callable(told) else list(_containers(model))


def _containers(model: nn.Module) -> Iterator[nn.Module]:
    """The outermost sequences of several parts that hold parameters."""
    for part in model.children():
        held = next(part.parameters(), None) is not None
        if isinstance(part, nn.Sequential) and len(part) > 1 and held:
            yield part
        else:
            yield from _containers(part)


def _forgetting(stage: nn.Module) -> Any:
    forward = stage.forward
    contexts = partial(_contexts, stage)

    def forget(*inputs: Any, **named: Any) -> Any:
        if not stage.training:
            return forward(*inputs, **named)
        return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts, **named)

    return forget


def _contexts(stage: nn.Module) -> tuple[Any, Any]:
    """What surrounds the first pass, and the second."""
    return nullcontext(), _statistics_kept(stage)


@contextmanager
def _statistics_kept(stage: nn.Module) -> Iterator[None]:
    """Batch norms that compute as before but remember nothing: a momentum of zero adds nothing."""
    norms = [m for m in stage.modules() if isinstance(m, _BatchNorm)]
    counts = [m.num_batches_tracked for m in norms]
    before = [
        (norm.momentum, None if count is None else count.clone())
        for norm, count in zip(norms, counts, strict=True)
    ]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, before, strict=True):
            norm.momentum = momentum
            if tracked is not None and norm.num_batches_tracked is not None:
                norm.num_batches_tracked.copy_(tracked)
