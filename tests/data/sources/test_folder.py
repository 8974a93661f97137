from pathlib import Path

import numpy as np
import pytest

from marey.data.sources import open_data


def test_a_folder_a_class(tmp_path: Path, make_video) -> None:
    for name in ("walk/a b.mp4", "walk/c.mp4", "run/d.webm.mp4"):
        make_video(tmp_path / name, frames=2)
    (tmp_path / "walk/notes.txt").write_text("no clip")
    (tmp_path / "readme.md").write_text("no class")
    data = open_data(tmp_path)
    assert (data.format, data.classes) == ("folder", ("run", "walk"))
    assert [i.key for i in data.splits[""]] == ["run/d.webm.mp4", "walk/a b.mp4", "walk/c.mp4"]
    np.testing.assert_array_equal(data.split("val").targets, [0, 1, 1])


def test_split_folders_share_one_list_of_classes(tmp_path: Path, make_video) -> None:
    for name in ("train/b/1.mp4", "train/a/2.mp4", "val/b/3.mp4"):
        make_video(tmp_path / name, frames=2)
    data = open_data(tmp_path)
    assert set(data.splits) == {"train", "val"}
    assert data.classes == ("a", "b")
    assert data.splits["val"][0].target == (1,)
    assert data.splits["val"][0].video == str(tmp_path / "val/b/3.mp4")


def test_frame_folders_are_clips(tmp_path: Path, make_frames) -> None:
    make_frames(tmp_path / "run/clip_1")
    make_frames(tmp_path / "walk/clip_2")
    data = open_data(tmp_path)
    assert data.format == "folder"
    assert [i.key for i in data.splits[""]] == ["run/clip_1", "walk/clip_2"]


def test_pictures_of_a_class_are_clips_of_one_frame(tmp_path: Path, make_frames) -> None:
    for place in ("train/n01440764", "train/n01443537", "val/n01440764"):
        make_frames(tmp_path / place, frames=2, name="x_{:d}.JPEG")
    data = open_data(tmp_path)
    assert data.format == "images"
    assert len(data.split("train")) == 4
    assert data.split("val")[0].video.endswith("val/n01440764/x_1.JPEG")


def test_classes_txt_may_order_and_must_agree(tmp_path: Path, make_video) -> None:
    make_video(tmp_path / "walk/a.mp4", frames=2)
    (tmp_path / "classes.txt").write_text("walk\nrun\n")
    assert open_data(tmp_path).classes == ("walk", "run")
    make_video(tmp_path / "rum/a.mp4", frames=2)
    with pytest.raises(ValueError, match="'rum' .* not in its classes.txt; did you mean 'run'"):
        open_data(tmp_path)


def test_videos_without_labels_are_read_when_asked_for(tmp_path: Path, make_video) -> None:
    make_video(tmp_path / "b.mp4", frames=2)
    make_video(tmp_path / "deep/er/a.mp4", frames=2)
    data = open_data(tmp_path, format="unlabelled")
    assert data.classes == ()
    assert [i.key for i in data.splits[""]] == ["b.mp4", "deep/er/a.mp4"]
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="holds no videos"):
        open_data(tmp_path / "none", format="unlabelled")


def test_folders_that_hold_no_data_set_are_refused(tmp_path: Path, make_video) -> None:
    with pytest.raises(ValueError, match="is an empty folder"):
        open_data(tmp_path)
    make_video(tmp_path / "a.mp4", frames=2)
    with pytest.raises(ValueError, match="holds videos but no class folders"):
        open_data(tmp_path)
    with pytest.raises(ValueError, match="is a single clip"):
        open_data(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="holds no clips"):
        open_data(tmp_path, format="folder")
    make_video(tmp_path / "deep/videos/b.mp4", frames=2)
    with pytest.raises(ValueError, match="layout that is not known"):
        open_data(tmp_path / "deep")
    make_video(tmp_path / "run/b.mp4", frames=2)
    with pytest.raises(ValueError, match="only CSV lists with a header"):
        open_data(tmp_path, where={"task": "x"})
