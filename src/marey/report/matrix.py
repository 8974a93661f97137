"""Confusion matrices: SVG while its cells can be read, a bitmap for hundreds of classes."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

SVG_CLASSES = 40  # above this many classes a matrix is a bitmap
NUMBERED_CLASSES = 12  # up to this many its cells carry numbers


def matrix(counts: Sequence[Sequence[float]] | np.ndarray, labels: Sequence[str]) -> str:
    """A confusion matrix, rows true and columns predicted, shaded by the share of each row.

    SVG with labels up to 40 classes (numbers in the cells up to 12), a bitmap above.
    Raises ValueError when the matrix is not square or does not fit its labels.
    """
    table = np.asarray(counts, dtype=np.float64)
    if table.ndim != 2 or table.shape != (len(labels), len(labels)):
        shape = "x".join(str(n) for n in table.shape)
        raise ValueError(f"matrix is {shape}, needs {len(labels)}x{len(labels)} for its labels")
    if not len(labels):
        return ""
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    return _grid(table, share, labels) if len(labels) <= SVG_CLASSES else _bitmap(share)


def _grid(table: np.ndarray, share: np.ndarray, labels: Sequence[str]) -> str:
    count = len(labels)
    few = count <= NUMBERED_CLASSES
    cell, font, angle = (
        (60 if count <= 6 else 38, 12, 40) if few else (min(30, 800 // count), 11, 60)
    )
    names = [label if len(label) <= 22 else label[:21] + "\u2026" for label in labels]
    longest = max(len(name) for name in names) * font * 0.6  # pixels, of an average face
    left, top = 14 + longest, 16 + longest * math.sin(math.radians(angle))
    over = longest * math.cos(math.radians(angle)) - cell / 2
    width, height = left + count * cell + max(over, 0) + 8, top + count * cell + 4
    parts = [
        _names(name, (left - 8, top + (i + 0.5) * cell), (left + (i + 0.5) * cell, top - 8), angle)
        for i, name in enumerate(names)
    ]
    for row, column in np.ndindex(count, count):
        tip = f"{labels[row]} taken for {labels[column]}: {table[row, column]:g}"
        x, y = left + column * cell, top + row * cell
        kind = "cell" if row == column else "cell wrong"
        parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{cell - 2}" '
            f'height="{cell - 2}" rx="2" style="--a:{share[row, column]:.3f}">'
            f"<title>{escape(tip)}</title></rect>"
        )
        if count <= NUMBERED_CLASSES and table[row, column]:
            tone = "count over" if share[row, column] > 0.55 else "count"
            middle = y + cell / 2 - 1 + font * 0.36
            parts.append(
                f'<text class="{tone}" x="{x + cell / 2 - 1:.1f}" y="{middle:.1f}" '
                f'text-anchor="middle">{table[row, column]:g}</text>'
            )
    return (
        f'<div class="scroll"><svg class="matrix" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'style="width:{width:.0f}px;font-size:{font}px" role="img" aria-label="confusion matrix">'
        f"{''.join(parts)}</svg></div>"
    )


def _names(name: str, row: tuple[float, float], column: tuple[float, float], angle: int) -> str:
    """One class name at its row (right end, middle) and, slanted, at its column."""
    turned = f"translate({column[0]:.1f} {column[1]:.1f}) rotate(-{angle})"
    return (
        f'<text class="name" x="{row[0]:.1f}" y="{row[1] + 3:.1f}" text-anchor="end">'
        f'{escape(name)}</text><text class="name" transform="{turned}">{escape(name)}</text>'
    )


def _bitmap(share: np.ndarray) -> str:
    """The shares as one transparent PNG: diagonal in blue, the rest in orange."""
    pixels = np.zeros((*share.shape, 4), dtype=np.uint8)
    pixels[..., :3] = (210, 105, 40)
    pixels[np.arange(len(share)), np.arange(len(share)), :3] = (45, 115, 185)
    pixels[..., 3] = np.round(255 * np.sqrt(share)).astype(np.uint8)
    store = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(store, "PNG", optimize=True)
    data = base64.b64encode(store.getvalue()).decode("ascii")
    return (
        f'<img class="matrix" src="data:image/png;base64,{data}" width="{len(share)}" '
        f'height="{len(share)}" alt="confusion matrix of {len(share)} classes">'
    )


def confusions(
    counts: Sequence[Sequence[float]] | np.ndarray, labels: Sequence[str], most: int = 12
) -> list[tuple[str, str, int, float]]:
    """The pairs most often mistaken: (true, predicted, clips, share of the true class)."""
    table = np.array(counts, dtype=np.float64)
    total = np.maximum(table.sum(axis=1), 1)
    np.fill_diagonal(table, 0)
    order = np.argsort(-table, axis=None, kind="stable")[:most]
    pairs = [(int(i) // len(labels), int(i) % len(labels)) for i in order]
    return [
        (
            labels[row],
            labels[column],
            int(table[row, column]),
            float(table[row, column] / total[row]),
        )
        for row, column in pairs
        if table[row, column] > 0
    ]
