"""The networks of a search: what each costs, and what it reaches when trained like the others.

    FOLDER/candidates/FINGERPRINT/   one training run a candidate and seed; result.json ends it
    FOLDER/costs.json                measured costs, so that a search goes on as it began

A fingerprint stands for everything that can change a result. A candidate that has one is never
trained again, and a search that was killed goes on inside the runs it had begun.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import platform
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Literal

import torch

from marey.config import to_plain, write_json
from marey.engine.distributed import pick_device
from marey.engine.expand import FACTORS, State
from marey.engine.log import silent
from marey.engine.train import train
from marey.metrics.cost import measure
from marey.metrics.footprint import latency, peak_memory
from marey.types import ClipSpec

CostKind = Literal["macs", "latency", "memory"]
UNITS = {"macs": "multiply-adds", "latency": "seconds a clip", "memory": "bytes"}
FREE = ("name", "origin", "claims")  # of a recipe: they change no result
FREE_TABLES = {
    "data": ("workers", "backend"),
    "run": ("log_steps", "keep", "save_steps"),
}


@dataclass(frozen=True)
class Space:
    """What a search may move in: the recipe of the start, its clips, and its six factors."""

    recipe: Any  # has changed, build_model, items and to_plain, as marey.Recipe
    spec: ClipSpec
    start: State

    @classmethod
    def of(cls, recipe: Any) -> Space:
        """Raises ValueError where the network has not all six factors, or weights are named."""
        if recipe.weights:
            raise ValueError(
                f"the recipe starts from weights ({recipe.weights}), but candidates have other "
                "shapes: leave the weights out, every candidate is trained from scratch"
            )
        with torch.device("meta"):
            model = recipe.build_model()
        config = model.config
        lacking = [name for name in FACTORS if not hasattr(config, name)]
        if lacking or not is_dataclass(config):
            raise ValueError(
                f"{recipe.model} has no {', '.join(lacking)}: a search needs a family with all of "
                f"{', '.join(FACTORS)}, as x2d and x3d_xs have"
            )
        start = State(**{field.name: getattr(config, field.name) for field in fields(State)})
        return cls(recipe, model.spec, start)

    @property
    def timed(self) -> bool:
        """Whether clips are sampled at a stride; parts of a whole video have none."""
        return self.spec.sampling != "segment"

    def recipe_at(self, state: State) -> Any:
        """The recipe that trains a state: test crops and jitter keep their share of the crop."""
        scale = state.crop / self.spec.size
        low, high = self.spec.jitter
        net = {name: getattr(state, name) for name in FACTORS if name.endswith("_factor")}
        clip = {
            "frames": state.frames,
            "stride": state.stride,
            "size": state.crop,
            "test_size": round(self.spec.test_size * scale),
            "short_side": round(self.spec.short_side * scale),
            "jitter": [round(low * scale), round(high * scale)],
        }
        return self.recipe.changed(net=net, clip=clip)

    def network(self, state: State, *, device: str = "meta") -> Any:
        """The network of a state, on the meta device without memory."""
        with torch.device(device):
            return self.recipe_at(state).build_model()


class Costs:
    """What states cost: counted once each; latency is measured here and kept in the folder."""

    def __init__(self, space: Space, kind: CostKind, folder: Path) -> None:
        self.space, self.kind = space, kind
        self.path = folder / "costs.json"
        self.device = pick_device()
        self.machine = f"{platform.node()}, {self.device}, {torch.get_num_threads()} threads"
        self._known: dict[State, float] = {}
        self._kept: dict[str, float] = {}
        if kind == "latency" and self.path.exists():
            told = json.loads(self.path.read_text())
            if told["machine"] == self.machine:
                self._kept = told["seconds"]

    def __call__(self, state: State) -> float:
        if state not in self._known:
            self._known[state] = self._counted(state)
        return self._known[state]

    def parameters(self, state: State) -> int:
        """Learnable values of a state's network."""
        return sum(value.numel() for value in self.space.network(state).parameters())

    def _counted(self, state: State) -> float:
        shape = (1, len(self.space.spec.mean), state.frames, state.crop, state.crop)
        if self.kind == "macs":
            return float(measure(self.space.network(state), shape).multiply_adds)
        if self.kind == "memory":
            return float(peak_memory(self.space.network(state), shape))
        key = json.dumps(to_plain(state))
        if key not in self._kept:
            network = self.space.network(state, device="cpu")
            self._kept[key] = latency(network, shape, device=self.device)
            write_json(self.path, {"machine": self.machine, "seconds": self._kept})
        return self._kept[key]


