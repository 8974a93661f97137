"""A recipe is a value; what two recipes differ in; which rows train and which are held out."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import marey
from marey import recipe as module
from marey import recipes
from marey.choices import AugmentChoice, Claim, DataChoice, OptimChoice, RunChoice, TaskChoice
from marey.engine.log import silent
from marey.engine.train import train
from marey.recipe import Origin, Recipe, differences
from marey.types import Item
from marey.video.writer import write_video

FULL = Recipe(
    name="full",
    origin=Origin(paper="P", table="T", hardware="8 GPUs", hours=2.5, command="marey train DATA"),
    model="slow_r50_8x8",
    weights="a.pyth",
    net={"width": 8, "depths": [1, 1, 1, 1]},
    clip={"frames": 4, "jitter": [64, 80]},
    data=DataChoice(path="drawn:direction", where={"task": "x"}),
    augment=AugmentChoice(swap_labels=(("left", "right"),)),
    task=TaskChoice(labels="multi"),
    optim=OptimChoice(betas=(0.5, 0.6)),
    run=RunChoice(seed=3),
    views=(3, 1),
    claims=(Claim(dataset="d", metric="top1", value=None, source="s"),),
)


@dataclass
class Rows:
    """Stands in for an item table: videos and labels."""

    items: list[Item]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        return self.items[index]

    def select(self, indices: Iterable[int]) -> "Rows":
        return Rows([self.items[i] for i in indices])

    def videos(self) -> set[str]:
        return {item.video for item in self.items}


def rows(count: int, *, classes: int = 2, folder: str = "/data", per_video: int = 1) -> Rows:
    """``count`` videos of ``classes`` classes in turn, each in ``per_video`` rows."""
    return Rows(
        [
            Item(f"{folder}/v{i:03}.mp4", float(j), j + 1.0, (i % classes,), f"{i}-{j}")
            for i in range(count)
            for j in range(per_video)
        ]
    )


@dataclass
class Data:
    splits: dict[str, Rows]
    classes: tuple[str, ...] = ("a", "b")

    def split(self, name: str) -> Rows:
        return self.splits[name]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes every recipe open the given splits."""

    def replaced(**splits: Rows) -> Recipe:
        named = {name if name != "whole" else "": table for name, table in splits.items()}
        monkeypatch.setattr(module, "_open", lambda *_: Data(named))
        return Recipe(model="slow_r50_8x8", data=DataChoice(path="somewhere"))

    return replaced


@pytest.mark.parametrize("recipe", [FULL, Recipe()], ids=["full", "empty"])
def test_round_trip_through_json(recipe: Recipe) -> None:
    assert Recipe.from_plain(json.loads(json.dumps(recipe.to_plain()))) == recipe


