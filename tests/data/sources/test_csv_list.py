from pathlib import Path

import numpy as np
import pytest

from marey.data.sources import open_data
from marey.video import open_video

ODD = "odd name, with #, %d é 中 'q' ;.mp4"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def clips(tmp_path: Path, make_video) -> Path:
    for name in ("a b.mp4", ODD, 'say "hi".mp4', "c.mp4"):
        make_video(tmp_path / "clips" / name, frames=3)
    return tmp_path


def test_a_header_names_path_label_split_and_times(clips: Path) -> None:
    listing = write(
        clips / "labels.csv",
        "path,label,split,task,start_s,end_s\n"
        "clips/a b.mp4,wave,train,x,0.5,1.5\n"
        f'"clips/{ODD}",bend,train,x,,\n'
        '"clips/say ""hi"".mp4",bend,val,x,0.04,\n'
        "clips/c.mp4,sit,val,y,,\n",
    )
    data = open_data(listing, where={"task": "x"}, context_s=0.12)
    assert data.classes == ("bend", "wave")
    assert data.format == "csv"
    train, val = data.split("train"), data.split("val")
    assert (train[0].video, train[0].target) == (str(clips / "clips/a b.mp4"), (1,))
    assert (train[0].start_s, train[0].end_s) == (0.38, 1.62)
    assert (train[1].start_s, train[1].end_s) == (None, None)
    assert (val[0].start_s, val[0].end_s) == (0.0, None)
    for item in (*train, *val):
        with open_video(item.video) as video:
            assert video.num_frames == 3
    whole = open_data(clips)  # a folder with labels.csv
    assert whole.classes == ("bend", "sit", "wave")
    assert len(whole.split("val")) == 2


def test_classes_txt_fixes_order_and_refuses_others(clips: Path) -> None:
    listing = write(clips / "labels.csv", "path,label\nclips/c.mp4,wave\nclips/a b.mp4,bend\n")
    write(clips / "classes.txt", "wave\nsit\nbend\n")
    data = open_data(listing)
    assert data.classes == ("wave", "sit", "bend")
    np.testing.assert_array_equal(data.splits[""].targets, [0, 2])
    write(clips / "classes.txt", "wave\nbendy\n")
    with pytest.raises(ValueError, match="label 'bend' .* 2 classes .*did you mean 'bendy'"):
        open_data(listing)
    write(clips / "classes.txt", "wave\nwave\n")
    with pytest.raises(ValueError, match="'wave' twice"):
        open_data(listing)


def test_several_labels_a_row(clips: Path) -> None:
    listing = write(clips / "l.csv", "path,labels\nclips/c.mp4,run; jump\nclips/a b.mp4,\n")
    data = open_data(listing)
    assert data.multi_label
    assert data.classes == ("jump", "run")
    assert [item.target for item in data.splits[""]] == [(0, 1), ()]