class Trials:
    """Judges states by training them, ``jobs`` processes at a time.

    ``repeats`` trains each with as many seeds and answers the mean. ``told`` hears a line for each
    training that ends: how many are behind and how many this call needs.
    """

    def __init__(
        self,
        space: Space,
        folder: Path,
        *,
        jobs: int = 1,
        repeats: int = 1,
        told: Callable[[str], None] | None = None,
    ) -> None:
        for name, value in (("jobs", jobs), ("repeats", repeats)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be 1 or more")
        self.space, self.folder = space, folder / "candidates"
        self.jobs, self.repeats = jobs, repeats
        self.told = told or (lambda line: None)
        self.trained = 0

    def __call__(self, states: Sequence[State]) -> list[float]:
        seeds = range(self.repeats)
        wanted = [[self._recipe(state, seed) for seed in seeds] for state in states]
        runs = {fingerprint(recipe): recipe for row in wanted for recipe in row}
        missing = {mark: recipe for mark, recipe in runs.items() if self.result(mark) is None}
        self._train(missing)
        return [sum(map(self._accuracy, row)) / self.repeats for row in wanted]

    def result(self, mark: str) -> dict[str, Any] | None:
        """What a candidate reached, None where it was not trained to its end."""
        path = self.folder / mark / "result.json"
        return json.loads(path.read_text()) if path.exists() else None

    def _accuracy(self, recipe: Any) -> float:
        found = self.result(fingerprint(recipe))
        assert found is not None
        return float(found["accuracy"])

    def _recipe(self, state: State, seed: int) -> Any:
        base = self.space.recipe_at(state)
        run = {"seed": base.run.seed + seed, "evaluate_epochs": 1_000_000}  # once, at the end
        return base.changed(run=run, data={"workers": base.num_workers(self.jobs)})

    def _train(self, runs: dict[str, Any]) -> None:
        """All of them, a few at a time. Raises ValueError with what stopped one, after the others
        were told to save and leave."""
        waiting, running = list(runs.items()), dict[Any, tuple[Any, str, int]]()
        spawn = multiprocessing.get_context("spawn")
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    mark, recipe = waiting.pop(0)
                    slot = min(set(range(self.jobs)) - {slot for _, _, slot in running.values()})
                    given = (recipe, self.folder / mark, self.jobs, slot)
                    process = spawn.Process(target=_train_one, args=given)
                    process.start()
                    running[process.sentinel] = (process, mark, slot)
                for sentinel in wait(list(running)):
                    process, mark, _ = running.pop(sentinel)
                    process.join()
                    self._ended(mark, process.exitcode)
                    left = len(waiting) + len(running)
                    self.told(f"trained {len(runs) - left} of {len(runs)}")
        finally:
            for process, _, _ in running.values():
                process.terminate()
            for process, _, _ in running.values():
                process.join()

    def _ended(self, mark: str, code: int | None) -> None:
        self.trained += 1
        if self.result(mark) is not None:
            return
        failed = self.folder / mark / "failed.txt"
        reason = failed.read_text() if failed.exists() else f"its process ended with code {code}"
        raise ValueError(f"candidate {mark} could not be trained: {reason}")


def fingerprint(recipe: Any) -> str:
    """Twelve letters that stand for all choices of a recipe that can change its result."""
    plain = {name: value for name, value in recipe.to_plain().items() if name not in FREE}
    for table, names in FREE_TABLES.items():
        plain[table] = {n: value for n, value in plain[table].items() if n not in names}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]


def check_data(recipe: Any) -> str:
    """What validation can tell apart, in words. Raises ValueError for data without enough videos:
    every class needs two to train on and one to be measured with."""
    classes = recipe.open_data().classes
    for role, least in (("train", 2), ("val", 1)):
        counts = recipe.items(role).label_counts()
        short = [name for name, count in zip(classes, counts, strict=True) if count < least]
        if short:
            raise ValueError(
                f"{recipe.data.path} has fewer than {least} {role} videos of {short[0]!r}"
                f"{f' and {len(short) - 1} more classes' if len(short) > 1 else ''}: a search "
                "compares accuracies, give every class some to train on and some to measure with"
            )
    total = len(recipe.items("val"))
    spread = 50.0 / total**0.5  # per cent: one standard deviation at an accuracy of a half
    return f"{total} videos measure: differences below about {spread:.0f} % are chance"


def _train_one(recipe: Any, folder: Path, jobs: int, slot: int) -> None:
    """In a process of its own: one run from where it stood, ending with its result."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    devices = torch.cuda.device_count()
    if devices > 1:
        os.environ.setdefault("LOCAL_RANK", str(slot % devices))
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    failed = folder / "failed.txt"
    failed.unlink(missing_ok=True)
    try:
        found = train(recipe, folder, progress=silent)
    except (ValueError, OSError, RuntimeError) as error:
        folder.mkdir(parents=True, exist_ok=True)
        failed.write_text((str(error).splitlines() or [type(error).__name__])[0])
        raise SystemExit(1) from None
    row = {"accuracy": found.best, "metrics": found.metrics, "seconds": found.seconds}
    write_json(folder / "result.json", row)


def _die_with_parent() -> None:
    """A search that was killed leaves no training behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
