"""The public verbs over a recipe: ``marey.train``, ``marey.evaluate`` and ``marey.expand``.

Both compose values (a recipe, a data set, weights) and hand them to the engine; the command line
prints what they return. ``evaluate`` takes ten arguments, above the cap: each is a switch of the
command line.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marey.choices import TaskChoice
from marey.config import override, read_mapping, to_plain, write_json
from marey.recipe import Origin, Recipe, differences

if TYPE_CHECKING:
    from marey.data.table import ItemTable
    from marey.engine.candidates import CostKind, Space
    from marey.engine.evaluate import Evaluation
    from marey.engine.expand import Expansion, Plan
    from marey.engine.train import TrainResult

Progress = Callable[[Mapping[str, Any]], None]


def train(
    data: str | Path | Recipe,
    *,
    model: str = "",
    weights: str = "",
    recipe: str = "",
    out: str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Train on a folder, list or ``drawn:TASK``, or run a whole Recipe; the same call continues.

    ``model`` names a variant, ``weights`` any published or own file to start from, ``recipe`` a
    named recipe or file, ``changes`` nested fields to replace. The run folder ``out`` then holds
    weights, log, metrics of the validation split over all views, and report.html. Every process
    of torchrun makes the same call. Raises ValueError for anything the recipe cannot mean, before
    anything is written; Stopped (a SystemExit) after a signal, when all is saved.
    """
    from marey.engine.train import train as run_recipe

    chosen = data if isinstance(data, Recipe) else compose(data, model, weights, recipe)
    chosen = chosen.changed(**(changes or {}))
    folder = Path(out) if out else default_run_folder(chosen)
    refuse_other_run(chosen, folder)
    existed = folder.exists()
    try:
        result = run_recipe(chosen, folder, progress=progress)
    except ValueError:
        if not existed and not any((folder / "checkpoints").glob("step-*")):
            shutil.rmtree(folder, ignore_errors=True)  # nothing was learned: leave nothing behind
        raise
    evaluate(chosen.data.path, weights=folder, recipe=chosen, out=folder, progress=progress)
    if chosen.task.kind == "mutual" and os.environ.get("RANK", "0") == "0":
        from marey.zoo import read_state

        known = read_state(folder)[1]["config"]["table"]
        if not any(row["latency_ms"] for row in known):  # not measured on these weights yet
            tabulate(folder, progress=progress)
    return result


