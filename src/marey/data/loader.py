"""Batches in a reproducible order, resumable at any step, read by any number of workers.

A request names the rows of one whole batch; a worker makes the batch from it. What a batch holds
follows from (seed, epoch, step, rank) alone, so it does not matter which worker makes it, when, or
whether the run was stopped in between.

Training: the same number of steps on every rank; what is left over after the last full global
batch is dropped, unless the data is smaller than one, which then makes one short step.
Evaluation: rank r reads rows r, r + world, ...; every row once. A batch whose files all failed is
empty (``len(batch) == 0``, ``rgb`` None) and still carries its failures.

``build_loader`` exceeds the cap on arguments by one: each is a decision of the caller's.
"""

from __future__ import annotations

import atexit
import signal
import weakref
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from marey.data.dataset import ClipDataset, ClipShape, seeded
from marey.types import Batch, Sample

MixRule = Callable[[Batch, Generator], Batch]
ShapeRule = Callable[[int, int], ClipShape]
_MIX_KEY = 0x6D6978  # keeps the generator of mixing apart from those of samples


@dataclass(frozen=True)
class Request:
    """One batch to be made: (row, draw) pairs of an epoch's step, and the shape of its clips."""

    epoch: int
    step: int
    rows: tuple[tuple[int, int], ...]
    shape: ClipShape | None


@dataclass(frozen=True)
class Refusal:
    """A ValueError on its way out of a worker, so that its one line arrives as it was."""

    message: str


