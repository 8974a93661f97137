"""Contact sheets of a data set: a few clips of every class on one plate."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from marey.config import write_whole
from marey.data.table import DataSet, ItemTable
from marey.report.draw import contact_sheet, fit_text, font
from marey.types import Failure, Item
from marey.video import VideoError, open_video

HEADING, WIDTH = 26, 1280
INK, PAPER = (32, 34, 38), (247, 246, 242)


def preview_sheet(
    data: DataSet,
    path: Path,
    *,
    split: str = "",
    clips: int = 2,
    frames: int = 8,
    classes: int = 12,
) -> tuple[Path, list[Failure]]:
    """Write an image with ``frames`` frames of the first ``clips`` readable rows of each class.

    Returns its path and the rows that could not be read. Raises ValueError when none could.
    """
    if min(clips, frames, classes) < 1:
        raise ValueError(
            f"clips {clips}, frames {frames}, classes {classes}: each must be 1 or more"
        )
    wanted = split or ("train" if "train" in data.splits else next(iter(data.splits)))
    items = data.split(wanted)
    counts = items.label_counts()
    failures: list[Failure] = []
    plates: list[Image.Image] = []
    for number in np.flatnonzero(counts)[:classes].tolist():
        strips: list[Image.Image] = []
        for item in _rows_of(items, number):
            if len(strips) == clips:
                break
            try:
                strips.append(_strip(item, frames))
            except VideoError as error:
                failures.append(Failure(item.video, error.cause))
        plates += [_heading(f"{items.classes[number]}  ({counts[number]} in {wanted!r})"), *strips]
    if not any(plate.height > HEADING for plate in plates):
        raise ValueError(f"no clip of {data.address} could be read; see 'marey data check'")
    picture = io.BytesIO()
    _stacked(plates).save(picture, "PNG")
    return write_whole(path, picture.getvalue()), failures


def _rows_of(items: ItemTable, number: int) -> Iterator[Item]:
    if not items.multi_label:
        yield from (items[int(i)] for i in np.flatnonzero(items.targets == number))
        return
    yield from (item for item in items if number in item.target)


def _strip(item: Item, frames: int) -> Image.Image:
    """Evenly spaced frames of one row's span, side by side."""
    with open_video(item.video) as video:
        times = video.times
        low = item.start_s if item.start_s is not None else float(times[0])
        high = item.end_s if item.end_s is not None else float(times[-1])
        clip = video.frames_at_times([low + (high - low) * k / frames for k in range(frames)])
    pixels = clip.frames.permute(0, 2, 3, 1).numpy()  # (T, H, W, C)
    return contact_sheet(pixels, clip.times.tolist(), columns=frames, width=WIDTH)


def _heading(text: str) -> Image.Image:
    plate = Image.new("RGB", (WIDTH, HEADING), PAPER)
    face = font(16)
    ImageDraw.Draw(plate).text((8, 4), fit_text(text, face, WIDTH - 16), fill=INK, font=face)
    return plate


def _stacked(plates: list[Image.Image]) -> Image.Image:
    sheet = Image.new("RGB", (WIDTH, sum(p.height for p in plates)), PAPER)
    top = 0
    for plate in plates:
        sheet.paste(plate, (0, top))
        top += plate.height
    return sheet
