"""Which systems see the order of frames, and is a network of two parts above either part?

    python studies/order.py --out runs/order               every system, its tasks, three seeds
    python studies/order.py tsn tsm --tasks direction      some; finished runs are not run again
    python studies/order.py --out runs/order --only-print  the table of what is there

`direction`: each class is its partner played backwards. `order`: one action, then another, or the
other way round. A video counts as right when its own class scores above its partner's; a network
blind to order can do no better than 1/2. Claimed: TSN within three standard errors of 1/2 in every
run, the others above it by more than that in the mean. `both` and `beside`: a class is a prop,
which shows in a still picture, and a tempo, which does not; the prop is waved, or stands still.
Claimed: two streams above either, BQN above each of its pathways alone, in top-1 by more than the
larger standard deviation. Systems that are compared start from the same seeds and get the same
clips, epochs and optimiser. The exit code is 1 when a claim does not show.

A run takes two minutes (TSN, TSM) to five (TEA, BQN) of one idle core; a further system is a line
of SYSTEMS.
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
TASKS = {
    "direction": f"drawn:direction?{VIDEOS}&classes=push,pull,approach,retreat",
    "order": f"drawn:order?{VIDEOS}&classes=wave then bend,bend then wave,kick then jump,"
    "jump then kick&fps=6.25&frames=16",
    "both": "drawn:both?train=320&val=18&test=135&difficulty=0&size=96x72",
    "beside": "drawn:beside?train=320&val=18&test=135&difficulty=0&size=96x72",
}
EPOCHS = {"direction": 16.0, "order": 48.0, "both": 16.0, "beside": 16.0}
PAIRS = ("direction", "order")  # whose classes have partners
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class System:
    """A variant, fields of its configuration, and whether it can tell partners apart."""

    model: str
    sees_order: bool
    net: dict[str, Any] = field(default_factory=dict)
    clip: dict[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] = PAIRS
    lr: float = SMOKE.optim.lr
    epochs: float = 0.0  # instead of the task's


SMALL = {"width": 16, "depths": [1, 1, 1, 1], "dropout": 0.1}
LARGER = {"size": 80, "test_size": 80, "short_side": 80, "jitter": [80, 90]}  # filters must fit
TWO = {**SMALL, "width": 12}  # of two pathways
STREAMS = "two_stream_conv3d_r50_5f"
FOUR = {**SMALL, "block": "basic", "places": ["res4", "logits"], "snippet": 4}
FEW = {**LARGER, "frames": 4, "sampling": "snippet"}
SHIFTED = {**SMALL, "share": 4}  # of the first 16 channels an eighth would be two
BACK = {**SMALL, "share": 2}  # one way as many channels as there both ways


def pathway(**alone: str) -> System:
    """BQN, or one of its pathways."""
    net = {**TWO, **alone}
    return System("bqn_r50_8x3", sees_order=True, net=net, clip=LARGER, tasks=("beside",))


def stream(**alone: str) -> System:
    """Two streams, or one of them."""
    net = {**FOUR, **alone}
    return System(STREAMS, True, net, FEW, tasks=("both",), lr=2e-3, epochs=32.0)


SYSTEMS = {
    "tsn": System("tsn_r18_8seg", sees_order=False, net=SMALL),
    "tsm": System("tsm_r18_8f", sees_order=True, net=SHIFTED),
    "tsm_online": System("tsm_online_r18_8f", sees_order=True, net=BACK),
    "stm": System("stm_r50_8f", sees_order=True, net=SMALL),
    "tea": System("tea_r50_8f", sees_order=True, net=SMALL),
    "bqn": pathway(),
    "bqn_quiet": pathway(pathways="quiet"),
    "bqn_busy": pathway(pathways="busy"),
    "two_stream": stream(),  # with the usual rate a frame alone stays at chance
    "two_stream_spatial": stream(streams="spatial"),
    "two_stream_temporal": stream(streams="temporal"),
}
ABOVE = {
    "bqn": ("bqn_quiet", "bqn_busy"),
    "two_stream": ("two_stream_spatial", "two_stream_temporal"),
}  # in top-1, by more than the larger deviation


def recipe_of(system: System, task: str, seed: int) -> Recipe:
    """The smoke settings for one system, task and seed."""
    clip = {name: value for name, value in SMOKE.clip.items() if name not in ("stride", "rate")}
    epochs = system.epochs or EPOCHS[task]
    bare = Recipe(model=system.model, net=system.net, clip={**clip, **system.clip})
    return bare.changed(
        data={"path": TASKS[task], "workers": 0},
        optim=replace(SMOKE.optim, lr=system.lr),
        schedule=replace(SMOKE.schedule, epochs=epochs),
        run={"batch": 8, "evaluate_epochs": int(epochs), "seed": seed},
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
        found = found_of(recipe, task, folder / "weights_last.safetensors")
        kept.write_text(json.dumps(found))
    return json.loads(kept.read_text())


def found_of(recipe: Recipe, task: str, weights: Path) -> dict[str, Any]:
    """``top1`` of test ``videos``; ``pairs``: the share whose class outscores its partner."""
    import torch

    from marey import zoo

    data, network = recipe.open_data(), zoo.load(weights)
    loader = recipe.loader_of(data.split("test"), "val", network, batch=8, views=(1, 1))
    network.eval()
    judge, rows, labels = recipe.build_task(network), [], []
    with torch.inference_mode():
        for batch in loader.epoch(0):
            assert isinstance(batch.target, torch.Tensor), "one label set"
            rows.append(judge.scores(network, *batch.clips))
            labels.append(batch.target.argmax(1))
    scores, truth = torch.cat(rows), torch.cat(labels)
    first = scores.argmax(1) == truth
    found = {"top1": first.double().mean().item(), "videos": len(truth)}
    if task in PAIRS:
        other = torch.tensor(partners(task, list(data.classes)))[truth]
        own = scores.gather(1, truth[:, None]) > scores.gather(1, other[:, None])
        found["pairs"] = own.double().mean().item()
    return found


def partners(task: str, classes: list[str]) -> list[int]:
    """The number of the partner of each class."""
    from marey.data.drawn import directions, orders

    partner = {"direction": directions.partner, "order": orders.partner}[task]
    return [classes.index(partner(name)) for name in classes]


def shows(system: System, rows: list[dict[str, Any]]) -> bool:
    """Whether the claim about a system holds in these runs."""
    if "pairs" not in rows[0]:
        return True
    bound = 3 * (0.25 / rows[0]["videos"]) ** 0.5
    if system.sees_order:
        return mean(row["pairs"] for row in rows) > 0.5 + bound
    return all(abs(row["pairs"] - 0.5) <= bound for row in rows)


def table(out: Path, names: list[str], tasks: list[str]) -> bool:
    """Print means and deviations of the runs there are; whether every claim shows."""
    print(f"{'system':20} {'task':10} {'claimed':>9} {'pairs':>14} {'top1':>14} runs shows")
    good = True
    for task in tasks:
        for name in [name for name in names if task in SYSTEMS[name].tasks]:
            system = SYSTEMS[name]
            rows = rows_of(out, name, task)
            if not rows:
                print(f"{name:20} {task:10} no run yet")
                continue
            claimed, word, holds = "", "", shows(system, rows)
            if task in PAIRS:
                claimed = "above 1/2" if system.sees_order else "1/2"
                word = "yes" if holds else "NO"
            good &= holds
            print(
                f"{name:20} {task:10} {claimed:>9} {told(rows, 'pairs'):>14} "
                f"{told(rows, 'top1'):>14} {len(rows):4} {word}"
            )
        for name in names:
            asked = name in ABOVE and task in SYSTEMS[name].tasks
            good &= not asked or above(out, task, name)
    return good


def rows_of(out: Path, name: str, task: str) -> list[dict[str, Any]]:
    """What was found in the finished runs of a system."""
    files = [out / f"{name}.{task}.{seed}" / "pairs.json" for seed in SEEDS]
    return [json.loads(file.read_text()) for file in files if file.exists()]


def told(rows: list[dict[str, Any]], key: str) -> str:
    """Mean and, of several, standard deviation; nothing where it was not measured."""
    values = [row[key] for row in rows if key in row]
    if not values:
        return ""
    return f"{mean(values):.3f}" + (f" +-{stdev(values):.3f}" if len(values) > 1 else "")


def above(out: Path, task: str, name: str) -> bool:
    """Print whether a system is above its parts; true while runs are missing."""
    found = {}
    for system in (name, *ABOVE[name]):
        found[system] = [row["top1"] for row in rows_of(out, system, task)]
    if min(map(len, found.values())) < len(SEEDS):
        return True
    own = found.pop(name)
    holds = all(mean(own) - mean(top1) > max(stdev(own), stdev(top1)) for top1 in found.values())
    others = ", ".join(f"{system} {mean(top1):.3f}" for system, top1 in found.items())
    print(f"{name:20} {task:10} {mean(own):.3f} above {others}: {'yes' if holds else 'NO'}")
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
                for name in [name for name in names if task in SYSTEMS[name].tasks]:
                    run(SYSTEMS[name], task, seed, chosen.out / f"{name}.{task}.{seed}")
    return 0 if table(chosen.out, names, chosen.tasks) else 1


if __name__ == "__main__":
    sys.exit(main())
