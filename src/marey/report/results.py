"""What a run reached: beside what is claimed, by pairs of classes, and class by class."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from marey.report.charts import bars
from marey.report.matrix import NUMBERED_CLASSES, SVG_CLASSES, confusions, matrix
from marey.report.run import RunFolder, is_number
from marey.report.tables import table
from marey.report.words import letters, metric_name, percent

LISTED_CLASSES = 24  # more classes than this fold into lowest, highest and a list to open
NOT_MEASURES = ("epoch", "step", "loss", "seconds", "kind", "clips", "val_s")


def reached(run: RunFolder) -> dict[str, float]:
    """The run's measures by name, as fractions: of its evaluation, else its last validation."""
    found = run.metrics.get("metrics")
    if not isinstance(found, Mapping):
        found = (run.rows.get("val") or [{}])[-1]
    return {str(k): float(v) for k, v in found.items() if is_number(v) and k not in NOT_MEASURES}


def protocol(run: RunFolder) -> str:
    """Split and views of the evaluation, in words."""
    views, split = run.metrics.get("views"), run.metrics.get("split")
    parts = [f"{split} split" if split else ""]
    if isinstance(views, list) and len(views) == 2:
        parts.append(f"{views[0]}x{views[1]} views")
    return ", ".join(part for part in parts if part)


def claims_lead(run: RunFolder) -> str:
    """The sentences above the table: what a claim holds for, and what it cost its authors."""
    if not run.claims:
        return "This recipe repeats no published result, so nothing is claimed."
    origin = run.recipe.get("origin")
    origin = origin if isinstance(origin, Mapping) else {}
    hours = f"{origin['hours']:g} hours" if is_number(origin.get("hours")) else ""
    cost = ", ".join(str(part) for part in (origin.get("hardware"), hours) if part)
    paper = ", ".join(str(origin[key]) for key in ("paper", "table") if origin.get(key))
    said = ["A claim holds for its own data and protocol; reached is what this run measured."]
    said += [f"Recipe: {paper}."] if paper else []
    said += [f"Originally trained on {cost}."] if cost else []
    return " ".join(said)


def claims_table(run: RunFolder) -> str:
    """Claimed and reached in columns of their own; a claim nobody measured says so."""
    values = reached(run)
    rows, told = [], set()
    for claim in run.claims:
        key = _matching(str(claim.get("metric", "")), values)
        told.add(key)
        name = metric_name(key or str(claim.get("metric", "")))
        about = ", ".join(str(claim[f]) for f in ("dataset", "protocol") if claim.get(f))
        got = percent(values[key]) if key else "not measured"
        rows.append((name, _claimed(claim), got, about, str(claim.get("source") or "")))
    for key, value in values.items():
        if key not in told:
            rows.append((metric_name(key), "none", percent(value), protocol(run), ""))
    if not any(row[4] for row in rows):
        rows = [row[:4] for row in rows]  # type: ignore[misc]
    head = ("measure", "claimed", "reached", "on", "source")
    return table(head, rows, numeric=(1, 2), strong=(2,), small=(3, 4))


def _matching(metric: str, values: Mapping[str, float]) -> str:
    """The measure a claim is about, or an empty string."""
    wanted = letters(metric)
    return next((k for k in values if wanted in (letters(k), letters(metric_name(k)))), "")


def _claimed(claim: Mapping[str, Any]) -> str:
    value = claim.get("value")
    if not is_number(value):
        return "unknown"
    return percent(value if value <= 1 else value / 100)


def confusion(run: RunFolder) -> str:
    """The matrix beside the pairs most often mistaken."""
    counts = run.metrics.get("confusion")
    if not counts or not isinstance(counts, list):
        return ""
    names = [run.class_name(i) for i in range(len(counts))]
    try:
        picture = matrix(counts, names)
    except ValueError as error:
        return f"<p>{escape(str(error))}</p>"
    pairs = [
        (true, taken, f"{clips:,}", percent(share))
        for true, taken, clips, share in confusions(counts, names)
    ]
    head = ("true class", "taken for", "clips", "of class")
    listed = table(head, pairs, numeric=(2, 3)) or "<p>No clip was taken for another class.</p>"
    beside = f"<div><h3>Most often mistaken</h3>{listed}</div>"
    wide = NUMBERED_CLASSES < len(names) <= SVG_CLASSES
    return f'<div class="{"" if wide else "two"}"><div>{picture}</div>{beside}</div>'


def class_shares(run: RunFolder) -> list[tuple[str, float, str]]:
    """(class, share, note) in class order, of classes that occur.

    The share is recall where there is a confusion matrix, else what ``per_class`` holds.
    """
    counts = run.metrics.get("confusion")
    if isinstance(counts, list) and counts:
        totals = [sum(row) for row in counts]
        return [
            (run.class_name(k), row[k] / total, f"{row[k]:g} of {total:g}")
            for k, (row, total) in enumerate(zip(counts, totals, strict=True))
            if total
        ]
    per_class = run.metrics.get("per_class")
    if isinstance(per_class, list):
        per_class = {run.class_name(k): value for k, value in enumerate(per_class)}
    if not isinstance(per_class, Mapping):
        return []
    values = {str(name): _measure(value) for name, value in per_class.items()}
    return [(name, v, percent(v)) for name, v in values.items() if v is not None]


def _measure(value: object) -> float | None:
    """A number, or the measure in a row such as {"count": 12, "ap": 0.4}."""
    if isinstance(value, Mapping):
        value = next((value[k] for k in ("accuracy", "ap", "recall") if k in value), None)
    return float(value) if is_number(value) else None


def classes_lead(run: RunFolder) -> str:
    """What the bars of ``classes`` are."""
    if run.metrics.get("confusion"):
        return "Share of the clips of each class that were recognised."
    return "Average precision of each class."


def classes(run: RunFolder) -> str:
    """A bar a class, best first; of many classes the lowest and highest, the rest to open."""
    rows = class_shares(run)
    order = sorted(rows, key=lambda row: -row[1])
    if len(rows) <= LISTED_CLASSES:
        return bars(order)
    low, high = bars(order[::-1][:12], hue=1), bars(order[:12])
    every = bars(rows).replace('class="bars"', 'class="bars columns"', 1)
    return (
        f'<div class="two"><div><h3>Lowest</h3>{low}</div><div><h3>Highest</h3>{high}</div></div>'
        f"<details><summary>All {len(rows)} classes</summary>{every}</details>"
    )
