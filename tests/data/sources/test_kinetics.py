from pathlib import Path

import pytest

from marey.data.sources import open_data

HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"


@pytest.fixture
def kinetics(tmp_path: Path, make_video) -> Path:
    (tmp_path / "train.csv").write_text(
        HEADER
        + "abseiling,-3B32lodo2M,59,69,train,0\n"
        + '"air drumming","_x-y",10,20,train,0\n'
        + "zumba,gone0000000,1,11,train,0\n"
    )
    (tmp_path / "validate.csv").write_text(HEADER + "zumba,abcdefghijk,5,15,validate,0\n")
    (tmp_path / "test.csv").write_text(
        "youtube_id,time_start,time_end,split\nTESTtest123,0,10,test\n"
    )
    make_video(tmp_path / "train/abseiling/-3B32lodo2M_000059_000069.mp4", frames=2)
    make_video(tmp_path / "train/air_drumming/_x-y_10_20.mp4", frames=2)
    make_video(tmp_path / "val/zumba/abcdefghijk.mp4", frames=2)
    make_video(tmp_path / "test/TESTtest123_000000_000010.mp4", frames=2)
    return tmp_path


def test_official_lists_find_clips_under_any_of_their_names(kinetics: Path) -> None:
    with pytest.warns(UserWarning, match="train.csv: 1 of 3 rows have no file and are left out"):
        data = open_data(kinetics)
    assert data.format == "kinetics"
    assert data.classes == ("abseiling", "air drumming", "zumba")
    assert [i.key for i in data.split("train")] == [
        "train/abseiling/-3B32lodo2M_000059_000069.mp4",
        "train/air_drumming/_x-y_10_20.mp4",
    ]
    assert data.split("val")[0].target == (2,)
    assert data.split("test")[0].target == ()
    assert data.notes == ("train.csv: 1 of 3 rows have no file and are left out",)
    assert [item.start_s for item in data.split("train")] == [None, None]


def test_lists_without_a_clip_or_a_label_are_refused(kinetics: Path, tmp_path: Path) -> None:
    for folder in ("train", "val", "test"):
        (kinetics / folder).rename(tmp_path.parent / f"moved_{tmp_path.name}_{folder}")
    with pytest.raises(ValueError, match="no clip of its lists lies below"):
        open_data(kinetics)
    (kinetics / "train.csv").unlink()
    (kinetics / "validate.csv").unlink()
    with pytest.raises(ValueError, match="none of its lists has a 'label' column"):
        open_data(kinetics)
