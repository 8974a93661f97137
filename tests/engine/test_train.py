"""The loop: what it learns, what it writes, what it refuses; each switch against the plain run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest
import tiny_run
import torch
from safetensors.torch import load_file

from marey.choices import ScheduleChoice
from marey.engine.checkpoint import read_checkpoint
from marey.engine.log import silent
from marey.engine.multigrid import Phase, Plan
from marey.engine.train import Pace, TrainingError, pieces, train


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(out: Path, **fields: Any) -> dict[str, torch.Tensor]:
    """Last weights of a run."""
    train(tiny_run.TinyRecipe(**fields), out, progress=silent)
    return load_file(out / "weights_last.safetensors")


def rows_of(out: Path, kind: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == kind]


def test_it_learns_and_writes_a_run_folder(tmp_path: Path) -> None:
    seen: list[Any] = []
    recipe = tiny_run.TinyRecipe(length=60, held=30, schedule__epochs=12)
    result = train(recipe, tmp_path, progress=seen.append)
    assert result.finished
    assert (result.steps, result.epochs) == (180, 12)
    assert result.best > 0.9  # three classes, chance is 0.33
    names = {path.name.split(".")[0] for path in tmp_path.iterdir()}
    assert names == {
        *("recipe", "log", "events", "checkpoints", "metrics", "predictions"),
        *("weights", "weights_last"),
    }
    assert json.loads((tmp_path / "recipe.json").read_text()) == recipe.to_plain()
    assert json.loads((tmp_path / "metrics.json").read_text())["metrics"]["top1"] == result.best
    train_rows, val_rows = rows_of(tmp_path, "train"), rows_of(tmp_path, "val")
    assert train_rows[-1]["loss"] < train_rows[0]["loss"]
    assert [row["epoch"] for row in val_rows] == [float(e) for e in range(1, 13)]
    assert train_rows[-1].keys() == {
        *("kind", "epoch", "step", "loss", "accuracy", "lr", "data_s", "step_s", "eta_s")
    }
    assert next(row for row in seen if row["kind"] == "train")["epochs"] == 12
    assert len(list((tmp_path / "checkpoints").iterdir())) == 3  # two and the best


def test_rates_are_logged_as_scheduled(tmp_path: Path) -> None:
    run(tmp_path, optim__reference_batch=8, run__log_steps=1)
    rates = [row["lr"] for row in rows_of(tmp_path, "train")]
    assert rates[0] == pytest.approx(0.01 / 2)  # step 1 is epoch 0; batch 4 of 8
    assert max(rates) == pytest.approx(0.05 * 0.75 / 2)  # cosine at the end of warm-up


def test_best_weights_are_those_of_the_best_epoch(tmp_path: Path) -> None:
    result = train(tiny_run.TinyRecipe(optim__lr=0.3), tmp_path, progress=silent)
    figures = [row["top1"] for row in rows_of(tmp_path, "val")]
    assert result.best == max(figures)
    best = read_checkpoint(tmp_path / "checkpoints/best.pt")
    assert best["epoch"] == figures.index(max(figures)) + 1
    kept = load_file(tmp_path / "weights.safetensors")
    assert all(torch.equal(kept[name], best["model"][name]) for name in kept)


def test_accumulation_is_the_same_step_in_parts(tmp_path: Path) -> None:
    """Without batch norm and dropout, halves of a batch give the whole batch's gradient."""
    fields = {"build_model": Smooth, "optim__clip_norm": 0.5}
    whole = run(tmp_path / "whole", **fields)
    parts = run(tmp_path / "parts", **fields, run__accumulate=2)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, atol=1e-6, rtol=1e-5)


class Smooth(tiny_run.TinyNet):
    def __init__(self) -> None:
        super().__init__()
        self.body[1], self.dropout = torch.nn.Identity(), torch.nn.Identity()


def test_clipping_bounds_a_step(tmp_path: Path) -> None:
    free = run(tmp_path / "free", schedule__epochs=0.2, schedule__warmup_epochs=0.0)
    bound = run(
        tmp_path / "bound",
        schedule__epochs=0.2,
        schedule__warmup_epochs=0.0,
        optim__clip_norm=1e-4,
        optim__weight_decay=0.0,
    )
    torch.manual_seed(0)
    start = tiny_run.TinyNet().state_dict()
    assert len(rows_of(tmp_path / "free", "train")) == 1
    far = float((free["body.0.weight"] - start["body.0.weight"]).norm())
    near = float((bound["body.0.weight"] - start["body.0.weight"]).norm())
    assert near < 1e-4 < far


