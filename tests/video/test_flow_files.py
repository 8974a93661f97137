"""Flow on disk: ours and other people's layouts give the same bytes; gaps are named."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marey.video import VideoError, open_video
from marey.video.flow import FlowChoice
from marey.video.flow_files import FlowWriter, beside, find_flow, is_flow, open_flow


def fields(count: int = 4) -> np.ndarray:
    """(T, H, W, 2) bytes: smooth, so that JPEG keeps them to a step or two."""
    y, x = np.mgrid[:24, :32]
    return np.stack([np.stack([100 + x + t, 140 + y - t], axis=-1) for t in range(count)]).astype(
        np.uint8
    )


def write(path: Path, store: str) -> Path:
    writer = FlowWriter(path, FlowChoice(), fps=12.5, store=store)
    for one in fields():
        writer.write(one)
    return writer.close([0.0, 0.08, 0.17, 0.24], "clip.mp4")


def pictures(folder: Path, pattern: str, stored: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for t, image in enumerate(stored, start=1):
        Image.fromarray(image).save(folder / pattern.format(t))


@pytest.mark.parametrize(("store", "most"), [("jpeg", 3), ("video", 0)])
def test_what_was_written_is_read(tmp_path: Path, store: str, most: int) -> None:
    path = write(tmp_path / ("a.mkv" if store == "video" else "a"), store)
    assert is_flow(path)
    with open_flow(path) as video:
        assert (video.num_frames, video.height, video.width, video.fps) == (4, 24, 32, 12.5)
        clip = video.frames_at([2, 0])
        assert clip.modality == "flow"
        assert clip.times.tolist() == [0.17, 0.0]
        found = clip.frames.permute(0, 2, 3, 1).numpy().astype(int)
        assert np.abs(found - fields()[[2, 0]]).max() <= most
        assert video.frames_at([1], size=(12, 16)).frames.shape == (1, 2, 12, 16)
        assert sum(len(c.times) for c in video.chunks(3)) == 4
    assert not list(tmp_path.glob(".*partial*"))


def test_layouts_of_others(tmp_path: Path) -> None:
    x, y = fields()[..., 0], fields()[..., 1]
    pictures(tmp_path / "tsn/clip", "flow_x_{:05d}.png", x)
    pictures(tmp_path / "tsn/clip", "flow_y_{:05d}.png", y)
    pictures(tmp_path / "tsn/clip", "img_{:05d}.png", np.zeros((5, 24, 32, 3), np.uint8))
    pictures(tmp_path / "short/clip", "x_{:05d}.png", x)
    pictures(tmp_path / "short/clip", "y_{:05d}.png", y)
    pictures(tmp_path / "two/u/clip", "frame{:06d}.png", x)
    pictures(tmp_path / "two/v/clip", "frame{:06d}.png", y)
    for folder in ("tsn", "short", "two"):
        place = find_flow(tmp_path / folder, "videos/clip.avi", "videos")
        with open_flow(place, fps=25) as video:
            found = video.frames_at([0, 1, 2, 3]).frames.permute(0, 2, 3, 1).numpy()
        assert np.array_equal(found, fields()), folder
    with open_video(tmp_path / "tsn/clip") as video:  # colours of the same folder
        assert video.num_frames == 5


def test_flow_that_counts_from_127(tmp_path: Path) -> None:
    still = np.full((1, 8, 8), 127, np.uint8)
    pictures(tmp_path / "clip", "flow_x_{:05d}.png", still)
    pictures(tmp_path / "clip", "flow_y_{:05d}.png", still)
    assert open_flow(tmp_path / "clip").frames_at([0]).frames.unique().tolist() == [127]
    assert open_flow(tmp_path / "clip", zero=127).frames_at([0]).frames.unique().tolist() == [128]
    (tmp_path / "clip" / "flow.json").write_text('{"zero": 127}')
    assert open_flow(tmp_path / "clip").frames_at([0]).frames.unique().tolist() == [128]
    (tmp_path / "clip" / "flow.json").write_text('{"zero": 0}')
    with pytest.raises(ValueError, match="byte 127 or 128"):
        open_flow(tmp_path / "clip")


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (["flow_y_00002.jpg"], "number 2.*its y picture is missing"),
        (["flow_x_00003.jpg", "flow_y_00003.jpg"], "number 3.*its x picture is missing"),
        (["flow_x_00004.jpg", "flow_y_00004.jpg"], "3 pairs of pictures, but 4 were written"),
    ],
)
def test_a_missing_picture_is_named(tmp_path: Path, gone: list[str], said: str) -> None:
    folder = write(tmp_path / "clip", "jpeg")
    for name in gone:
        (folder / name).unlink()
    with pytest.raises(VideoError) as told:
        open_flow(folder)
    text = f"{told.value.position}: {told.value.cause}"
    import re

    assert re.search(said, text), text


def test_a_broken_picture_and_a_cut_file_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "clip", "jpeg")
    (folder / "flow_x_00002.jpg").write_bytes(b"no picture")
    with open_flow(folder) as video, pytest.raises(VideoError, match="flow_x_00002.jpg"):
        video.frames_at([1])
    file = write(tmp_path / "b.mkv", "video")
    told = json.loads(beside(file).read_text())
    beside(file).write_text(json.dumps({**told, "fields": 9}))
    with pytest.raises(VideoError, match="9 fields, the file 4"):
        open_flow(file)


def test_what_is_no_flow_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no optical flow; compute it with 'marey flow"):
        open_flow(tmp_path)
    with pytest.raises(ValueError, match=r"a.mp4 has no flow in .*sub/a and sub/a.mkv\)"):
        find_flow(tmp_path, "/data/sub/a.mp4", "/data")


def test_a_writer_that_stops_leaves_nothing(tmp_path: Path) -> None:
    for store, name in (("jpeg", "a"), ("video", "a.mkv")):
        writer = FlowWriter(tmp_path / name, FlowChoice(), fps=25, store=store)
        writer.write(fields()[0])
        writer.discard()
    assert list(tmp_path.iterdir()) == []
