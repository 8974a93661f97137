"""What the engine asks of a task: a loss, scores, a metric and its own state. Nothing else."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from marey.types import Batch


class Metric(Protocol):
    """Takes scores and targets (B, K) in any portions; the result does not depend on them."""

    def update(self, scores: Tensor, target: Tensor) -> None: ...
    def result(self) -> dict[str, float]: ...
    def per_class(self) -> list[float | None]: ...
    def confusion(self) -> np.ndarray | None: ...


class Task(Protocol):
    """``best`` names the figure of ``metric().result()`` that is to become large."""

    best: str

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]: ...
    def scores(self, model: nn.Module, *pixels: Tensor) -> Tensor: ...
    def metric(self) -> Metric: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...
