"""The page of a search, from plain data."""

import copy
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from marey.report.expansion import chart, cost_text, render, write_expansion_page


def row(axis: str, cost: float, accuracy: float, frames: int = 1) -> dict[str, Any]:
    state = {"frames": frames, "stride": 8, "crop": 64, "width_factor": 1.0}
    state |= {"bottleneck_factor": 1.0, "depth_factor": 1.0}
    return {"axis": axis, "state": state, "cost": cost, "accuracy": accuracy}


TOLD: dict[str, Any] = {
    "out": "runs/a",
    "model": "x2d",
    "data": "clips <here>",
    "cost_kind": "macs",
    "budget": 4e6,
    "resolution": "100 videos measure",
    "expansion": {
        "start": row("", 1e6, 0.25),
        "steps": [
            {"candidates": [row("fast", 2e6, 0.5, 2), row("width", 2.1e6, 0.3)], "chosen": 0}
        ],
        "final": row("fast", 2e6, 0.5, 2),
        "alone": [row("width", 4e6, 0.35)],
    },
}


def test_every_candidate_is_a_point_and_the_chosen_are_joined() -> None:
    svg = re.search(r"<svg.*</svg>", chart("macs", TOLD["expansion"], 4e6))
    assert svg
    tree = ElementTree.fromstring(svg.group())
    dots = [(d.get("class"), d[0].text) for d in tree.iter("circle")]
    assert [hue for hue, _ in dots].count("dot hue0") == 2
    assert [hue for hue, _ in dots].count("dot rest") == 1
    assert "dot hue1" in dict(dots)
    assert "width 1, bottleneck 1" in dots[0][1]
    (line,) = tree.iter("polyline")
    points = [tuple(map(float, point.split(","))) for point in (line.get("points") or "").split()]
    assert len(points) == 2
    assert points[0][0] < points[1][0]
    assert points[0][1] > points[1][1]
    assert "fast" in [text.text for text in tree.iter("text")]


def test_the_page_has_a_table_a_step_and_escapes_names(tmp_path: Path) -> None:
    page = write_expansion_page(tmp_path, TOLD).read_text()
    assert page.count("<table>") == 3
    assert "clips &lt;here&gt;" in page
    assert "Step 1: fast" in page
    assert "+25.0, chosen" in page
    assert "budget 4 M multiply-adds" in page


def test_a_search_that_only_began_has_a_page() -> None:
    begun = copy.deepcopy(TOLD)
    begun["expansion"] |= {"steps": [], "final": None, "alone": []}
    assert "<circle" in render(begun)


def test_costs_carry_their_units() -> None:
    assert cost_text("macs", 41e6) == "41 M"
    assert cost_text("latency", 0.0123) == "12.3 ms"
    assert cost_text("memory", 63.2e6) == "63.2 MB"