def tabulate(
    weights: str | Path,
    *,
    data: str | Path = "",
    model: str = "",
    settings: Sequence[float] = (),
    out: str | Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> tuple[Any, ...]:
    """Measure the query table of a MutualNet and store it with its weights; its rows.

    Each setting gets norm statistics of its own from training clips of ``data`` (by default what
    the weights were trained on), and its accuracy on the validation split. The weights are
    written to ``out``, by default over the run's. Raises ValueError where there is no data, no
    place to write, or a network of one width.
    """
    from marey import zoo
    from marey.engine.log import ProgressLine
    from marey.engine.tabulate import tabulate as measure
    from marey.predictor.predictor import choose_device

    network: Any = zoo.load(model or str(weights), weights=str(weights) if model else None)
    chosen = recipe_beside(weights)
    chosen = chosen.changed(data={"path": str(data)}) if data else chosen
    run = Path(weights)
    if out is None and not run.is_dir():
        raise ValueError(f"{weights} is a file, not a run; say where to write with out")
    rows = measure(
        chosen,
        network,
        settings=settings,
        device=choose_device(device),
        progress=progress or ProgressLine(),
    )
    chosen.save_model(network, Path(out) if out else run / "weights.safetensors")
    return rows


def compose(data: str | Path, model: str, weights: str, recipe: str) -> Recipe:
    """The recipe that a data address and a few names mean."""
    from marey import recipes

    chosen = recipes.choose(model=model, weights=weights, recipe=recipe)
    return chosen.changed(data={"path": str(data)})


def default_run_folder(recipe: Recipe) -> Path:
    """``runs/DATA-MODEL``: the same command finds the same folder again."""
    stem = Path(recipe.data.path.partition("?")[0].removeprefix("drawn:")).stem or "data"
    filters = "-".join((recipe.data.where or {}).values())
    name = "-".join(
        part for part in (stem, filters, recipe.model or Path(recipe.weights).stem) if part
    )
    return Path("runs") / re.sub(r"[^\w.-]+", "_", name)


def refuse_other_run(recipe: Recipe, folder: Path) -> None:
    """Raises ValueError when the folder already holds a run of another recipe."""
    written = folder / "recipe.json"
    if not written.exists():
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(f"{folder} exists and holds no run: choose another --out folder")
        return
    there = Recipe.read(written)
    found = differences(recipe, there)
    if found:
        raise ValueError(
            f"{folder} holds a run of another recipe ({'; '.join(found[:3])}): "
            "repeat its command to continue it, or choose another --out folder"
        )


def evaluate(
    data: str | Path,
    *,
    weights: str | Path,
    model: str = "",
    recipe: Recipe | None = None,
    split: str = "",
    views: tuple[int, int] | None = None,
    changes: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Evaluation:
    """Accuracy of weights on labelled data, every video once over all its views.

    ``weights`` is a run folder, one of our files or any published one (then ``model`` may be
    needed). ``out`` also writes metrics.json, predictions.json and report.html. Processes of
    torchrun share the videos. Raises ValueError when the data's classes are not among those the
    weights know.
    """
    from marey import zoo
    from marey.engine import distributed
    from marey.engine.evaluate import evaluate as run_evaluation
    from marey.engine.log import ProgressLine
    from marey.zoo.published.basictad import segments_of

    chosen = recipe or recipe_beside(weights)
    given = dict(changes or {})
    task = given.pop("task", {})
    chosen = chosen.changed(data={"path": str(data)}).changed(**given)
    where = (model, str(weights)) if model else (str(weights), None)
    network: Any = zoo.load(*where, **chosen.clip_fields())
    network.spec = override(network.spec, chosen.clip, where="clip")
    if getattr(network, "task", "") == "temporal_detection" and chosen.task == TaskChoice():
        told = segments_of(network.config.head, network.classes or ())
        chosen = replace(chosen, task=TaskChoice(segments=told))  # published weights
    chosen = chosen.changed(task=task)
    items = chosen.open_data().split(split) if split else chosen.items("val")
    ranks = distributed.start(device)
    loader = chosen.loader_of(
        match_classes(network, items),
        "val",
        network,
        batch=1,
        views=views or chosen.views or network.spec.views,
        place=(ranks.rank, ranks.world),
    )
    evaluation = run_evaluation(
        network,
        chosen.build_task(network),
        loader,
        device=ranks.device,
        precision=chosen.run.precision,
        split=split or chosen.split_of("val"),
        progress=progress or ProgressLine(),
    )
    if out is not None and ranks.main:
        write_results(Path(out), evaluation)
    return evaluation


def fuse(
    folders: Sequence[str | Path],
    *,
    shares: Sequence[float] = (),
    out: str | Path | None = None,
) -> Evaluation:
    """Accuracy of several networks whose class scores are averaged: two streams, or an ensemble.

    ``folders`` are what ``evaluate(..., out=)`` wrote for each, or run folders; ``shares`` weigh
    them (all alike by default). ``out`` writes results as ``evaluate`` does. Raises ValueError for
    folders without class scores, and where videos, labels or classes are not the same.
    """
    from marey.engine.fusion import fuse as fuse_evaluations
    from marey.engine.fusion import read_evaluation

    evaluation = fuse_evaluations([read_evaluation(folder) for folder in folders], shares)
    if out is not None:
        write_results(Path(out), evaluation)
    return evaluation


def write_results(folder: Path, evaluation: Evaluation) -> None:
    """metrics.json, predictions.json and the report page of one evaluation."""
    from marey.engine.evaluate import write_evaluation
    from marey.report.page import write_page

    write_evaluation(folder, evaluation)
    write_page(folder)


def recipe_beside(weights: str | Path) -> Recipe:
    """The recipe stored with a run or one of our weight files; an empty one for published files."""
    from marey import zoo

    path = Path(weights)
    if path.is_dir() and (path / "recipe.json").exists():
        return Recipe.read(path / "recipe.json")
    stored = zoo.read_state(path)[1].get("recipe")
    return Recipe.from_plain(stored) if stored else Recipe()


def match_classes(model: Any, items: ItemTable) -> ItemTable:
    """The items with their labels counted as the model counts them, matched by class name.

    Raises ValueError when the data names a class the weights do not know.
    """
    if model.classes is not None:
        return items.relabel(model.classes)
    count = model.config.num_classes
    if items.num_classes != count:
        raise ValueError(
            f"the data has {items.num_classes} classes but the weights tell {count} apart and "
            "carry no names: evaluate on the data set they were trained on, or fine-tune first"
        )
    return items


def expand(
    data: str | Path | Recipe,
    plan: Plan,
    *,
    cost: CostKind = "macs",
    model: str = "x2d",
    out: str | Path | None = None,
    jobs: int = 1,
    repeats: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Grow a small network on your data until ``plan.budget`` is spent; the same call continues.

    Candidates are trained by the recipe given as ``data``, or by ``scratch`` for ``model``: once
    each, in one of ``jobs`` processes, with ``repeats`` seeds. Answers plain data: the search
    (``expansion``) and the ``recipe`` it ends with; both stand in ``out`` too, with report.html.
    ``progress`` hears lines of text, and this answer after every step. Raises ValueError for a
    network without the six factors, a budget below its cost, and data without enough videos.
    """
    from marey.engine.candidates import Costs, Space, Trials, check_data, fingerprint
    from marey.engine.expand import search

    recipe = data if isinstance(data, Recipe) else compose(data, model, "", "")
    own = default_run_folder(recipe)
    folder = Path(out) if out else own.with_name(f"{own.name}-expand")
    space, heard = Space.of(recipe), progress or (lambda row: None)
    answer: dict[str, Any] = {"out": str(folder), "model": recipe.model, "recipe": None}
    answer |= {"base": fingerprint(recipe), "cost_kind": cost, "budget": plan.budget}
    answer |= {"data": recipe.data.path, "resolution": check_data(recipe)}
    refuse_other_search(folder, answer["base"])
    costs = Costs(space, cost, folder)
    trials = Trials(
        space, folder, jobs=jobs, repeats=repeats, told=lambda text: heard({"text": text})
    )

    def told(found: Expansion) -> None:
        write_expansion(folder, answer, found, space)
        heard(answer)

    existed, timed = folder.exists(), replace(plan, timed=space.timed)
    try:
        search(space.start, timed, cost=costs, judge=trials, told=told)
    except ValueError:
        if not existed and not (folder / "expansion.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return answer


def write_expansion(folder: Path, answer: dict[str, Any], found: Expansion, space: Space) -> None:
    """A search so far into ``answer`` and its folder: data, page, and the recipe it ends with."""
    from marey.report.expansion import write_expansion_page

    answer.update(expansion=to_plain(found))
    if found.final is not None:
        answer["recipe"] = as_expanded(space.recipe_at(found.final.state), folder).to_plain()
        write_json(folder / "expanded.json", answer["recipe"])
    write_json(folder / "expansion.json", answer)
    write_expansion_page(folder, answer)


def as_expanded(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe of a search's result, under a name that says where it comes from."""
    command = f"marey train {shlex.quote(recipe.data.path)} --recipe {folder / 'expanded.json'}"
    origin = Origin(paper="a search on the data named, not a published result", command=command)
    return replace(recipe, name="expanded", origin=origin, claims=())


def refuse_other_search(folder: Path, mark: str) -> None:
    """Raises ValueError where a folder holds something else than a search from the same start."""
    written = folder / "expansion.json"
    if not written.exists():
        begun = folder / "candidates"
        if folder.exists() and any(folder.iterdir()) and not begun.exists():
            raise ValueError(f"{folder} exists and holds no search: choose another --out folder")
        return
    if read_mapping(written).get("base") != mark:
        raise ValueError(
            f"{folder} holds a search from another start or recipe: repeat its command to continue "
            "it, or choose another --out folder"
        )
