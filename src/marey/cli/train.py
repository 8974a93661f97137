"""``marey train``, ``marey evaluate`` and ``marey fuse``.

Train has more than 14 fields: six are the tables of a recipe, the others switches people type.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional, UseAppendAction

from marey.choices import (
    AugmentChoice,
    DataChoice,
    OptimChoice,
    RunChoice,
    ScheduleChoice,
    TaskChoice,
)
from marey.cli.parse import UsageError, echo, find_word, flat, nested, pairs, take_prefixed, views
from marey.config import to_plain

DATA_HELP = "folder of videos, CSV list, known data set, or drawn:TASK"
if TYPE_CHECKING:
    from marey.engine.evaluate import Evaluation

SECTIONS = ("data", "augment", "task", "optim", "schedule", "run")


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train on labelled videos; the same command again continues a stopped run.

    DATA is a folder (a sub-folder a class, or train/ and val/ above them), a CSV list with the
    header path,label[,split][,start_s,end_s], a known data set's folder, or drawn:TASK.
    Fields of the network and of its input are set with --net.FIELD and --clip.FIELD
    (marey models show NAME lists them).
    """

    data_address: Annotated[Positional[str], tyro.conf.arg(metavar="DATA", help=DATA_HELP)]
    model: str = ""
    """variant to build, see 'marey models list'"""
    weights: str = ""
    """file or run to start from, any published layout or ours; its head is resized; none: not those
    of the recipe"""
    recipe: str = ""
    """name or .json/.yaml file of a recipe"""
    out: str = ""
    """run folder; default runs/DATA-MODEL"""
    where: UseAppendAction[tuple[str, ...]] = ()
    """COLUMN=VALUE: only such rows of a list"""
    context: float | None = None
    """seconds added on both sides of timed rows"""
    format: str = ""
    """layout of DATA where it is not recognised"""
    policy: Literal["clamp", "strict"] | None = None
    """what to do with videos shorter than the clip"""
    json: bool = False
    """print the final metrics as one line of JSON"""
    data: DataChoice = DataChoice()
    augment: AugmentChoice = AugmentChoice()
    task: TaskChoice = TaskChoice()
    optim: OptimChoice = OptimChoice()
    schedule: ScheduleChoice = ScheduleChoice()
    run_: Annotated[RunChoice, tyro.conf.arg(name="run")] = RunChoice()
    net_fields: tyro.conf.Suppress[str] = "{}"
    clip_fields: tyro.conf.Suppress[str] = "{}"

    @classmethod
    def prepare(cls, words: list[str]) -> tuple[list[str], Train]:
        """Take --net and --clip fields out, and start from the recipe the words name."""
        from marey import recipes

        words, net = take_prefixed(words, "net")
        words, clip = take_prefixed(words, "clip")
        chosen = recipes.choose(
            model=find_word(words, "--model"),
            weights=find_word(words, "--weights"),
            recipe=find_word(words, "--recipe"),
        )
        return words, cls(
            data_address=tyro.MISSING,
            data=chosen.data,
            augment=chosen.augment,
            task=chosen.task,
            optim=chosen.optim,
            schedule=chosen.schedule,
            run_=chosen.run,
            net_fields=json.dumps({**chosen.net, **net}),
            clip_fields=json.dumps({**chosen.clip, **clip}),
        )

    def changes(self) -> dict[str, Any]:
        """What the words change in the recipe, as nested plain data."""
        tables = {
            name: to_plain(getattr(self, name if name != "run" else "run_")) for name in SECTIONS
        }
        data = tables["data"]
        data["path"] = self.data_address
        data["format"] = self.format or data["format"]
        data["where"] = pairs(self.where, "--where") or data["where"]
        data["context_s"] = data["context_s"] if self.context is None else self.context
        data["policy"] = self.policy or data["policy"]
        return {**tables, "net": json.loads(self.net_fields), "clip": json.loads(self.clip_fields)}

    def run(self) -> int:
        """Train, then print where the run is and what it reached."""
        from marey import recipes, verbs

        chosen = recipes.choose(model=self.model, weights=self.weights, recipe=self.recipe)
        chosen = chosen.changed(**self.changes())
        out = Path(self.out) if self.out else verbs.default_run_folder(chosen)
        if not (self.model or self.weights or self.recipe):
            echo(f"no --model, --weights or --recipe given: using recipe {chosen.name!r}")
        result = verbs.train(chosen, out=out)
        if os.environ.get("RANK", "0") == "0":
            report_run(out, as_json=self.json)
        for failure in result.failures:
            echo(f"  {failure.source}: {failure.reason}")
        return 1 if result.failures else 0


def report_run(out: Path, *, as_json: bool) -> None:
    """Print what a finished run's metrics.json says."""
    told = json.loads((out / "metrics.json").read_text())
    if as_json:
        print(json.dumps({"run": str(out), **{k: told[k] for k in ("model", "split", "metrics")}}))
        return
    print(
        f"{told['split']} over {told['views'][0]}x{told['views'][1]} views: {flat(told['metrics'])}"
    )
    print(f"weights {out / 'weights.safetensors'}, report {out / 'report.html'}")


