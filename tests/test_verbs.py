"""train, evaluate and predict as a user calls them, on a tiny drawn set."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import marey
from marey import verbs
from marey.choices import OptimChoice, RunChoice, ScheduleChoice
from marey.cli import main
from marey.data import synthetic
from marey.recipe import Recipe

TINY = Recipe(
    name="tiny",
    model="slow_r18_8x8",
    net={"width": 4, "depths": [1, 1, 1, 1], "pool": "global"},
    clip={
        "frames": 4,
        "stride": 8,
        "size": 32,
        "test_size": 32,
        "short_side": 32,
        "jitter": [32, 40],
    },
    optim=OptimChoice(kind="adamw", lr=1e-3),
    schedule=ScheduleChoice(epochs=2.0),
    run=RunChoice(batch=4),
    views=(2, 1),
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verbs") / "drawn"
    return synthetic.write_dataset("direction", folder, train=12, val=6, test=2, size=(48, 64))


@pytest.fixture(scope="module")
def run(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("verbs-run") / "run"
    result = verbs.train(TINY.changed(data={"path": str(drawn), "workers": 0}), out=out)
    assert result.steps == 6
    return out


def test_a_run_folder_holds_all_it_should(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert {
        "recipe.json",
        "log.jsonl",
        "checkpoints",
        "weights.safetensors",
        "metrics.json",
        "predictions.json",
        "report.html",
    } <= names
    told = json.loads((run / "metrics.json").read_text())
    assert told["views"] == [2, 1]
    assert told["clips"] == 6
    assert not [n for n in names if n.endswith(".part")]


def test_the_same_call_again_changes_nothing(run: Path, drawn: Path) -> None:
    before = (run / "weights.safetensors").read_bytes()
    verbs.train(TINY.changed(data={"path": str(drawn), "workers": 0}), out=run)
    assert (run / "weights.safetensors").read_bytes() == before


def test_another_recipe_in_the_same_folder_is_refused(run: Path, drawn: Path) -> None:
    other = TINY.changed(data={"path": str(drawn), "workers": 0}, optim={"lr": 0.5})
    with pytest.raises(ValueError, match=r"optim\.lr: 0\.5, there 0\.001"):
        verbs.train(other, out=run)


def test_a_folder_of_something_else_is_refused(tmp_path: Path, drawn: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(ValueError, match="holds no run"):
        verbs.train(TINY.changed(data={"path": str(drawn)}), out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_run_that_could_not_begin_leaves_nothing(drawn: Path, tmp_path: Path) -> None:
    strict = TINY.changed(
        data={"path": str(drawn), "workers": 0, "policy": "strict"},
        clip={**TINY.clip, "stride": 64},
    )
    with pytest.raises(ValueError, match="under policy='strict'"):
        verbs.train(strict, out=tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_evaluate_repeats_the_metrics_of_the_run(run: Path, drawn: Path) -> None:
    told = verbs.evaluate(drawn, weights=run, changes={"data": {"workers": 0}})
    assert told.metrics == json.loads((run / "metrics.json").read_text())["metrics"]
    alone = verbs.evaluate(
        drawn, weights=run / "weights.safetensors", changes={"data": {"workers": 0}}
    )
    assert alone.metrics == told.metrics


def test_evaluate_refuses_classes_the_weights_do_not_know(run: Path, tmp_path: Path) -> None:
    other = synthetic.write_dataset("rhythm", tmp_path / "r", train=2, val=2, test=1, size=(48, 64))
    with pytest.raises(ValueError, match="is not among"):
        verbs.evaluate(other, weights=run, changes={"data": {"workers": 0}})


def test_predictions_of_the_run_agree_with_its_evaluation(run: Path, drawn: Path) -> None:
    row = json.loads((run / "predictions.json").read_text())[0]
    result = marey.predict(row["video"], str(run), views=(2, 1), top=100)[0]
    scores = {p["label"]: p["score"] for p in result["predictions"]}
    classes = json.loads((run / "metrics.json").read_text())["classes"]
    expected = dict(zip(classes, row["scores"], strict=True))
    assert scores.keys() == expected.keys()
    assert all(abs(scores[name] - expected[name]) < 2e-5 for name in classes)


def test_fine_tuning_resizes_the_head_and_keeps_the_rest(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = synthetic.write_dataset("rhythm", tmp_path / "r", train=4, val=2, test=1, size=(48, 64))
    recipe = verbs.compose(data, "", str(run), "")
    assert recipe.optim.head_lr_factor == 10.0
    before = marey.load(str(run))
    with pytest.warns(UserWarning, match="classifier for 12 classes was dropped"):
        model = recipe.build_model()
    assert model.classes == synthetic.TASKS["rhythm"].classes
    old, new = before.state_dict(), model.state_dict()
    changed = {k for k in old if old[k].shape != new[k].shape or not torch.equal(old[k], new[k])}
    heads = {name for name, _ in model.named_parameters() if "head" in name or "projection" in name}
    assert changed
    assert changed <= heads


def test_the_command_line_trains_evaluates_and_predicts(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "tiny.json"
    recipe.write_text(json.dumps(TINY.changed(schedule={"epochs": 1.0}).to_plain()))
    out = tmp_path / "run"
    words = ["train", str(drawn), "--recipe", str(recipe), "--out", str(out)]
    assert main([*words, "--data.workers", "0", "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert main(["evaluate", str(drawn), "--weights", str(out), "--json", "--workers", "0"]) == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert evaluated["metrics"] == trained["metrics"]
    broken = tmp_path / "in" / "broken.mp4"
    broken.parent.mkdir()
    broken.write_text("404: Not Found")
    row = json.loads((out / "predictions.json").read_text())[0]
    shutil.copy(row["video"], broken.parent / "fine clip.mp4")
    assert main(["predict", str(broken.parent), "--weights", str(out), "--json"]) == 1
    captured = capsys.readouterr()
    rows = [json.loads(line) for line in captured.out.splitlines()]
    assert [("skipped" in r, len(r["predictions"]) > 0) for r in rows] == [
        (True, False),
        (False, True),
    ]
    assert "broken.mp4" in captured.err


def test_multi_label_data_trains_and_predicts_as_such(tmp_path: Path) -> None:
    folder = tmp_path / "charades"
    data = synthetic.write_dataset(
        "direction", folder, layout="charades", train=12, val=6, test=2, size=(48, 64)
    )
    recipe = TINY.changed(data={"path": str(data), "workers": 0}, schedule={"epochs": 1.0})
    verbs.train(recipe, out=tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())["metrics"]
    assert "mAP" in metrics
    video = json.loads((tmp_path / "run" / "predictions.json").read_text())[0]["video"]
    rows = marey.predict(video, str(tmp_path / "run"), top=100)[0]["predictions"]
    total = sum(row["score"] for row in rows)
    assert abs(total - 1) > 0.1  # sigmoids of each class, not shares of one


def test_another_test_crop_is_taken_from_the_words(run: Path, drawn: Path, tmp_path: Path) -> None:
    words = ["evaluate", str(drawn), "--weights", str(run), "--workers", "0", "--views", "1x1"]
    assert main([*words, "--clip.test_size", "24", "--out", str(tmp_path / "a")]) == 0
    assert main([*words, "--clip.short_sid", "24"]) == 2
    whole = verbs.evaluate(drawn, weights=run, views=(1, 1))
    cut = json.loads((tmp_path / "a" / "predictions.json").read_text())
    assert cut[0]["scores"] != whole.clips[0]["scores"]
