"""``marey expand``: a search for the network that suits your data and your budget.

It takes every word of ``marey train``, by which each candidate is trained, and its own.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from marey.cli.parse import UsageError, echo, find_word
from marey.cli.train import Train

if TYPE_CHECKING:
    from marey.engine.expand import Plan

AxisName = Literal["fast", "temporal", "spatial", "depth", "width", "bottleneck"]
POWERS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
UNITS = {
    "macs": dict(POWERS),
    "memory": {f"{power}B": size for power, size in POWERS.items()},
    "latency": {"s": 1.0, "ms": 1e-3},
}
EXAMPLES = {"macs": "120M", "memory": "64MB", "latency": "20ms"}


@dataclass(frozen=True, kw_only=True)
class Expand(Train):
    """Grow a small network along six axes on your data until a budget is spent.

    Each step tries one candidate an axis (frame rate, clip length, pixels, depth, width,
    bottleneck), each about twice as costly as the last, trains all alike and keeps the one that
    gains most. The result is a recipe: marey train DATA --recipe OUT/expanded.json. The same
    command again continues a search that was stopped. Candidates are trained as every word of
    marey train says; keep them cheap: --schedule.epochs 10 --clip.size 64.
    """

    budget: str = ""
    """what one clip may cost: 120M multiply-adds, 20ms, or 64MB"""
    cost: Literal["macs", "latency", "memory"] = "macs"
    """what the budget counts: multiply-adds, seconds on this machine, or bytes"""
    axes: tuple[AxisName, ...] = get_args(AxisName)
    """axes to grow along"""
    ratio: float = 2.0
    """how much more each step costs"""
    jobs: int = 1
    """candidates trained at a time"""
    repeats: int = 1
    """seeds each candidate is trained with; accuracies are means"""
    max_frames: int = 0
    """most frames of a clip; 0: no limit"""
    max_pixels: int = 0
    """largest crop; 0: no limit"""
    alone: bool = False
    """also scale the start along each axis alone to the budget, to compare with"""

    @classmethod
    def prepare(cls, words: list[str]) -> tuple[list[str], Train]:
        """Start from x2d where nothing else is named."""
        named = find_word(words, "--model") or find_word(words, "--recipe")
        return super().prepare([*words, "--model", "x2d"] if not named else words)

    def run(self) -> int:
        """Search, print each step's table, and say where the result is."""
        from marey import recipes, verbs

        if self.weights:
            raise UsageError("--weights has no meaning here: candidates are trained from scratch")
        plan = self.plan()
        chosen = recipes.choose(model=self.model, recipe=self.recipe).changed(**self.changes())
        out = Path(self.out) if self.out else None
        shown = Tables(self.cost, quiet=self.json)
        told = verbs.expand(
            chosen,
            plan,
            cost=self.cost,
            out=out,
            jobs=self.jobs,
            repeats=self.repeats,
            progress=shown,
        )
        if self.json:
            print(json.dumps(told))
        else:
            print(f"recipe {told['out']}/expanded.json, report {told['out']}/report.html")
        return 0

    def plan(self) -> Plan:
        """The plan these words mean. Raises UsageError for a budget that is none."""
        from marey.engine.expand import Plan

        most = {"frames": self.max_frames, "crop": self.max_pixels}
        return Plan(
            budget=parse_budget(self.budget, self.cost),
            axes=self.axes,
            ratio=self.ratio,
            most={name: float(value) for name, value in most.items() if value},
            alone=self.alone,
        )


def parse_budget(text: str, cost: str) -> float:
    """``120M``, ``20ms`` or ``64MB`` as a number. Raises UsageError for another form."""
    units = UNITS[cost]
    found = re.fullmatch(r"(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*([A-Za-z]*)", text.strip())
    unit = found.group(2) if found else ""
    if cost == "macs":
        unit = unit.upper()
    if cost == "memory" and not unit.endswith("B"):
        unit = f"{unit.upper()}B"
    if not found or unit not in units:
        raise UsageError(
            f"--budget {text!r} is not a cost in {cost}; give a number and "
            f"{', '.join(name for name in units if name)}, as in --budget {EXAMPLES[cost]}"
        )
    return float(found.group(1)) * units[unit]


class Tables:
    """Prints what a search tells: lines of progress, and each step's table once."""

    def __init__(self, cost: str, *, quiet: bool) -> None:
        self.cost, self.quiet, self.shown = cost, quiet, -1

    def __call__(self, told: Any) -> None:
        from marey.report.expansion import HEAD, state_row, step_rows

        if "text" in told:
            echo(told["text"])
            return
        found = told["expansion"]
        steps, before = found["steps"], found["start"]
        if self.shown < 0:
            echo(told["resolution"])
            self._print([HEAD, state_row(self.cost, found["start"], "")])
            self.shown = 0
        for number, step in enumerate(steps, start=1):
            rows = step_rows(self.cost, step["candidates"], step["chosen"], before)
            before = step["candidates"][step["chosen"]]
            if number > self.shown:
                self._print([(f"step {number}",), *rows])
                self.shown = number
        if found["final"] is not None:
            self._print([("result",), state_row(self.cost, found["final"], "")])
            if found["alone"]:
                rows = [state_row(self.cost, row, "") for row in found["alone"]]
                self._print([("one axis alone",), *rows])

    def _print(self, rows: list[tuple[str, ...]]) -> None:
        for row in rows if not self.quiet else ():
            if len(row) == 1:
                print(row[0])
                continue
            cells = [f"  {row[0]:12}", *(f"{cell:>11}" for cell in row[1:8]), f"  {row[8]}"]
            print("".join(cells).rstrip(), flush=True)