def summary(told: Evaluation) -> dict[str, Any]:
    """What one evaluation found, without its rows."""
    return {
        "model": told.model,
        "split": told.split,
        "views": list(told.views),
        "metrics": told.metrics,
        "videos": len(told.clips),
        "clamped": told.clamped,
        "skipped": to_plain(told.skipped),
    }


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Accuracy of weights on labelled videos, every video once over all its views.

    Fields of the network's input are set with --clip.FIELD, as in --clip.test_size 160, those of
    the task with --task.FIELD, as in --task.segments.overlaps 0.5 0.75 0.95.
    """

    data: Annotated[Positional[str], tyro.conf.arg(metavar="DATA", help=DATA_HELP)]
    weights: str = ""
    """run folder or weight file, ours or any published layout"""
    model: str = ""
    """variant, where the weights do not tell"""
    views: str = ""
    """TIMExSPACE views of each video, as 10x3; default: the network's own"""
    split: str = ""
    """split of DATA; default val, else test"""
    where: UseAppendAction[tuple[str, ...]] = ()
    """COLUMN=VALUE: only such rows of a list"""
    context: float | None = None
    """seconds added on both sides of timed rows"""
    format: str = ""
    """layout of DATA where it is not recognised"""
    policy: Literal["clamp", "strict"] | None = None
    """what to do with videos shorter than the clip"""
    flow: str = ""
    """folder of optical flow, for networks that read it"""
    workers: int = -1
    """loader processes; -1: as many as cores allow"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    out: str = ""
    """folder for metrics.json, predictions.json and report.html"""
    json: bool = False
    """print the metrics as one line of JSON"""
    clip_fields: tyro.conf.Suppress[str] = "{}"
    task_fields: tyro.conf.Suppress[str] = "{}"

    @classmethod
    def prepare(cls, words: list[str]) -> tuple[list[str], Evaluate]:
        """Take --clip and --task fields out."""
        words, clip = take_prefixed(words, "clip")
        words, task = take_prefixed(words, "task")
        clips, tasks = json.dumps(clip), json.dumps(nested(task))
        return words, cls(data=tyro.MISSING, clip_fields=clips, task_fields=tasks)

    def run(self) -> int:
        """Evaluate and print; 1 when files were skipped."""
        if not self.weights:
            raise UsageError("--weights is missing: name a run folder or a weight file")
        from marey import verbs

        wanted = views(self.views)
        where = pairs(self.where, "--where")
        data: dict[str, Any] = {"workers": self.workers}
        data |= {"format": self.format} if self.format else {}
        data |= {"where": where} if where else {}
        data |= {"context_s": self.context} if self.context is not None else {}
        data |= {"policy": self.policy} if self.policy else {}
        data |= {"flow": self.flow} if self.flow else {}
        told = verbs.evaluate(
            self.data,
            weights=self.weights,
            model=self.model,
            split=self.split,
            views=wanted,
            changes={
                "data": data,
                "clip": json.loads(self.clip_fields),
                "task": json.loads(self.task_fields),
            },
            out=self.out or None,
            device=self.device,
        )
        if self.out:
            echo(f"report {Path(self.out) / 'report.html'}")
        if self.json:
            print(json.dumps({"source": self.data, **summary(told)}))
        else:
            print(flat(told.metrics))
            echo(
                f"{len(told.clips)} videos, {told.clamped} shorter than the clip, "
                f"{len(told.skipped)} skipped"
            )
            for failure in told.skipped:
                echo(f"  {failure.source}: {failure.reason}")
        return 1 if told.skipped else 0


@dataclass(frozen=True, kw_only=True)
class Fuse:
    """Average the class scores of evaluated networks: an RGB and a flow stream, or an ensemble.

    Each RUN is a folder that marey evaluate --out wrote, or a run of marey train, all on the same
    videos. Nothing is computed again.
    """

    runs: Annotated[
        Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN", help="two or more folders")
    ]
    shares: tuple[float, ...] = ()
    """how much each counts, as 1 1.5; default: all alike"""
    out: str = ""
    """folder for metrics.json, predictions.json and report.html"""
    json: bool = False
    """print the metrics as one line of JSON"""

    def run(self) -> int:
        """Average and print, each network's own figures first."""
        from marey import verbs

        told = verbs.fuse(self.runs, shares=self.shares, out=self.out or None)
        if self.out:
            echo(f"report {Path(self.out) / 'report.html'}")
        if self.json:
            print(json.dumps({"runs": list(self.runs), **summary(told)}))
            return 0
        for run in self.runs:
            own = json.loads((Path(run) / "metrics.json").read_text())
            print(f"{run}: {flat(own['metrics'])}")
        print(f"together: {flat(told.metrics)}")
        echo(f"{len(told.clips)} videos")
        return 0
