"""Which systems see the order of frames? Pairs of classes that have the same frames, reversed.

    python studies/order.py --out runs/order               every system, both tasks, three seeds
    python studies/order.py tsn tsm --tasks direction      some; finished runs are not run again
    python studies/order.py --out runs/order --only-print  the table of what is there

`direction`: each class is its partner played backwards. `order`: one action, then another, or the
other way round. A video counts as right when its own class scores above its partner's; a network
blind to order can do no better than 1/2. All systems start from the same seeds and get the same
clips, epochs and optimiser. Claimed: TSN within three standard errors of 1/2 in every run, the
others above it by more than that in the mean; and BQN above each of its pathways alone, two streams
above either, in top-1 by more than the larger standard deviation. The exit code is 1 when a claim
does not show.

A run takes half a minute (TSN, TSM) to two minutes (BQN) of one idle core; a further system is a
line of SYSTEMS.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from smoke import with_flow

from marey.recipe import Recipe
from marey.recipes.smoke import SMOKE

VIDEOS = "train=320&val=16&test=120&difficulty=0&size=96x72"
EPOCHS = 8.0
TASKS = {
    "direction": f"drawn:direction?{VIDEOS}&classes=push,pull,approach,retreat",
    "order": f"drawn:order?{VIDEOS}&classes=wave then bend,bend then wave,kick then jump,"
    "jump then kick",
}
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class System:
    """A variant, fields of its configuration, and whether it can tell partners apart."""

    model: str
    sees_order: bool
    net: dict[str, Any] = field(default_factory=dict)
    clip: dict[str, Any] = field(default_factory=dict)


SMALL = {"width": 16, "depths": [1, 1, 1, 1], "dropout": 0.1}
LARGER = {"size": 80, "test_size": 80, "short_side": 80, "jitter": [80, 90]}  # filters must fit
TWO = {**SMALL, "width": 12}  # of two pathways
STREAMS = "two_stream_conv3d_r50_5f"
FOUR = {**SMALL, "block": "basic", "places": ["res4", "logits"], "snippet": 4}
FEW = {"frames": 4, "sampling": "snippet"}
SHIFTED = {**SMALL, "share": 4}  # of the first 16 channels an eighth would be two
SYSTEMS = {
    "tsn": System("tsn_r18_8seg", sees_order=False, net=SMALL),
    "tsm": System("tsm_r18_8f", sees_order=True, net=SHIFTED),
    "tsm_online": System("tsm_online_r18_8f", sees_order=True, net=SHIFTED),
    "stm": System("stm_r50_8f", sees_order=True, net=SMALL),
    "tea": System("tea_r50_8f", sees_order=True, net=SMALL),
    "bqn": System("bqn_r50_8x3", sees_order=True, net=TWO, clip=LARGER),
    "bqn_quiet": System(
        "bqn_r50_8x3", sees_order=True, net={**TWO, "pathways": "quiet"}, clip=LARGER
    ),
    "bqn_busy": System(
        "bqn_r50_8x3", sees_order=True, net={**TWO, "pathways": "busy"}, clip=LARGER
    ),
    "two_stream": System(STREAMS, sees_order=True, net=FOUR, clip=FEW),
    "two_stream_spatial": System(
        STREAMS, sees_order=True, net={**FOUR, "streams": "spatial"}, clip=FEW
    ),
    "two_stream_temporal": System(
        STREAMS, sees_order=True, net={**FOUR, "streams": "temporal"}, clip=FEW
    ),
}
ABOVE = {
    "bqn": ("bqn_quiet", "bqn_busy"),
    "two_stream": ("two_stream_spatial", "two_stream_temporal"),
}  # in top-1, by more than the larger deviation


def recipe_of(system: System, task: str, seed: int) -> Recipe:
    """The smoke settings for one system, task and seed."""
    clip = {name: value for name, value in SMOKE.clip.items() if name not in ("stride", "rate")}
    bare = Recipe(model=system.model, net=system.net, clip={**clip, **system.clip})
    return bare.changed(
        data={"path": TASKS[task], "workers": 0},
        optim=SMOKE.optim,
        schedule=replace(SMOKE.schedule, epochs=EPOCHS),
        run={"batch": 8, "evaluate_epochs": int(EPOCHS), "seed": seed},
        augment={"flip": 0.0},
        views=(1, 1),
    )


def run(system: System, task: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train (or continue), score the test videos, and keep what was found in the folder."""
    from marey.engine.train import train

    kept = folder / "pairs.json"
    if not kept.exists():
        recipe = with_flow(recipe_of(system, task, seed), folder.parent / f"flow.{task}")
        train(recipe, folder)
        found = inside_pairs(recipe, task, folder / "weights_last.safetensors")
        kept.write_text(json.dumps(found))
    return json.loads(kept.read_text())


