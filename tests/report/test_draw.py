"""Drawn frames and contact sheets."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from marey.report.draw import (
    BAR,
    annotate,
    contact_sheet,
    enlarged_size,
    fit_text,
    font,
    jpeg_uri,
    printable,
)


def grey(height: int = 64, width: int = 80) -> np.ndarray:
    return np.full((height, width, 3), 128, dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "larger"),
    [
        ((64, 80), (360, 450)),
        ((359, 641), (360, 644)),
        ((720, 1280), (720, 1280)),
        ((1, 1), (360, 360)),
    ],
)
def test_small_videos_are_enlarged_to_even_sizes(size, larger) -> None:
    assert enlarged_size(*size) == larger


def bar_pixels(frame: np.ndarray) -> int:
    return int((np.abs(frame.astype(int) - BAR).max(axis=2) < 12).sum())


def test_the_bar_grows_with_the_score_and_the_frame_stays_itself() -> None:
    frame = grey()
    half, full = annotate(frame, [("wave", 0.5)]), annotate(frame, [("wave", 1.0)])
    assert half.shape == full.shape == (360, 450, 3)
    assert bar_pixels(full) / bar_pixels(half) == pytest.approx(2, rel=0.15)
    assert (frame == 128).all()
    assert (half[:200] == 128).all()  # words stand at the lower left
    assert bar_pixels(annotate(frame, [("wave", 0.0)])) == 0


def test_rows_and_long_names_stay_inside_the_frame() -> None:
    rows = [("a very long name of a class " * 8, 0.9)] * 40
    drawn = annotate(grey(), rows, note="12.5 s")
    assert drawn.shape == (360, 450, 3)
    assert (drawn[:, -12:][60:] == 128).all()
    assert not (drawn[:60, 300:] == 128).all()  # the note
    assert (annotate(grey(), []) == 128).all()


def test_text_is_cut_to_fit() -> None:
    face = font(20)
    cut = fit_text("a very long name of a class", face, 100)
    assert cut.endswith("...")
    assert face.getlength(cut) <= 100
    assert fit_text("short", face, 100) == "short"
    assert fit_text("long enough", face, 1) == ""
    assert printable("a\nb\tc") == "a b c"


def test_a_contact_sheet_reads_like_a_page() -> None:
    frames = [np.full((30, 40, 3), 20 * i, dtype=np.uint8) for i in range(5)]
    sheet = np.asarray(contact_sheet(frames, columns=3, width=124))
    assert sheet.shape == (62, 124, 3)  # two rows of 30, a gap of 2
    corners = sheet[5, [5, 47, 89], 0].tolist() + sheet[37, [5, 47, 89], 0].tolist()
    assert corners == [0, 20, 40, 60, 80, 0]
    timed = np.asarray(contact_sheet(frames, [0, 1, 2, 3, 4], columns=3, width=124))
    assert not np.array_equal(sheet, timed)


def test_contact_sheets_refuse() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        contact_sheet([])
    with pytest.raises(ValueError, match="2 times for 1 frames"):
        contact_sheet([grey()], [0.0, 1.0])


def test_a_picture_becomes_an_address() -> None:
    uri = jpeg_uri(Image.new("RGB", (8, 6), (200, 10, 10)))
    kind, data = uri.split(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (8, 6)
