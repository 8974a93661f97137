from pathlib import Path

import pytest

from marey.data.sources import FORMATS, open_data


def test_what_does_not_exist_or_has_no_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.csv does not exist"):
        open_data(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="no data was named"):
        open_data("")
    with pytest.raises(ValueError, match="format 'kinetic' is not known; did you mean 'kinetics'"):
        open_data(tmp_path, format="kinetic")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ValueError, match="layout that is not known"):
        open_data(tmp_path / "x.json")
    with pytest.raises(ValueError, match="layout that is not known"):
        open_data(tmp_path)


def test_two_layouts_in_one_folder_have_to_be_told_apart(tmp_path: Path, make_video) -> None:
    (tmp_path / "classInd.txt").write_text("1 Archery\n")
    (tmp_path / "jester-v1-labels.csv").write_text("Swiping Left\n")
    with pytest.raises(ValueError, match="could be jester or ucf101; say which with format="):
        open_data(tmp_path)


def test_a_list_is_meant_where_clips_lie_in_folders_beside_it(tmp_path: Path, make_video) -> None:
    make_video(tmp_path / "run/a.mp4", frames=2)
    (tmp_path / "train.csv").write_text("run/a.mp4 0\n")
    assert open_data(tmp_path).format == "lists"
    assert open_data(tmp_path, format="folder").classes == ("run",)


def test_every_format_says_what_it_is() -> None:
    assert all(known.about for known in FORMATS.values())
    assert {"kinetics", "ssv1", "ssv2", "jester", "ucf101", "hmdb51", "charades"} <= set(FORMATS)


def test_every_named_format_refuses_a_folder_of_another(tmp_path: Path, make_video) -> None:
    make_video(tmp_path / "notes/a.txt.mp4", frames=2)
    for name in sorted(set(FORMATS) - {"folder", "unlabelled"}):
        with pytest.raises(ValueError) as caught:
            open_data(tmp_path, format=name)
        assert "\n" not in str(caught.value)
