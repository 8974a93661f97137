"""The clips a run got most right and most wrong, as cards with contact sheets."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from marey.report.charts import bars
from marey.report.draw import contact_sheet, jpeg_uri
from marey.report.run import RunFolder
from marey.video import open_video


def true_score(clip: dict[str, Any]) -> float:
    """Mean score of the true classes of one row of ``predictions.json``."""
    scores, target = clip.get("scores") or [], clip.get("target") or []
    values = [float(scores[k]) for k in target if 0 <= k < len(scores)]
    return sum(values) / len(values) if values else float("nan")


def is_right(clip: dict[str, Any]) -> bool:
    """Whether the highest scores belong to exactly the true classes."""
    scores, target = clip.get("scores") or [], set(clip.get("target") or [])
    if not len(scores):
        return False
    best = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")[: max(len(target), 1)]
    return {int(k) for k in best} == target


def extremes(
    clips: list[dict[str, Any]], most: int = 6
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(best, worst): right clips by falling, wrong clips by rising score of the truth.

    The best take one clip a class before they take a second, so that they show several.
    """
    rated = [clip for clip in clips if np.isfinite(true_score(clip))]
    right = sorted((c for c in rated if is_right(c)), key=true_score, reverse=True)
    wrong = sorted((c for c in rated if not is_right(c)), key=true_score)
    turn: dict[tuple[int, ...], int] = {}
    order = []
    for place, clip in enumerate(right):
        key = tuple(clip["target"])
        turn[key] = turn.get(key, -1) + 1
        order.append((turn[key], place))
    return [right[place] for _, place in sorted(order)][:most], wrong[:most]


def cards(
    clips: list[dict[str, Any]], run: RunFolder, *, frames: int = 6, width: int = 480
) -> tuple[str, int]:
    """(HTML of one card a clip, number of videos that could not be shown)."""
    parts, missing = [], 0
    for clip in clips:
        picture, shown = _sheet(clip, frames, width)
        missing += not shown
        parts.append(f'<figure class="clip">{picture}{_caption(clip, run)}</figure>')
    return (f'<div class="clips">{"".join(parts)}</div>' if parts else ""), missing


def _sheet(clip: dict[str, Any], frames: int, width: int) -> tuple[str, bool]:
    path = str(clip.get("video", ""))
    try:
        with open_video(path) as video:
            start = clip.get("start_s")
            end = clip.get("end_s")
            low = 0.0 if start is None else float(start)
            high = float(video.duration_s) if end is None else min(float(end), video.duration_s)
            moments = low + (np.arange(frames) + 0.5) * max(high - low, 0.0) / frames
            size = (max(2, round(width / 3 * video.height / video.width)), width // 3)
            shown = video.frames_at_times(moments.tolist(), size=size)
        pictures = shown.frames.permute(0, 2, 3, 1).numpy()  # (T, H, W, C)
        sheet = contact_sheet(pictures, shown.times.tolist(), width=width)
    except Exception as error:
        # A report must not fail because a video has moved since: the card says so instead.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return f'<div class="none">Video not shown. {escape(reason)}</div>', False
    uri = jpeg_uri(sheet, quality=68)
    size_text = f'width="{sheet.width}" height="{sheet.height}"'
    return f'<img src="{uri}" {size_text} loading="lazy" alt="frames of {escape(path)}">', True


def _caption(clip: dict[str, Any], run: RunFolder) -> str:
    scores = np.asarray(clip.get("scores") or [], dtype=np.float64)
    target = [int(k) for k in clip.get("target") or []]
    order = [int(k) for k in np.argsort(-scores, kind="stable")[:3]]
    order += [k for k in target if k not in order and 0 <= k < len(scores)]
    rows = "".join(
        bars(
            [(run.class_name(k), float(scores[k]), f"{100 * scores[k]:.1f} %")],
            hue=0 if k in target else 1,
        )
        for k in order
    )
    truth = ", ".join(run.class_name(k) for k in target) or "no label"
    where = str(clip.get("key") or clip.get("video") or "")
    span = ""
    if clip.get("start_s") is not None and clip.get("end_s") is not None:
        span = f", {float(clip['start_s']):.2f} to {float(clip['end_s']):.2f} s"
    return (
        f'<figcaption><div class="truth">{escape(truth)}</div>{rows}'
        f'<div class="where">{escape(where)}{span}</div></figcaption>'
    )
