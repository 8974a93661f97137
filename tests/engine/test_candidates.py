"""Candidates: which recipes, what they cost, trained once, gone on with after a kill."""

import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from marey import recipes, zoo
from marey.choices import RunChoice, ScheduleChoice
from marey.cli import main
from marey.data import synthetic
from marey.engine import candidates
from marey.engine.candidates import Costs, Space, Trials, check_data, fingerprint
from marey.engine.expand import moved
from marey.recipe import Recipe

WORDS = [
    *("--net.width_factor", "0.7", "--net.hidden", "16", "--net.pool", "global"),
    *("--clip.size", "32", "--clip.test_size", "32", "--clip.short_side", "32"),
    *("--clip.jitter", "[32,36]", "--clip.stride", "8", "--data.workers", "0"),
    *("--schedule.epochs", "1", "--schedule.warmup_epochs", "0"),
]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("candidates") / "drawn"
    return synthetic.write_dataset(
        "direction", folder, train=8, val=4, test=2, size=(32, 40), classes=("push", "pull")
    )


@pytest.fixture
def recipe(drawn: Path) -> Recipe:
    clip = {"size": 32, "test_size": 40, "short_side": 40, "jitter": [32, 48], "stride": 8}
    return recipes.choose(model="x2d").changed(
        net={"width_factor": 0.7, "hidden": 16, "pool": "global"},
        clip=clip,
        data={"path": str(drawn), "workers": 0},
        schedule=ScheduleChoice(epochs=1.0),
        run=RunChoice(batch=4),
    )


def test_a_state_becomes_a_recipe_whose_test_crops_follow(recipe: Recipe) -> None:
    space = Space.of(recipe)
    assert (space.start.frames, space.start.stride, space.start.crop) == (1, 8, 32)
    grown = space.recipe_at(moved(moved(space.start, "fast", 2), "spatial", 64))
    model = grown.build_model()
    assert (model.config.frames, model.config.stride, model.config.crop) == (2, 4, 64)
    assert (model.spec.size, model.spec.test_size, model.spec.jitter) == (64, 80, (64, 96))
    assert (model.spec.frames, model.spec.stride) == (2, 4)
    assert len(model.classes) == 2


def test_costs_of_each_kind_rise_with_the_clip(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def paced(network: Any, shape: tuple[int, ...], *, device: Any) -> float:
        return 1e-9 * math.prod(shape)  # a clock no other work disturbs

    monkeypatch.setattr(candidates, "latency", paced)
    space = Space.of(recipe)
    larger = moved(moved(space.start, "fast", 8), "spatial", 128)
    for kind in ("macs", "memory", "latency"):
        cost = Costs(space, kind, tmp_path)  # type: ignore[arg-type]
        assert cost(larger) > 1.5 * cost(space.start)
    kept = json.loads((tmp_path / "costs.json").read_text())
    assert len(kept["seconds"]) == 2
    again = Costs(space, "latency", tmp_path)
    assert again(larger) == max(kept["seconds"].values()), "measured anew"


def test_fingerprints_tell_results_apart_and_nothing_else(recipe: Recipe) -> None:
    same = recipe.changed(name="other", data={"workers": 3}, run={"log_steps": 99})
    assert fingerprint(same) == fingerprint(recipe)
    for change in (
        {"run": {"seed": 1}},
        {"net": {"width_factor": 0.8}},
        {"clip": {"frames": 2}},
        {"optim": {"lr": 0.3}},
        {"data": {"path": "elsewhere"}},
    ):
        assert fingerprint(recipe.changed(**change)) != fingerprint(recipe)


def test_networks_without_the_factors_are_refused(recipe: Recipe) -> None:
    slow = recipes.choose(model="slow_r18_8x8").changed(data={"path": recipe.data.path})
    with pytest.raises(ValueError, match="slow_r18_8x8 has no stride, width_factor.*as x2d"):
        Space.of(slow)
    with pytest.raises(ValueError, match="starts from weights"):
        Space.of(recipe.changed(weights="a.pyth"))


def test_data_without_enough_videos_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    assert check_data(recipe).startswith("4 videos measure: differences below about 25 %")
    small = synthetic.write_dataset(
        "direction", tmp_path / "few", train=1, val=1, test=1, size=(32, 40), classes=("push",)
    )
    with pytest.raises(ValueError, match="fewer than 2 train videos of 'push'"):
        check_data(recipe.changed(data={"path": str(small)}))


@pytest.mark.slow
def test_each_candidate_is_trained_once(recipe: Recipe, tmp_path: Path) -> None:
    space = Space.of(recipe)
    lines: list[str] = []
    trials = Trials(space, tmp_path, jobs=2, told=lines.append)
    states = [space.start, moved(space.start, "fast", 2)]
    first = trials([states[0], states[1], states[0]])
    assert first[0] == first[2]
    assert all(0 <= accuracy <= 1 for accuracy in first)
    assert sorted(lines) == ["trained 1 of 2", "trained 2 of 2"]
    again = Trials(space, tmp_path, told=lines.append)
    assert again(states) == first[:2]
    assert again.trained == 0


@pytest.mark.slow
def test_a_candidate_that_fails_says_why(recipe: Recipe, tmp_path: Path) -> None:
    space = Space.of(recipe.changed(optim={"kind": "sgd", "lr": 1e30, "momentum": 0.0}))
    with pytest.raises(ValueError, match="could not be trained: the loss is"):
        Trials(space, tmp_path)([space.start])


def test_a_candidate_that_is_stopped_ends_its_loader_workers(
    recipe: Recipe, tmp_path: Path
) -> None:
    long = recipe.changed(data={"workers": 1}, schedule={"epochs": 10_000.0}, run={"log_steps": 1})
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=candidates._train_one, args=(long, tmp_path / "run", 1, 0))
    process.start()
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "log.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.terminate()
    process.join(30)
    code = process.exitcode
    process.kill()
    assert code == 128 + signal.SIGTERM


