"""A run folder made by hand, as the engine leaves one."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from marey.video import write_video

MakeRun = Callable[..., Path]
TRUE = [0, 1, 2, 0, 1, 2, 0, 1]
PREDICTED = [0, 1, 2, 0, 1, 1, 2, 1]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """make_run(**changes to metrics.json): three classes, eight clips, six of them right."""

    def make(**changes: object) -> Path:
        run = tmp_path / "run"
        run.mkdir(exist_ok=True)
        names = ["run & jump", "<b>walk</b>", "wave"]
        rows: list[dict[str, object]] = []
        for step in range(2, 41, 2):
            epoch = step / 10
            rows.append(
                {
                    "kind": "train", "epoch": epoch, "step": step, "loss": math.exp(-epoch),
                    "accuracy": 1 - math.exp(-epoch), "lr": 1e-3, "data_s": 0.5, "step_s": 1.0,
                }
            )  # fmt: skip
            if step % 10 == 0:
                rows.append({"kind": "val", "epoch": epoch, "step": step, "top1": 0.2 * epoch})
        text = "\n".join(json.dumps(row) for row in rows)
        (run / "log.jsonl").write_text(text + '\n{"kind": "train", "epo')
        confusion = np.zeros((3, 3), dtype=int)
        np.add.at(confusion, (TRUE, PREDICTED), 1)
        metrics = {
            "model": "tiny_8x8", "split": "val", "views": [3, 1],
            "metrics": {"top1": 0.75, "top5": 1.0, "mean_class": 0.7222},
            "classes": names, "confusion": confusion.tolist(), "per_class": {},
            "clips": 8, "clamped": 2, "seconds": 4.0,
            "skipped": [{"source": "/d/<i>x</i>.mp4", "reason": "no frames"}],
            "cost": {"parameters": 1234567, "multiply_adds": 2.5e9, "input": "3x4x32x32"},
        }  # fmt: skip
        (run / "metrics.json").write_text(json.dumps(metrics | changes))
        video = write_video(
            tmp_path / "clip.mp4", [np.full((32, 48, 3), 8 * i, np.uint8) for i in range(30)], 10
        )
        clips = []
        for place, (true, predicted) in enumerate(zip(TRUE, PREDICTED, strict=True)):
            scores = [0.1, 0.1, 0.1]
            scores[predicted] = 0.6 + place / 100
            clips.append(
                {
                    "key": f"clip {place}", "video": str(video if place else "/gone.mp4"),
                    "start_s": None, "end_s": None, "target": [true], "scores": scores,
                }
            )  # fmt: skip
        (run / "predictions.json").write_text(json.dumps(clips))
        claim = {
            "dataset": "Kinetics-400", "metric": "top1", "value": 74.8, "protocol": "10x3",
            "source": "a table",
        }  # fmt: skip
        recipe = {"name": "smoke", "data": {"path": "drawn:direction"}, "claims": [claim]}
        (run / "recipe.json").write_text(json.dumps(recipe))
        return run

    return make
