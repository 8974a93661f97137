"""The public face of the drawn world: draw, write_dataset, materialise, parse_address."""

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from marey.data import synthetic
from marey.video import open_video

SMALL = {"size": (48, 64), "frames": 6}
ALL = tuple(synthetic.TASKS)


@pytest.mark.parametrize("task", ALL)
def test_draw_is_the_same_at_every_call(task: str) -> None:
    options = {"size": (48, 64)} | ({} if task in ("images", "flow") else {"frames": 60})
    first = synthetic.draw(task, "train", 5, **options)
    second = synthetic.draw(task, "train", 5, **options)
    other = synthetic.draw(task, "train", 6, **options)
    assert first.frames.dtype == np.uint8
    assert first.frames.shape[1:] == (48, 64, 3)
    assert len(first.times) == len(first.frames)
    assert np.array_equal(first.frames, second.frames)
    assert (first.label, first.spans, first.people) == (second.label, second.spans, second.people)
    assert first.frames.shape != other.frames.shape or not np.array_equal(
        first.frames, other.frames
    )


def test_draw_does_not_touch_the_global_generator() -> None:
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    synthetic.draw("fine", "val", 0, **SMALL)
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_figure_is_there_and_the_picture_has_contrast() -> None:
    for index in range(10):
        frames = synthetic.draw("fine", "train", index).frames.astype(int)
        assert frames.shape == (32, 120, 160, 3)
        assert 40 < frames.mean() < 215
        assert frames.std() > 20
        assert (np.abs(frames[0] - frames[16]).max(-1) > 40).mean() > 0.005


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("directoin", "train", 0, {}), "did you mean 'direction'"),
        (("fine", "train", -1, {}), "index is -1"),
        (("fine", "train", 0, {"difficulty": 4}), "difficulty is 4, must be 0 to 3"),
        (("fine", "train", 0, {"size": (121, 160)}), "160x121"),
        (("fine", "train", 0, {"fps": 0}), "fps is 0"),
        (("fine", "train", 0, {"classes": ("wlk",)}), "did you mean 'walk'"),
        (("fine", "train", 0, {"dificulty": 1}), "did you mean 'difficulty'"),
        (("fine", "train", 0, {"frames": 1}), "frames is 1"),
    ],
)
def test_bad_requests_are_refused_in_one_line(call, message: str) -> None:
    task, split, index, options = call
    with pytest.raises(ValueError, match=message) as error:
        synthetic.draw(task, split, index, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("fps", "frames"), [(15, 19), (25, 32), (30, 38)])
def test_other_rates_keep_the_duration(tmp_path: Path, fps: int, frames: int) -> None:
    options = {"train": 1, "val": 0, "test": 0, "size": (48, 64), "workers": 0, "fps": fps}
    out = synthetic.write_dataset("fine", tmp_path / "d", **options)
    with open_video(out / "clips/train/fine_00000.mp4") as video:
        assert video.num_frames == frames
        assert video.fps == pytest.approx(fps, rel=1e-3)


def test_variable_rate_reaches_the_file(tmp_path: Path) -> None:
    options = {"train": 1, "val": 0, "test": 0, "size": (48, 64), "workers": 0, "fps": "vfr"}
    out = synthetic.write_dataset("fine", tmp_path / "d", **options)
    clip = synthetic.draw("fine", "train", 0, size=(48, 64), fps="vfr")
    with open_video(out / "clips/train/fine_00000.mp4") as video:
        assert np.allclose(video.times.numpy(), clip.times, atol=1e-4)
    assert len(set(np.diff(clip.times).round(4))) == 3


def test_files_show_what_draw_returns(tmp_path: Path) -> None:
    out = synthetic.write_dataset(
        "fine", tmp_path / "d", train=2, val=0, test=0, difficulty=0, workers=0
    )
    clip = synthetic.draw("fine", "train", 1, difficulty=0)
    with open_video(out / "clips/train/fine_00001.mp4") as video:
        shown = video.frames_at(range(video.num_frames)).frames.permute(0, 2, 3, 1).numpy()
    assert np.abs(shown.astype(int) - clip.frames).mean() < 4


def test_write_dataset_writes_all_or_nothing(tmp_path: Path) -> None:
    out = tmp_path / "new" / "d"
    seen: list[tuple[int, int]] = []
    counts = {"train": 3, "val": 2, "test": 1}
    made = synthetic.write_dataset(
        "fine", out, workers=0, progress=lambda *at: seen.append(at), **counts, **SMALL
    )
    assert made == out
    assert seen == [(k, 6) for k in range(1, 7)]
    lines = (out / "labels.csv").read_text().splitlines()
    assert lines[0] == "path,label,split"
    assert lines[4] == "clips/val/fine_00000.mp4,walk,val"
    assert len(lines) == 7
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    assert synthetic.write_dataset("fine", out, workers=0, **counts, **SMALL) == out
    assert before == {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    assert [p.name for p in out.parent.iterdir()] == ["d"]
    with pytest.raises(ValueError, match="is not empty and not this data set"):
        synthetic.write_dataset("fine", out, workers=0, train=9, val=2, test=1, **SMALL)


def test_interrupted_drawing_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthetic.write_dataset("fine", tmp_path / "d", train=4, workers=0, progress=stop, **SMALL)
    assert not list(tmp_path.iterdir())


def test_foreign_folders_and_empty_sets_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="choose an empty or new folder"):
        synthetic.write_dataset("fine", tmp_path, train=1)
    assert (tmp_path / "mine.txt").read_text() == "keep"
    with pytest.raises(ValueError, match="at least one"):
        synthetic.write_dataset("fine", tmp_path / "d", train=0, val=0, test=0)


