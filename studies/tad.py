"""Twice the frames and larger pictures: PlusTAD's settings beside BasicTAD's, in miniature.

    python studies/tad.py --out runs/tad                three seeds of both
    python studies/tad.py --out runs/tad --seeds 0      one; runs there are are not run again
    python studies/tad.py --out runs/tad --only-print   the table of what is there

    setting    frames  a second  pixels  behind the backbone
    basictad       96         3      48  all steps
    plustad       192         6      64  every second

Both see 32 s at a time, with the network and the training of ``tad.smoke``, as many windows of the
same drawn videos, and the same seeds. Claimed: PlusTAD's mAP@0.5 is above BasicTAD's by more than
the larger of their standard deviations. The exit code is 1 when that does not show, or runs are
missing. A stopped run continues.

Source: M. Yang et al., "BasicTAD", CVIU 2023: 112 pixels and 160, THUMOS14.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from marey import recipes
from marey.recipe import Recipe

SEEDS = (0, 1, 2)
WINDOWS = 2400  # of training, in all
BATCH = 4
VIDEOS = "drawn:untrimmed?train=80&val=20&test=0&size=128x96"  # small: most of the time is reading
SETTINGS: dict[str, dict[str, Any]] = {
    "basictad": {"frames": 96, "rate": 3.0, "size": 48},
    "plustad": {"frames": 192, "rate": 6.0, "size": 64},
}
MEASURES = ("mAP@0.3", "mAP@0.5", "mAP@0.7", "mAP")


def recipe_of(setting: str, seed: int, windows: int) -> Recipe:
    """``tad.smoke`` with the frames and pixels of one setting."""
    clip = SETTINGS[setting]
    size = clip["size"]
    pixels = {"test_size": size, "short_side": size, "jitter": [size, round(1.125 * size)]}
    base = recipes.find("tad.smoke").changed(data={"path": VIDEOS})
    videos = len(base.items("train"))
    epochs = windows / (videos * base.task.windows.each)
    return base.changed(
        name=f"tad.{setting}",
        net={"time_pool": clip["frames"] // 96},
        clip={**clip, **pixels},
        schedule={"epochs": epochs, "warmup_epochs": epochs / 30},
        run={"seed": seed, "batch": BATCH, "evaluate_epochs": 10**6},
    )


def run(setting: str, seed: int, windows: int, out: Path) -> None:
    """Train unless it is done; a stopped run goes on."""
    from marey.engine.train import train

    if not (out / "done.json").exists():
        result = train(recipe_of(setting, seed, windows), out)
        told = {**result.metrics, "windows": windows, "steps": result.steps}
        (out / "done.json").write_text(json.dumps(told) + "\n")


def runs(setting: str, out: Path, seeds: list[int]) -> list[dict[str, float]]:
    """What the finished runs of a setting reached, in the order of seeds."""
    files = [out / f"{setting}.{seed}" / "done.json" for seed in seeds]
    return [json.loads(file.read_text()) for file in files if file.exists()]


def table(out: Path, seeds: list[int]) -> bool:
    """Print means and deviations of the runs there are; whether the claim shows."""
    print(f"{'setting':10} {'seeds':>5} {'windows':>8}" + "".join(f"{m:>15}" for m in MEASURES))
    found = {setting: runs(setting, out, seeds) for setting in SETTINGS}
    for setting, rows in found.items():
        print(f"{setting:10} {len(rows):5} ", end="")
        if rows:
            print(f"{rows[0]['windows']:8g}" + "".join(spread(rows, m) for m in MEASURES), end="")
        print()
    basic, plus = found["basictad"], found["plustad"]
    if len({row["windows"] for row in basic + plus}) > 1:
        print("runs saw different numbers of windows: use another --out for each")
        return False
    if min(len(basic), len(plus)) < len(seeds) or len(seeds) < 2:
        print("runs are missing for the claim: two seeds or more of both")
        return False
    low, high = [row["mAP@0.5"] for row in basic], [row["mAP@0.5"] for row in plus]
    gain = [b - a for a, b in zip(low, high, strict=True)]
    holds = mean(gain) > max(stdev(low), stdev(high))
    said = f"{100 * mean(gain):+.1f}, standard deviation {100 * stdev(gain):.1f}"
    print(f"mAP@0.5, plustad less basictad: {said}; claimed: above, {'yes' if holds else 'NO'}")
    return holds


def spread(rows: list[dict[str, float]], measure: str) -> str:
    """Mean and standard deviation in per cent."""
    values = [100 * row[measure] for row in rows]
    apart = f"+-{stdev(values):4.1f}" if len(values) > 1 else " " * 6
    return f"{mean(values):9.1f}{apart}"


def main(words: list[str] | None = None) -> int:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description="PlusTAD's settings beside BasicTAD's.")
    parser.add_argument("--out", type=Path, default=Path("runs/tad"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--windows", type=int, default=WINDOWS, help="seen in training")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--only-print", action="store_true")
    chosen = parser.parse_args(words)
    if chosen.windows < 100 * BATCH:
        parser.error(f"--windows {chosen.windows} is no training: at least {100 * BATCH}")
    if not chosen.only_print:
        for seed in chosen.seeds:
            for setting in chosen.settings:
                run(setting, seed, chosen.windows, chosen.out / f"{setting}.{seed}")
    return 0 if table(chosen.out, chosen.seeds) else 1


if __name__ == "__main__":
    sys.exit(main())