def test_read_takes_json_and_yaml(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps(FULL.to_plain()))
    assert Recipe.read(tmp_path / "r.json") == FULL
    (tmp_path / "r.yaml").write_text("name: y\nviews: [3, 1]\noptim:\n  kind: adamw\n")
    read = Recipe.read(tmp_path / "r.yaml")
    assert (read.name, read.views, read.optim.kind) == ("y", (3, 1), "adamw")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"modl": "x"}, "modl is not a field of Recipe.*did you mean 'model'"),
        ({"optim": {"lrr": 1}}, r"optim\.lrr is not a field of OptimChoice.*'lr'"),
        ({"optim": {"kind": "sdg"}}, "optim.kind is 'sdg'; choose one of 'sgd', 'adamw'"),
    ],
)
def test_from_plain_refuses_what_it_does_not_know(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Recipe.from_plain(values)


def test_changed_merges_nested_tables() -> None:
    changed = FULL.changed(schedule={"epochs": 3}, optim={"lr": 0.5}, name="new")
    assert changed.schedule.epochs == 3.0
    assert changed.optim == replace(FULL.optim, lr=0.5)
    assert (changed.name, FULL.name) == ("new", "full")


def test_differences_name_the_field_and_both_values() -> None:
    other = FULL.changed(optim={"lr": 0.5}, net={"width": 16}, data={"path": "b"})
    found = differences(FULL, other)
    assert any(line.startswith("optim.lr: 0.1, there 0.5") for line in found)
    assert any(line.startswith("net.width: 8, there 16") for line in found)
    assert any(line.startswith("data.path: 'drawn:direction', there 'b'") for line in found)
    assert differences(FULL, FULL) == []


def test_differences_leave_out_what_cannot_change_a_result() -> None:
    other = FULL.changed(data={"workers": 3, "backend": "pyav"}, run={"log_steps": 1, "keep": 9})
    assert differences(FULL, other) == []
    assert len(differences(FULL, FULL.changed(run={"batch": 9}))) == 1


def test_a_given_split_is_taken_as_it_is(serve: Any) -> None:
    recipe = serve(train=rows(10), val=rows(3, folder="/val"))
    assert recipe.items("train").videos() == rows(10).videos()
    assert recipe.items("val").videos() == rows(3, folder="/val").videos()
    assert not recipe.held_out()


@pytest.mark.parametrize("split", ["whole", "train"])
def test_without_a_split_every_fifth_video_of_a_class_is_held_out(serve: Any, split: str) -> None:
    recipe = serve(**{split: rows(40)})
    train, val = recipe.items("train"), recipe.items("val")
    assert recipe.held_out()
    assert not train.videos() & val.videos()
    assert train.videos() | val.videos() == rows(40).videos()
    assert len(val) == 8
    assert [sum(item.target == (c,) for item in val.items) for c in (0, 1)] == [4, 4]


def test_the_same_videos_are_held_out_on_every_machine(serve: Any) -> None:
    first = {os.path.basename(v) for v in serve(whole=rows(40)).items("val").videos()}
    backwards = Rows(rows(40, folder="/elsewhere").items[::-1])
    again = {os.path.basename(v) for v in serve(whole=backwards).items("val").videos()}
    assert first == again


def test_rows_of_one_video_stay_together(serve: Any) -> None:
    recipe = serve(whole=rows(20, per_video=3))
    train, val = recipe.items("train"), recipe.items("val")
    assert not train.videos() & val.videos()
    assert (len(train), len(val)) == (48, 12)


def test_too_few_videos_cannot_be_shared_out(serve: Any) -> None:
    with pytest.raises(ValueError, match="3 videos are too few.*add a split column"):
        serve(whole=rows(3)).items("val")


def test_a_recipe_without_data_or_model_says_what_to_set() -> None:
    with pytest.raises(ValueError, match=r"names no data: set data\.path"):
        Recipe().open_data()
    with pytest.raises(ValueError, match="names no model: set model"):
        Recipe(data=DataChoice(path="x")).build_model()


def test_chosen_workers_stand_and_cores_are_shared_out() -> None:
    assert Recipe(data=DataChoice(workers=0)).num_workers(1) == 0
    assert Recipe(data=DataChoice(workers=3)).num_workers(4) == 3
    assert 1 <= Recipe().num_workers(1) <= 8
    assert Recipe().num_workers(10_000) == 1


def test_changed_merges_the_network_and_clip_fields() -> None:
    start = Recipe(net={"width": 8}, clip={"frames": 4})
    moved = start.changed(net={"dropout": 0.5}, clip={"frames": 8})
    assert moved.net == {"width": 8, "dropout": 0.5}
    assert moved.clip == {"frames": 8}


def test_verbs_and_nouns_are_learned_measured_and_named(tmp_path: Path) -> None:
    data = tmp_path / "epic"
    rows = ["narration_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class"]
    for number in range(4):
        frames = np.full((12, 32, 32, 3), 60 * number, np.uint8)
        write_video(data / f"P01_0{number}.mp4", list(frames), 10)
        rows.append(f"{number},P01_0{number},00:00:00.0,00:00:01.0,{number % 2},{number // 2}")
    for name in ("train", "validation"):
        (data / f"EPIC_100_{name}.csv").write_text("\n".join(rows) + "\n")
    (data / "EPIC_100_verb_classes.csv").write_text("id,key\n0,take\n1,put\n")
    (data / "EPIC_100_noun_classes.csv").write_text("id,key\n0,tap\n1,plate\n2,spoon\n")
    recipe = recipes.find("small").changed(
        data={"path": str(data), "where": {"label": "verb+noun"}, "workers": 0},
        net={"width": 4, "depths": [1, 1, 1, 1]},
        clip={"frames": 4, "size": 32, "test_size": 32, "short_side": 32, "jitter": [32, 32]},
        schedule={"epochs": 1.0, "warmup_epochs": 0.0},
        run={"batch": 2},
    )
    found = train(recipe, tmp_path / "run", progress=silent)
    assert set(found.metrics) == {
        f"{name}_{measure}"
        for name in ("verb", "noun", "action")
        for measure in ("top1", "top5", "recall5")
    }
    assert found.metrics["verb_top5"] == found.metrics["noun_top5"] == 1.0
    weights = tmp_path / "run" / "weights.safetensors"
    results = marey.predict(data / "P01_00.mp4", weights, top=6)
    told = results[0]["predictions"]
    pairs = {f"{verb} {noun}" for verb in ("take", "put") for noun in ("tap", "plate", "spoon")}
    assert {row["label"] for row in told} == pairs
    assert sum(row["score"] for row in told) == pytest.approx(1, abs=1e-4)
