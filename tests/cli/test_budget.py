"""A MutualNet from training to a budget, as a user types it, and what a budget may not be."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import marey
from marey import verbs, zoo
from marey.choices import TaskChoice
from marey.cli import main
from marey.cli.budget import budget_of, setting_of
from marey.cli.parse import UsageError
from marey.data import synthetic
from marey.recipes.smoke import SMOKE

NET = {"width": 8, "widths": [0.5, 1.0], "width_range": [0.5, 1.0], "sizes": [32, 24]}
CLIP = {"frames": 4, "size": 32, "test_size": 32, "short_side": 32, "jitter": [32, 36]}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("budget") / "drawn"
    return synthetic.write_dataset("direction", folder, train=8, val=4, test=2, size=(48, 64))


@pytest.fixture(scope="module")
def run(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("budget-run") / "run"
    small = replace(SMOKE, model="mutualnet_slow_r50_8x8", task=TaskChoice(kind="mutual"))
    recipe = small.changed(
        data={"path": str(drawn), "workers": 0},
        net={**NET, "frame_counts": [4, 2]},
        clip=CLIP,
        schedule={"epochs": 1.0, "warmup_epochs": 0.0},
        run={"batch": 4},
    )
    marey.train(recipe, out=out)
    return out


def table_of(run: Path) -> list[dict[str, Any]]:
    return zoo.read_state(run)[1]["config"]["table"]


def test_training_ends_with_a_measured_table(run: Path) -> None:
    rows = table_of(run)
    assert rows
    assert [r["gflops"] for r in rows] == sorted(r["gflops"] for r in rows)
    assert all(r["calibrated"] and r["latency_ms"] > 0 for r in rows)
    assert all(0 <= r["accuracy"] <= 1 for r in rows)
    names = zoo.read_state(run)[0]
    assert f"trunk.stem.norm.own.{len(rows)}.running_mean" in names  # one for 0.5, one a row


def test_the_same_call_again_changes_nothing(run: Path, drawn: Path) -> None:
    before = (run / "weights.safetensors").read_bytes()
    marey.train(marey.Recipe.read(run / "recipe.json"), out=run)
    assert (run / "weights.safetensors").read_bytes() == before


def test_predict_keeps_to_a_budget(
    run: Path, drawn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = str(next(drawn.rglob("*.mp4")))
    cheapest = table_of(run)[0]
    budget = f"{1000 * cheapest['gflops'] + 0.001:.6f}MFLOPS"
    assert main(["predict", video, "--weights", str(run), "--budget", budget, "--json"]) == 0
    told = capsys.readouterr()
    assert f"width {cheapest['width']:g}" in told.err
    assert len(json.loads(told.out)["predictions"]) == 5


def test_a_budget_below_the_narrowest_is_one_clear_line(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "x.mp4", "--weights", str(run), "--budget", "0.00001G"]) == 2
    told = capsys.readouterr().err
    assert "gflops 1e-05 is below the narrowest network" in told
    assert told.count("\n") == 1


def test_a_network_of_one_width_has_no_budget(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", "x.mp4", "--model", "slow_r18_8x8", "--random-weights", "--budget", "4G"]
    assert main(words) == 2
    assert "slow_r18_8x8 has one width" in capsys.readouterr().err


def test_tabulate_by_hand(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    assert main(["tabulate", str(copy), "--settings", "0.75x24", "1x4x32", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(r["width"], r["frames"], r["size"]) for r in rows} <= {(0.75, 4, 24), (1.0, 4, 32)}
    assert table_of(copy) == rows
    assert table_of(run) != rows
    with pytest.raises(ValueError, match="is a file, not a run; say where to write"):
        verbs.tabulate(copy / "weights.safetensors")


def test_the_narrow_part_is_exported_alone(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    budget = f"{1000 * table_of(run)[0]['gflops'] + 0.001:.6f}MFLOPS"
    whole, part = tmp_path / "whole.pt2", tmp_path / "part.pt2"
    assert main(["export", str(whole), "--weights", str(run)]) == 0
    assert main(["export", str(part), "--weights", str(run), "--budget", budget]) == 0
    assert part.stat().st_size < whole.stat().st_size


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("4G", {"gflops": 4.0}),
        ("20ms", {"latency_ms": 20.0}),
        ("0.5s,5M", {"latency_ms": 500.0, "params_m": 5.0}),
        ("300mflops", {"gflops": 0.3}),
    ],
)
def test_budgets(text: str, found: dict[str, float]) -> None:
    assert budget_of(text) == pytest.approx(found)


@pytest.mark.parametrize("text", ["4", "G", "4 Gb", "-4G", ""])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(UsageError, match="give multiply-adds as 4G"):
        budget_of(text)


def test_settings_as_words() -> None:
    assert setting_of("0.5").key == (0.5, 0, 0)
    assert setting_of("0.5x96").key == (0.5, 0, 96)
    assert setting_of("1x8x224").key == (1.0, 8, 224)
    with pytest.raises(UsageError, match="give WIDTH, WIDTHxSIZE"):
        setting_of("wide")
    with pytest.raises(ValueError, match="width is 2"):
        setting_of("2x96")