def test_a_list_a_split_with_headers(clips: Path) -> None:
    write(clips / "train.csv", "path,label\nclips/c.mp4,run\nclips/a b.mp4,sit\n")
    write(clips / "val.csv", "path,label\nclips/c.mp4,sit\n")
    data = open_data(clips)
    assert {name: items.targets.tolist() for name, items in data.splits.items()} == {
        "train": [0, 1],
        "val": [1],
    }
    write(clips / "val.csv", "path,label,more\nclips/c.mp4,sit,1\n")
    with pytest.raises(ValueError, match=r"val\.csv has other columns"):
        open_data(clips)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("path,lable\nclips/c.mp4,run\n", {}, "no 'label' column; did you mean 'lable'"),
        (
            "path,label,start_s\nclips/c.mp4,run,1\n",
            {},
            "only one of the columns start_s and end_s",
        ),
        ("path,label,start_s,end_s\nclips/c.mp4,run,2,1\n", {}, "row 1: 2-1 s is empty"),
        ("path,label,start_s,end_s\nclips/c.mp4,run,soon,1\n", {}, "column start_s: .*soon"),
        ("path,label\nclips/c.mp4,\n", {}, "row 1 has an empty label"),
        (
            "path,label\nclips/c,d.mp4,run\n",
            {},
            "put paths that hold the separator in double quotes",
        ),
        ("path,label\n", {}, "has no rows|no rows"),
        ("path,label,label\nclips/c.mp4,run,run\n", {}, "two columns named 'label'"),
        ("path,label\nnone/c.mp4,run\n", {}, "no such file .*none/c.mp4"),
        (
            "path,label,task\nclips/c.mp4,run,x\n",
            {"where": {"tsk": "x"}},
            "'tsk'; did you mean 'task'",
        ),
        (
            "path,label,task\nclips/c.mp4,run,grid_command\n",
            {"where": {"task": "grid_comand"}},
            "no row .* did you mean 'grid_command'",
        ),
        ("path,label\nclips/c.mp4,run\n", {"context_s": -1}, "context_s is -1"),
    ],
)
def test_bad_lists_are_refused_in_one_line(
    clips: Path, text: str, options: dict, message: str
) -> None:
    listing = write(clips / "l.csv", text)
    with pytest.raises(ValueError, match=message) as caught:
        open_data(listing, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "paths", "targets", "classes"),
    [
        (
            ["clips/a b.mp4 1", "clips/c.mp4 0"],
            ["clips/a b.mp4", "clips/c.mp4"],
            [1, 0],
            ("0", "1"),
        ),
        (["clips/c.mp4 run", "clips/a b.mp4 sit"], None, [0, 1], ("run", "sit")),
        ([f"clips/{ODD} 2", '"clips/say \\"hi\\".mp4" 0'], None, [2, 0], ("0", "1", "2")),
        (
            ["clips/a b.mp4 90 1", "clips/c.mp4 75 0"],
            ["clips/a b.mp4", "clips/c.mp4"],
            [1, 0],
            None,
        ),
        (["clips/a b.mp4,1", "clips/c.mp4,0"], ["clips/a b.mp4", "clips/c.mp4"], [1, 0], None),
        (
            ["clips/c.mp4\t1", "", "clips/a b.mp4\t0"],
            ["clips/c.mp4", "clips/a b.mp4"],
            [1, 0],
            None,
        ),
        (["clips/a b.mp4", "clips/c.mp4"], ["clips/a b.mp4", "clips/c.mp4"], [-1, -1], ()),
    ],
)
def test_lines_without_a_header_end_in_their_label(
    clips: Path,
    lines: list[str],
    paths: list[str] | None,
    targets: list[int],
    classes: tuple[str, ...] | None,
) -> None:
    listing = write(clips / "list.txt", "\n".join(lines) + "\n")
    data = open_data(listing)
    items = data.split("train")  # one list stands for any split
    assert items.targets.tolist() == targets
    if paths is not None:
        assert items.table.column("path").to_pylist() == paths
    if classes is not None:
        assert data.classes == classes


def test_a_path_may_end_in_a_number_where_only_that_exists(tmp_path: Path, make_frames) -> None:
    make_frames(tmp_path / "clip 1", frames=2)
    make_frames(tmp_path / "clip 2", frames=2)
    listing = write(tmp_path / "list.txt", "clip 1 0\nclip 2 1\n")
    assert [i.key for i in open_data(listing).splits[""]] == ["clip 1", "clip 2"]


def test_headerless_lists_by_split(clips: Path) -> None:
    write(clips / "train.csv", "clips/a b.mp4 2\nclips/c.mp4 0\n")
    write(clips / "val.csv", "clips/c.mp4 1\n")
    write(clips / "test.csv", "clips/c.mp4\n")
    data = open_data(clips)
    assert data.format == "lists"
    assert data.classes == ("0", "1", "2")
    assert {n: t.targets.tolist() for n, t in data.splits.items()} == {
        "train": [2, 0],
        "val": [1],
        "test": [-1],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("clips/c.mp4 0\nclips/d\n", "'clips/d' has no label"),
        ("clips/c.mp4 100000\n", "too large"),
        ("nowhere/c.mp4 0\n", "no such file"),
    ],
)
def test_bad_headerless_lists_are_refused(clips: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_data(write(clips / "list.txt", text))
    with pytest.raises(ValueError, match="only CSV lists with a header"):
        open_data(write(clips / "list.txt", "clips/c.mp4 0\n"), where={"task": "x"})


def test_a_list_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_bytes("path,label\né.mp4,run\n".encode("latin-1"))
    with pytest.raises(ValueError, match="UTF-8"):
        open_data(tmp_path / "l.csv")
