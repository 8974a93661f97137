"""Contact sheets of a data set."""

from pathlib import Path

import pytest
from PIL import Image

from marey.data.sources import open_data
from marey.data.synthetic import write_dataset
from marey.report.preview import HEADING, WIDTH, preview_sheet


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preview") / "d"
    return write_dataset("direction", folder, train=4, val=2, test=2, size=(48, 64))


def test_a_strip_for_each_clip_of_each_class_that_has_one(drawn: Path, tmp_path: Path) -> None:
    data = open_data(drawn)
    path, failures = preview_sheet(data, tmp_path / "p.png", clips=1, frames=4)
    assert not failures
    present = int((data.splits["train"].label_counts() > 0).sum())
    with Image.open(path) as sheet:
        assert sheet.width == WIDTH
        strip = (sheet.height - present * HEADING) / present
        assert strip == pytest.approx(WIDTH / 4 * 48 / 64, abs=3)


def test_broken_files_are_named_and_all_broken_is_refused(drawn: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / "data" / "train" / folder).mkdir(parents=True)
        (tmp_path / "data" / "train" / folder / "x.mp4").write_text("nothing")
    with pytest.raises(ValueError, match="no clip of"):
        preview_sheet(open_data(tmp_path / "data"), tmp_path / "p.png")
    assert not (tmp_path / "p.png").exists()
    good = next((drawn / "clips" / "train").glob("*.mp4"))
    (tmp_path / "data" / "train" / "a" / "good.mp4").write_bytes(good.read_bytes())
    _, failures = preview_sheet(open_data(tmp_path / "data"), tmp_path / "p.png")
    assert {Path(f.source).parent.name for f in failures} == {"a", "b"}


def test_counts_below_one_are_refused(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frames 0"):
        preview_sheet(open_data(drawn), tmp_path / "p.png", frames=0)
