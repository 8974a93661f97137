"""Confusion matrices of few and of many classes."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from marey.report.matrix import confusions, matrix

COUNTS = [[8, 2], [0, 5]]


def test_cells_carry_the_share_of_their_row_and_numbers_while_they_fit() -> None:
    svg = matrix(COUNTS, ["a & b", "c"])
    ElementTree.fromstring(svg)
    assert re.findall(r"--a:([\d.]+)", svg) == ["0.800", "0.200", "0.000", "1.000"]
    assert "a &amp; b taken for c: 2" in svg
    assert svg.count('class="count') == 3  # zeros stay empty
    many = matrix(np.eye(20, dtype=int), [f"n{i}" for i in range(20)])
    assert many.count("<rect") == 400
    assert "count" not in many


def test_hundreds_of_classes_are_a_bitmap() -> None:
    counts = np.eye(400) * 9
    counts[3, 7] = 3
    html = matrix(counts, [str(i) for i in range(400)])
    data = re.search(r"base64,([^\"]+)", html)
    assert data
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data[1]))))
    assert picture.shape == (400, 400, 4)
    assert picture[5, 5, 3] == 255
    assert picture[3, 7, 3] == round(255 * 0.5)  # square root of a quarter
    assert picture[7, 3, 3] == 0
    assert len(html) < 60_000


def test_pairs_most_often_mistaken_come_first() -> None:
    counts = [[5, 3, 2], [0, 9, 0], [7, 0, 3]]
    assert confusions(counts, ["a", "b", "c"]) == [
        ("c", "a", 7, 0.7),
        ("a", "b", 3, 0.3),
        ("a", "c", 2, 0.2),
    ]
    assert confusions(np.eye(3), ["a", "b", "c"]) == []


def test_a_matrix_that_does_not_fit_its_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="2x2, needs 3x3"):
        matrix(COUNTS, ["a", "b", "c"])
    assert matrix(np.zeros((0, 0)), []) == ""