def test_only_the_classifier_learns_at_first(tmp_path: Path) -> None:
    """Nothing else moves in those epochs, by a gradient, momentum or decay."""
    fields = {"schedule__warmup_epochs": 0.0, "optim__weight_decay": 0.1}
    held = run(tmp_path / "held", **fields, schedule__epochs=1.0, schedule__head_epochs=1.0)
    later = run(tmp_path / "later", **fields, schedule__epochs=2.0, schedule__head_epochs=1.0)
    torch.manual_seed(0)
    network = tiny_run.TinyNet()
    head = set(network.head_parameters())
    for name, value in network.named_parameters():
        assert torch.equal(held[name], value) is (name not in head), name
        assert not torch.equal(later[name], value), name


@pytest.mark.parametrize("fields", [{"run__compile": True}, {"run__checkpointing": True}])
def test_execution_switches_change_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    monkeypatch.setenv("MAREY_COMPILE", "eager")  # a backend that needs no compiler
    plain = run(tmp_path / "plain", run__precise_bn=2)
    other = run(tmp_path / "other", run__precise_bn=2, **fields)
    for name, value in plain.items():
        torch.testing.assert_close(other[name], value, atol=1e-6, rtol=1e-5)


class Colour(tiny_run.TinyNet):
    """One projection of the mean colour: little for a compiler to do."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = torch.nn.Identity(), torch.nn.Linear(3, tiny_run.CLASSES)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.head(clip.mean((2, 3, 4)))

    def forward_positions(self, clip: torch.Tensor) -> torch.Tensor:
        return self.forward(clip)[:, None]


@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler")
def test_inductor_trains_like_eager(tmp_path: Path) -> None:
    fields = {"build_model": Colour, "schedule__epochs": 0.4, "schedule__warmup_epochs": 0.0}
    plain = run(tmp_path / "plain", **fields)
    other = run(tmp_path / "other", run__compile=True, **fields)
    for name, value in plain.items():
        torch.testing.assert_close(other[name], value, atol=1e-6, rtol=1e-5)


def test_compiling_without_a_compiler_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MAREY_COMPILE", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="needs a C\\+\\+ compiler and none is found"):
        run(tmp_path, run__compile=True)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_like_full(tmp_path: Path, precision: str) -> None:
    full, half = run(tmp_path / "full"), run(tmp_path / "half", run__precision=precision)
    difference = max(float((full[n] - half[n]).abs().max()) for n in full if "running" not in n)
    assert 0 < difference < 0.02
    assert all(value.dtype != torch.bfloat16 for value in half.values())


def test_averaged_weights_are_what_is_saved(tmp_path: Path) -> None:
    saved = run(tmp_path, run__ema=0.9)
    state = read_checkpoint(tmp_path / "checkpoints/step-00000015.pt")
    assert torch.equal(saved["head.weight"], state["average"]["head.weight"])
    assert not torch.equal(saved["head.weight"], state["model"]["head.weight"])


def test_frozen_norms_train_around(tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = tiny_run.TinyNet().state_dict()
    saved = run(tmp_path, run__norm="frozen", run__precise_bn=2)
    assert all(torch.equal(saved[n], start[n]) for n in saved if n.startswith("body.1"))
    assert not torch.equal(saved["head.weight"], start["head.weight"])


def test_a_part_of_an_epoch_is_possible(tmp_path: Path) -> None:
    result = train(
        tiny_run.TinyRecipe(schedule__epochs=1.4, schedule__warmup_epochs=0.0),
        tmp_path,
        progress=silent,
    )
    assert result.steps == 7  # 5 and 2 of 5


def test_multigrid_runs_through_its_shapes(tmp_path: Path, videos: Path) -> None:
    seen: list[tuple[int, ...]] = []

    class Watched(tiny_run.TinyNet):
        def forward(self, clip: torch.Tensor) -> torch.Tensor:
            seen.append((len(clip), *clip.shape[2:4]))
            return super().forward(clip)

    recipe = tiny_run.TinyRecipe(
        build_model=Watched,
        data__path=str(videos),
        data__workers=0,
        run__batch=1,
        run__log_steps=2,
        schedule=ScheduleChoice(kind="steps", steps=(0, 2), epochs=4, multigrid="both"),
    )
    result = train(recipe, tmp_path, progress=silent)
    assert result.epochs == 6
    # clips, frames and crop of every step; nine videos are fewer than the 14 first wanted
    full = [(4, 4, 4), (2, 4, 6), (1, 4, 8)]
    assert seen == [(9, 1, 4), (9, 1, 4), (8, 2, 4), (8, 2, 4), *full, *full]
    rates = [row["lr"] for row in rows_of(tmp_path, "train")]
    assert rates == pytest.approx([0.35, 0.35, 0.2, 0.1, 0.05, 0.05, 0.005, 0.005])


def test_pace_follows_phases() -> None:
    class Shaped:
        asked: ClassVar[list[int]] = []

        def steps(self, epoch: int) -> int:
            self.asked.append(epoch)
            return 3 if epoch < 2 else 9

    phases = (Phase(2, 4, 2, 8, 0), Phase(4, 1, 4, 8, 1))
    schedule = ScheduleChoice(epochs=3.5)
    plan = Plan(schedule=schedule, phases=phases, crop=8, short=False)
    pace = Pace(Shaped(), schedule, plan)
    assert [pace.steps(e) for e in range(4)] == [3, 3, 9, 4]
    assert pace.left(1, 1) == 2 + 9 + 4
    assert Shaped.asked == [0, 2]  # once a phase
    assert Pace(Shaped(), schedule, None).steps(3) == round(0.5 * 9)


def test_pieces_cover_a_batch_once() -> None:
    loader = tiny_run.TinyLoader(5, batch=5, rank=0, world=1, training=False)
    batch = next(iter(loader.epoch(0)))
    parts = list(pieces(batch, 2))
    assert [len(part) for part in parts] == [3, 2]
    assert torch.cat([p.rgb for p in parts if p.rgb is not None]).equal(batch.rgb)
    assert parts[1].keys == ("video 3", "video 4")
    assert len(list(pieces(batch, 9))) == 5


def test_failed_files_are_named_at_the_end(tmp_path: Path) -> None:
    recipe = tiny_run.TinyRecipe(broken=frozenset([3]))
    result = train(recipe, tmp_path, progress=silent)
    assert [f.source for f in result.failures] == ["video 3.mp4"]
    notes = [row["text"] for row in rows_of(tmp_path, "note")]
    assert notes[0] == "unreadable, replaced: video 3.mp4: no frames"
    assert "1 videos skipped in validation: video 3.mp4: no frames" in notes
    assert notes[-1] == "1 of 20 files were unreadable: video 3.mp4: no frames"


def test_too_many_failed_files_stop_the_run(tmp_path: Path) -> None:
    recipe = tiny_run.TinyRecipe(broken=frozenset([3, 4]))
    with pytest.raises(ValueError, match="2 of 20 files could not be read.*video [34].mp4: no f"):
        train(recipe, tmp_path, progress=silent)


def test_a_loss_that_is_no_number_names_step_and_cure(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as error:
        run(tmp_path, optim__lr=1e30, schedule__warmup_epochs=0.0)
    assert str(error.value).startswith("the loss is nan at step ")
    assert "lower optim.lr, lengthen schedule.warmup_epochs" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"run__batch": 0}, "run.batch is 0"),
        ({"run__accumulate": 5}, "run.accumulate is 5 but a process has 4"),
        ({"run__log_steps": 0}, "run.log_steps is 0"),
        ({"schedule__epochs": 0.0}, "schedule.epochs is 0.0"),
        ({"run__ema": 1.5}, "run.ema is 1.5"),
    ],
)
def test_impossible_runs_leave_no_folder(
    tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    out = tmp_path / "run"
    with pytest.raises(ValueError, match=words):
        run(out, **fields)
    assert not out.exists()


def test_without_validation_the_last_weights_are_kept(tmp_path: Path) -> None:
    class Blind(tiny_run.TinyRecipe):
        def build_loader(self, role: str, model: Any, **place: int) -> Any:
            return super().build_loader(role, model, **place) if role == "train" else None

    result = train(Blind(), tmp_path, progress=silent)
    assert result.metrics == {}
    names = ("weights.safetensors", "weights_last.safetensors")
    assert (tmp_path / names[0]).read_bytes() == (tmp_path / names[1]).read_bytes()