@pytest.mark.slow
def test_several_processes_draw_the_same_files(tmp_path: Path) -> None:
    counts = {"train": 60, "val": 20, "test": 0, "size": (32, 32), "frames": 2}
    alone = synthetic.write_dataset("fine", tmp_path / "a", workers=0, **counts)
    spread = synthetic.write_dataset("fine", tmp_path / "b", workers=2, **counts)
    files = sorted(p.relative_to(alone) for p in alone.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(spread) for p in spread.rglob("*") if p.is_file())
    assert all((alone / f).read_bytes() == (spread / f).read_bytes() for f in files)


def test_materialise_draws_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAREY_CACHE", str(tmp_path))
    options = {"train": 2, "val": 1, "test": 0, **SMALL}
    first = synthetic.materialise("fine", workers=0, **options)
    assert first.parent == tmp_path / "drawn"
    stamp = (first / "labels.csv").stat().st_mtime_ns
    assert synthetic.materialise("fine", workers=0, **options) == first
    assert (first / "labels.csv").stat().st_mtime_ns == stamp
    others = [options | change for change in ({"train": 3}, {"difficulty": 2}, {"fps": 30})]
    assert len({synthetic.materialise("fine", workers=0, **o) for o in others} | {first}) == 4
    assert synthetic.materialise("fine", workers=0, **options, fps=25.0) == first


def test_two_at_once_share_one_drawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAREY_CACHE", str(tmp_path))
    drawn: list[int] = []
    options = {"train": 4, "val": 0, "test": 0, "workers": 0, **SMALL}
    found: list[Path] = []

    def ask() -> None:
        done = synthetic.materialise("fine", progress=lambda k, _: drawn.append(k), **options)
        found.append(done)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert sorted(drawn) == [1, 2, 3, 4]
    assert not list((tmp_path / "drawn").glob("*.part"))


def test_cache_follows_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAREY_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert synthetic.cache_folder() == Path("/somewhere/marey")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert synthetic.cache_folder() == Path.home() / ".cache/marey"


def test_addresses() -> None:
    assert synthetic.parse_address("drawn:fine") == ("fine", {})
    task, options = synthetic.parse_address(
        "drawn:direction?train=64&val=32&difficulty=2&size=320x240&fps=vfr&classes=pick_up,put%20down"
    )
    assert task == "direction"
    assert options == {
        "train": 64,
        "val": 32,
        "difficulty": 2,
        "size": (240, 320),
        "fps": "vfr",
        "classes": ("pick up", "put down"),
    }
    assert synthetic.parse_address("drawn:recall?distance_s=12-40")[1] == {"distance_s": (12, 40)}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("fine", "write drawn:TASK"),
        ("drawn:fien", "did you mean 'fine'"),
        ("drawn:fine?trian=3", "did you mean 'train'"),
        ("drawn:fine?train=many", "write e.g. train=64"),
        ("drawn:fine?size=160", "size=160x120"),
        ("drawn:fine?classes=wlk", "did you mean 'walk'"),
        ("drawn:fine?difficulty=9", "must be 0 to 3"),
        ("drawn:fine?layout=ava", "does not fit drawn task 'fine'"),
    ],
)
def test_bad_addresses_are_refused(address: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        synthetic.parse_address(address)
    assert "\n" not in str(error.value)


def test_table_of_tasks() -> None:
    sheet = "direction rhythm order appearance both fine scenes untrimmed recall flow unlabelled"
    ours = {"images", "beside"}
    assert set(synthetic.TASKS) == {*sheet.split(), *ours}
    for info in synthetic.TASKS.values():
        assert info.summary
        assert sum(info.counts) > 0
    assert synthetic.TASKS["direction"].mirrored == (("rotate cw", "rotate ccw"),)


def test_the_face_loads_no_torch() -> None:
    code = "import sys, marey.data.synthetic; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_record_tells_what_was_drawn(tmp_path: Path) -> None:
    options = {"train": 1, "val": 0, "test": 0, "workers": 0, **SMALL}
    out = synthetic.write_dataset("fine", tmp_path / "d", **options)
    told = json.loads((out / "dataset.json").read_text())
    assert told["plan"]["counts"] == {"train": 1, "val": 0, "test": 0}
    assert told["plan"]["world_version"] == synthetic.WORLD_VERSION


def test_files_of_an_earlier_revision_are_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAREY_CACHE", str(tmp_path))
    options = {"train": 1, "val": 0, "test": 0, "workers": 0, **SMALL}
    first = synthetic.materialise("fine", **options)
    assert synthetic.materialise("fine", **options) == first
    info = synthetic.TASKS["fine"]
    monkeypatch.setitem(synthetic.TASKS, "fine", replace(info, revision=info.revision + 1))
    again = synthetic.materialise("fine", **options)
    assert again != first
    told = json.loads((again / "dataset.json").read_text())
    assert told["plan"]["revision"] == info.revision + 1
