"""Recipe: which values were chosen, and what they should reach.

A recipe is a value: it round-trips through JSON, and two runs of the same recipe are the same run.
The engine is handed one and asks it for its parts (``build_model``, ``build_task``,
``build_loader``, ``save_model``); no floor below knows this page.
"""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from marey.choices import (
    AugmentChoice,
    Claim,
    DataChoice,
    OptimChoice,
    RunChoice,
    ScheduleChoice,
    TaskChoice,
)
from marey.config import from_plain, override, read_mapping, to_plain

if TYPE_CHECKING:
    from marey.data.loader import ClipLoader
    from marey.data.sources import DataSet
    from marey.data.table import ItemTable
    from marey.tasks.task import Task
    from marey.types import ClipSpec

HELD_OUT = 5  # every fifth video of a class is kept for validation where no split is given


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a recipe comes from: the paper and table, and what the original run took."""

    paper: str = ""
    table: str = ""
    hardware: str = ""
    hours: float | None = None
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All choices of one training run. ``net`` and ``clip`` override fields of the variant's
    configuration and of its ``ClipSpec``; ``views`` is (time, space) at evaluation."""

    name: str = ""
    origin: Origin = Origin()
    model: str = ""
    weights: str = ""
    net: dict[str, Any] = field(default_factory=dict)
    clip: dict[str, Any] = field(default_factory=dict)
    data: DataChoice = DataChoice()
    augment: AugmentChoice = AugmentChoice()
    task: TaskChoice = TaskChoice()
    optim: OptimChoice = OptimChoice()
    schedule: ScheduleChoice = ScheduleChoice()
    run: RunChoice = RunChoice()
    views: tuple[int, int] | None = None
    claims: tuple[Claim, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """The recipe as plain data, ready for JSON."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Recipe:
        """Read back what ``to_plain`` wrote. Raises ValueError for an unknown or mistyped field."""
        return from_plain(cls, values)

    @classmethod
    def read(cls, path: str | Path) -> Recipe:
        """A recipe from a JSON or YAML file."""
        return cls.from_plain(read_mapping(path))

    def changed(self, **values: Any) -> Recipe:
        """A copy with fields replaced; nested tables (``net``, ``clip`` too) are merged."""
        merged = {
            name: {**getattr(self, name), **value} if name in ("net", "clip") else value
            for name, value in values.items()
        }
        return override(self, merged)

    # ---- parts the engine asks for

    def open_data(self) -> DataSet:
        """The data set this recipe names, read once a process."""
        if not self.data.path:
            raise ValueError(
                "the recipe names no data: set data.path to a folder, list or drawn:TASK"
            )
        where = tuple(sorted((self.data.where or {}).items()))
        return _open(self.data.path, self.data.format, where, self.data.context_s)

    def items(self, role: Literal["train", "val"]) -> ItemTable:
        """The rows of one role; without splits in the data every fifth video is held out.

        Raises ValueError when the split named in ``data`` is not there.
        """
        data = self.open_data()
        if self.held_out():
            whole = data.splits.get(self.data.train, data.splits.get(""))
            assert whole is not None
            return _hold_out(whole, keep=role == "train")
        return data.split(self.data.train if role == "train" else self.data.val)

    def split_of(self, role: Literal["train", "val"]) -> str:
        """The name of the split that plays a role, as reports give it."""
        if self.held_out():
            return "held out" if role == "val" else "kept"
        data = self.open_data()
        wanted = data.split(self.data.train if role == "train" else self.data.val)
        return next(name for name, items in data.splits.items() if items is wanted)

    def held_out(self) -> bool:
        """True where validation rows are cut from the training rows for want of a split."""
        return set(self.open_data().splits) <= {"", self.data.train}

    def build_model(self) -> Any:
        """The network with its weights, its head sized to the data's classes.

        It carries ``spec``, ``classes`` and ``variant`` as plain attributes.
        """
        from marey import zoo

        if not self.model and not self.weights:
            raise ValueError(
                "the recipe names no model: set model (see 'marey models list') or weights"
            )
        classes = tuple(self.open_data().classes)
        fields = {**self.net, **self.clip_fields()}
        if self.weights:
            name = self.model or self.weights
            weights = self.weights if self.model else None
            model: Any = zoo.load(name, weights=weights, num_classes=len(classes), **fields)
            if model.classes not in (None, classes):
                warnings.warn(
                    f"{name} was trained on other classes: its head starts anew", stacklevel=2
                )
                model.reset_head(len(classes))
        else:
            model = zoo.build(self.model, num_classes=len(classes), **fields)
        model.spec = override(model.spec, self.clip, where="clip")
        if hasattr(model.config, "stride"):  # of families that grow along it
            model.config = replace(model.config, stride=model.spec.stride)
        model.classes = classes
        return model

    def clip_fields(self) -> dict[str, Any]:
        """Frames and crop belong to the clip and to the head's window: set once, used in both."""
        homes = {"frames": "frames", "size": "crop"}  # of ClipSpec: of the configuration
        return {homes[name]: value for name, value in self.clip.items() if name in homes}

    def build_task(self, model: Any) -> Task:
        """What a batch means for this model."""
        from marey.tasks.label_sets import classification
        from marey.tasks.long_video import long_video
        from marey.tasks.mutual import Mutual, check_run
        from marey.tasks.temporal_detection import TemporalDetection

        num_classes, kind = len(self.open_data().classes), self.kind_of(model)
        if kind == "temporal_detection":
            return TemporalDetection(self.task, model)
        if kind == "mutual":
            check_run(self.run, self.schedule)
            return Mutual(self.task_of_data(), num_classes, model.config, seed=self.run.seed)
        if kind == "long_video":
            pieces = self.run.accumulate
            return long_video(self.task_of_data(), num_classes, model, pieces=pieces)
        answers = getattr(model, "num_answers", 1)
        return classification(self.task_of_data(), num_classes, answers=answers)

    def kind_of(self, model: Any) -> str:
        """The kind of task: a network made for one says so, else ``task.kind``."""
        return getattr(model, "task", self.task.kind)

    def task_of_data(self) -> TaskChoice:
        """The task, multi-label where the data is: a clip of such data may have several classes, or
        one of each of several sets."""
        data = self.open_data()
        if data.label_sets:
            return replace(self.task, label_sets=data.label_sets)
        return replace(self.task, labels="multi") if data.multi_label else self.task

    def build_loader(
        self, role: Literal["train", "val"], model: Any, *, batch: int, rank: int, world: int
    ) -> ClipLoader:
        """Batches of one role for one of ``world`` processes; validation uses one centre view.

        Snippets are then as many as in training, not as in the test.
        """
        views = None if role == "train" else (1, 1)
        spec = replace(model.spec, test_frames=0)
        return self.loader_of(
            self.items(role), role, model, batch=batch, views=views, place=(rank, world), spec=spec
        )

    def loader_of(
        self,
        items: ItemTable,
        role: Literal["train", "val"],
        model: Any,
        *,
        batch: int,
        views: tuple[int, int] | None,
        place: tuple[int, int] = (0, 1),
        spec: ClipSpec | None = None,
    ) -> ClipLoader:
        """Batches over any table of items, as this recipe samples and augments them.

        ``spec`` stands for the model's own.
        """
        from marey.data.dataset import ClipDataset
        from marey.data.loader import build_loader
        from marey.data.mixing import Mix
        from marey.data.sequences import SequenceDataset, build_streams
        from marey.data.windows import WindowDataset

        training = role == "train"
        shared: dict[str, Any] = {
            "training": training,
            "augment": self.augment,
            "data": self.data,
            "seed": self.run.seed,
            "num_classes": len(model.classes),
        }
        dataset: Any
        seed, workers = self.run.seed, self.num_workers(place[1])
        if self.kind_of(model) == "long_video":
            if self.schedule.multigrid != "none":
                raise ValueError("clips in order have one shape: leave schedule.multigrid at none")
            dataset = SequenceDataset(items, model.spec, streams=self.task.streams, **shared)
            dataset.frame_level = bool(getattr(model.config, "frame_level", False))
            where = {"rank": place[0], "world": place[1], "workers": workers}
            return build_streams(dataset, batch=batch, seed=seed, **where)
        if self.kind_of(model) == "temporal_detection":
            dataset = WindowDataset(items, model.spec, windows=self.task.windows, **shared)
        else:
            dataset = ClipDataset(items, spec or model.spec, views=views, **shared)
        mixes = training and (self.augment.mixup > 0 or self.augment.cutmix > 0)
        return build_loader(
            dataset,
            batch=batch,
            training=training,
            seed=seed,
            rank=place[0],
            world=place[1],
            workers=workers,
            mix=Mix(self.augment) if mixes else None,
            shape_of=self._shapes(model) if training else None,
        )

    def num_workers(self, world: int) -> int:
        """Loader workers a process: the chosen number, or the cores shared out, at most eight."""
        if self.data.workers >= 0:
            return self.data.workers
        cores = (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )
        return max(1, min(8, cores // max(1, world)))

    def _shapes(self, model: Any) -> Any:
        """The multigrid plan as a function of (epoch, step), or None."""
        if self.schedule.multigrid == "none":
            return None
        from marey.engine.schedule import clip_shapes

        return clip_shapes(self.schedule, model.spec, self.run.batch)

    def save_model(self, model: Any, path: Path) -> Path:
        """Write our own weight file with spec, classes and this recipe in its header."""
        from marey import zoo

        told = replace(self, task=self.task_of_data())  # predict reads from it what scores mean
        return zoo.save(model, path, recipe=told.to_plain())


def differences(ours: Recipe, theirs: Recipe) -> list[str]:
    """Fields in which two recipes differ, as ``field: ours, theirs``; what cannot change a result
    (workers, reader, how often to log and how many checkpoints to keep) is not counted."""
    free = {"data.workers", "data.backend", "run.log_steps", "run.keep"}
    found = []
    for name, (a, b) in _paired(ours.to_plain(), theirs.to_plain()).items():
        if a != b and name not in free:
            found.append(f"{name}: {a!r}, there {b!r}")
    return found


def _paired(
    a: Mapping[str, Any], b: Mapping[str, Any], before: str = ""
) -> dict[str, tuple[Any, Any]]:
    pairs: dict[str, tuple[Any, Any]] = {}
    for name in [*a, *(n for n in b if n not in a)]:
        left, right = a.get(name), b.get(name)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            pairs.update(_paired(left, right, f"{before}{name}."))
        else:
            pairs[before + name] = (left, right)
    return pairs


@lru_cache(maxsize=4)
def _open(path: str, layout: str, where: tuple[tuple[str, str], ...], context_s: float) -> DataSet:
    from marey.data.sources import open_data

    return open_data(path, format=layout, where=dict(where) or None, context_s=context_s)


def _hold_out(table: ItemTable, *, keep: bool) -> ItemTable:
    """One part of a table whose every fifth video a class is held out, in an order drawn from a
    checksum of the file names: the same rows on every machine, rows of one video together."""
    rows = [(table[i].video, table[i].target[:1], i) for i in range(len(table))]
    rows.sort(key=lambda row: (zlib.crc32(Path(row[0]).name.encode()), row[0]))
    seen: dict[tuple[int, ...], int] = {}
    held: dict[str, bool] = {}
    for video, label, _ in rows:
        if video not in held:
            seen[label] = seen.get(label, 0) + 1
            held[video] = seen[label] % HELD_OUT == 0
    chosen = sorted(index for video, _, index in rows if held[video] != keep)
    if not chosen:
        raise ValueError(
            f"{len(table)} videos are too few to hold some out for validation "
            f"(every {HELD_OUT}th of a class): add a split column or train/val folders"
        )
    return table.select(chosen)
