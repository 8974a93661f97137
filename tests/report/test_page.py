"""The page of a run: whole, self-contained, escaped, small."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from marey.report.page import command_of, trained_seconds, write_page
from marey.report.run import read_run
from marey.report.words import big, duration, metric_name

VOID = {"meta", "img", "br", "link", "input"}


class Reader(HTMLParser):
    """Text of a page, its addresses, and whether its tags close in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def test_one_page_with_everything_in_it(make_run) -> None:
    path = write_page(make_run())
    assert path.name == "report.html"
    page = path.read_text()
    reader = Reader(page)
    assert reader.open == []
    assert not reader.tags & {"script", "iframe", "link", "object"}
    assert all(address.startswith("data:image/") for address in reader.addresses)
    assert len(reader.addresses) == 7  # eight clips, one of a video that is gone
    assert "http" not in re.sub(r"data:[^\"]+", "", page)
    assert "url(" not in page
    text = " ".join(reader.text)
    for words in ("tiny_8x8", "75.0 %", "74.8 %", "run & jump", "<b>walk</b>", "1.235 M", "2.5 G",
                  "3x4x32x32", "7.5 G", "/d/<i>x</i>.mp4", "no frames", "2 shorter than",
                  "1 of 8 videos could not be shown", "1 min 0 s", "0.50 s a clip"):  # fmt: skip
        assert words in text, words


def test_four_hundred_classes_stay_under_two_megabytes(make_run, tmp_path: Path) -> None:
    names = [f"class number {i} & more" for i in range(400)]
    generator = np.random.default_rng(0)
    counts = generator.integers(0, 50, (400, 400)) * (generator.random((400, 400)) < 0.02)
    path = write_page(make_run(classes=names, confusion=counts.tolist()))
    assert path.stat().st_size < 2_000_000
    Reader(path.read_text())


def test_a_run_that_has_only_begun_has_a_page(tmp_path: Path) -> None:
    row = {"kind": "train", "epoch": 0.1, "step": 1, "loss": 1.5, "lr": 0.1}
    (tmp_path / "log.jsonl").write_text(json.dumps(row) + "\n")
    page = write_page(tmp_path).read_text()
    assert "Loss" in page
    assert "Confusion" not in page
    assert Reader(page).open == []


def test_a_page_is_not_written_for_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a run folder"):
        write_page(tmp_path)
    assert not list(tmp_path.iterdir())


def test_seconds_count_every_step(make_run) -> None:
    assert trained_seconds(read_run(make_run())) == pytest.approx(40 * 1.5)


def test_the_command(make_run) -> None:
    path = make_run()
    run = read_run(path)
    words = command_of(run).split()
    assert words[:3] == ["marey", "train", "drawn:direction"]
    assert words[-2:] == ["--out", str(path)]
    told = {"command": "marey train x --model y"}
    (path / "recipe.json").write_text(json.dumps(told))
    assert command_of(read_run(path)) == told["command"]


def test_a_real_network_is_measured_from_its_weights(make_run) -> None:
    from marey.zoo import build, save

    path = make_run(cost=None)
    model = build("slow_r50_8x8", width=8, depths=(1, 1, 1, 1), num_classes=3, frames=4, crop=32)
    save(model, path / "weights.safetensors")
    page = write_page(path).read_text()
    count = sum(p.numel() for p in model.parameters())
    assert f"{count:,}" in page
    assert "3x4x37x37" in page


def test_words() -> None:
    assert [big(n) for n in (34_480_000, 65.7e9, 1.5e12, 900)] == [
        "34.48 M",
        "65.7 G",
        "1.5 T",
        "900",
    ]
    assert [duration(s) for s in (0.42, 48, 200, 18_720)] == [
        "0.4 s",
        "48 s",
        "3 min 20 s",
        "5 h 12 min",
    ]
    assert metric_name("top1") == "top-1"
    assert metric_name("some_new_measure") == "some new measure"
