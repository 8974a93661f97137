"""Segments of one video for people: a page with the video beside them, subtitles, a table, JSON.

The page is one file beside the others and refers to the video where it lies. A click on a segment
jumps there; the segments of the moment light up while the video plays. It works without the video
too. Its few lines of script load nothing.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from marey.config import write_whole

HUES = 8
Result = Mapping[str, Any]


def save_timeline(result: Result, folder: Path, *, name: str, duration_s: float) -> Path:
    """Write NAME.html, NAME.json, NAME.csv and NAME.vtt into ``folder``; returns the page.

    ``result`` is one of ``marey.predict(..., task="when")``. Each file is written whole.
    """
    rows = list(result.get("predictions") or ())
    write_whole(folder / f"{name}.json", json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    write_whole(folder / f"{name}.csv", table(str(result["source"]), rows))
    write_whole(folder / f"{name}.vtt", subtitles(rows))
    return write_whole(folder / f"{name}.html", page(result, duration_s, folder))


def table(source: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """``video,start_s,end_s,label,score`` lines, which can be read back as labelled segments."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("video", "start_s", "end_s", "label", "score"))
    for row in rows:
        writer.writerow((source, row["start_s"], row["end_s"], row["label"], row["score"]))
    return text.getvalue()


def subtitles(rows: Sequence[Mapping[str, Any]]) -> str:
    """WebVTT: one cue a segment."""
    cues = ["WEBVTT\n"]
    for number, row in enumerate(rows, 1):
        label = escape(str(row["label"]), quote=False)
        begin, end = clock(float(row["start_s"])), clock(float(row["end_s"]))
        cues.append(f"{number}\n{begin} --> {end}\n{label} {100 * row['score']:.0f} %\n")
    return "\n".join(cues)


def clock(seconds: float) -> str:
    """``00:01:02.345``."""
    whole = round(seconds * 1000)
    minutes, milliseconds = divmod(whole, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds / 1000:06.3f}"


def page(result: Result, duration_s: float, folder: Path) -> str:
    """The whole page as one string; ``folder`` is where it will lie."""
    rows = list(result.get("predictions") or ())
    source = str(result["source"])
    labels = sorted({str(row["label"]) for row in rows})
    tracks = "".join(_track(label, k, rows, duration_s) for k, label in enumerate(labels))
    listed = "".join(_line(row, labels.index(str(row["label"]))) for row in rows)
    count = f"{len(rows)} segment{'' if len(rows) == 1 else 's'} of {len(labels)} classes"
    told = f"{count} in {_span(duration_s)}, found by {result.get('model', '')}"
    if result.get("skipped"):
        told += f"; {result['skipped']}"
    style = (Path(__file__).parent / "timeline.css").read_text(encoding="utf-8")
    script = (Path(__file__).parent / "timeline.js").read_text(encoding="utf-8")
    best = float(result.get("highest_score") or 0)
    empty = (
        "<p>No segment is likely enough; the highest score was "
        f"{best:.3f}. A lower --min-score tells more.</p>"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(Path(source).name)}: segments</title>\n<style>\n{style}</style>\n"
        f"</head>\n<body>\n<main>\n<header><h1>{escape(Path(source).name)}</h1>"
        f"<p>{escape(told)}</p></header>\n"
        f'<div class="stage"><video controls preload="metadata" src="{_address(source, folder)}">'
        f"</video>\n<ol>{listed}</ol></div>\n"
        f'<div class="tracks" data-duration="{duration_s:.3f}">{tracks}<i class="now"></i>'
        f"{_ticks(duration_s)}</div>\n{'' if rows else empty}\n"
        f"</main>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _address(source: str, folder: Path) -> str:
    """The video as seen from the page: a relative path, or the address it came from."""
    if "://" in source:
        return escape(source)
    relative = os.path.relpath(Path(source).absolute(), folder.absolute())
    return quote(Path(relative).as_posix())


def _track(label: str, hue: int, rows: Sequence[Mapping[str, Any]], duration_s: float) -> str:
    bars = "".join(
        f'<button class="h{hue % HUES}" data-start="{row["start_s"]}" data-end="{row["end_s"]}" '
        f'style="left:{100 * row["start_s"] / duration_s:.3f}%;'
        f"width:{100 * (row['end_s'] - row['start_s']) / duration_s:.3f}%;"
        f'opacity:{0.45 + 0.55 * row["score"]:.2f}" title="{escape(_told(row))}"></button>'
        for row in rows
        if str(row["label"]) == label
    )
    return f'<div class="track"><span>{escape(label)}</span><div>{bars}</div></div>'


def _line(row: Mapping[str, Any], hue: int) -> str:
    return (
        f'<li><button class="h{hue % HUES}" data-start="{row["start_s"]}" '
        f'data-end="{row["end_s"]}"><b>{escape(str(row["label"]))}</b>'
        f"<span>{_span(row['start_s'])} - {_span(row['end_s'])}</span>"
        f"<span>{100 * row['score']:.0f} %</span></button></li>"
    )


def _told(row: Mapping[str, Any]) -> str:
    span = f"{_span(row['start_s'])} - {_span(row['end_s'])}"
    return f"{row['label']}, {span}, {100 * row['score']:.0f} %"


def _span(seconds: float) -> str:
    """``1:02.3``, or ``1:01:02.3`` from an hour on."""
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    tail = f"{minutes % 60:02d}:{rest / 10:04.1f}"
    return f"{minutes // 60}:{tail}" if minutes >= 60 else f"{minutes}:{rest / 10:04.1f}"


def _ticks(duration_s: float) -> str:
    """About eight marks at round moments."""
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
    step = next((s for s in steps if duration_s / s <= 8), 14400)
    marks = "".join(
        f'<span style="left:{100 * at / duration_s:.3f}%">{_span(at).removesuffix(".0")}</span>'
        for at in range(0, int(duration_s) + 1, step)
    )
    return f'<div class="track ticks"><span></span><div>{marks}</div></div>'
