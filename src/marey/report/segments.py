"""What a detector reached: precision by class and overlap, and videos as tracks of segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from marey.metrics import segment_ap
from marey.report.run import RunFolder
from marey.report.tables import table
from marey.report.words import percent

TOLD = 0.3  # least score of a segment that is drawn, as of one that ``predict`` tells
ENOUGH = 0.5  # overlap from which a drawn segment counts as found
WIDTH, NAMES, ROW = 900, 130, 26
Row = Mapping[str, Any]


def videos(run: RunFolder) -> list[Row]:
    """The rows of predictions.json that hold segments; none where the run is no detector's."""
    return [row for row in run.clips if isinstance(row.get("segments"), list)]


def overlaps_of(run: RunFolder) -> tuple[float, ...]:
    """The overlaps of the run's measures, ``mAP@0.5`` and the like."""
    measures = run.metrics.get("metrics")
    names = measures if isinstance(measures, Mapping) else {}
    return tuple(float(n.removeprefix("mAP@")) for n in names if str(n).startswith("mAP@"))


def precision(run: RunFolder) -> str:
    """A row a class: its instances, its average precision at each overlap and over them."""
    rows, levels = videos(run), overlaps_of(run)
    if not rows or not levels:
        return ""
    truth = [(v, row[:2], int(row[2])) for v, one in enumerate(rows) for row in one["truth"]]
    found = [
        (v, (s["start_s"], s["end_s"]), int(s["class"]), s["score"])
        for v, one in enumerate(rows)
        for s in one["segments"]
    ]
    if not truth:
        return ""
    said = segment_ap.instances(*zip(*truth, strict=True))  # type: ignore[arg-type]
    told = segment_ap.instances(*zip(*found, strict=True) if found else ([], [], []))  # type: ignore[arg-type]
    count = max(len(run.classes), 1 + max(k for *_, k in truth))
    settings = (run.recipe.get("task") or {}).get("segments") or {}
    rule = settings.get("rule", "cleaned")
    ap = segment_ap.average_precision(said, told, levels, num_classes=count, rule=rule)
    lines = [
        (run.class_name(k), f"{int((said.label == k).sum())}", *(percent(v) for v in ap[k]))
        + (percent(float(ap[k].mean())),)
        for k in range(count)
        if not np.isnan(ap[k]).all()
    ]
    mean = segment_ap.mean_over_classes(ap)
    whole = (
        "all",
        f"{len(truth)}",
        *(percent(float(v)) for v in mean),
        percent(float(mean.mean())),
    )
    head = ("class", "instances", *(f"{level:g}" for level in levels), "mean")
    return table(head, [*lines, whole], numeric=range(1, len(head)), strong=(len(head) - 1,))


def hit_share(row: Row) -> float:
    """Harmonic mean of precision and recall of a video's told segments at overlap ``ENOUGH``."""
    told = sorted(
        (s for s in row["segments"] if s["score"] >= TOLD), key=lambda s: s["score"], reverse=True
    )
    free = [tuple(one) for one in row["truth"]]
    total, hits = len(told) + len(free), 0
    for one in told:
        span = (one["start_s"], one["end_s"])
        near = [t for t in free if int(t[2]) == int(one["class"]) and _overlap(span, t) >= ENOUGH]
        if near:
            free.remove(max(near, key=lambda t: _overlap(span, t)))
            hits += 1
    return 2 * hits / total if total else 1.0


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    shared = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    union = one[1] - one[0] + other[1] - other[0] - shared
    return shared / union if union > 0 else 0.0


def timelines(run: RunFolder, most: int = 3) -> str:
    """The videos with the smallest and the largest ``hit_share``, ``most`` of each, as tracks."""
    order = sorted((row for row in videos(run) if row["truth"] or row["segments"]), key=hit_share)
    worst = order[: min(most, len(order) // 2)]
    best = order[::-1][: min(most, len(order) - len(worst))]
    parts = []
    for title, chosen in (("Fewest found", worst), ("Most found", best)):
        drawn = "".join(_figure(row, run) for row in chosen)
        parts += [f"<h3>{title}</h3>{drawn}"] if drawn else []
    return "".join(parts)


def _figure(row: Row, run: RunFolder) -> str:
    told = [s for s in row["segments"] if s["score"] >= TOLD]
    labels = sorted({int(t[2]) for t in row["truth"]} | {int(s["class"]) for s in told})
    end = max([t[1] for t in row["truth"]] + [s["end_s"] for s in row["segments"]] + [1e-3])
    place = (WIDTH - NAMES) / end
    marks = []
    for line, label in enumerate(labels):
        top = line * ROW
        marks.append(f'<text x="0" y="{top + 15}">{escape(run.class_name(label))}</text>')
        marks += [
            _bar(t[0], t[1], place, top + 2, "truth", 1.0, "labelled")
            for t in row["truth"]
            if int(t[2]) == label
        ]
        marks += [
            _bar(s["start_s"], s["end_s"], place, top + 12, "found", s["score"], "found")
            for s in told
            if int(s["class"]) == label
        ]
    height = max(1, len(labels)) * ROW
    name = escape(str(row.get("video", "")))
    return (
        f'<figure class="tracks"><svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="segments of {name}">{"".join(marks)}</svg><figcaption class="where">{name}, '
        f"{end:.0f} s, {percent(hit_share(row))} found</figcaption></figure>"
    )


def _bar(
    start: float, end: float, place: float, top: int, kind: str, score: float, word: str
) -> str:
    width = max(1.5, (end - start) * place)
    said = f"{word} {start:.2f} to {end:.2f} s" + (f", {score:.2f}" if kind == "found" else "")
    return (
        f'<rect class="{kind}" x="{NAMES + start * place:.1f}" y="{top}" width="{width:.1f}" '
        f'height="8" rx="1" style="opacity:{0.35 + 0.65 * score:.2f}"><title>{said}</title></rect>'
    )