@dataclass(frozen=True, kw_only=True)
class Order:
    """Which rows make which batch: ``rows`` of a table dealt out to ``world`` processes.

    Knows nothing of the loader that follows it, so that the two die without a cycle: a cycle would
    make the workers of a dropped loader wait for the garbage collector.
    """

    rows: int
    batch: int
    seed: int
    rank: int
    world: int
    training: bool
    repeats: int = 1
    shape_of: ShapeRule | None = None

    def steps(self, epoch: int) -> int:
        """Steps of this rank in an epoch."""
        if not self.training:
            return -(-len(range(self.rank, self.rows, self.world)) // self.batch)
        return len(self._cuts(epoch))

    def requests(self, epoch: int, start_step: int = 0) -> Iterator[Request]:
        """The batches of this rank from a step of an epoch on."""
        if not self.training:
            mine = range(self.rank, self.rows, self.world)
            for step in range(start_step, self.steps(epoch)):
                part = mine[step * self.batch : (step + 1) * self.batch]
                yield Request(epoch, step, tuple((row, 0) for row in part), None)
            return
        shuffled = torch.randperm(self.rows, generator=seeded(self.seed, epoch))
        cuts = self._cuts(epoch)
        for step in range(start_step, len(cuts)):
            begin, videos = cuts[step]
            places = torch.arange(videos) + begin + self.rank * videos
            drawn = shuffled[places % self.rows].tolist()
            pairs = tuple((row, draw) for row in drawn for draw in range(self.repeats))
            yield Request(epoch, step, pairs, self._shape(epoch, step))

    def _shape(self, epoch: int, step: int) -> ClipShape | None:
        return self.shape_of(epoch, step) if self.shape_of else None

    def _cuts(self, epoch: int) -> list[tuple[int, int]]:
        """(first place in the order, videos of one rank) of every step of a training epoch."""
        cuts: list[tuple[int, int]] = []
        begin = 0
        while True:
            shape = self._shape(epoch, len(cuts))
            videos = self.batch * (shape.batch_factor if shape else 1) // self.repeats
            if begin + videos * self.world > self.rows:
                break
            cuts.append((begin, videos))
            begin += videos * self.world
        return cuts or [(0, max(1, self.rows // self.world))]


class Plan(Protocol):
    """What a loader asks of an order of rows."""

    @property
    def seed(self) -> int: ...
    @property
    def rank(self) -> int: ...
    @property
    def world(self) -> int: ...
    @property
    def training(self) -> bool: ...
    def steps(self, epoch: int) -> int: ...
    def requests(self, epoch: int, start_step: int = 0) -> Iterator[Request]: ...


class Samples(Protocol):
    """What a loader asks of a data set."""

    def __len__(self) -> int: ...
    def sample(
        self, index: int, epoch: int, draw: int = 0, shape: ClipShape | None = None
    ) -> Sample: ...


class ClipLoader:
    """``loader.epoch(epoch, start_step)`` yields batches; made by ``build_loader``."""

    def __init__(
        self, dataset: Samples, order: Plan, *, mix: MixRule | None = None, workers: int = 0
    ) -> None:
        self.dataset, self.order, self.workers = dataset, order, workers
        options: dict[str, Any] = {}
        if workers:
            atexit.register(_end_workers, weakref.ref(self))
            options = {
                "persistent_workers": True,
                "worker_init_fn": _settle_worker,
                "prefetch_factor": 2 if order.training else 1,
            }
        self._requests = _Requests()
        self._reader: DataLoader[Batch | Refusal] = DataLoader(
            _Batches(dataset, mix, order.seed, order.rank),
            batch_size=None,
            sampler=self._requests,
            num_workers=workers,
            collate_fn=_as_it_is,
            **options,
        )

    def close(self) -> None:
        """End the workers; the next epoch starts new ones."""
        running = getattr(self._reader, "_iterator", None)
        if running is not None:
            running._shutdown_workers()
            self._reader._iterator = None

    def __len__(self) -> int:
        """Steps of this rank in the first epoch; in every epoch, unless shapes change."""
        return self.steps(0)

    def steps(self, epoch: int) -> int:
        """Steps of this rank in an epoch."""
        return self.order.steps(epoch)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """Batches of an epoch from a step on, the same whether started there or stepped there.

        Raises ValueError for what a sample refuses.
        """
        self._requests.pending = self.order.requests(epoch, start_step)
        for made in self._reader:
            if isinstance(made, Refusal):
                raise ValueError(made.message)
            yield made


def build_loader(
    dataset: ClipDataset,
    *,
    batch: int,
    training: bool,
    seed: int,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    mix: MixRule | None = None,
    shape_of: ShapeRule | None = None,
) -> ClipLoader:
    """A loader of ``batch`` clips per process and step.

    Repeats count as clips: with ``augment.repeats`` 2, a batch of 8 holds 4 videos twice.
    Raises ValueError for an empty table or numbers that do not divide.
    """
    check_place(dataset, batch, workers, rank, world)
    repeats = dataset.augment.repeats
    if training and (repeats < 1 or batch % repeats):
        raise ValueError(f"a batch of {batch} clips does not divide into {repeats} of each video")
    if training != dataset.training:
        raise ValueError("a training loader needs a training dataset, evaluation the other kind")
    order = Order(
        rows=len(dataset),
        batch=batch,
        seed=seed,
        rank=rank,
        world=world,
        training=training,
        repeats=repeats if training else 1,
        shape_of=shape_of,
    )
    return ClipLoader(dataset, order, mix=mix, workers=workers)


def check_place(dataset: Sized, batch: int, workers: int, rank: int, world: int) -> None:
    """Raises ValueError for an empty table, and for numbers that no loader can have."""
    if not len(dataset):
        raise ValueError("the split has no rows; choose another split or check the list")
    if batch < 1 or workers < 0:
        raise ValueError(f"batch {batch} with {workers} workers; use at least 1 and 0")
    if not 0 <= rank < world:
        raise ValueError(f"rank {rank} is not one of {world} processes, counted from 0")


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples; those without pixels only leave their failures.

    ``index`` (B,) int64; an empty batch has ``rgb`` None and a target of (0, K).
    """
    kept = [s for s in samples if s.rgb is not None or s.flow is not None]
    failures = tuple(f for s in samples for f in s.failures)
    every = kept or list(samples)[:1]
    count = len(kept)
    return Batch(
        rgb=_stacked([s.rgb for s in kept]),
        flow=_stacked([s.flow for s in kept]),
        target=_stacked_targets([s.target for s in every], count),
        keys=tuple(s.key for s in kept),
        times=torch.stack([s.times for s in every])[:count],
        index=torch.tensor([s.index for s in kept], dtype=torch.int64),
        clamped=sum(s.clamped for s in kept),
        failures=failures,
    )


def _stacked(tensors: list[Tensor | None]) -> Tensor | None:
    present = [t for t in tensors if t is not None]
    return torch.stack(present) if present else None


def _stacked_targets(targets: list[Any], count: int) -> Any:
    if isinstance(targets[0], Tensor):
        return torch.stack(targets)[:count]
    return {name: torch.stack([t[name] for t in targets])[:count] for name in targets[0]}


class _Requests(Sampler[Request]):
    """What is to be made next; set anew for every epoch while the workers live on."""

    def __init__(self) -> None:
        self.pending: Iterator[Request] = iter(())

    def __iter__(self) -> Iterator[Request]:
        return self.pending


class _Batches(Dataset[Batch | Refusal]):
    """Requests to batches; the whole batch in one worker."""

    def __init__(self, dataset: Samples, mix: MixRule | None, seed: int, rank: int) -> None:
        self.dataset, self.mix, self.seed, self.rank = dataset, mix, seed, rank

    def __getitem__(self, request: Request) -> Batch | Refusal:
        try:
            batch = collate(
                [
                    self.dataset.sample(row, request.epoch, draw, request.shape)
                    for row, draw in request.rows
                ]
            )
            if self.mix is None or not len(batch):
                return batch
            key = (_MIX_KEY, self.seed, request.epoch, request.step, self.rank)
            return self.mix(batch, seeded(*key))
        except ValueError as error:
            return Refusal(str(error))


def _settle_worker(worker: int) -> None:
    """One thread a worker, and deaf to signals that a whole process group gets: the loop saves at
    its next step, for which it still needs its batches, and ends its workers itself."""
    torch.set_num_threads(1)
    for name in ("SIGTERM", "SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _end_workers(loader: weakref.ref[ClipLoader]) -> None:
    """At exit, before the interpreter would send workers a SIGTERM and wait for them."""
    alive = loader()
    if alive is not None:
        alive.close()


def _as_it_is(made: Any) -> Any:
    return made
