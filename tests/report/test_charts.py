"""Charts: where their marks lie, and that text is escaped."""

import math
import re
from xml.etree import ElementTree

import pytest

from marey.report.charts import Series, bars, line_chart, number, thin, ticks


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 1, 4) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert ticks(0, 20, 6) == pytest.approx([0, 5, 10, 15, 20])
    assert ticks(0.013, 0.087, 4) == pytest.approx([0.02, 0.04, 0.06, 0.08])
    assert ticks(-0.3, 0.3, 3) == pytest.approx([-0.2, 0, 0.2])
    assert ticks(3, 3) == [3]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (1200, "1200"),
        (12000, "12k"),
        (5e-4, "0.0005"),
        (3e-5, "3e-5"),
        (1.26e-5, "1.3e-5"),
        (4e6, "4M"),
        (2.5e9, "2.5G"),
        (math.nan, "-"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_long_columns_are_averaged_and_holes_left_out() -> None:
    x, y = thin(list(range(1000)), [1.0] * 500 + [3.0] * 500, most=10)
    assert len(x) == 10
    assert y.tolist() == [1.0] * 5 + [3.0] * 5
    x, y = thin([0, 1, 2], [1.0, math.nan, 2.0])
    assert x.tolist() == [0, 2]


def points(svg: str) -> list[tuple[float, float]]:
    found = re.search(r'<polyline[^>]*points="([^"]*)"', svg)
    assert found
    return [(float(a), float(b)) for a, b in (pair.split(",") for pair in found[1].split())]


def test_a_line_runs_through_its_points() -> None:
    svg = line_chart([Series("a", [0, 1, 2], [0.0, 0.5, 1.0])], title="A", percent=True)
    ElementTree.fromstring(svg)
    (x0, y0), (x1, y1), (x2, y2) = points(svg)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.11)
    assert y2 == pytest.approx(12)  # 100 % is the top
    assert "100 %" in svg


def test_text_is_escaped_and_measurements_say_their_value() -> None:
    one = Series("a <b>", [0, 1], [0.25, 0.5], dots=True)
    svg = line_chart([one], title="loss & more", percent=True)
    ElementTree.fromstring(svg)
    assert "a &lt;b&gt;: 50.0 % at 1" in svg
    assert "loss &amp; more" in svg


def test_nothing_to_draw_is_an_empty_string() -> None:
    assert line_chart([], title="x") == ""
    assert line_chart([Series("a", [0], [math.nan])], title="x") == ""
    assert bars([]) == ""


def test_a_single_point_is_drawn() -> None:
    assert "<circle" in line_chart([Series("a", [3], [0.5])], title="x")


def test_bars_have_widths_within_their_track() -> None:
    html = bars([("a<", 0.5, "1 of 2"), ("b", 1.7, ""), ("c", math.nan, "")])
    assert re.findall(r"width:([\d.]+)%", html) == ["50.0", "100.0", "0.0"]
    assert "a&lt;" in html
