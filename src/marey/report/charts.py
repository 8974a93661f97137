"""Charts as strings of SVG and HTML: no library, colours from the page's own style sheet.

Every function escapes the text it is given. Colours are CSS classes (``hue0`` to ``hue3``, ``ink``)
so that one string serves light and dark pages.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT = 440, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 28


@dataclass(frozen=True)
class Series:
    """One line: ``x`` and ``y`` of equal length. ``dots`` marks every point (few measurements)."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dots: bool = False


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values (1, 2, 2.5 or 5 times a power of ten) that lie within ``low`` and ``high``."""
    if not high > low:
        return [low]
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    values = [i * step for i in range(first, first + 2 * count + 2)]
    return [0.0 if abs(v) < step * 1e-6 else v for v in values if v <= high + step * 1e-6]


def number(value: float) -> str:
    """A value as short as an axis wants it: 1200 -> 1.2k, 0.00003 -> 3e-5."""
    size = abs(value)
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "-"
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            return f"{value / (1e3 if suffix == 'k' else limit):.3g}{suffix}"
    if size < 1e-4:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:.4g}"


def thin(x: Sequence[float], y: Sequence[float], most: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Both columns without non-finite values, averaged in equal runs down to ``most`` points."""
    columns = np.asarray([x, y], dtype=np.float64).reshape(2, -1)
    columns = columns[:, np.isfinite(columns).all(axis=0)]
    if columns.shape[1] > most:
        edges = np.linspace(0, columns.shape[1], most + 1).astype(int)
        runs = [columns[:, a:b].mean(axis=1) for a, b in itertools.pairwise(edges)]
        columns = np.stack(runs, axis=1)
    return columns[0], columns[1]


@dataclass(frozen=True)
class Plot:
    """The ranges of both axes, and where their values lie in the picture."""

    x: tuple[float, float]
    y: tuple[float, float]

    def across(self, x: np.ndarray | float) -> np.ndarray:
        """Pixels from the left."""
        low, high = self.x
        return LEFT + (np.asarray(x) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def down(self, y: np.ndarray | float) -> np.ndarray:
        """Pixels from the top."""
        low, high = self.y
        return TOP + (high - np.asarray(y)) / (high - low) * (HEIGHT - TOP - BOTTOM)


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_name: str = "epoch",
    percent: bool = False,
    from_zero: bool = False,
) -> str:
    """A titled chart with its legend, as an HTML figure around an SVG; empty without any point.

    ``percent``: values are fractions, the axis shows 0 to 100 %. Lines are thinned to 300 points.
    """
    drawn = [(one, *thin(one.x, one.y)) for one in series]
    drawn = [(one, x, y) for one, x, y in drawn if len(x)]
    if not drawn:
        return ""
    every_x = np.concatenate([x for _, x, _ in drawn])
    every_y = np.concatenate([y for _, _, y in drawn])
    plot = Plot(_x_range(every_x), (0.0, 1.0) if percent else _y_range(every_y, from_zero))
    marks = _axes(plot, x_name, percent)
    keys = ""
    for hue, (one, x, y) in enumerate(drawn):
        marks += _line(plot, one, x, y, hue=f"hue{hue % 4}", percent=percent)
        keys += f'<span class="key"><i class="hue{hue % 4}"></i>{escape(one.name)}</span>'
    return (
        f'<figure class="chart"><figcaption><b>{escape(title)}</b>{keys}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{marks}</svg></figure>"
    )


def _x_range(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _y_range(values: np.ndarray, from_zero: bool) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    low = min(low, 0.0) if from_zero else low
    gap = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (low if from_zero and low == 0 else low - gap), high + gap


def _line(plot: Plot, one: Series, x: np.ndarray, y: np.ndarray, *, hue: str, percent: bool) -> str:
    """One line; its points with what they say, where it has few."""
    places = [(f"{a:.1f}", f"{d:.1f}") for a, d in zip(plot.across(x), plot.down(y), strict=True)]
    points = " ".join(f"{a},{d}" for a, d in places)
    marks = f'<polyline class="line {hue}" points="{points}"/>'
    if not (one.dots or len(x) == 1):
        return marks
    for (a, d), value_x, value_y in zip(places, x.tolist(), y.tolist(), strict=True):
        shown = f"{100 * value_y:.1f} %" if percent else number(value_y)
        tip = escape(f"{one.name}: {shown} at {number(value_x)}")
        marks += f'<circle class="dot {hue}" cx="{a}" cy="{d}" r="3"><title>{tip}</title></circle>'
    return marks


def _axes(plot: Plot, x_name: str, percent: bool) -> str:
    base, end = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in ticks(*plot.y, 4):
        y = float(plot.down(value))
        text = f"{100 * value:.0f} %" if percent else number(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{end}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(text_at(LEFT - 6, y + 3.5, text, "end"))
    for value in ticks(*plot.x, 6):
        parts.append(text_at(float(plot.across(value)), base + 16, number(value), "middle"))
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{end}" y1="{base}" y2="{base}"/>')
    return "".join(parts) + text_at(LEFT - 12, base + 16, x_name, "end")


def text_at(x: float, y: float, words: str, anchor: str) -> str:
    """Words at a point, in pixels; ``anchor`` is start, middle or end."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def bars(rows: Sequence[tuple[str, float, str]], *, hue: int = 0) -> str:
    """Horizontal bars in HTML, one a row: (label, fraction 0 to 1, note at the right)."""
    lines = []
    for label, share, note in rows:
        width = 100 * min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
        lines.append(
            f'<li><span class="name" title="{escape(label)}">{escape(label)}</span>'
            f'<span class="track"><i class="hue{hue % 4}" style="width:{width:.1f}%"></i></span>'
            f'<span class="note">{escape(note)}</span></li>'
        )
    return f'<ul class="bars">{"".join(lines)}</ul>' if lines else ""
