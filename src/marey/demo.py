"""The main job on an embedded default: draw videos, train, evaluate, predict, write a report.

Nothing here is special to the demo: each step is the public call a user would make on own files.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marey import recipes

CLASSES = ("push", "pull", "approach", "retreat")
TRAIN, VAL, TEST = 320, 64, 4

RECIPE = recipes.find("i3d.smoke").changed(
    name="demo",
    origin={"paper": "a demonstration, not a published result", "command": "marey demo"},
    schedule={"epochs": 12.0},
    run={"evaluate_epochs": 2},
    views=(3, 1),
    claims=(),
)


@dataclass
class Clock:
    """Says each step aloud with the seconds since the start."""

    start: float = field(default_factory=time.perf_counter)

    def say(self, text: str) -> None:
        """One line on stderr: seconds so far, then what happens."""
        print(f"[{time.perf_counter() - self.start:5.0f} s] {text}", file=sys.stderr, flush=True)


def tour(out: Path) -> int:
    """Run the five steps under ``out``; the same call again does what is missing."""
    from marey import verbs
    from marey.data import synthetic

    clock = Clock()
    clock.say(f"1/5 drawing {TRAIN + VAL + TEST} videos of {', '.join(CLASSES)}")
    data = synthetic.write_dataset(
        "direction",
        out / "data",
        train=TRAIN,
        val=VAL,
        test=TEST,
        classes=CLASSES,
        difficulty=0,
    )
    clock.say("2/5 training a small network: each class is its partner played backwards")
    recipe = RECIPE.changed(data={"path": str(data)})
    run = out / "run"
    verbs.train(recipe, out=run)
    clock.say("3/5 evaluated over 3 views of each video: " + told(run))
    unseen = unseen_file(data)
    clock.say(f"4/5 predicting on an unseen file, {unseen}")
    predict_one(unseen, run, out)
    shutil.copyfile(run / "report.html", out / "report.html")
    clock.say(f"5/5 report: {out / 'report.html'}")
    print(out / "report.html")
    return 0


def told(run: Path) -> str:
    """The metrics of a finished run in words."""
    import json

    metrics: dict[str, Any] = json.loads((run / "metrics.json").read_text())["metrics"]
    return ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())


def unseen_file(data: Path) -> Path:
    """The first video of the test split, whose figures and props no other split shares."""
    from marey.data.sources import open_data

    return Path(os.path.relpath(open_data(data).splits["test"][0].video))


def predict_one(video: Path, run: Path, out: Path) -> None:
    """Print the prediction and save the video with the labels drawn in."""
    from marey.predictor import predict, save_annotated

    for result in predict(str(video), str(run)):
        best = result["predictions"][:3]
        line = ", ".join(f"{p['label']} {p['score']:.2f}" for p in best)
        print(f"          {line}", file=sys.stderr)
        saved = save_annotated(str(video), result, out)
        print(f"          drawn into {saved}", file=sys.stderr)
