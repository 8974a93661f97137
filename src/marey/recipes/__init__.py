"""Recipes by name: published results as values, smoke runs, and what a run starts from.

Files mirror ``models/``: each holds a literal ``RECIPES`` table. Nothing here imports torch.
"""

from __future__ import annotations

import fnmatch
from dataclasses import replace
from pathlib import Path

from marey.config import nearest
from marey.recipe import Recipe
from marey.recipes import (
    basictad,
    bqn,
    defaults,
    memvit,
    mtv,
    mutualnet,
    mvit,
    r2plus1d,
    resnet3d,
    s3d,
    slowfast,
    stm,
    sts,
    tea,
    tsm,
    tsn,
    two_stream,
    x3d,
)

FAMILIES = (
    defaults,
    resnet3d,
    slowfast,
    r2plus1d,
    s3d,
    mtv,
    x3d,
    sts,
    tsn,
    tsm,
    stm,
    tea,
    mutualnet,
    bqn,
    two_stream,
    basictad,
    mvit,
    memvit,
)
FILES = (".json", ".yaml", ".yml")


def _merged() -> dict[str, Recipe]:
    table: dict[str, Recipe] = {}
    for family in FAMILIES:
        for name, recipe in family.RECIPES.items():
            assert name not in table, f"two recipes are named {name}"
            assert recipe.name == name, f"recipe {recipe.name} stands under {name}"
            table[name] = recipe
    return table


RECIPES = _merged()


def names(pattern: str = "*") -> list[str]:
    """Names of the recipes that match a shell pattern, in the order of the tables."""
    return [name for name in RECIPES if fnmatch.fnmatchcase(name, pattern)]


def find(name: str) -> Recipe:
    """The recipe of this name, or the one in a ``.json``, ``.yaml`` or ``.yml`` file.

    Raises ValueError for an unknown name (with the nearest), a missing file or a wrong field.
    """
    if name in RECIPES:
        return RECIPES[name]
    if Path(name).suffix in FILES:
        if not Path(name).is_file():
            raise ValueError(f"recipe file {name} does not exist: check the path")
        return Recipe.read(name)
    raise ValueError(
        f"unknown recipe {name!r}: give a name from marey.recipes.names() or a .json or .yaml file"
        f"{nearest(name, RECIPES)}"
    )


def choose(*, model: str = "", weights: str = "", recipe: str = "") -> Recipe:
    """What a run starts from. A named recipe keeps its fields but for the model and weights given;
    weights alone start ``finetune``, a model alone ``scratch``, nothing at all ``small``. Weights
    named "none" are none: the recipe's network then begins with random ones.

    Raises ValueError for a recipe that is not known.
    """
    named = "" if weights == "none" else weights
    fallback = "finetune" if named else "scratch" if model else "small"
    start = find(recipe or fallback)
    return replace(start, model=model or start.model, weights=named if weights else start.weights)
