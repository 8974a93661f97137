"""The public verbs over a recipe: ``marey.train`` and ``marey.evaluate``.

Both compose values (a recipe, a data set, weights) and hand them to the engine; the command line
prints what they return. ``evaluate`` takes ten arguments, above the cap: each is a switch of the
command line.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marey.config import override
from marey.recipe import Recipe, differences

if TYPE_CHECKING:
    from marey.data.table import ItemTable
    from marey.engine.evaluate import Evaluation
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
    return result


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

    chosen = recipe or recipe_beside(weights)
    chosen = chosen.changed(data={"path": str(data)}).changed(**(changes or {}))
    where = (model, str(weights)) if model else (str(weights), None)
    network: Any = zoo.load(*where, **chosen.clip_fields())
    network.spec = override(network.spec, chosen.clip, where="clip")
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