def inside_pairs(recipe: Recipe, task: str, weights: Path) -> dict[str, Any]:
    """Share of test videos whose class outscores its partner, and of those it outscores all."""
    import torch

    from marey import zoo
    from marey.data.drawn import directions, orders

    partner = {"direction": directions.partner, "order": orders.partner}[task]
    data, network = recipe.open_data(), zoo.load(weights)
    classes: list[str] = list(data.classes)
    other = torch.tensor([classes.index(partner(name)) for name in classes])
    loader = recipe.loader_of(data.split("test"), "val", network, batch=8, views=(1, 1))
    network.eval()
    judge, right, first = recipe.build_task(network), [], []
    with torch.inference_mode():
        for batch in loader.epoch(0):
            scores, truth = judge.scores(network, *batch.clips), batch.target.argmax(1)
            own = scores.gather(1, truth[:, None])
            right.append(own > scores.gather(1, other[truth][:, None]))
            first.append(scores.argmax(1) == truth)
    pairs, top1 = torch.cat(right).double().mean(), torch.cat(first).double().mean()
    return {"pairs": pairs.item(), "top1": top1.item(), "videos": sum(len(r) for r in right)}


def shows(system: System, rows: list[dict[str, Any]]) -> bool:
    """Whether the claim about a system holds in these runs."""
    bound = 3 * (0.25 / rows[0]["videos"]) ** 0.5
    if system.sees_order:
        return mean(row["pairs"] for row in rows) > 0.5 + bound
    return all(abs(row["pairs"] - 0.5) <= bound for row in rows)


def table(out: Path, names: list[str], tasks: list[str]) -> bool:
    """Print means and deviations of the runs there are; whether every claim shows."""
    print(f"{'system':12} {'task':10} {'claimed':>9} {'pairs':>6} {'sd':>6} {'top1':>6} runs shows")
    good = True
    for task in tasks:
        for name in names:
            system = SYSTEMS[name]
            files = [out / f"{name}.{task}.{seed}" / "pairs.json" for seed in SEEDS]
            rows = [json.loads(file.read_text()) for file in files if file.exists()]
            if not rows:
                print(f"{name:12} {task:10} no run yet")
                continue
            pairs = [row["pairs"] for row in rows]
            spread = stdev(pairs) if len(pairs) > 1 else float("nan")
            claimed = "above 1/2" if system.sees_order else "1/2"
            holds = shows(system, rows)
            good &= holds
            print(
                f"{name:12} {task:10} {claimed:>9} {mean(pairs):6.3f} {spread:6.3f} "
                f"{mean(row['top1'] for row in rows):6.3f} {len(rows):4} {'yes' if holds else 'NO'}"
            )
        for name in names:
            good &= name not in ABOVE or above(out, task, name)
    return good


def above(out: Path, task: str, name: str) -> bool:
    """Print whether a system is above its parts; true while runs are missing."""
    found = {}
    for system in (name, *ABOVE[name]):
        files = [out / f"{system}.{task}.{seed}" / "pairs.json" for seed in SEEDS]
        found[system] = [json.loads(f.read_text())["top1"] for f in files if f.exists()]
    if min(map(len, found.values())) < len(SEEDS):
        return True
    own = found.pop(name)
    holds = all(mean(own) - mean(top1) > max(stdev(own), stdev(top1)) for top1 in found.values())
    told = ", ".join(f"{system} {mean(top1):.3f}" for system, top1 in found.items())
    print(f"{name:12} {task:10} {mean(own):.3f} above {told}: {'yes' if holds else 'NO'}")
    return holds


def main(words: list[str] | None = None) -> int:
    """Run what is missing of the chosen systems and print the table."""
    parser = argparse.ArgumentParser(description="Which systems see the order of frames?")
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"of {', '.join(SYSTEMS)}")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", choices=SEEDS, default=list(SEEDS))
    parser.add_argument("--out", type=Path, default=Path("runs/order"))
    parser.add_argument("--only-print", action="store_true")
    chosen = parser.parse_args(words)
    names = chosen.systems or list(SYSTEMS)
    for name in names:
        if name not in SYSTEMS:
            parser.error(f"{name!r} is not a system here; choose of {', '.join(SYSTEMS)}")
    if not chosen.only_print:
        for seed in chosen.seeds:
            for task in chosen.tasks:
                for name in names:
                    run(SYSTEMS[name], task, seed, chosen.out / f"{name}.{task}.{seed}")
    return 0 if table(chosen.out, names, chosen.tasks) else 1


if __name__ == "__main__":
    sys.exit(main())
