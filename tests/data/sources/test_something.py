import json
from pathlib import Path

import pytest

from marey.data.sources import open_data


@pytest.fixture
def ssv2(tmp_path: Path, make_video) -> Path:
    prefix = tmp_path / "something-something-v2-"
    rows = [
        {
            "id": "78687",
            "label": "holding potato next to vicks",
            "template": "Holding [something] next to [something]",
            "placeholders": ["potato", "vicks"],
        },
        {
            "id": "100",
            "label": "pushing a cup",
            "template": "Pushing [something]",
            "placeholders": [],
        },
    ]
    labels = {"Pushing something": "1", "Holding something next to something": "0"}
    Path(f"{prefix}labels.json").write_text(json.dumps(labels))
    Path(f"{prefix}train.json").write_text(json.dumps(rows))
    Path(f"{prefix}validation.json").write_text(json.dumps(rows[1:]))
    Path(f"{prefix}test.json").write_text(json.dumps([{"id": "100"}]))
    for name in ("78687", "100"):
        make_video(tmp_path / f"20bn-something-something-v2/{name}.mp4", frames=2)
    return tmp_path


def test_v2_numbers_templates_by_its_labels_file(ssv2: Path) -> None:
    data = open_data(ssv2)
    assert data.format == "ssv2"
    assert data.classes == ("Holding something next to something", "Pushing something")
    assert [(i.key, i.target) for i in data.split("train")] == [
        ("78687.mp4", (0,)),
        ("100.mp4", (1,)),
    ]
    assert data.split("val")[0].target == (1,)
    assert data.split("test")[0].target == ()


def test_v2_reads_the_later_file_names_and_frame_folders(
    ssv2: Path, tmp_path: Path, make_frames
) -> None:
    place = tmp_path / "later"
    (place / "labels").mkdir(parents=True)
    for old in ("labels", "train", "validation"):
        (tmp_path / f"something-something-v2-{old}.json").rename(place / f"labels/{old}.json")
    for name in ("78687", "100"):
        make_frames(place / "frames" / name, frames=2, name="{:06d}.jpg")
    data = open_data(place)
    assert data.split("train")[0].video == str(place / "frames/78687")
    assert data.split("train").fps == 30.0


def test_v2_refuses_labels_that_disagree(ssv2: Path) -> None:
    labels = ssv2 / "something-something-v2-labels.json"
    labels.write_text(
        json.dumps({"Pushing somethin": "1", "Holding something next to something": "0"})
    )
    with pytest.raises(ValueError, match="'Pushing something' .* did you mean 'Pushing somethin'"):
        open_data(ssv2)
    labels.write_text(json.dumps({"a": "1", "b": "3"}))
    with pytest.raises(ValueError, match="does not number its labels 0 to 1"):
        open_data(ssv2)
    labels.write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        open_data(ssv2)


@pytest.mark.parametrize(
    ("prefix", "clips", "format"),
    [
        ("something-something-v1", "20bn-something-something-v1", "ssv1"),
        ("jester-v1", "20bn-jester-v1", "jester"),
    ],
)
def test_v1_and_jester_are_pairs_and_frame_folders_at_12_fps(
    tmp_path: Path, make_frames, prefix: str, clips: str, format: str
) -> None:
    (tmp_path / f"{prefix}-labels.csv").write_text("Swiping Left\nSwiping Right\nNo gesture\n")
    (tmp_path / f"{prefix}-train.csv").write_text("34870;No gesture\n56557;Swiping Left\n")
    (tmp_path / f"{prefix}-validation.csv").write_text("9223;Swiping Right\n")
    (tmp_path / f"{prefix}-test.csv").write_text("56557\n")
    for name in ("34870", "56557", "9223"):
        make_frames(tmp_path / clips / name, frames=2)
    data = open_data(tmp_path)
    assert data.format == format
    assert data.classes == ("Swiping Left", "Swiping Right", "No gesture")
    assert data.split("train").targets.tolist() == [2, 0]
    assert data.split("val")[0].video == str(tmp_path / clips / "9223")
    assert data.split("test").targets.tolist() == [-1]
    assert data.split("train").fps == 12.0
    (tmp_path / f"{prefix}-train.csv").write_text("34870;No gestur\n")
    with pytest.raises(ValueError, match="'No gestur' .* did you mean 'No gesture'"):
        open_data(tmp_path)
