"""What a source means."""

from pathlib import Path

import numpy as np
import pytest

from marey.predictor import expand, is_endless


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_folder_is_its_videos_sorted_and_frame_folders_below_it(tmp_path: Path) -> None:
    touch(tmp_path / "b.MP4", tmp_path / "sub" / "a.webm", tmp_path / "notes.txt")
    touch(tmp_path / ".hidden.mp4", tmp_path / "c.jpg")
    touch(tmp_path / "frames" / "1.jpg", tmp_path / "frames" / "2.jpg")
    found = [Path(str(p)).relative_to(tmp_path).as_posix() for p in expand(tmp_path)]
    assert found == ["b.MP4", "frames", "sub/a.webm"]


def test_a_folder_of_pictures_is_one_video(tmp_path: Path) -> None:
    touch(tmp_path / "1.png", tmp_path / "2.png")
    assert expand(str(tmp_path)) == [str(tmp_path)]


def test_a_glob_is_its_matches(tmp_path: Path) -> None:
    touch(tmp_path / "a1.mp4", tmp_path / "a2.mp4", tmp_path / "b.mp4", tmp_path / "x" / "a3.mp4")
    names = [Path(str(p)).name for p in expand(f"{tmp_path}/**/a*.mp4")]
    assert names == ["a1.mp4", "a2.mp4", "a3.mp4"]


def test_a_file_with_a_bracket_in_its_name_is_a_file(tmp_path: Path) -> None:
    touch(tmp_path / "a[1].mp4")
    assert expand(tmp_path / "a[1].mp4") == [str(tmp_path / "a[1].mp4")]


def test_an_array_is_itself() -> None:
    array = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    (only,) = expand(array)
    assert only is array


def test_nothing_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no video"):
        expand(tmp_path)
    with pytest.raises(ValueError, match="no file matches"):
        expand(f"{tmp_path}/*.mp4")
    with pytest.raises(ValueError, match="does not exist"):
        expand(tmp_path / "a.mp4")


def test_endless_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_endless(0)
    assert is_endless("1")
    assert is_endless("RTSP://camera/1")
    assert is_endless("udp://@:1234")
    assert not is_endless("a.mp4")
    assert not is_endless(True)
    assert not is_endless(Path("0"))
    touch(tmp_path / "2")
    assert not is_endless("2")
