"""MutualNet's claim in miniature: one network at each width, beside that width trained alone.

    python studies/widths.py --out runs/widths          three seeds, widths 1, 0.5 and 0.25
    python studies/widths.py --seeds 0 --epochs 6
    python studies/widths.py --seeds 0 --only own0.5    one run: "one", or the width alone
    python studies/widths.py --out runs/widths --only-print

Runs stay in the folder, whole or stopped: the same command goes on where it was.

Claimed: no width of the one network is worse than the same width trained for itself, from the
same start and for as many steps. Both see the full clip; statistics of the one network are
recomputed for each width. Printed: top-1 in per cent over the validation split, mean and standard
deviation over seeds. "shows" means: the mean of the one network is not lower by more than the
larger deviation.

Source: T. Yang et al., "MutualNet", ECCV 2020, Section 4.1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from marey import zoo
from marey.choices import TaskChoice
from marey.engine.tabulate import BATCHES, accuracies, clips_of
from marey.engine.train import train
from marey.layers.switch import Setting
from marey.recipe import Recipe
from marey.recipes.smoke import POSE, SMOKE

WIDTHS = (1.0, 0.5, 0.25)
SIDES = ("one", "own")


def base(epochs: float, seed: int, data: str) -> Recipe:
    """What both sides have in common."""
    return SMOKE.changed(
        data={"path": data},
        schedule={"epochs": epochs},
        run={"seed": seed, "evaluate_epochs": 100},
    )


def together(common: Recipe, out: Path, widths: Sequence[float]) -> dict[float, float]:
    """Top-1 of each width of one network that learned mutually."""
    recipe = replace(
        common.changed(
            net={"widths": sorted(widths), "width_range": [min(widths), 1.0], "sizes": [64, 48]}
        ),
        model="mutualnet_slow_r50_8x8",
        task=TaskChoice(kind="mutual"),
    )
    train(recipe, out, progress=print_nothing)
    network: Any = zoo.load(out).eval()
    settings = [Setting(width, frames=8, size=64) for width in widths]
    loader = recipe.build_loader("train", network, batch=recipe.run.batch, rank=0, world=1)
    clips = clips_of(loader, BATCHES, torch.device("cpu"))
    network.recalibrate(clips, settings)
    reached = accuracies(recipe, network, settings)
    return dict(zip(widths, (100 * value for value in reached), strict=True))


def alone(common: Recipe, out: Path, width: float) -> float:
    """Top-1 of the plain network of one width."""
    narrow = round(common.net["width"] * width)
    recipe = replace(common.changed(net={"width": narrow}), model="slow_r50_8x8")
    return 100 * train(recipe, out, progress=print_nothing).metrics["top1"]


def print_nothing(row: object) -> None:
    """Progress that is not shown."""


def run(common: Recipe, out: Path, widths: Sequence[float], name: str) -> None:
    """One run, ``one`` or ``own`` and its width, unless what it reached is there."""
    kept = out / f"{name}.json"
    if kept.exists():
        return
    if name == "one":
        found = together(common, out / name, widths)
    else:
        width = float(name.removeprefix("own"))
        found = {width: alone(common, out / name, width)}
    kept.write_text(json.dumps({f"{width:g}": top1 for width, top1 in found.items()}))


def figures(out: Path, widths: Sequence[float]) -> dict[str, dict[str, float]]:
    """What the runs of one seed reached, ``one`` and ``own`` by width; those there are."""
    found: dict[str, dict[str, float]] = {side: {} for side in SIDES}
    for name in ("one", *(f"own{width:g}" for width in widths)):
        kept = out / f"{name}.json"
        if kept.exists():
            found["one" if name == "one" else "own"].update(json.loads(kept.read_text()))
    return found


def main(words: list[str] | None = None) -> int:
    """Train both sides for every seed and print the table."""
    parser = argparse.ArgumentParser(description="One network at each width, and each alone.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--widths", type=float, nargs="+", default=list(WIDTHS))
    parser.add_argument("--epochs", type=float, default=20.0)
    parser.add_argument("--data", default=POSE)
    parser.add_argument("--out", type=Path, default=Path("runs/widths"))
    parser.add_argument("--only", metavar="RUN", default="", help="one, or own and a width: own0.5")
    parser.add_argument("--only-print", action="store_true", help="of the runs there are")
    chosen = parser.parse_args(words)
    runs = ["one", *(f"own{width:g}" for width in chosen.widths)]
    if chosen.only and chosen.only not in runs:
        parser.error(f"--only {chosen.only!r} is no run here; choose of {', '.join(runs)}")
    rows = []
    for seed in chosen.seeds:
        folder = chosen.out / str(seed)
        if not chosen.only_print:
            folder.mkdir(parents=True, exist_ok=True)
            common = base(chosen.epochs, seed, chosen.data)
            for name in [chosen.only] if chosen.only else runs:
                run(common, folder, chosen.widths, name)
        rows.append(figures(folder, chosen.widths))
    print(f"{'width':>6} {'one network':>16} {'trained alone':>16}  claim")
    shown = []
    for width in chosen.widths:
        sides = [[r[s][f"{width:g}"] for r in rows if f"{width:g}" in r.get(s, {})] for s in SIDES]
        if not all(sides):
            print(f"{width:6g} no run yet")
            continue
        shown.append(row(width, *sides))
    return 0 if all(shown) else 1


def row(width: float, one: Sequence[float], own: Sequence[float]) -> bool:
    """Print one width; whether the claim shows there."""
    (mean, spread), (other, wide) = spread_of(one), spread_of(own)
    shows = mean >= other - max(spread, wide)
    word = "shows" if shows else "does not show"
    left, right = f"{mean:.1f} +- {spread:.1f}", f"{other:.1f} +- {wide:.1f}"
    print(f"{width:6g} {left:>16} {right:>16}  {word}", flush=True)
    return shows


def spread_of(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation; 0 of a single value."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


if __name__ == "__main__":
    sys.exit(main())
