"""Batch norms: whose clips their statistics come from, and statistics worth evaluating with.

    frozen     published statistics and weights stay as they are (small batches)
    partial    the same for all norms but the first, which meets the new data (TSN)
    sync       statistics over the clips of all processes, or of groups of them
    splits     a process's large batch is normalised in several parts (multigrid)
    precise    running statistics replaced, before evaluation, by those of many training batches

A converted norm keeps the names and shapes of a plain batch norm, so weights never change form.

Source: sections 6.2 to 6.4 of PySlowFast's sheet.
Differs: the official split norm averages each split's own running statistics and joins them before
evaluation; here they are joined at every step, which needs no second set of buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from marey.engine.distributed import Ranks
from marey.types import Batch


class SharedBatchNorm(_BatchNorm):
    """Batch norm over a part of the batch (``splits`` > 1) or over ``group`` processes."""

    splits: int = 1
    group: dist.ProcessGroup | None = None
    synced: bool = False

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch norm needs (B, C, ...), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, ...) normalised; in evaluation by the running statistics, as ever."""
        splits = self.splits if len(input) % self.splits == 0 else 1
        if not self.training or (splits == 1 and not self.synced):
            return super().forward(input)
        parts = input.unflatten(0, (len(input) // splits, splits))  # (B / s, s, C, ...)
        axes = [0, *range(3, parts.ndim)]
        wide = parts.float()
        mean, square = wide.mean(axes), wide.square().mean(axes)  # (s, C)
        if self.synced:
            mean, square = _mean_over(torch.stack([mean, square]), self.group)
        variance = (square - mean.square()).clamp_min(0)
        self._remember(mean.detach(), variance.detach())
        shape = (1, splits, -1, *(1,) * (input.ndim - 2))
        normal = (wide - mean.view(shape)) * (variance + self.eps).rsqrt().view(shape)
        normal = normal.to(input.dtype).flatten(0, 1)
        if not self.affine:
            return normal
        shape = (1, -1, *(1,) * (input.ndim - 2))
        return normal * self.weight.view(shape) + self.bias.view(shape)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of all splits together (biased variance)."""
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        joined = variance.mean(0) + mean.var(0, unbiased=False)
        self.running_mean.lerp_(mean.mean(0).to(self.running_mean.dtype), rate)
        self.running_var.lerp_(joined.to(self.running_var.dtype), rate)


def _mean_over(values: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """The mean over the processes of a group, through which gradients flow."""
    from torch.distributed.nn.functional import all_reduce

    size = dist.get_world_size(group)
    return all_reduce(values, group=group if group is not None else dist.group.WORLD) / size


def prepare_norms(model: nn.Module, ranks: Ranks, *, norm: str, shared: bool) -> nn.Module:
    """``model`` with its batch norms frozen, synchronised or (``shared``) ready to be split.

    ``norm`` is run.norm. Alone in the world, synchronised norms are plain ones.
    """
    if held := frozen_norms(model, norm):
        for module in held:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
        return model
    synced = norm == "sync" and ranks.world > 1
    if synced or shared:
        for module in batch_norms(model):
            _share(module)
            module.synced = synced  # type: ignore[assignment]
    return model


def _share(module: _BatchNorm) -> None:
    """Turn a batch norm into one that shares, in place: its tensors stay the same objects."""
    module.__class__ = SharedBatchNorm


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """All batch norms that keep running statistics."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


def frozen_norms(model: nn.Module, norm: str) -> list[_BatchNorm]:
    """The batch norms that run.norm holds still: all, all but the first, or none; of a network
    that names a part by ``frozen_part()``, such as a detector's backbone, those of that part."""
    first = {"frozen": 0, "partial": 1}
    part = getattr(model, "frozen_part", None)
    held = part() if callable(part) else model
    return batch_norms(held)[first[norm] :] if norm in first else []


def fit_norms(model: nn.Module, clips: int, *, each: int, groups: NormGroups) -> None:
    """Let every statistic come from ``each`` clips where a process holds ``clips`` of them."""
    splits = clips // each if clips > each and clips % each == 0 else 1
    together = max(1, each // clips) if clips < each else 1
    for module in batch_norms(model):
        if isinstance(module, SharedBatchNorm):
            module.splits = splits
            module.synced, module.group = groups.of(together)


class NormGroups:
    """Process groups of 2, 4, ... neighbours, made once, by all processes together."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self._made: dict[int, dist.ProcessGroup | None] = {}
        size = 2
        while ranks.world > 1 and size <= ranks.world and ranks.world % size == 0:
            self._made[size] = self._make(size)
            size *= 2

    def _make(self, size: int) -> dist.ProcessGroup | None:
        own: dist.ProcessGroup | None = None
        for first in range(0, self.ranks.world, size):
            members = list(range(first, first + size))
            group = dist.new_group(members)
            if self.ranks.rank in members:
                assert isinstance(group, dist.ProcessGroup)
                own = group
        return own

    def of(self, together: int) -> tuple[bool, dist.ProcessGroup | None]:
        """Whether to synchronise over about ``together`` processes, and their group."""
        sizes = [size for size in self._made if size <= together]
        return (True, self._made[max(sizes)]) if sizes else (False, None)


def hold_frozen(model: nn.Module, *, norm: str) -> None:
    """Keep frozen norms in evaluation mode after ``model.train()``."""
    for module in frozen_norms(model, norm):
        module.eval()


@torch.no_grad()
def precise_statistics(
    model: nn.Module,
    batches: Iterable[Batch],
    forward: Callable[[nn.Module, Batch], object],
    ranks: Ranks,
) -> int:
    """Replace running statistics by those of ``batches``: the averages of batch means and of batch
    second moments. Returns how many batches were used; weights and random states stay.

    ``forward`` sends one batch through the model.
    """
    norms = batch_norms(model)
    if not norms:
        return 0
    counters = [m.num_batches_tracked for m in norms]
    kept = [None if counter is None else counter.clone() for counter in counters]
    sums = [torch.zeros(2, m.num_features, dtype=torch.float64) for m in norms]
    devices = [ranks.device] if ranks.device.type == "cuda" else []
    mode, count = model.training, 0
    with torch.random.fork_rng(devices), _watched(norms, sums):
        model.train()
        for batch in batches:
            forward(model, batch)
            count += 1
        model.train(mode)
    if not count:
        return 0
    for norm, tracked, moments in zip(norms, kept, sums, strict=True):
        mean, square = _shared_mean(moments / count, ranks)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_((square - mean.square()).clamp_min(0))
        if norm.num_batches_tracked is not None and tracked is not None:
            norm.num_batches_tracked.copy_(tracked)
    return count


def _shared_mean(moments: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor]:
    moments = moments.to(ranks.device)
    if ranks.world > 1:
        dist.all_reduce(moments)
        moments = moments / ranks.world
    return moments[0], moments[1]


@contextmanager
def _watched(norms: list[_BatchNorm], sums: list[Tensor]) -> Iterator[None]:
    """Add each batch's mean and second moment (2, C) of every norm's input to ``sums``."""

    def watcher(total: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def watch(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            wide = inputs[0].float()
            axes = [0, *range(2, wide.ndim)]
            total.add_(torch.stack([wide.mean(axes), wide.square().mean(axes)]).cpu())

        return watch

    hooks = [n.register_forward_pre_hook(watcher(s)) for n, s in zip(norms, sums, strict=True)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
