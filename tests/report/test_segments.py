"""Precision by overlap and the tracks of videos, from a detector's predictions.json."""

import json
import re
from pathlib import Path

import pytest

from marey.report.page import render
from marey.report.run import RunFolder, read_run
from marey.report.segments import hit_share, precision, timelines


def segment(start_s: float, end_s: float, score: float, number: int) -> dict[str, float]:
    return {"start_s": start_s, "end_s": end_s, "score": score, "class": number}


VIDEOS = [
    {
        "video": "good <1>.mp4",
        "truth": [[10.0, 20.0, 0], [30.0, 32.0, 1]],
        "segments": [segment(10.0, 20.0, 0.9, 0), segment(30.0, 33.0, 0.8, 1)],
    },
    {
        "video": "bad.mp4",
        "truth": [[1.0, 2.0, 1]],
        "segments": [segment(5.0, 6.0, 0.7, 1), segment(1.0, 2.0, 0.1, 1)],
    },
]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    metrics = {"classes": ["run", "jump", "idle"], "metrics": {"mAP@0.5": 0.75, "mAP@0.9": 0.5}}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "predictions.json").write_text(json.dumps(VIDEOS))
    return read_run(tmp_path)


def test_a_row_a_class_and_one_of_all(run: RunFolder) -> None:
    """Jump at 0.5: a hit, a miss, a hit, of two instances: 1/2 + 1/2 * 2/3. At 0.9 only the last
    of three hits: 1/2 * 1/3. A class without an instance has no row."""
    rows = re.findall(r"<tr>(.*?)</tr>", precision(run))
    told = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in rows]
    assert told == [
        ["class", "instances", "0.5", "0.9", "mean"],
        ["run", "1", "100.0 %", "100.0 %", "100.0 %"],
        ["jump", "2", "83.3 %", "16.7 %", "50.0 %"],
        ["all", "3", "91.7 %", "58.3 %", "75.0 %"],
    ]


def test_videos_are_ordered_by_what_was_found_and_right(run: RunFolder) -> None:
    assert [hit_share(row) for row in VIDEOS] == [1.0, 0.0]
    html = timelines(run)
    assert html.index("Fewest found") < html.index("bad.mp4") < html.index("Most found")
    assert html.count('class="truth"') == 3
    assert html.count('class="found"') == 3  # what scores 0.1 is not drawn
    assert "good &lt;1&gt;.mp4" in html
    assert "found 30.00 to 33.00 s, 0.80" in html


def test_they_stand_on_the_page_of_a_detector_and_of_no_other(run: RunFolder) -> None:
    assert "<h2>Overlaps</h2>" in render(run)
    (run.path / "predictions.json").write_text(json.dumps([{"video": "a", "scores": [0.5]}]))
    page = render(read_run(run.path))
    assert "<h2>Overlaps</h2>" not in page
    assert "<h2>Videos</h2>" not in page
