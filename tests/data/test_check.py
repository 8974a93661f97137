import json
import shutil
from pathlib import Path

import pytest

from marey.config import to_plain
from marey.data.check import check_data, digest, read_file
from marey.data.sources import open_data


@pytest.fixture
def folder(tmp_path: Path, make_video) -> Path:
    for split, name, place in (
        ("train", "run", 0),
        ("train", "walk", 1),
        ("val", "run", 2),
        ("val", "walk", 3),
    ):
        make_video(tmp_path / split / name / f"{place}.mp4", frames=10, tint=place)
    return tmp_path


def test_a_sound_data_set_has_no_faults(folder: Path) -> None:
    seen = []
    report = check_data(
        open_data(folder), workers=1, progress=lambda *at: seen.append(at), frames=10
    )
    assert report.faults == 0
    assert (report.files, report.rows) == (4, 4)
    assert report.histogram == {"train": {"run": 1, "walk": 1}, "val": {"run": 1, "walk": 1}}
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert report.lines()[-1] == "no faults"


@pytest.mark.parametrize("workers", [1, 2])
def test_every_kind_of_fault_is_named(folder: Path, make_video, workers: int) -> None:
    (folder / "train/run/broken.mp4").write_text("404: Not Found")
    make_video(folder / "train/run/short.mp4", frames=3, tint=7)
    make_video(folder / "train/walk/fast.mp4", frames=10, fps=60, tint=9)
    shutil.copy(folder / "train/run/0.mp4", folder / "train/run/copy.mp4")
    shutil.copy(folder / "train/walk/1.mp4", folder / "val/walk/leak.mp4")
    make_video(folder / "train/sit/only.mp4", frames=10, tint=11)
    report = check_data(open_data(folder), workers=workers, frames=8)
    assert [f.source for f in report.unreadable] == [str(folder / "train/run/broken.mp4")]
    assert [(Path(f.source).name, f.reason) for f in report.too_short] == [
        ("short.mp4", "3 frames, fewer than 8")
    ]
    assert [(Path(f.source).name, f.reason) for f in report.odd_rate] == [
        ("fast.mp4", "60 frames/s, most have 25")
    ]
    groups = [[Path(p).name for p in group] for group in report.duplicates]
    assert groups == [["0.mp4", "copy.mp4"], ["1.mp4", "leak.mp4"]]
    assert [(Path(f.source).name, f.reason) for f in report.shared] == [
        ("1.mp4", "in splits train, val")
    ]
    assert report.missing == {"val": ("sit",)}
    assert report.faults == 7
    assert json.loads(json.dumps(to_plain(report)))["faults"] == 7
    lines = report.lines()
    assert any("404" in line or "broken.mp4" in line for line in lines)
    assert lines[-1] == "7 faults"


def test_timed_rows_count_the_frames_inside_them(tmp_path: Path, make_video) -> None:
    make_video(tmp_path / "a.mp4", frames=20)
    (tmp_path / "list.csv").write_text(
        "path,label,start_s,end_s\na.mp4,x,0.0,0.4\na.mp4,y,0.4,0.48\na.mp4,y,,\n"
    )
    report = check_data(open_data(tmp_path / "list.csv"), workers=1, frames=5)
    assert [f.reason for f in report.too_short] == ["2 frames in 0.4-0.48 s, fewer than 5"]
    late = read_file(str(tmp_path / "a.mp4"), ((0.9, 1.2),))
    assert late.reason == "a row begins at 0.9 s, after the end at 0.8 s"


def test_one_file_in_two_splits_of_a_list(tmp_path: Path, make_video) -> None:
    make_video(tmp_path / "a.mp4")
    (tmp_path / "list.csv").write_text("path,label,split\na.mp4,x,train\na.mp4,x,val\n")
    report = check_data(open_data(tmp_path / "list.csv"), workers=1)
    assert [f.reason for f in report.shared] == ["in splits train, val"]
    assert report.duplicates == ()
    assert report.files == 1


def test_frame_folders_and_pictures_are_read_too(tmp_path: Path, make_frames) -> None:
    make_frames(tmp_path / "clip", frames=5)
    fact = read_file(str(tmp_path / "clip"), (), 12.0)
    assert (fact.frames, fact.fps, fact.reason) == (5, 12.0, "")
    assert read_file(str(tmp_path / "clip/00001.jpg")).frames == 1
    assert len({digest(str(p)) for p in (tmp_path / "clip").iterdir()}) == 5
    assert "none.mp4" in read_file(str(tmp_path / "none.mp4")).path


def test_negative_numbers_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="workers -1"):
        check_data(open_data(folder), workers=-1)