@pytest.mark.slow
def test_a_killed_search_goes_on_and_ends_as_one_that_was_not(drawn: Path, tmp_path: Path) -> None:
    words = ["expand", str(drawn), *WORDS, "--budget", "0.5M", "--axes", "fast", "spatial"]
    out = tmp_path / "search"
    command = [sys.executable, "-m", "marey", *words, "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 300
    while not list(out.glob("candidates/*/result.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in out.glob("candidates/*/result.json")}
    assert done
    assert not (out / "expanded.json").exists(), "it was over before it was killed"
    time.sleep(1.0)  # its child notices
    assert not alive(str(out)), "a training was left behind"

    assert main([*words, "--out", str(out), "--json"]) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done
    told = json.loads((out / "expansion.json").read_text())
    final = told["expansion"]["final"]
    assert final["cost"] <= 0.5e6
    assert main([*words, "--out", str(tmp_path / "whole")]) == 0
    whole = json.loads((tmp_path / "whole" / "expansion.json").read_text())
    assert whole["expansion"] == told["expansion"]

    found: Any = Recipe.read(out / "expanded.json")
    assert found.clip["frames"] == final["state"]["frames"]
    train = ["train", str(drawn), "--recipe", str(out / "expanded.json"), "--out"]
    assert main([*train, str(tmp_path / "run")]) == 0
    network: Any = zoo.load(tmp_path / "run")
    assert network.config.frames == final["state"]["frames"]
    assert network.config.crop == final["state"]["crop"]


def alive(mark: str) -> list[str]:
    """Processes whose command line or working files name a folder (Linux)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name == str(os.getpid()):
            continue
        try:
            opened = [os.readlink(link) for link in (folder / "fd").iterdir()]
        except OSError:
            continue
        if any(path.startswith(mark) for path in opened):
            found.append(folder.name)
    return found


def test_words_that_cannot_be_meant_are_one_line(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["expand", str(drawn), *WORDS, "--out", str(tmp_path / "none")]
    for more, message in (
        (["--budget", "3X"], "'3X' is not a cost in macs"),
        (["--budget", "3ms"], "as in --budget 120M"),
        (["--budget", "1K"], "is below the start, which costs"),
        (["--budget", "9M", "--jobs", "0"], "jobs is 0; it must be 1 or more"),
        (["--budget", "9M", "--weights", "a.pyth"], "--weights has no meaning here"),
        (["--budget", "9M", "--axes", "time"], "invalid choice"),
    ):
        assert main([*start, *more]) == 2, more
        told = capsys.readouterr().err
        assert message in told
        assert told.count("\n") == 1, told
        assert not (tmp_path / "none").exists()
