"""What a memory is for: a prop is taken and put away, and used out of sight long afterwards.

    python studies/recall.py --out runs/recall               both networks, three seeds
    python studies/recall.py memory --seeds 0                one run; finished ones are not repeated
    python studies/recall.py --out runs/recall --only-print  the table of what is there

While a prop is used nothing shows which one it is (``drawn:recall``, docs/world.md): whoever does
not remember what was taken can do no better than 1/2. A use counts as right when, over its clips,
the prop in use scores above the other; it is counted at the distance in clips from the last clip
of its taking to its first. MeMViT with memory stands beside the same network without it. Both
start from one network that has seen single clips of the training videos without memory, as the
paper's start from Kinetics, and have the same seeds, clips and optimiser. Claimed: at distances
that one layer looks back directly, the network with memory is right 9 times in 10 in the mean of
its seeds, and that without is within three standard errors of 1/2 in every run. The exit code is 1
when it does not show.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from marey import recipes
from marey.recipe import Recipe

SEEDS = (0, 1, 2)
SMOKE = recipes.find("memvit.smoke")
SYSTEMS: dict[str, dict[str, Any]] = {"memory": {}, "short": {"memory": []}}
REACH = max(age for ages in SMOKE.net["memory"] for age in ages)  # clips, of one layer
SOLVED = 0.9
BINS = ((1, 2), (3, 4), (5, REACH))
DATA = "drawn:recall?train=160&val=2&test=48&difficulty=0&size=96x72&fps=2&distance_s=2-14"
EPOCHS = 12.0
BEFORE_S = 2.4  # seconds before an event in which nothing happens


def start(out: Path) -> Path:
    """Weights of a network without memory that tells what single clips show; made once."""
    from marey.engine.train import train

    weights = out / "start" / "weights_last.safetensors"
    if not weights.exists():
        listed = write_events(out / "events.csv")
        recipe = SMOKE.changed(
            data={"path": str(listed), "workers": 0},
            net={"memory": []},
            task={"kind": "classification"},
            schedule={"epochs": 15.0},
        )
        train(recipe, out / "start")
    return weights


def write_events(path: Path) -> Path:
    """A list of the clips in which something is taken, used, or nothing happens."""
    data = SMOKE.changed(data={"path": DATA}).open_data()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as text:
        rows = csv.writer(text)
        rows.writerow(("path", "label", "split", "start_s", "end_s"))
        for split in ("train", "val"):
            items = data.split(split)
            for row in range(len(items)):
                for start_s, end_s, label in items.intervals(row):
                    name = data.classes[label]
                    told = name if name.startswith("take") else "use"
                    rows.writerow((items[row].video, told, split, start_s, end_s))
                    before = max(0.0, start_s - BEFORE_S)
                    if told == "use":
                        rows.writerow((items[row].video, "wait", split, before, start_s))
    return path


def recipe_of(system: str, seed: int, weights: Path) -> Recipe:
    """The smoke settings for one system and seed, from the common start."""
    chosen = SMOKE.changed(
        data={"path": DATA, "workers": 0},
        net=SYSTEMS[system],
        run={"seed": seed},
        schedule={"epochs": EPOCHS},
    )
    return chosen.changed(weights=str(weights))


def run(system: str, seed: int, out: Path) -> list[list[float]]:
    """Train (or continue), score the test videos, and keep what was found in the folder."""
    from marey.engine.train import train

    folder = out / f"{system}.{seed}"
    kept = folder / "uses.json"
    if not kept.exists():
        recipe = recipe_of(system, seed, start(out))
        train(recipe, folder)
        kept.write_text(json.dumps(uses(recipe, folder / "weights_last.safetensors")))
    found: list[list[float]] = json.loads(kept.read_text())
    return found


def uses(recipe: Recipe, weights: Path) -> list[list[float]]:
    """(distance in clips, 1 if right) of every use in the test videos."""
    import torch

    from marey import zoo
    from marey.engine.evaluate import evaluate

    network: Any = zoo.load(weights)
    items = recipe.open_data().split("test")
    loader = recipe.loader_of(items, "val", network, batch=8, views=(1, 1))
    found = evaluate(network, recipe.build_task(network), loader, device=torch.device("cpu"))
    videos: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for clip in found.clips:
        videos[clip["video"]].append(clip)
    return [row for clips in videos.values() for row in uses_of(clips, list(found.classes))]


def uses_of(clips: list[dict[str, Any]], classes: list[str]) -> list[list[float]]:
    """The uses of one video, whose clips are in order."""
    props = [name.removeprefix("take ") for name in classes if name.startswith("take ")]
    takes, used = ([classes.index(f"{verb} {p}") for p in props] for verb in ("take", "use"))
    rows: list[list[float]] = []
    taken, first, margin = -1, -1, 0.0
    for number, clip in enumerate([*clips, {"target": [], "scores": []}]):
        named = [k for k in clip["target"] if k in used]
        if named:
            first = number if first < 0 else first
            others = [clip["scores"][k] for k in used if k != named[0]]
            margin += clip["scores"][named[0]] - max(others)
        elif first >= 0:
            if taken >= 0:
                rows.append([first - taken, float(margin > 0)])
            taken, first, margin = -1, -1, 0.0
        if any(k in takes for k in clip["target"]):
            taken = number
    return rows


def table(out: Path) -> bool:
    """Print accuracy against distance; whether the claim shows."""
    found: dict[str, dict[int, list[list[float]]]] = {name: {} for name in SYSTEMS}
    for name in SYSTEMS:
        for seed in SEEDS:
            kept = out / f"{name}.{seed}" / "uses.json"
            if kept.exists():
                found[name][seed] = json.loads(kept.read_text())
    distances = [int(d) for runs in found.values() for rows in runs.values() for d, _ in rows]
    farthest = max(distances, default=0)
    beyond = ((REACH + 1, farthest),) if farthest > REACH else ()
    print(f"{'clips back':12} {'uses':>5} " + " ".join(f"{name:>16}" for name in SYSTEMS))
    for low, high in (*BINS, (1, REACH), *beyond):
        cells, count = [], 0
        for name in SYSTEMS:
            seeds = [share(rows, low, high) for rows in found[name].values()]
            count = max([count, *(n for _, n in seeds)])
            cells.append(cell([right for right, n in seeds if n]))
        print(f"{f'{low} to {high}':12} {count:5} " + " ".join(f"{text:>16}" for text in cells))
    return shows(found)


def share(rows: list[list[float]], low: int, high: int) -> tuple[float, int]:
    """Share of uses at these distances that are right, and how many there are."""
    inside = [right for distance, right in rows if low <= distance <= high]
    return (mean(inside) if inside else float("nan")), len(inside)


def cell(values: list[float]) -> str:
    """Mean and deviation over seeds."""
    if not values:
        return "no run yet"
    spread = f" ({stdev(values):.3f})" if len(values) > 1 else ""
    return f"{mean(values):.3f}{spread}"


def shows(found: dict[str, dict[int, list[list[float]]]]) -> bool:
    """Whether the claim holds in the runs there are."""
    near = {name: [share(r, 1, REACH) for r in rows.values()] for name, rows in found.items()}
    if not all(near.values()):
        print("runs are missing")
        return False
    reached = mean(right for right, _ in near["memory"])
    blind = all(abs(right - 0.5) <= 3 * (0.25 / n) ** 0.5 for right, n in near["short"])
    holds = reached >= SOLVED and blind
    print(
        f"within {REACH} clips, which one layer looks back: memory {reached:.3f} (claimed "
        f"{SOLVED}), short {'within' if blind else 'NOT within'} three standard errors of 1/2: "
        f"{'yes' if holds else 'NO'}"
    )
    return holds


def main(words: list[str] | None = None) -> int:
    """Run what is missing of the chosen systems and print the table."""
    parser = argparse.ArgumentParser(description="What a memory is for.")
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"of {', '.join(SYSTEMS)}")
    parser.add_argument("--seeds", type=int, nargs="+", choices=SEEDS, default=list(SEEDS))
    parser.add_argument("--out", type=Path, default=Path("runs/recall"))
    parser.add_argument("--only-print", action="store_true")
    chosen = parser.parse_args(words)
    for name in chosen.systems:
        if name not in SYSTEMS:
            parser.error(f"{name!r} is not a system here; choose of {', '.join(SYSTEMS)}")
    if not chosen.only_print:
        for seed in chosen.seeds:
            for name in chosen.systems or SYSTEMS:
                run(name, seed, chosen.out)
    return 0 if table(chosen.out) else 1


if __name__ == "__main__":
    sys.exit(main())
