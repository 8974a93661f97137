"""One process or many: who am I, and what do the others have.

``torchrun`` sets RANK, WORLD_SIZE and LOCAL_RANK; without them there is one process and no process
group, and every function here is the identity.
"""

from __future__ import annotations

import atexit
import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from marey.engine.recompute import stages_of


@dataclass(frozen=True)
class Ranks:
    """This process among ``world``, and the device it computes on."""

    rank: int
    world: int
    device: torch.device

    @property
    def main(self) -> bool:
        """The one process that writes files."""
        return self.rank == 0


def pick_device(name: str = "auto") -> torch.device:
    """``auto`` is the local rank's GPU where there is one, else the CPU; MAREY_DEVICE overrides it.

    Raises ValueError for a device that is not here.
    """
    wanted = os.environ.get("MAREY_DEVICE", "auto") if name == "auto" else name
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise ValueError(f"device is {wanted!r}; choose auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"device is {wanted!r} but no CUDA GPU is usable here; use cpu")
        local = int(os.environ.get("LOCAL_RANK", 0)) if device.index is None else device.index
        if local >= torch.cuda.device_count():
            raise ValueError(
                f"device is cuda:{local} but this machine has {torch.cuda.device_count()}; "
                "start as many processes as there are GPUs"
            )
        device = torch.device("cuda", local)
    return device


def start(device: str = "auto") -> Ranks:
    """Join the process group that torchrun announces, once; alone there is none to join."""
    chosen = pick_device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
        torch.backends.cudnn.benchmark = True
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Ranks(rank=0, world=1, device=chosen)
    if not dist.is_initialized():
        backend = "nccl" if chosen.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timedelta(minutes=30))
        atexit.register(stop)
    return Ranks(rank=dist.get_rank(), world=dist.get_world_size(), device=chosen)


def stop() -> None:
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def gather_objects(value: Any, world: int) -> list[Any]:
    """``value`` of every process, in rank order, on every process."""
    if world == 1:
        return [value]
    found: list[Any] = [None] * world
    dist.all_gather_object(found, value)
    return found


def gather_rows(rows: Tensor, world: int, device: torch.device) -> Tensor:
    """Rows (n, ...) of all processes on the CPU, in rank order; ``n`` may differ, or be zero."""
    if world == 1:
        return rows.cpu()
    counts = gather_objects(len(rows), world)
    padded = torch.zeros((max(counts), *rows.shape[1:]), dtype=rows.dtype, device=device)
    padded[: len(rows)] = rows.to(device)
    found = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(found, padded)
    return torch.cat([part[:n].cpu() for part, n in zip(found, counts, strict=True)])


def total(values: list[float], ranks: Ranks) -> list[float]:
    """Sums over all processes of a few numbers, the same on every process."""
    if ranks.world == 1:
        return values
    tensor = torch.tensor(values, dtype=torch.float64, device=ranks.device)
    dist.all_reduce(tensor)
    return [float(v) for v in tensor.tolist()]


def largest(value: int, ranks: Ranks) -> int:
    """The largest of one whole number a process, the same on every process."""
    if ranks.world == 1:
        return value
    tensor = torch.tensor([value], device=ranks.device)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return int(tensor.item())


def share(tensors: Iterable[Tensor], world: int) -> None:
    """Give every process the main one's values, in place."""
    if world > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def wait(world: int) -> None:
    """Until every process is here."""
    if world > 1:
        dist.barrier()


def parallel(model: nn.Module, ranks: Ranks, *, kind: str) -> nn.Module:
    """``model`` as it trains on many processes: wrapped for DDP, sharded in place for FSDP.

    On the CPU gradients are summed in rank order, whatever the buckets are: DDP cuts them anew
    after the first step, and a resumed run would otherwise round differently.
    """
    if ranks.world == 1:
        return model
    if kind == "fsdp":
        return shard(model, ranks)
    if ranks.device.type == "cuda":
        return DistributedDataParallel(model, device_ids=[ranks.device.index])
    wrapped = DistributedDataParallel(model)
    # DDP reads a hook's annotations as types, and on this page they are text: hence the lambda
    wrapped.register_comm_hook(
        ranks.world,
        lambda world, bucket: _mean_in_rank_order(world, bucket),
    )
    return wrapped


def _mean_in_rank_order(world: int, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """DDP hook: the mean of a bucket over processes, added in rank order."""
    own = bucket.buffer()
    parts = [torch.empty_like(own) for _ in range(world)]
    dist.all_gather(parts, own)
    done: torch.futures.Future[Tensor] = torch.futures.Future()
    done.set_result(torch.stack(parts).sum(0).div_(world))
    return done


def shard(model: nn.Module, ranks: Ranks) -> nn.Module:
    """Parameters of each stage, then of the rest, spread over the processes (FSDP2)."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(ranks.device.type, (ranks.world,))
    for stage in stages_of(model):
        fully_shard(stage, mesh=mesh)
    fully_shard(model, mesh=mesh)
    # answers of frames are views; no task changes an answer in place, which is what torch warns of
    told = rf"FSDP2-wrapped module \({type(model).__name__}\) returned a view"
    warnings.filterwarnings("ignore", message=told)
    return model
