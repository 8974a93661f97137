"""The page of a search: every candidate by cost and accuracy, and the table of each step.

It is written from plain data (``expansion.json`` of the folder), after every step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from marey.config import write_whole
from marey.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Plot, text_at, ticks
from marey.report.page import whole_page
from marey.report.tables import table
from marey.report.words import big, percent

Row = Mapping[str, Any]
COST_NAMES = {"macs": "multiply-adds", "latency": "latency", "memory": "memory"}
HEAD = (
    "axis",
    "frames",
    "pixels",
    "width",
    "bottleneck",
    "depth",
    "cost",
    "accuracy",
    "points gained",
)


def cost_text(kind: str, value: float) -> str:
    """A cost with its unit: 41 M, 12.3 ms, 63.2 MB."""
    if kind == "latency":
        return f"{1000 * value:.3g} ms" if value < 1 else f"{value:.3g} s"
    return f"{big(value)}{'B' if kind == 'memory' else ''}"


def write_expansion_page(folder: Path, told: Row) -> Path:
    """``report.html`` of a search's folder."""
    return write_whole(folder / "report.html", render(told))


def render(told: Row) -> str:
    """The whole page as one string; ``told`` is what ``marey.expand`` returns."""
    kind, found = told["cost_kind"], told["expansion"]
    parts = [_header(told)]
    title = f"Accuracy by {COST_NAMES[kind]}"
    parts.append(f"<section><h2>{title}</h2>{chart(kind, found, told['budget'])}</section>")
    before = found["start"]
    for number, step in enumerate(found["steps"], start=1):
        rows = step_rows(kind, step["candidates"], step["chosen"], before)
        before = step["candidates"][step["chosen"]]
        shown = table(HEAD, rows, numeric=range(1, 8))
        parts.append(f"<section><h2>Step {number}: {escape(before['axis'])}</h2>{shown}</section>")
    if found["final"] is not None:
        shown = table(HEAD[:-1], [state_row(kind, found["final"], "")[:-1]], numeric=range(1, 8))
        parts.append(f"<section><h2>Result</h2>{shown}</section>")
    if found["alone"]:
        rows = [state_row(kind, row, "") for row in found["alone"]]
        said = (
            '<p class="said">The start scaled along one axis alone, as far as the budget goes.</p>'
        )
        shown = table(HEAD[:-1], [row[:-1] for row in rows], numeric=range(1, 8))
        parts.append(f"<section><h2>Single axes</h2>{said}{shown}</section>")
    return whole_page("expansion", "\n".join(parts))


def step_rows(
    kind: str, candidates: Sequence[Row], chosen: int, before: Row
) -> list[tuple[str, ...]]:
    """One row a candidate, what it gained, and a mark at the chosen one."""
    rows = []
    for number, row in enumerate(candidates):
        more = 100 * (row["accuracy"] - before["accuracy"])
        mark = f"{more:+.1f}{', chosen' if number == chosen else ''}"
        rows.append(state_row(kind, row, mark))
    return rows


def state_row(kind: str, row: Row, mark: str) -> tuple[str, ...]:
    """The six factors, cost and accuracy of a candidate as cells."""
    state = row["state"]
    return (
        row["axis"] or "start",
        f"{state['frames']}x{state['stride']}",
        str(state["crop"]),
        f"{state['width_factor']:g}",
        f"{state['bottleneck_factor']:g}",
        f"{state['depth_factor']:g}",
        cost_text(kind, row["cost"]),
        percent(row["accuracy"]),
        mark,
    )


def _header(told: Row) -> str:
    budget = cost_text(told["cost_kind"], told["budget"])
    name, unit = COST_NAMES[told["cost_kind"]], "a clip"
    lead = f"on {told['data']}, budget {budget} {name} {unit}; {told['resolution']}"
    return (
        f'<header><p class="eyebrow">Expansion</p><h1>{escape(told["model"])}</h1>'
        f'<p class="lead">{escape(lead)}</p></header>'
    )


def chart(kind: str, found: Row, budget: float) -> str:
    """All candidates, the path that was chosen, and the single axes beside it; cost doubles along
    the axis at equal distances."""
    path = [found["start"]] + [step["candidates"][step["chosen"]] for step in found["steps"]]
    if found["final"] is not None and found["final"] != path[-1]:
        path.append(found["final"])
    tried = [row for step in found["steps"] for row in step["candidates"]]
    every = [*path, *tried, *found["alone"]]
    costs = [math.log2(row["cost"]) for row in every]
    scores = [row["accuracy"] for row in every]
    low, high = max(0.0, min(scores) - 0.05), min(1.0, max(scores) + 0.05)
    plot = Plot((min(costs) - 0.3, max(costs) + 0.3), (low, high))
    marks = _grid(plot, kind) + _budget(plot, budget) + _path(plot, path)
    marks += "".join(_dot(plot, row, kind, "rest") for row in tried if row not in path)
    marks += "".join(_dot(plot, row, kind, "hue1") for row in found["alone"])
    marks += "".join(_dot(plot, row, kind, "hue0") for row in path)
    keys = [("hue0", "chosen"), ("rest", "tried")] + [("hue1", "one axis alone")] * bool(
        found["alone"]
    )
    legend = "".join(f'<span class="key"><i class="{h}"></i>{name}</span>' for h, name in keys)
    return (
        f'<figure class="chart wide"><figcaption><b>Every candidate</b>{legend}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="accuracy by cost">'
        f"{marks}</svg></figure>"
    )


def _grid(plot: Plot, kind: str) -> str:
    base, end = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in ticks(*plot.y, 4):
        y = float(plot.down(value))
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{end}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(text_at(LEFT - 6, y + 3.5, f"{100 * value:.0f} %", "end"))
    for value in _round_costs(2.0 ** plot.x[0], 2.0 ** plot.x[1]):
        x = float(plot.across(math.log2(value)))
        parts.append(text_at(x, base + 16, cost_text(kind, value), "middle"))
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{end}" y1="{base}" y2="{base}"/>')
    return "".join(parts)


def _round_costs(low: float, high: float) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten) between two, at most six of them."""
    tens = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [f * 10.0**ten for ten in tens for f in (1, 2, 5)]
    inside = [value for value in values if low <= value <= high]
    return inside[:: max(1, math.ceil(len(inside) / 6))]


def _path(plot: Plot, path: Sequence[Row]) -> str:
    """The line through the chosen states, each named by the axis that led to it."""
    places = [_place(plot, row) for row in path]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    marks = f'<polyline class="line hue0" points="{line}"/>'
    for row, (x, y) in zip(path[1:], places[1:], strict=True):
        marks += text_at(x, y - 7, row["axis"], "middle")
    return marks


def _budget(plot: Plot, budget: float) -> str:
    """An upright line where the budget ends, if that is in the picture."""
    place = math.log2(budget)
    if not plot.x[0] <= place <= plot.x[1]:
        return ""
    x = float(plot.across(place))
    line = f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
    return line + text_at(x - 4, (TOP + HEIGHT - BOTTOM) / 2, "budget", "end")


def _dot(plot: Plot, row: Row, kind: str, hue: str) -> str:
    x, y = _place(plot, row)
    told = state_row(kind, row, "")
    tip = ", ".join(f"{name} {value}" for name, value in zip(HEAD, told, strict=True) if value)
    return (
        f'<circle class="dot {hue}" cx="{x:.1f}" cy="{y:.1f}" r="3.2">'
        f"<title>{escape(tip)}</title></circle>"
    )


def _place(plot: Plot, row: Row) -> tuple[float, float]:
    return float(plot.across(math.log2(row["cost"]))), float(plot.down(row["accuracy"]))
