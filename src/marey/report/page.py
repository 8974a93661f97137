"""One HTML page from a run folder: no script, no second file, nothing loaded from elsewhere."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from html import escape
from pathlib import Path

from marey.config import write_whole
from marey.report.charts import Series, line_chart
from marey.report.clips import cards, extremes
from marey.report.cost import Cost, cost_of
from marey.report.results import (
    claims_lead,
    claims_table,
    classes,
    classes_lead,
    confusion,
    protocol,
    reached,
)
from marey.report.run import RunFolder, is_number, read_run
from marey.report.segments import TOLD, precision, timelines
from marey.report.tables import table
from marey.report.words import big, duration, metric_name, percent

HEADLINES = ("top1", "map", "mAP", "action_top1")  # the first of them a run has is its main result
SECOND = ("top5", "mean_class")
SKIPPED_SHOWN = 200
OVERLAPS_LEAD = "Average precision where a segment counts from this overlap with a labelled one on."
TRACKS_LEAD = (
    f"Grey bars are labelled, blue ones found with a score of {TOLD:g} or more, paler the lower. "
    "The share is the mean of what was found and what was right, at half an overlap."
)


def write_page(run: str | Path) -> Path:
    """Write ``report.html`` into a run folder, from the folder's files (and the videos they name).

    Raises ValueError when the folder does not exist or is not a run.
    """
    folder = read_run(run)
    return write_whole(folder.path / "report.html", render(folder))


def render(run: RunFolder) -> str:
    """The whole page as one string."""
    cost = cost_of(run)
    matrix_lead = "Rows are true classes, columns predicted; the colour is the share of the row."
    sections = (
        ("Claimed and reached", claims_lead(run), claims_table(run)),
        ("Training", _progress(run), _curves(run)),
        ("Confusion", matrix_lead, confusion(run)),
        ("Classes", classes_lead(run), classes(run)),
        ("Overlaps", OVERLAPS_LEAD, precision(run)),
        ("Videos", TRACKS_LEAD, timelines(run)),
        ("Clips", "Blue bars are scores of the true class, orange of others.", _clips(run)),
        ("Cost", "", _cost(run, cost)),
        ("Files left out", _left_out(run), _skipped(run)),
        ("Run it again", "The same command continues a run that was stopped.", _command(run)),
    )
    body = "".join(_section(*section) for section in sections)
    return whole_page(f"{run.model}: run report", f"{_header(run, cost)}{body}{_footer(run)}")


def whole_page(title: str, body: str) -> str:
    """A page of its own around a body: nothing in it is loaded from elsewhere."""
    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )


def _section(title: str, lead: str, content: str) -> str:
    if not content:
        return ""
    said = f'<p class="said">{escape(lead)}</p>' if lead else ""
    return f"<section>\n<h2>{escape(title)}</h2>{said}\n{content}\n</section>\n"


def _header(run: RunFolder, cost: Cost) -> str:
    recipe = str(run.recipe.get("name") or "")
    pieces = [f"on {run.dataset}" if run.dataset else "", f"recipe {recipe}" if recipe else ""]
    tiles = "".join(
        f"<div{'' if place else ' class=first'}><dt>{escape(name)}</dt><dd>{escape(value)}"
        f"{f'<small>{escape(note)}</small>' if note else ''}</dd></div>"
        for place, (name, value, note) in enumerate(_facts(run, cost))
    )
    return (
        f'<header><p class="eyebrow">Run report</p><h1>{escape(run.model)}</h1>'
        f'<p class="lead">{escape(", ".join(p for p in pieces if p))}</p>'
        f'<dl class="facts">{tiles}</dl></header>\n'
    )


def _facts(run: RunFolder, cost: Cost) -> list[tuple[str, str, str]]:
    """(name, value, note) of the tiles under the title, the main result first."""
    values = reached(run)
    main = [key for key in HEADLINES if key in values][:1]
    facts = [(metric_name(key), percent(values[key]), protocol(run)) for key in main]
    second = [key for key in SECOND if key in values]
    if 0 < len(run.classes) <= 5:
        second = [key for key in second if key != "top5"]  # all of five are always right
    facts += [(metric_name(key), percent(values[key]), "") for key in second]
    if is_number(run.metrics.get("clips")):
        clamped = int(run.metrics.get("clamped") or 0)
        note = f"{clamped:,} shorter than the network's clip" if clamped else ""
        facts.append(("clips evaluated", f"{int(run.metrics['clips']):,}", note))
    if cost.parameters:
        facts.append(("parameters", big(cost.parameters), ""))
    if cost.multiply_adds:
        facts.append(("multiply-adds", big(cost.multiply_adds), f"a view, {cost.input_shape}"))
    seconds = trained_seconds(run)
    if seconds:
        facts.append(("training", duration(seconds), ""))
    return facts


def trained_seconds(run: RunFolder) -> float:
    """Seconds spent in training steps by the log, waiting for data included."""
    total, before = 0.0, 0
    for row in run.rows.get("train", ()):
        if not (is_number(row.get("step")) and is_number(row.get("step_s"))):
            continue
        steps = max(int(row["step"]) - before, 1)
        total += steps * (float(row["step_s"]) + float(row.get("data_s") or 0))
        before = int(row["step"])
    return total


def _progress(run: RunFolder) -> str:
    last = (run.rows.get("train") or [{}])[-1]
    parts = [f"{float(last['epoch']):.3g} epochs"] if is_number(last.get("epoch")) else []
    parts += [f"{int(last['step']):,} steps"] if is_number(last.get("step")) else []
    return f"{', '.join(parts)}." if parts else ""


def _curves(run: RunFolder) -> str:
    def series(kind: str, column: str, name: str) -> Series:
        return Series(name, *run.column(kind, column), dots=kind == "val")

    measures = [key for key in HEADLINES if run.column("val", key)[0]]
    accuracy = [series("train", "accuracy", "training batches")]
    accuracy += [series("val", key, f"validation {metric_name(key)}") for key in measures]
    loss = [series("train", "loss", "training"), series("val", "loss", "validation")]
    seconds = [
        series("train", "data_s", "waiting for data"),
        series("train", "step_s", "computing"),
    ]
    drawn = (
        line_chart(loss, title="Loss", from_zero=True)
        + line_chart(accuracy, title="Accuracy", percent=True)
        + line_chart(
            [series("train", "lr", "learning rate")], title="Learning rate", from_zero=True
        )
        + line_chart(seconds, title="Seconds a step", from_zero=True)
    )
    return f'<div class="two">{drawn}</div>' if drawn else ""


def _clips(run: RunFolder) -> str:
    best, worst = extremes(run.clips)
    parts, missing = [], 0
    for title, chosen in (("Most wrong", worst), ("Most right", best)):
        made, lost = cards(chosen, run)
        missing += lost
        parts += [f"<h3>{title}</h3>{made}"] if made else []
    if missing:
        parts.append(f"<p>{missing} of {len(best) + len(worst)} videos could not be shown.</p>")
    return "".join(parts)


def _cost(run: RunFolder, cost: Cost) -> str:
    rows = [("parameters", f"{cost.parameters:,}")] if cost.parameters else []
    if cost.multiply_adds:
        shape = f" for {cost.input_shape}" if cost.input_shape else ""
        rows.append(("multiply-adds a view", f"{big(cost.multiply_adds)}{shape}"))
        views = run.metrics.get("views")
        if isinstance(views, list) and len(views) == 2:
            total = cost.multiply_adds * int(views[0]) * int(views[1])
            rows.append((f"multiply-adds a video, {views[0]}x{views[1]} views", big(total)))
    if seconds := trained_seconds(run):
        rows.append(("training steps, waiting included", duration(seconds)))
    evaluation, clips = run.metrics.get("seconds"), int(run.metrics.get("clips") or 0)
    if isinstance(evaluation, (int, float)):
        each = f", {evaluation / clips:.2f} s a clip" if clips else ""
        rows.append(("evaluation", f"{duration(evaluation)}{each}"))
    return table((), rows, numeric=(1,))


def _skipped_rows(run: RunFolder) -> list[tuple[str, str]]:
    rows = [row for row in run.metrics.get("skipped") or () if isinstance(row, Mapping)]
    return [(str(row.get("source", "")), str(row.get("reason", ""))) for row in rows]


def _left_out(run: RunFolder) -> str:
    count = len(_skipped_rows(run))
    return f"{count:,} could not be read and took no part in the numbers above."


def _skipped(run: RunFolder) -> str:
    rows = _skipped_rows(run)
    more = len(rows) - SKIPPED_SHOWN
    rest = f"<p>{more:,} more are listed in metrics.json.</p>" if more > 0 else ""
    return table(("file", "reason"), rows[:SKIPPED_SHOWN], small=(0,)) + rest


def command_of(run: RunFolder) -> str:
    """The command that repeats the run: the recipe's own, else one put together from its fields."""
    if run.recipe.get("command"):
        return str(run.recipe["command"])
    words = ["marey", "train", run.dataset or "DATA"]
    if (run.path / "recipe.json").is_file():
        words += ["--recipe", str(run.path / "recipe.json")]
    elif run.model:
        words += ["--model", run.model]
    return shlex.join([*words, "--out", str(run.path)])


def _command(run: RunFolder) -> str:
    return f"<pre>{escape(command_of(run))}</pre>"


def _footer(run: RunFolder) -> str:
    broken = f" Not readable: {', '.join(run.unreadable)}." if run.unreadable else ""
    said = f"Written by marey from the files in {run.path}.{broken}"
    return f"<footer>{escape(said)}</footer>\n"
