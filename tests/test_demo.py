"""The tour, shortened: every step runs and leaves what it says."""

from pathlib import Path

import pytest

from marey import demo
from marey.cli import main
from marey.recipe import Recipe


def test_the_tour_draws_trains_evaluates_predicts_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, count in (("TRAIN", 8), ("VAL", 4), ("TEST", 4)):
        monkeypatch.setattr(demo, name, count)
    short = demo.RECIPE.changed(
        schedule={"epochs": 1.0, "warmup_epochs": 0.0}, net={"width": 4}, data={"workers": 0}
    )
    monkeypatch.setattr(demo, "RECIPE", short)
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert told.out.strip() == str(out / "report.html")
    for step in range(1, 6):
        assert f"{step}/5" in told.err
    page = (out / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert len(list(out.glob("*.mp4"))) == 1  # the unseen file with its labels drawn in
    assert len(list((out / "data").rglob("*.mp4"))) == 16


def test_the_recipe_of_the_tour_reads_back() -> None:
    assert Recipe.from_plain(demo.RECIPE.to_plain()) == demo.RECIPE
