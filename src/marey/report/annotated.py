"""A video with its result drawn on: the file people show to others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from marey.report.draw import annotate, enlarged_size
from marey.video import VideoWriter, open_video

ROWS = 3  # labels drawn at once
UNEVEN_S = 0.002  # steps that differ by more keep their own times
TICK_S = 2e-5
CHUNK = 16  # frames in memory at once


def save_annotated(
    source: str | Path, result: Mapping[str, Any], out_dir: str | Path, *, name: str = ""
) -> Path:
    """Write ``source`` as H.264 with the labels and scores of ``result`` drawn on every frame.

    ``result`` is one of ``marey.predict``; a frame shows the predictions whose time it lies in.
    The file is called ``name`` or after the source, ends in ``.mp4``, keeps the source's times and
    is written whole. Small videos are enlarged until words can be read. Raises VideoError for a
    source that cannot be read, ValueError when the file would overwrite its own source.
    """
    target = Path(out_dir) / f"{name or Path(str(source)).stem or 'clip'}.mp4"
    if target.exists() and Path(source).exists() and target.samefile(source):
        raise ValueError(f"{target} is the source itself; choose another folder to save into")
    with open_video(source) as video, VideoWriter(target, video.fps) as writer:
        size = enlarged_size(video.height, video.width)
        times = video.times
        steps = times.diff()
        even = not len(steps) or bool((steps - 1 / video.fps).abs().max() < UNEVEN_S)
        begin, last = float(times[0]), -TICK_S
        for chunk in video.chunks(CHUNK):
            frames = chunk.frames.permute(0, 2, 3, 1).numpy()  # (T, H, W, C)
            for frame, time_s in zip(frames, chunk.times.tolist(), strict=True):
                drawn = annotate(frame, rows_at(result, time_s), note=f"{time_s:.1f} s", size=size)
                last = max(time_s - begin, last + TICK_S)  # no two frames share a moment
                writer.write(drawn, time_s=None if even else last)
    return target


def rows_at(result: Mapping[str, Any], time_s: float) -> list[tuple[str, float]]:
    """(label, score) of the predictions that hold at a moment, highest first.

    After the last interval its predictions go on: the last frame lasts longer than its time.
    """
    predictions: Sequence[Mapping[str, Any]] = result.get("predictions") or ()
    if not predictions:
        return []
    last = max(float(p["end_s"]) for p in predictions)
    moment = min(time_s, last - 1e-6)
    now = [p for p in predictions if float(p["start_s"]) <= moment < float(p["end_s"])]
    newest = max((float(p["start_s"]) for p in now), default=0.0)
    rows = [(str(p["label"]), float(p["score"])) for p in now if float(p["start_s"]) == newest]
    return sorted(rows, key=lambda row: -row[1])[:ROWS]


def unique_names(sources: Sequence[str | Path]) -> list[str]:
    """One file name (no ending) a source, none twice: parents' names part equal stems."""
    names: dict[str, None] = {}  # in order; a million sources are looked up, not searched
    stems = [Path(str(source)).stem or "clip" for source in sources]
    counts = Counter(stems)
    for source, stem in zip(sources, stems, strict=True):
        parent = re.sub(r"[^\w.-]+", "_", Path(str(source)).absolute().parent.name)
        plain = f"{parent}_{stem}" if counts[stem] > 1 else stem
        name, count = plain, 2
        while name in names:
            name, count = f"{plain}_{count}", count + 1
        names[name] = None
    return list(names)
