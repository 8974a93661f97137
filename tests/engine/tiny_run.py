"""A recipe so small that a run takes seconds: arrays for videos, one 3-D convolution for a network.

Run as a script it trains: ``tiny_run.py OUT [field=value ...] [die=STEP] [signal=STEP:NAME]``.
``die`` kills this process the hard way right before that step's batch is used.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from marey.choices import (
    AugmentChoice,
    DataChoice,
    OptimChoice,
    RunChoice,
    ScheduleChoice,
    TaskChoice,
)
from marey.config import to_plain
from marey.engine import train as loop
from marey.engine.train import backward, train
from marey.tasks.classification import Classification
from marey.types import Batch, ClipSpec, Failure

CLASSES, FRAMES, SIZE = 3, 4, 8


class TinyNet(nn.Module):
    """Convolution, batch norm, dropout, projection."""

    def __init__(self, classes: int = CLASSES, width: int = 6) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv3d(3, width, 3, padding=1), nn.BatchNorm3d(width))
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(width, classes)
        self.spec = ClipSpec(
            frames=FRAMES,
            stride=2,
            size=SIZE,
            test_size=SIZE,
            short_side=SIZE,
            jitter=(SIZE, SIZE + 4),
            views=(2, 1),
        )
        self.classes = tuple(f"class {k}" for k in range(classes))
        self.variant = "tiny"

    def forward_positions(self, clip: Tensor) -> Tensor:
        features = self.body(clip).relu().flatten(3).mean(3).transpose(1, 2)  # (B, T, D)
        return self.head(self.dropout(features))

    def forward(self, clip: Tensor) -> Tensor:
        return self.forward_positions(clip).mean(1)

    def head_parameters(self) -> tuple[str, ...]:
        return "head.weight", "head.bias"


class Rows:
    """What the engine asks of a data set: its length."""

    items = None

    def __init__(self, length: int, views: tuple[int, int]) -> None:
        self.length, self.views = length, views

    def __len__(self) -> int:
        return self.length


def clip_of(index: int, draw: int) -> Tensor:
    """(3, T, H, W): the class shifts one channel; noise follows from the numbers alone."""
    generator = torch.Generator().manual_seed(index * 1009 + draw)
    clip = torch.randn(3, FRAMES, SIZE, SIZE, generator=generator)
    clip[index % CLASSES] += 0.7
    return clip


class TinyLoader:
    """Batches that follow from (seed, epoch, step, rank), like the data floor's."""

    def __init__(
        self, length: int, *, batch: int, rank: int, world: int, training: bool, views: int = 1
    ) -> None:
        self.dataset = Rows(length, (views, 1))
        self.batch, self.rank, self.world, self.training = batch, rank, world, training
        self.order = SimpleNamespace(world=world)
        self.views, self.broken, self.clamped = views, frozenset[int](), 0

    def steps(self, epoch: int) -> int:
        if self.training:
            return max(1, len(self.dataset) // (self.batch * self.world))
        return -(-len(range(self.rank, len(self.dataset), self.world)) // self.batch)

    def __len__(self) -> int:
        return self.steps(0)

    def close(self) -> None:
        """There are no workers to end."""

    def epoch(self, epoch: int, start_step: int = 0) -> Any:
        order = list(range(self.rank, len(self.dataset), self.world))
        if self.training:
            shuffle = torch.Generator().manual_seed(epoch)
            mixed = torch.randperm(len(self.dataset), generator=shuffle).tolist()
            order = mixed[self.rank :: self.world]
        for step in range(start_step, self.steps(epoch)):
            rows = order[step * self.batch : (step + 1) * self.batch]
            yield self.make(rows, epoch if self.training else 0)

    def make(self, rows: list[int], epoch: int) -> Batch:
        failures = tuple(Failure(f"video {i}.mp4", "no frames") for i in rows if i in self.broken)
        if not self.training:
            rows = [i for i in rows if i not in self.broken]
        rgb = torch.empty(0)
        if rows:
            clips = [torch.stack([clip_of(i, epoch + v) for v in range(self.views)]) for i in rows]
            rgb = torch.stack(clips)
        target = torch.eye(CLASSES)[[i % CLASSES for i in rows]]
        if self.training and rows:  # mixup
            share = torch.rand(1, generator=torch.Generator().manual_seed(epoch + rows[0])).item()
            rgb = share * rgb + (1 - share) * rgb.flip(0)
            target = share * target + (1 - share) * target.flip(0)
        return Batch(
            rgb=rgb if rows else None,
            flow=None,
            target=target,
            keys=tuple(f"video {i}" for i in rows),
            times=torch.zeros(len(rows), self.views, FRAMES),
            index=torch.tensor(rows, dtype=torch.int64),
            clamped=self.clamped,
            failures=failures,
        )


class TinyRecipe:
    """The parts a recipe gives to the engine."""

    def __init__(self, **fields: Any) -> None:
        """``fields`` are ``run.batch=4`` and the like, as nested names with a dot or __."""
        self.optim = OptimChoice(lr=0.05, head_lr_factor=2.0)
        self.schedule = ScheduleChoice(epochs=3, warmup_epochs=1, warmup_start=0.01)
        self.run = RunChoice(batch=4, log_steps=2, keep=2)
        self.data, self.augment, self.task = DataChoice(), AugmentChoice(mixup=0.8), TaskChoice()
        self.views, self.length, self.held = (2, 1), 20, 7
        self.broken: frozenset[int] = frozenset()
        for name, value in fields.items():
            part, _, field = name.replace("__", ".").partition(".")
            setattr(self, part, replace(getattr(self, part), **{field: value}) if field else value)

    def build_model(self) -> nn.Module:
        return TinyNet()

    def build_task(self, model: nn.Module) -> Classification:
        return Classification(self.task, CLASSES)

    def build_loader(
        self, role: str, model: nn.Module, *, batch: int, rank: int, world: int
    ) -> Any:
        training = role == "train"
        if self.data.path:
            return self.real_loader(training, model, batch=batch, rank=rank, world=world)
        length, views = (self.length, 1) if training else (self.held, 2)
        loader = TinyLoader(
            length, batch=batch, rank=rank, world=world, training=training, views=views
        )
        loader.broken = self.broken
        return loader

    def real_loader(self, training: bool, model: Any, **place: int) -> Any:
        """The data floor's own loader over a folder of videos, with its workers."""
        from marey.data.dataset import ClipDataset
        from marey.data.loader import build_loader
        from marey.data.mixing import Mix
        from marey.data.sources import open_data
        from marey.engine.schedule import clip_shapes

        items = open_data(self.data.path).splits["train" if training else "val"]
        dataset = ClipDataset(
            items,
            model.spec,
            training=training,
            augment=self.augment,
            data=self.data,
            seed=self.run.seed,
            views=self.views,
            num_classes=CLASSES,
        )
        mix = Mix(self.augment) if training else None
        shape_of = clip_shapes(self.schedule, model.spec, self.run.batch) if training else None
        return build_loader(
            dataset,
            training=training,
            seed=self.run.seed,
            workers=self.data.workers,
            mix=mix,
            shape_of=shape_of,
            **place,
        )

    def save_model(self, model: nn.Module, path: Path) -> Path:
        from safetensors.torch import save_file

        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
        return path

    def to_plain(self) -> dict[str, Any]:
        names = ("optim", "schedule", "run", "data", "augment", "task")
        return {name: to_plain(getattr(self, name)) for name in names}


def interrupt_before(step: int, action: Any) -> None:
    """Call ``action`` when training reaches the given step."""

    def counting(state: Any, batch: Batch) -> Any:
        if state.step + 1 == step:
            action()
        return backward(state, batch)

    loop.backward = counting  # type: ignore[assignment]


def main(arguments: list[str]) -> None:
    torch.set_num_threads(1)
    fields: dict[str, Any] = {}
    for argument in arguments[1:]:
        name, _, value = argument.partition("=")
        if name == "die":
            interrupt_before(int(value), lambda: os.kill(os.getpid(), signal.SIGKILL))
        elif name == "signal":
            at, _, which = value.partition(":")
            if which == "GROUP":  # as a scheduler does it: workers are told too
                interrupt_before(int(at), lambda: os.killpg(os.getpgrp(), signal.SIGTERM))
                continue
            number = getattr(signal, which)
            interrupt_before(int(at), lambda number=number: os.kill(os.getpid(), number))
        else:
            fields[name] = _value(value)
    try:
        result = train(TinyRecipe(**fields), Path(arguments[0]))
    finally:
        loop.backward = backward
    print(result.steps, result.metrics)


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text, text)


if __name__ == "__main__":
    main(sys.argv[1:])
