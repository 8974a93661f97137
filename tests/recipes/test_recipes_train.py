"""The default recipes really train: a small run on drawn videos, and a fine-tuned one from it."""

import json
from pathlib import Path

import pytest

from marey import recipes, zoo
from marey.engine.train import train

DRAWN = "drawn:direction?train=12&val=6&test=1&difficulty=0&size=64x48&classes="
TINY = {
    "clip": {"frames": 4, "size": 32, "test_size": 32, "short_side": 32, "jitter": [32, 36]},
    "run": {"batch": 6, "log_steps": 1},
    "schedule": {"epochs": 1.0, "warmup_epochs": 0.5},
}


@pytest.mark.slow
def test_small_trains_and_its_weights_are_fine_tuned_to_other_classes(tmp_path: Path) -> None:
    small = recipes.choose().changed(
        data={"path": DRAWN + "sit,stand", "workers": 0},
        net={"width": 4, "depths": [1, 1, 1, 1], "pool": "global"},
        **TINY,
    )
    first = train(small, tmp_path / "first")
    assert first.steps == 2
    assert 0.0 <= first.metrics["top1"] <= 1.0
    tuned = recipes.choose(weights=str(tmp_path / "first"))
    with pytest.warns(UserWarning, match="classifier for 2 classes was dropped"):
        second = train(
            tuned.changed(data={"path": DRAWN + "push,pull,open", "workers": 0}, **TINY),
            tmp_path / "second",
        )
    assert second.finished
    model = zoo.load(tmp_path / "second")
    assert model.classes == ("push", "pull", "open")
    assert model.config.num_classes == 3
    assert (model.variant, model.config.width) == ("slow_i3d_r18_8x8", 4)
    stored = json.loads((tmp_path / "second" / "recipe.json").read_text())
    assert stored["name"] == "finetune"
    assert stored["optim"]["head_lr_factor"] == 10.0
