"""Does each system still learn? Runs the smoke recipes and prints what is claimed and reached.

    python studies/smoke.py                  all of them, about two minutes each on two idle cores
    python studies/smoke.py slow slowfast    some
    python studies/smoke.py --out runs       keep the run folders

Videos are drawn on first use into the cache folder. The exit code is 1 when a run falls short.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from marey import recipes
from marey.recipe import Recipe


def main(words: list[str] | None = None) -> int:
    """Run the chosen smoke recipes one after another and print a row each."""
    parser = argparse.ArgumentParser(description="Run the smoke recipes.")
    parser.add_argument("systems", nargs="*", help="names before .smoke; default all")
    parser.add_argument("--out", help="folder for the runs; default a temporary one")
    chosen = parser.parse_args(words)
    names = [f"{system}.smoke" for system in chosen.systems] or recipes.names("*.smoke")
    for name in names:
        recipes.find(name)
    print(f"{'recipe':16} {'data':12} {'claimed':>8} {'reached':>8} {'minutes':>8}")
    with tempfile.TemporaryDirectory() as scratch:
        short = [name for name in names if not row(name, Path(chosen.out or scratch))]
    return 1 if short else 0


def row(name: str, out: Path) -> bool:
    """Train one recipe, print its row; whether it reached its claim."""
    from marey.data.sources import open_data
    from marey.engine.train import train

    recipe = recipes.find(name)
    open_data(recipe.data.path)  # draws what is not in the cache, outside the measured time
    recipe = with_flow(recipe, out / "flow")
    start = time.perf_counter()
    reached = 100 * train(recipe, out / name).metrics[recipe.claims[0].metric]
    minutes = (time.perf_counter() - start) / 60
    claimed = recipe.claims[0].value  # None: nothing was seen yet
    task = recipe.data.path.removeprefix("drawn:").split("?")[0]
    told = "-" if claimed is None else f"{claimed:.1f}"
    print(f"{name:16} {task:12} {told:>8} {reached:8.1f} {minutes:8.1f}", flush=True)
    return claimed is None or reached >= claimed


def with_flow(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with the flow of its data computed into ``folder``, where its network reads it."""
    from marey import zoo
    from marey.data.flow_sets import write_flow
    from marey.video.flow import FlowChoice

    config = zoo.config_of(recipe.model, **recipe.net)
    if "flow" not in zoo.spec_of(recipe.model, config).modality:
        return recipe
    write_flow(recipe.data.path, folder, choice=FlowChoice(short_side=0), workers=1)
    return recipe.changed(data={"flow": str(folder)})


if __name__ == "__main__":
    sys.exit(main())
