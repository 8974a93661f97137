"""A run's folder: what training writes, and when.

    recipe.json   log.jsonl   events.out.tfevents*   checkpoints/   weights.safetensors (best)
    weights_last.safetensors   metrics.json and predictions.json (of the best weights)

Only the main process writes; every process calls, since states are gathered on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from marey.config import write_json
from marey.engine import distributed
from marey.engine.checkpoint import Checkpoints
from marey.engine.distributed import Ranks
from marey.engine.evaluate import Evaluation, write_evaluation
from marey.engine.log import Progress, RunLog
from marey.engine.state import Meter, Recipe, RunState
from marey.engine.stop import Stopped
from marey.types import Batch, Failure

BEST_WEIGHTS, LAST_WEIGHTS = "weights.safetensors", "weights_last.safetensors"


class TrainingError(ValueError):
    """Training cannot go on; the message names the step and the cure."""


class RunFolder:
    """The written side of one run: ``rows`` videos to train on, for ``epochs``."""

    def __init__(
        self, out: Path, recipe: Recipe, ranks: Ranks, *, rows: int, epochs: float
    ) -> None:
        self.out, self.recipe, self.ranks = out, recipe, ranks
        self.rows, self.epochs = rows, epochs
        self.checkpoints = Checkpoints(out / "checkpoints", keep=recipe.run.keep)
        self.log: RunLog
        self.progress: Progress | None = None
        self.best_now = False

    def resume(self, state: RunState, progress: Progress | None) -> None:
        """Bring ``state`` to the newest checkpoint and the log back to it; make a fresh folder."""
        self.progress = progress if self.ranks.main else None
        saved = self.checkpoints.latest()
        exact = state.restore(saved) if saved else True
        if self.ranks.main:
            self.out.mkdir(parents=True, exist_ok=True)
            write_json(self.out / "recipe.json", self.recipe.to_plain())
            self.checkpoints.clean()
        self.log = RunLog(
            self.out,
            at=saved["log_bytes"] if saved else 0,
            step=state.step,
            main=self.ranks.main,
            progress=progress,
        )
        if not exact:
            self.note(
                state, f"resumed with {self.ranks.world} processes: not bit for bit as before"
            )

    @contextmanager
    def open_until_end(self) -> Iterator[None]:
        """Close the log whatever happens."""
        try:
            yield
        finally:
            self.log.close()

    def save(self, state: RunState) -> None:
        """One checkpoint; it is the best one right after the best evaluation."""
        saved = state.gathered(self.log.size())
        if self.ranks.main:
            self.checkpoints.save(saved, state.step, best=self.best_now)
        self.best_now = False
        distributed.wait(self.ranks.world)

    def leave(self, state: RunState, number: int) -> NoReturn:
        """Say that all is saved, and raise Stopped for the signal ``number``."""
        stopped = Stopped(number, state.step)
        if self.progress is not None:
            self.progress({"kind": "note", "text": stopped.reason})
        raise stopped

    def note(self, state: RunState, text: str) -> None:
        """One line of text in the log."""
        self.log.note(text, epoch=float(state.epoch), step=state.step)

    def inspect(self, state: RunState, batch: Batch) -> None:
        """Count what the data floor had to replace or clamp. Raises ValueError above bad_share."""
        state.clamped, state.clips = state.clamped + batch.clamped, state.clips + len(batch)
        if batch.failures:
            self._blame(state, batch.failures)
        if not len(batch):
            raise TrainingError(
                f"no video of step {state.step + 1} could be read: run 'marey data check'"
            )

    def join_failures(self, state: RunState) -> None:
        """Let every process know the files that failed on any."""
        found = distributed.gather_objects(state.failures.failures, self.ranks.world)
        self._blame(state, tuple(failure for part in found for failure in part))

    def _blame(self, state: RunState, failures: tuple[Failure, ...]) -> None:
        for failure in state.failures.add(failures):
            self.note(state, f"unreadable, replaced: {failure.source}: {failure.reason}")
        state.failures.raise_if_above(self.recipe.data.bad_share, self.rows)

    def training_row(self, state: RunState, *, epoch: float, rate: float, left: float) -> None:
        """Log the figures since the last row, over all processes; ``left`` steps remain."""
        meter, state.meter = state.meter, Meter()
        loss, correct, count = distributed.total(
            [meter.loss, meter.correct, meter.count], self.ranks
        )
        timed, counted = max(1, meter.timed), getattr(state.task, "counts_correct", True)
        data_s, step_s = meter.data_s / timed, meter.step_s / timed
        row = {
            "kind": "train",
            "epoch": round(epoch, 6),
            "step": state.step,
            "loss": loss / count,
            **({"accuracy": correct / count} if counted else {}),
            "lr": rate,
            "data_s": round(data_s, 5),
            "step_s": round(step_s, 5),
            "eta_s": round(left * (data_s + step_s), 1),
        }
        self.log.row(row, epochs=self.epochs)

    def keep(self, state: RunState, evaluation: Evaluation, model: Any) -> None:
        """Log an evaluation of ``model``; keep weights and predictions where they are the best."""
        state.metrics = evaluation.metrics
        figure = evaluation.metrics[state.task.best]
        self.best_now = figure > state.best
        state.best = max(figure, state.best)
        place = {"epoch": float(state.epoch + 1), "step": state.step}
        spent = {"val_s": round(evaluation.seconds, 3)}
        self.log.row({"kind": "val", **place, **evaluation.metrics, **spent})
        if evaluation.skipped:
            names = "; ".join(f"{f.source}: {f.reason}" for f in evaluation.skipped[:5])
            self.note(state, f"{len(evaluation.skipped)} videos skipped in validation: {names}")
        if not self.ranks.main:
            return
        self.recipe.save_model(model, self.out / LAST_WEIGHTS)
        if self.best_now:
            self.recipe.save_model(model, self.out / BEST_WEIGHTS)
            write_evaluation(self.out, evaluation)

    def keep_unmeasured(self, model: Any) -> None:
        """Weights of a run that has no validation split: the last are the best there are."""
        if self.ranks.main:
            self.recipe.save_model(model, self.out / LAST_WEIGHTS)
            self.recipe.save_model(model, self.out / BEST_WEIGHTS)

    def summarise(self, state: RunState) -> None:
        """The last notes: files that failed, clips that repeat frames."""
        clamped, clips = distributed.total([state.clamped, state.clips], self.ranks)
        if clamped:
            self.note(
                state,
                f"{clamped:.0f} of {clips:.0f} training clips are longer than their video and "
                "repeat its frames",
            )
        if len(state.failures):
            lines = "; ".join(state.failures.report())
            self.note(state, f"{len(state.failures)} of {self.rows} files were unreadable: {lines}")
