"""Class names of the public data sets, in label order."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from marey.config import nearest

SHORT = {"k400": "kinetics400", "k600": "kinetics600", "k700": "kinetics700"}


@cache
def class_names(dataset: str) -> tuple[str, ...]:
    """Names of a public data set's classes; ``k400`` is ``kinetics400``.

    AVA has one entry for each of its 80 outputs; those never evaluated are ``action N``.
    Raises ValueError for a data set without a list, naming the nearest.
    """
    folder = files("marey.zoo").joinpath("classes")
    known = sorted(f.name[:-4] for f in folder.iterdir() if f.name.endswith(".txt"))
    name = SHORT.get(dataset, dataset)
    if name not in known:
        raise ValueError(
            f"there is no class list {dataset!r}{nearest(name, known)} (known: {', '.join(known)})"
        )
    text = folder.joinpath(f"{name}.txt").read_text(encoding="utf-8")
    lines = tuple(line for line in text.splitlines() if line.strip())
    if name == "ava":
        numbered = dict(re.split(r":\s*", line, maxsplit=1) for line in lines)
        return tuple(numbered.get(str(i), f"action {i}") for i in range(1, 81))
    if name == "thumos14":
        return tuple(line.split(maxsplit=1)[1] for line in lines)
    return lines
