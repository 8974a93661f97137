"""What a forward pass takes of this machine: seconds, and the memory its tensors hold at once."""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def latency(
    model: nn.Module, shape: Sequence[int], *, device: torch.device | str = "cpu", repeats: int = 7
) -> float:
    """Median seconds of a forward pass in evaluation mode, after two to warm up.

    ``shape`` is a clip's (B, C, T, H, W). The network is moved to ``device`` and left there.
    """
    model = model.to(device).eval()
    clip = torch.randn(*shape, device=device)
    spent = []
    with torch.inference_mode():
        for turn in range(repeats + 2):
            _wait(clip)
            started = time.perf_counter()
            model(clip)
            _wait(clip)
            if turn >= 2:
                spent.append(time.perf_counter() - started)
    return statistics.median(spent)


def peak_memory(model: nn.Module, shape: Sequence[int]) -> int:
    """Bytes of weights and of the tensors alive at once in a forward pass without gradients.

    Counted on the meta device from what PyTorch allocates, so it needs no memory itself; what
    kernels take for a moment inside, and what an allocator keeps, is not seen.
    """
    empty = {
        name: torch.empty_like(value, device="meta")
        for group in (model.named_parameters(), model.named_buffers())
        for name, value in group
    }
    weights = sum(value.numel() * value.element_size() for value in empty.values())
    training = model.training
    model.eval()
    try:
        clip = torch.empty(*shape, device="meta")
        with torch.no_grad(), _Live() as live:
            live.see(clip)
            functional_call(model, empty, (clip,))
    finally:
        model.train(training)
    return weights + live.peak


class _Live(TorchDispatchMode):
    """Sums the storages alive that operations have made."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.peak = 0, 0
        self._known: set[int] = set()

    def see(self, value: Tensor) -> None:
        storage = value.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, storage.nbytes())

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {v.untyped_storage()._cdata for v in tree_leaves(args) if isinstance(v, Tensor)}
        for value in tree_leaves(result):
            if isinstance(value, Tensor) and value.untyped_storage()._cdata not in given:
                self.see(value)
        return result


def _wait(clip: Tensor) -> None:
    """Until an accelerator has done what it was told."""
    if clip.device.type == "cuda":
        torch.cuda.synchronize(clip.device)
