"""Frames with words on them: contact sheets and annotated frames, drawn with Pillow.

Frames are (H, W, 3) uint8 RGB arrays throughout.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, SHADE, BAR = (255, 255, 255), (12, 12, 14), (255, 176, 59)
LEGIBLE = 360  # short side in pixels below which annotated frames are enlarged


@lru_cache(maxsize=16)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own scalable face at ``size`` pixels: no font file of the system is needed."""
    return ImageFont.load_default(size=size)


def fit_text(text: str, face: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """``text`` shortened with an ellipsis until it is at most ``width`` pixels wide."""
    text = printable(text)
    if face.getlength(text) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        fits = face.getlength(text[:middle].rstrip() + "...") <= width
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low].rstrip() + "..." if low else ""


def printable(text: str) -> str:
    """``text`` with control characters (line breaks too) as spaces."""
    return "".join(ch if ch.isprintable() else " " for ch in text)


def enlarged_size(height: int, width: int, *, short_side: int = LEGIBLE) -> tuple[int, int]:
    """The even (H, W) at which words on a frame are legible; never smaller than the frame.

    Odd sides lose nothing: they are rounded up, since H.264 takes even sizes only.
    """
    factor = max(1.0, short_side / max(min(height, width), 1))
    return tuple(2 * ((round(side * factor) + 1) // 2) for side in (height, width))  # type: ignore[return-value]


def annotate(
    frame: np.ndarray,
    rows: Sequence[tuple[str, float]],
    *,
    note: str = "",
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """A copy of ``frame`` with one line a row, (label, score 0 to 1) with a bar, at its lower left.

    ``note`` stands at the upper right (a time, say). The first row is the largest. ``size`` (H, W)
    is the size of the result, by default one at which the words can be read.
    """
    height, width = size or enlarged_size(*frame.shape[:2])
    picture = Image.fromarray(np.ascontiguousarray(frame))
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    unit = max(12, round(min(height, width) / 18))  # height of the text
    rows = rows[: max(1, int(height * 0.6 / (unit * 1.5)))]
    if rows:
        picture = _panel(picture, rows, unit)
    if note:
        face = font(max(11, round(unit * 0.8)))
        _tag(picture, fit_text(note, face, width * 0.5), face, corner="upper right")
    return np.asarray(picture)


def _panel(picture: Image.Image, rows: Sequence[tuple[str, float]], unit: int) -> Image.Image:
    width, height = picture.size
    pad, step = round(unit * 0.6), round(unit * 1.5)
    panel_width = min(width - 2 * pad, max(round(width * 0.62), unit * 14))
    top = height - pad - step * len(rows) - pad
    shade = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    ImageDraw.Draw(shade).rounded_rectangle(
        (pad, top, pad + panel_width, height - pad), radius=pad, fill=(*SHADE, 176)
    )
    picture = Image.alpha_composite(picture.convert("RGBA"), shade).convert("RGB")
    draw = ImageDraw.Draw(picture)
    number_width = font(unit).getlength("100%")
    bar_width = panel_width * 0.22
    for place, (label, score) in enumerate(rows):
        face = font(unit if place == 0 else round(unit * 0.85))
        ink = INK if place == 0 else (205, 205, 205)
        middle = top + pad * 0.5 + step * (place + 0.5)
        x = pad * 2
        room = panel_width - bar_width - number_width - pad * 3.5
        draw.text((x, middle), fit_text(label, face, room), font=face, fill=ink, anchor="lm")
        end = pad + panel_width - pad
        draw.text((end, middle), f"{100 * score:.0f}%", font=face, fill=ink, anchor="rm")
        right = end - number_width - pad * 0.5
        _bar(draw, (right - bar_width, middle, right), score, unit)
    return picture


def _bar(
    draw: ImageDraw.ImageDraw, span: tuple[float, float, float], score: float, unit: int
) -> None:
    left, middle, right = span
    half = max(2.0, unit * 0.17)
    draw.rounded_rectangle(
        (left, middle - half, right, middle + half), radius=half, fill=(92, 92, 96)
    )
    end = left + (right - left) * min(max(score, 0.0), 1.0)
    if end - left > 2 * half:
        draw.rounded_rectangle((left, middle - half, end, middle + half), radius=half, fill=BAR)


def _tag(
    picture: Image.Image,
    text: str,
    face: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    *,
    corner: str,
) -> None:
    """A word on a dark patch in one corner of a picture, in place."""
    draw = ImageDraw.Draw(picture, "RGBA")
    box = draw.textbbox((0, 0), text, font=face)
    width, height = box[2] - box[0], box[3] - box[1]
    pad = max(2, height // 3)
    x = picture.width - width - 3 * pad if "right" in corner else pad
    y = pad if "upper" in corner else picture.height - height - 3 * pad
    draw.rounded_rectangle(
        (x, y, x + width + 2 * pad, y + height + 2 * pad), radius=pad, fill=(*SHADE, 170)
    )
    draw.text((x + pad - box[0], y + pad - box[1]), text, font=face, fill=INK)


def contact_sheet(
    frames: Sequence[np.ndarray] | np.ndarray,
    times: Sequence[float] = (),
    *,
    columns: int = 3,
    width: int = 480,
    gap: int = 2,
) -> Image.Image:
    """Frames in reading order on one plate ``width`` pixels wide, the time of each in its corner.

    ``times`` in seconds, one a frame, or none. Raises ValueError without frames, or with another
    number of times than frames.
    """
    if not len(frames):
        raise ValueError("a contact sheet needs at least one frame")
    if len(times) and len(times) != len(frames):
        raise ValueError(f"{len(times)} times for {len(frames)} frames; give one each, or none")
    columns = min(columns, len(frames))
    across = (width - gap * (columns - 1)) // columns
    height, frame_width = frames[0].shape[:2]
    down = max(8, round(across * height / frame_width))
    lines = -(-len(frames) // columns)
    sheet = Image.new(
        "RGB", (across * columns + gap * (columns - 1), down * lines + gap * (lines - 1))
    )
    face = font(max(10, across // 13))
    for place, frame in enumerate(frames):
        cell = Image.fromarray(np.ascontiguousarray(frame))
        cell = cell.resize((across, down), Image.Resampling.BICUBIC)
        if len(times):
            _tag(cell, f"{float(times[place]):.2f} s", face, corner="lower left")
        line, column = divmod(place, columns)
        sheet.paste(cell, (column * (across + gap), line * (down + gap)))
    return sheet


def jpeg_uri(picture: Image.Image, *, quality: int = 72) -> str:
    """The picture as a ``data:`` address, so that a page needs no second file."""
    store = io.BytesIO()
    picture.convert("RGB").save(store, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(store.getvalue()).decode("ascii")
