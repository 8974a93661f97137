"""Segments for people: page, subtitles, table; and what of the file names they must survive."""

import json
import re
from pathlib import Path
from typing import Any

from marey.data.sources import open_data
from marey.report.timeline import clock, save_timeline, subtitles


def found(source: str) -> dict[str, Any]:
    rows = [
        {"label": "throw & <catch>", "score": 0.91, "start_s": 1.25, "end_s": 3.5},
        {"label": "kick", "score": 0.4, "start_s": 62.0, "end_s": 3725.5},
    ]
    return {"source": source, "model": "basictad_af", "task": "when", "predictions": rows}


def test_the_page_refers_to_the_video_and_every_segment(tmp_path: Path) -> None:
    video = tmp_path / "a b#1.mp4"
    page = save_timeline(found(str(video)), tmp_path / "out", name="a", duration_s=4000.0)
    text = page.read_text()
    assert 'src="../a%20b%231.mp4"' in text
    assert re.findall(r'<li><button class="h\d" data-start="([\d.]+)"', text) == ["1.25", "62.0"]
    assert "throw &amp; &lt;catch&gt;" in text
    assert "<catch>" not in text
    assert "2 segments of 2 classes in 1:06:40.0" in text
    assert "left:1.550%;width:91.588%" in text
    assert "http" not in text.replace("<!doctype html>", "")


def test_files_beside_the_page(tmp_path: Path) -> None:
    source = tmp_path / "a.mp4"
    source.write_bytes(b"")
    save_timeline(found(str(source)), tmp_path, name="a", duration_s=4000.0)
    assert json.loads((tmp_path / "a.json").read_text())["predictions"][0]["score"] == 0.91
    again = open_data(tmp_path / "a.csv")
    assert again.format == "segments"
    assert again.splits[""].intervals(0)[1][:2] == (62.0, 3725.5)
    assert (tmp_path / "a.vtt").read_text().startswith("WEBVTT\n\n1\n00:00:01.250 --> 00:00:03.500")


def test_no_segment_says_so(tmp_path: Path) -> None:
    result = found("x.mp4") | {"predictions": [], "skipped": "frames lost: 3"}
    text = save_timeline(result, tmp_path, name="x", duration_s=10.0).read_text()
    assert "No segment is likely enough" in text
    assert "frames lost: 3" in text
    assert subtitles([]) == "WEBVTT\n"


def test_clock_carries() -> None:
    assert clock(3599.9996) == "01:00:00.000"
    assert clock(61.5) == "00:01:01.500"
