"""Recipes by name: complete, consistent, plain data; and what a run starts from."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from marey import recipes
from marey.config import write_json
from marey.recipe import Recipe

ALL = recipes.names()
DATA_SETS = (
    *("K400", "K600", "K700", "SSv1", "SSv2", "Charades"),
    *("Jester", "Sports-1M", "UCF101", "HMDB51", "ImageNet-1k", "THUMOS14"),
    "EPIC-Kitchens-100",
)
VIEWS = ((10, 3), (1, 3), (1, 1), (10, 1), (5, 1), (4, 3), (1, 10), (10, 10), (2, 3), (5, 3))
VIEWS += ((3, 3), (4, 1))
PUBLISHED = [name for name in ALL if "." in name and not name.endswith(".smoke")]


def test_names_follow_a_pattern() -> None:
    assert recipes.names("slowfast_r50_8x8.*") == [
        "slowfast_r50_8x8.k400",
        "slowfast_r50_8x8.k400_stepwise",
        "slowfast_r50_8x8.k400_multigrid",
        "slowfast_r50_8x8.k600",
        "slowfast_r50_8x8.ssv2",
        "slowfast_r50_8x8.charades",
    ]
    assert recipes.names("no such") == []
    assert set(recipes.names()) >= {"small", "scratch", "finetune"}


@pytest.mark.parametrize("name", ALL)
def test_a_recipe_goes_through_json_unchanged(name: str) -> None:
    recipe = recipes.find(name)
    assert Recipe.from_plain(json.loads(json.dumps(recipe.to_plain()))) == recipe
    assert recipe.name == name


@pytest.mark.parametrize("name", ALL)
def test_the_schedule_is_consistent(name: str) -> None:
    choice = recipes.find(name).schedule
    assert 0 <= choice.warmup_epochs < choice.epochs
    assert list(choice.steps) == sorted(choice.steps)
    if choice.kind == "relative_steps":
        assert choice.steps[0] == 0
        assert len(choice.steps) == len(choice.factors)
        assert choice.steps[-1] <= choice.epochs
        assert list(choice.factors) == sorted(choice.factors, reverse=True)
    optim = recipes.find(name).optim
    assert choice.warmup_epochs == 0 or choice.warmup_start < optim.lr


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_result_says_where_it_stands(name: str) -> None:
    recipe = recipes.find(name)
    assert recipe.model == name.split(".")[0]
    assert recipe.origin.paper
    assert recipe.origin.table
    assert f"--recipe {name}" in recipe.origin.command
    assert recipe.claims
    for claim in recipe.claims:
        assert claim.source
        assert claim.protocol
        assert claim.dataset in DATA_SETS
        assert claim.value is None or 15 < claim.value < 100
    assert recipe.views in VIEWS


def test_a_figure_that_was_not_checked_is_empty() -> None:
    for name in recipes.names("slow*.k600"):
        assert {claim.value for claim in recipes.find(name).claims} == {None}


def test_well_known_figures() -> None:
    def figures(name: str) -> list[float | None]:
        return [claim.value for claim in recipes.find(name).claims]

    assert figures("slowfast_r50_8x8.k400")[:2] == [77.0, 92.6]
    assert figures("i3d_nl_r50_128x1_caffe2.k400") == [76.5, 92.7]
    assert figures("slowfast_r50_16x8.ssv2") == [63.0, 88.5]
    assert figures("slowfast_r50_16x8.charades") == [38.9]


def test_settings_of_the_published_runs() -> None:
    kinetics = recipes.find("slowfast_r50_8x8.k400")
    assert (kinetics.optim.lr, kinetics.optim.reference_batch, kinetics.run.batch) == (0.1, 64, 64)
    assert (kinetics.schedule.epochs, kinetics.schedule.warmup_epochs) == (196.0, 34.0)
    charades = recipes.find("slowfast_r50_16x8.charades")
    assert (charades.task.labels, charades.task.combine) == ("multi", "max")
    assert (charades.optim.lr, charades.schedule.steps) == (0.0375, (0.0, 41.0, 49.0))
    something = recipes.find("slowfast_r50_16x8.ssv2")
    assert (something.augment.flip, something.optim.weight_decay) == (0.0, 1e-6)
    assert something.clip == {"sampling": "segment"}
    frozen = recipes.find("i3d_nl_r50_128x1_caffe2.k400")
    assert (frozen.run.norm, frozen.optim.lr, frozen.run.batch) == ("frozen", 0.0025, 16)
    assert frozen.schedule.epochs == pytest.approx(400_000 * 16 / 234_643, abs=0.01)
    assert recipes.find("slowfast_r50_8x8.k400_multigrid").schedule.multigrid == "both"


def test_recipes_differ_by_what_their_names_say() -> None:
    cosine = recipes.find("slowfast_r50_8x8.k400")
    steps = recipes.find("slowfast_r50_8x8.k400_stepwise")
    changed = {
        field.name
        for field in dataclasses.fields(Recipe)
        if getattr(cosine, field.name) != getattr(steps, field.name)
    }
    assert changed == {"name", "origin", "schedule", "claims"}


def test_a_recipe_file_is_found_by_its_path(tmp_path: Path) -> None:
    path = write_json(tmp_path / "mine.json", recipes.find("small").changed(name="mine"))
    assert recipes.find(str(path)).name == "mine"
    (tmp_path / "short.yaml").write_text("model: slow_r50_8x8\nschedule:\n  epochs: 3\n")
    assert recipes.find(str(tmp_path / "short.yaml")).schedule.epochs == 3.0


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("slowfast_r50_8x8.k40", "did you mean 'slowfast_r50_8x8.k400'"),
        ("", "unknown recipe ''"),
        ("missing.json", "missing.json does not exist"),
    ],
)
def test_an_unknown_recipe_is_refused_in_one_line(name: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as error:
        recipes.find(name)
    assert "\n" not in str(error.value)


def test_a_wrong_field_in_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("schedule:\n  epoch: 3\n")
    with pytest.raises(ValueError, match=r"schedule\.epoch is not a field.*'epochs'"):
        recipes.find(str(tmp_path / "r.yaml"))


def test_choose_starts_from_what_was_named(tmp_path: Path) -> None:
    assert recipes.choose() == recipes.find("small")
    scratch = recipes.choose(model="slow_r50_8x8")
    assert (scratch.name, scratch.model, scratch.weights) == ("scratch", "slow_r50_8x8", "")
    tuned = recipes.choose(weights="a.pyth")
    assert (tuned.name, tuned.model, tuned.weights) == ("finetune", "", "a.pyth")
    assert tuned.optim.head_lr_factor == 10.0
    both = recipes.choose(model="slow_r50_8x8", weights="a.pyth")
    assert (both.name, both.model, both.weights) == ("finetune", "slow_r50_8x8", "a.pyth")
    named = recipes.choose(recipe="slow_r50_8x8.k400", weights="b.pkl")
    assert (named.name, named.model, named.weights) == (
        "slow_r50_8x8.k400",
        "slow_r50_8x8",
        "b.pkl",
    )
    fresh = recipes.choose(recipe="mtv_b2_s4_ti8.k400", weights="none")
    assert (fresh.weights, recipes.find("mtv_b2_s4_ti8.k400").weights) == (
        "",
        "mtv_b2_s4_ti8.in21k.safetensors",
    )
    other = recipes.choose(recipe="small", model="i3d_r18_8x8")
    assert other.optim == recipes.find("small").optim
    assert other.model == "i3d_r18_8x8"


def test_choose_refuses_an_unknown_recipe() -> None:
    with pytest.raises(ValueError, match="did you mean 'finetune'"):
        recipes.choose(recipe="finetun", weights="a.pyth")


def test_recipes_load_no_torch() -> None:
    code = (
        "import sys; from marey import recipes; recipes.choose(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
