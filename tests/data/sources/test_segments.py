"""Sources of labelled segments, and what check says of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marey.data.check import check_data
from marey.data.sources import open_data
from marey.data.table import AMBIGUOUS
from marey.video.writer import write_video

Make = Callable[..., Path]


@pytest.fixture
def video(tmp_path: Path) -> Make:
    """A two-second video under a name below the folder."""
    first = tmp_path / "first.bin"

    def make(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not first.exists():
            draw = np.random.RandomState(0)
            write_video(
                path.with_suffix(".mp4"),
                draw.randint(255, size=(20, 16, 16, 3), dtype=np.uint8),
                10.0,
            )
            shutil.move(path.with_suffix(".mp4"), first)
        shutil.copy(first, path)
        with path.open("ab") as file:  # contents differ: behind the last box nothing is read
            file.write(b"\0\0\0\x10free" + name.encode()[-8:].rjust(8))
        return path

    return make


def test_csv_has_a_row_a_video_and_empty_ones_too(tmp_path: Path, video: Make) -> None:
    for name in ("a.mp4", "b c.mp4", "d.mp4"):
        video(name)
    (tmp_path / "list.csv").write_text(
        "Video,start_s,end_s,label,split,camera\n"
        "a.mp4,0.5,1.0,throw,train,left\na.mp4,1,1.5,catch,train,left\n"
        '"b c.mp4",0,2,catch,val,right\nd.mp4,,,,train,left\n'
    )
    data = open_data(tmp_path / "list.csv")
    assert (data.format, data.classes) == ("segments", ("catch", "throw"))
    train = data.split("train")
    assert train.intervals(0) == [(0.5, 1.0, 1), (1.0, 1.5, 0)]
    assert [train[i].target for i in range(2)] == [(0, 1), ()]
    assert data.split("val")[0].video == str(tmp_path / "b c.mp4")
    left = open_data(tmp_path / "list.csv", where={"camera": "left"})
    assert set(left.splits) == {"train"}
    (tmp_path / "classes.txt").write_text("throw\ncatch\nkick\n")
    assert open_data(tmp_path / "list.csv").classes == ("throw", "catch", "kick")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("a.mp4,one,2,throw", "line 2: 'one' to '2' are not seconds"),
        ("a.mp4,1,2,", "line 2 has times but no label"),
        ("gone.mp4,1,2,throw", "no such file"),
    ],
)
def test_a_wrong_csv_line_is_named(tmp_path: Path, video: Make, line: str, complaint: str) -> None:
    video("a.mp4")
    (tmp_path / "list.csv").write_text(f"video,start_s,end_s,label\n{line}\n")
    with pytest.raises(ValueError, match=complaint):
        open_data(tmp_path / "list.csv")


def database(**videos: Any) -> str:
    return json.dumps({"version": "1", "taxonomy": [], "database": videos})


def entry(subset: str, *rows: tuple[Any, Any, str], **more: Any) -> dict[str, Any]:
    told = [{"segment": [a, b], "label": name} for a, b, name in rows]
    return {"subset": subset, "duration": 2.0, "annotations": told, **more}


def test_activitynet_finds_files_and_counts_those_that_are_gone(
    tmp_path: Path, video: Make
) -> None:
    for name in ("videos/v_one.mp4", "videos/two.mp4", "clips/3.mp4"):
        video(name)
    (tmp_path / "activity_net.json").write_text(
        database(
            one=entry("training", ("0.5", "1.5", "Throw")),
            v_two=entry("Validation", (0, 1, "Catch"), (1, 2, "Ambiguous")),
            three=entry("validation", (0, 2, "Throw"), file="clips/3.mp4"),
            gone=entry("validation", (0, 2, "Throw")),
        )
    )
    data = open_data(tmp_path)
    assert data.format == "activitynet"
    assert data.classes == ("Catch", "Throw")
    assert data.split("train").intervals(0) == [(0.5, 1.5, 1)]
    val = data.split("val")
    assert [Path(item.video).name for item in val] == ["two.mp4", "3.mp4"]
    assert val.intervals(0) == [(0.0, 1.0, 0), (1.0, 2.0, AMBIGUOUS)]
    assert val.target(0) == (0,)
    assert val.target_within(0, 1.5, 1.9) == ()
    moved = val.relabel(("Kick", "Throw", "Catch"))
    assert moved.intervals(0) == [(0.0, 1.0, 2), (1.0, 2.0, AMBIGUOUS)]
    assert data.notes == ("val: 1 of 3 videos have no file (gone)",)


def test_a_file_without_training_videos_trains_on_validation(tmp_path: Path, video: Make) -> None:
    for name in ("a.mp4", "b.mp4"):
        video(name)
    (tmp_path / "thumos_gt.json").write_text(
        database(a=entry("Validation", (0, 1, "Dive")), b=entry("Test", (0, 1, "Dive")))
    )
    data = open_data(tmp_path / "thumos_gt.json")
    assert {k: Path(v[0].video).name for k, v in data.splits.items()} == {
        "train": "a.mp4",
        "test": "b.mp4",
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"database": []}', "no table 'database'"),
        ('{"database": {}}', "empty database"),
        ('{"database": ', "not valid JSON"),
        (database(a=entry("training", (0, "x", "Dive"))), "an annotation of 'a' is"),
        (database(a=entry("training", (0, 1, "Dive"))), "none of 1 videos has a file"),
    ],
)
def test_a_wrong_database_is_refused_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "gt.json").write_text(text)
    with pytest.raises(ValueError, match=complaint) as error:
        open_data(tmp_path / "gt.json")
    assert "\n" not in str(error.value)


def test_thumos14_as_distributed(tmp_path: Path, video: Make) -> None:
    video("validation/video_validation_0000051.mp4")
    video("test/video_test_0000004.mp4")
    lists = {
        "BaseballPitch_val": "video_validation_0000051  0.3 1.1\n",
        "CliffDiving_test": "video_test_0000004  0.2 1.0\n",
        "Diving_test": "video_test_0000004  0.2 1.0\nvideo_test_0000270  400.1 410.0\n",
        "Ambiguous_test": "video_test_0000004  1.2 1.5\n",
    }
    (tmp_path / "annotation").mkdir()
    for name, text in lists.items():
        (tmp_path / "annotation" / f"{name}.txt").write_text(text)
    data = open_data(tmp_path)
    assert data.format == "thumos14"
    assert data.classes == ("BaseballPitch", "CliffDiving", "Diving")
    assert data.split("train").intervals(0) == [(0.3, 1.1, 0)]
    assert sorted(data.split("val").intervals(0)) == [
        (0.2, 1.0, 1),
        (0.2, 1.0, 2),
        (1.2, 1.5, AMBIGUOUS),
    ]
    assert "test: 1 of 2 videos have no file (video_test_0000270)" in data.notes


def test_epic_and_ego4d(tmp_path: Path, video: Make) -> None:
    epic, ego = tmp_path / "epic", tmp_path / "ego4d"
    video("epic/P01/P01_01.mp4")
    (epic / "EPIC_100_train.csv").write_text(
        "narration_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class\n"
        "0,P01_01,00:00:00.14,00:00:01.37,3,3\n1,P01_01,00:01:00.5,00:01:01.0,1,0\n"
    )
    (epic / "EPIC_100_verb_classes.csv").write_text("id,key\n0,take\n1,put\n2,wash\n3,open\n")
    verbs = open_data(epic)
    assert verbs.classes == ("take", "put", "wash", "open")
    assert verbs.split("train").intervals(0) == [(0.14, 1.37, 3), (60.5, 61.0, 1)]
    assert open_data(epic, where={"label": "noun"}).classes == ("0", "1", "2", "3")
    assert open_data(epic, where={"label": "action"}).classes == ("put 0", "open 3")

    video("ego4d/clips/abc.mp4")
    label = {"start_time": 0.5, "end_time": 1.5, "label": "cut", "primary": True}
    other = {**label, "label": "wash", "primary": False}
    clips = [
        {"clip_uid": "abc", "annotations": [{"labels": [label, other]}]},
        {"clip_uid": "empty", "annotations": [{"labels": [other]}]},
    ]
    (ego / "moments_train.json").write_text(json.dumps({"videos": [{"clips": clips}]}))
    moments = open_data(ego)
    assert (moments.format, moments.classes, moments.notes) == ("ego4d", ("cut",), ())
    assert moments.split("train").intervals(0) == [(0.5, 1.5, 0)]


LINES = (
    "narration_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class\n"
    "0,P01_02,00:00:00.10,00:00:00.90,1,0\n1,P01_01,00:00:01.50,00:00:01.90,0,2\n"
    "2,P01_01,00:00:00.25,00:00:01.25,1,1\n"
)


def test_epic_has_a_row_an_action_with_verb_and_noun(tmp_path: Path, video: Make) -> None:
    for name in ("P01_01", "P01_02"):
        video(f"P01/{name}.mp4")
    (tmp_path / "EPIC_100_train.csv").write_text(LINES)
    (tmp_path / "EPIC_100_verb_classes.csv").write_text("id,key\n0,take\n1,drink\n")
    (tmp_path / "EPIC_100_noun_classes.csv").write_text("id,key\n0,tap\n1,drink\n2,plate\n")
    pair = {"label": "verb+noun"}
    data = open_data(tmp_path, where=pair)
    assert data.classes == ("take", "drink", "tap", "noun drink", "plate")
    assert data.label_sets == (("verb", 2), ("noun", 3))
    rows = [(Path(i.video).stem, i.start_s, i.end_s, i.target) for i in data.split("train")]
    assert rows == [
        ("P01_01", 0.25, 1.25, (1, 3)),
        ("P01_01", 1.5, 1.9, (0, 4)),
        ("P01_02", 0.1, 0.9, (1, 2)),
    ]
    early = open_data(tmp_path, where={**pair, "ahead_s": "1", "observed_s": "0.4"})
    spans = [(i.start_s, i.end_s) for i in early.split("train")]
    assert spans == [(0.0, 0.0), (pytest.approx(0.1), 0.5), (0.0, 0.0)]


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ({"label": "verbs"}, "label is 'verbs'; choose one of verb, noun, action, verb.noun"),
        ({"label": "verb+noun", "ahead_s": "soon"}, "ahead_s is 'soon'; give seconds"),
        ({"label": "verb+noun", "observed_s": "2"}, "give ahead_s"),
        ({"ahead_s": "1"}, "are for label=verb.noun"),
        ({"fold": "1"}, "it knows 'label', 'ahead_s', 'observed_s'"),
    ],
)
def test_what_epic_is_not_asked_for(
    tmp_path: Path, video: Make, where: dict[str, str], told: str
) -> None:
    for name in ("P01_01", "P01_02"):
        video(f"{name}.mp4")
    (tmp_path / "EPIC_100_train.csv").write_text(LINES)
    with pytest.raises(ValueError, match=told):
        open_data(tmp_path, where=where)


def test_an_epic_label_outside_its_list_is_named(tmp_path: Path, video: Make) -> None:
    video("P01_01.mp4")
    (tmp_path / "EPIC_100_train.csv").write_text(LINES)
    (tmp_path / "EPIC_100_noun_classes.csv").write_text("id,key\n0,tap\n1,sponge\n")
    with pytest.raises(ValueError, match="noun 2 is used but not in"):
        open_data(tmp_path, where={"label": "verb+noun"})


def test_check_names_segments_that_cannot_be_meant(tmp_path: Path, video: Make) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        video(name)
    (tmp_path / "list.csv").write_text(
        "video,start_s,end_s,label,split\n"
        "a.mp4,1.5,0.5,throw,train\na.mp4,1,1,throw,train\na.mp4,1,2.9,catch,train\n"
        "a.mp4,0,2.05,catch,train\na.mp4,5,6,throw,train\n"
        "b.mp4,0,1,kick,val\nc.mp4,,,,other\n"
    )
    report = check_data(open_data(tmp_path / "list.csv"), workers=1)
    told = [f"{Path(f.source).name}: {f.reason}" for f in report.segments]
    assert told == [
        "a.mp4: 1.5 to 0.5 s of 'throw' ends before it begins",
        "a.mp4: 1 to 1 s of 'throw' has no length",
        "a.mp4: 1 to 2.9 s of 'catch' goes past the end at 2.00 s",
        "a.mp4: 5 to 6 s of 'throw' begins after the end at 2.00 s",
        "other: no video has a segment",
    ]
    assert report.missing["train"] == ("kick",)
    assert report.faults == 5 + len(report.missing)
    assert "wrong segments: 5" in report.lines()
