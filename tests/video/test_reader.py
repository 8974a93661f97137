"""Frame i is the i-th displayed frame, in every kind of file; broken files say what is wrong."""

from __future__ import annotations

import itertools
import shutil
import warnings
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from marey.video import VideoError, VideoWarning, open_video, write_video

H264 = {"preset": "ultrafast", "crf": "12"}
B_FRAMES = {"preset": "fast", "crf": "12", "x264-params": "b-adapt=0:scenecut=0"}
KINDS = {
    "plain.mp4": {"options": H264},
    "one_keyframe_b.mp4": {"options": B_FRAMES, "b_frames": 3, "gop": 300},
    "short_gop_b.mp4": {"options": B_FRAMES, "b_frames": 3, "gop": 12},
    "open_gop.mp4": {
        "options": {**B_FRAMES, "x264-params": "open-gop=1:keyint=10:b-adapt=0:scenecut=0"},
        "b_frames": 3,
    },
    "keyframes_only.mp4": {"options": H264, "gop": 1},
    "b.mkv": {"options": B_FRAMES, "b_frames": 3, "gop": 12},
    "b.ts": {"options": B_FRAMES, "b_frames": 2, "gop": 12},
    "b.flv": {"options": B_FRAMES, "b_frames": 2, "gop": 12},
    "b.avi": {"codec": "mpeg4", "b_frames": 2, "gop": 12, "options": {"qscale": "2"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "b_frames": 2, "gop": 12},
    "raw.264": {"options": B_FRAMES, "b_frames": 2, "gop": 12},
    "vp9.webm": {
        "codec": "libvpx-vp9",
        "gop": 12,
        "options": {"cpu-used": "8", "deadline": "realtime"},
    },
    "vp8.webm": {
        "codec": "libvpx",
        "gop": 12,
        "options": {"cpu-used": "8", "deadline": "realtime"},
    },
    "av1.mp4": {
        "codec": "libsvtav1",
        "gop": 12,
        "options": {"preset": "12", "svtav1-params": "lp=1"},
    },
    "hevc.mp4": {
        "codec": "libx265",
        "gop": 12,
        "options": {"x265-params": "log-level=none:pools=1"},
    },
    "hevc10.mp4": {
        "codec": "libx265",
        "pix_fmt": "yuv420p10le",
        "gop": 12,
        "options": {"x265-params": "log-level=none:pools=1"},
    },
    "animated.gif": {"codec": "gif", "pix_fmt": "rgb8"},
}
COUNT = 40


def make(film: SimpleNamespace, folder: Path, kind: str) -> Path:
    choice = dict(KINDS[kind])
    try:
        av.codec.Codec(str(choice.get("codec", "libx264")), "w")
    except ValueError:
        pytest.skip(f"PyAV's FFmpeg has no encoder {choice.get('codec', 'libx264')}")
    return film.encode(folder / kind, COUNT, **choice)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_by_index_are_the_displayed_ones(
    kind: str, film: SimpleNamespace, tmp_path: Path
) -> None:
    with open_video(make(film, tmp_path, kind)) as video:
        assert video.num_frames == len(video) == COUNT
        assert (video.height, video.width) == (film.height, film.width)
        assert video.fps == pytest.approx(25, rel=1e-3)
        assert video.lost == 0
        for wanted in ([0, 39, 20, 3, 3], [17], [18], [19], [5, 6, 7, 8], list(range(COUNT)), [0]):
            clip = video.frames_at(wanted)
            assert film.codes(clip.frames) == wanted
            assert clip.frames.dtype == torch.uint8
            assert torch.equal(clip.times, video.times[torch.tensor(wanted)])
        steps = video.times.diff()
        assert steps.min() > 0.03
        assert steps.max() < 0.05
        small = video.frames_at([1, 30], size=(16, 64))
        assert small.frames.shape == (2, 3, 16, 64)
        assert film.codes(small.frames) == [1, 30]
        seen = [film.codes(c.frames) for c in video.chunks(16)]
        assert list(itertools.chain(*seen)) == list(range(COUNT))
        assert [len(s) for s in seen] == [16, 16, 8]


def test_several_threads_give_the_same_frames(film: SimpleNamespace, tmp_path: Path) -> None:
    path = make(film, tmp_path, "short_gop_b.mp4")
    wanted = [39, 1, 17, 18, 30]
    one = open_video(path).frames_at(wanted).frames
    assert torch.equal(open_video(path, threads=3).frames_at(wanted).frames, one)


def test_only_the_needed_part_is_decoded(film: SimpleNamespace, tmp_path: Path) -> None:
    path = film.encode(tmp_path / "long.mp4", 200, options=B_FRAMES, b_frames=3, gop=20)
    video = open_video(path)
    file = video._backend
    packets = []
    decode = file._decode
    file._decode = lambda packet: packets.append(packet) or decode(packet)
    assert film.codes(video.frames_at([45, 150]).frames) == [45, 150]
    assert len(packets) < 32, "two groups of at most 20 and what the decoder holds back"


def test_uneven_times_are_kept_and_found(film: SimpleNamespace, tmp_path: Path) -> None:
    steps = np.tile([0.04, 0.04, 0.12], 10)
    steps[14] = 1.0
    times = np.concatenate([[0.0], np.cumsum(steps)])[:30]
    path = write_video(tmp_path / "uneven.mp4", [film.coded(i) for i in range(30)], 25, times=times)
    video = open_video(path)
    assert np.allclose(video.times, times, atol=1e-4)
    assert video.fps == pytest.approx(29 / times[-1], rel=0.05)
    moments = [-5.0, 0.0, 0.05, times[14] + 0.5, times[15], 99.0]
    assert film.codes(video.frames_at_times(moments).frames) == [0, 0, 1, 14, 15, 29]
    assert film.codes(video.frames_at([29, 0, 15]).frames) == [29, 0, 15]


def test_the_first_time_need_not_be_zero(film: SimpleNamespace, tmp_path: Path) -> None:
    path = film.encode(
        tmp_path / "late.mkv", 12, options=H264, stamps=[8333 + 33 * i for i in range(12)],
        unit=Fraction(1, 1000),
    )  # fmt: skip
    video = open_video(path)
    assert video.num_frames == 12
    assert float(video.times[0]) == pytest.approx(8.333, abs=1e-3)
    assert film.codes(video.frames_at_times([0.0]).frames) == [0]
    assert video.duration_s == pytest.approx(12 * 0.033, abs=0.01)


def test_what_an_edit_list_hides_is_not_there(film: SimpleNamespace, tmp_path: Path) -> None:
    path = film.encode(tmp_path / "edited.mp4", 30, options=H264, gop=10)
    data = path.read_bytes()
    at = data.index(b"mdhd") + 4
    scale = int.from_bytes(data[at + 12 : at + 16], "big")
    film.patch_box(path, b"elst", 8, [800, 5 * scale // 25])  # duration in ms, start
    video = open_video(path)
    assert video.num_frames == 20
    assert float(video.times[0]) == 0.0
    assert film.codes(video.frames_at([0, 19, 7]).frames) == [5, 24, 12]
    with pytest.raises(ValueError, match="frame 29 .* does not exist; choose from 0 to 19"):
        video.frames_at([29])


QUARTER = {  # a, b, c, d of the display matrix -> what it does to rows and columns
    (0, 1, -1, 0): lambda image: np.rot90(image, -1),
    (0, -1, 1, 0): lambda image: np.rot90(image, 1),
    (-1, 0, 0, -1): lambda image: np.rot90(image, 2),
    (-1, 0, 0, 1): np.fliplr,
    (1, 0, 0, -1): np.flipud,
}


@pytest.mark.parametrize("turn", QUARTER)
def test_rotation_is_applied(
    turn: tuple[int, int, int, int], film: SimpleNamespace, tmp_path: Path
) -> None:
    path = film.encode(tmp_path / "plain.mp4", 3, options=H264)
    stored = open_video(path).frames_at([1]).frames[0].permute(1, 2, 0).numpy()
    turned = shutil.copy(path, tmp_path / "turned.mp4")
    a, b, c, d = (v << 16 for v in turn)
    film.patch_box(Path(turned), b"tkhd", 40, [a, b, 0, c, d, 0, 0, 0, 1 << 30])
    video = open_video(turned)
    shown = QUARTER[turn](stored)
    assert (video.height, video.width) == shown.shape[:2]
    assert np.array_equal(video.frames_at([1]).frames[0].permute(1, 2, 0).numpy(), shown)
    size = (video.height // 2, video.width // 2)
    assert video.frames_at([1], size=size).frames.shape[2:] == size


def test_impossible_rotation_is_ignored(film: SimpleNamespace, tmp_path: Path) -> None:
    path = film.encode(tmp_path / "garbage.mp4", 3, options=H264)
    film.patch_box(path, b"tkhd", 40, [12345, 777777, 3, -99999, 54321, 9, 0, 0, 1 << 30])
    video = open_video(path)
    assert (video.height, video.width) == (film.height, film.width)
    assert film.codes(video.frames_at([2]).frames) == [2]


def test_odd_sizes_are_exact(film: SimpleNamespace, tmp_path: Path) -> None:
    path = film.encode(tmp_path / "odd.mp4", 5, size=(41, 131), pix_fmt="yuv444p", options=H264)
    video = open_video(path)
    assert video.frames_at([4]).frames.shape == (1, 3, 41, 131)
    assert film.codes(video.frames_at([4, 2]).frames) == [4, 2]


def test_one_frame_and_a_still_picture(film: SimpleNamespace, tmp_path: Path) -> None:
    path = film.encode(tmp_path / "one.mp4", 1, options=H264)
    video = open_video(path)
    assert video.num_frames == 1
    assert film.codes(video.frames_at([0, 0, 0]).frames) == [0, 0, 0]
    assert video.duration_s == pytest.approx(0.04)
    from PIL import Image

    Image.fromarray(film.coded(9)).save(tmp_path / "still.png")
    assert film.codes(open_video(tmp_path / "still.png").frames_at([0]).frames) == [9]


def test_no_duration_in_the_header(film: SimpleNamespace, tmp_path: Path) -> None:
    path = film.encode(
        tmp_path / "live.webm", 20, **KINDS["vp9.webm"], muxer={"live": "1"}
    )  # fmt: skip
    assert open_video(path).num_frames == 20


@pytest.mark.parametrize("name", ["with space é 日本 #1 %d, a;b.mp4", "a:b.mp4", "x%03d.png"])
def test_any_file_name_opens(name: str, film: SimpleNamespace, tmp_path: Path) -> None:
    if name.endswith(".png"):
        from PIL import Image

        Image.fromarray(film.coded(5)).save(tmp_path / name)
        assert open_video(tmp_path / name).num_frames == 1
        return
    path = film.encode(tmp_path / "plain.mp4", 6, options=H264)
    path.rename(tmp_path / name)
    assert film.codes(open_video(tmp_path / name).frames_at([5]).frames) == [5]


def test_content_decides_not_the_suffix(film: SimpleNamespace, tmp_path: Path) -> None:
    path = film.encode(tmp_path / "a.mkv", 6, options=H264)
    path.rename(tmp_path / "a.mp4")
    assert open_video(tmp_path / "a.mp4").num_frames == 6


def test_the_range_tag_is_honoured(film: SimpleNamespace, tmp_path: Path) -> None:
    def level(pix_fmt: str) -> float:
        path = film.encode(
            tmp_path / f"{pix_fmt}.mp4", 1, pix_fmt=pix_fmt, options=H264,
            draw=lambda i: np.full((32, 64, 3), 60, np.uint8), size=(32, 64),
        )  # fmt: skip
        return float(open_video(path).frames_at([0]).frames.float().mean())

    # Read with the wrong range, the second would be 51 or the first 68.
    assert level("yuv420p") == pytest.approx(60, abs=2)
    assert level("yuvj420p") == pytest.approx(60, abs=2)


def test_the_colour_matrix_is_honoured(tmp_path: Path, film: SimpleNamespace) -> None:
    def red(matrix: str) -> torch.Tensor:
        path = film.encode(
            tmp_path / f"{matrix}.mp4", 1, size=(32, 64),
            options={**H264, "x264-params": f"colormatrix={matrix}"},
            draw=lambda i: np.full((32, 64, 3), (220, 30, 30), np.uint8),
        )  # fmt: skip
        return open_video(path).frames_at([0]).frames[0].float().mean((1, 2))

    # The encoder stored BT.601 numbers both times; read as BT.709 they are another red.
    assert (red("smpte170m") - torch.tensor([220.0, 30, 30])).abs().max() < 4
    assert (red("bt709") - red("smpte170m")).abs().max() > 8


# Broken files


def test_a_damaged_packet_loses_one_frame(film: SimpleNamespace, tmp_path: Path) -> None:
    path = film.encode(tmp_path / "damaged.mp4", 50, options=B_FRAMES, b_frames=3, gop=250)
    film.damage_packet(path, 28)
    with pytest.warns(VideoWarning, match="damaged: 1, left: 49"):
        video = open_video(path)
    assert (video.num_frames, video.lost) == (49, 1)
    assert sum(len(c.times) for c in video.chunks(8)) == 49
    with pytest.raises(VideoError, match="a damaged packet") as caught:
        open_video(path, tolerant=False).frames_at([49])
    assert caught.value.source == str(path)
    assert "s" in caught.value.position
    assert "\n" not in str(caught.value)


def test_a_truncated_file_gives_what_it_has(film: SimpleNamespace, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (60, 32, 128, 3), dtype=np.uint8)
    path = film.encode(tmp_path / "whole.mp4", 60, options=H264, gop=10,
                       muxer={"movflags": "faststart"}, draw=lambda i: noise[i])  # fmt: skip
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.55)])
    with pytest.warns(VideoWarning):
        video = open_video(path)
    assert 25 <= video.num_frames <= 35
    assert video.num_frames + video.lost == 60
    assert len(video.frames_at(range(video.num_frames)).times) == video.num_frames
    with pytest.raises(VideoError):
        open_video(path, tolerant=False)


def test_wrong_promises_are_put_right(film: SimpleNamespace, tmp_path: Path) -> None:
    path = film.encode(tmp_path / "a.mp4", 20, options=B_FRAMES, b_frames=2, gop=8)
    video = open_video(path)
    from dataclasses import replace

    index = video._backend.index
    extra = np.insert(index.stamps, 10, (index.stamps[9] + index.stamps[10]) // 2)
    video._backend.index = replace(index, stamps=extra, times=np.arange(21) / 25)
    assert film.codes(video.frames_at([3, 10, 20]).frames) == [3, 10, 19]
    assert (video.num_frames, video.lost) == (20, 0)


BROKEN = {
    "empty.mp4": (b"", "invalid data"),
    "text.mp4": (b"404: Not Found", "invalid data"),
    "long_text.txt": (b"hello world\n" * 2000, "no video stream|invalid data"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("backend", ["auto", "pyav"])
def test_what_is_no_video_says_so(name: str, backend: str, tmp_path: Path) -> None:
    content, cause = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError, match=cause) as caught:
        open_video(tmp_path / name, backend=backend)
    assert caught.value.position == "header"
    assert name in str(caught.value)


def test_audio_only_says_so(tmp_path: Path) -> None:
    path = tmp_path / "sound.m4a"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match="no video stream"):
        open_video(path)


def test_missing_index_and_missing_file_say_so(film: SimpleNamespace, tmp_path: Path) -> None:
    path = film.encode(tmp_path / "a.mp4", 20, options=H264)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(VideoError, match="invalid data"):
        open_video(path)
    with pytest.raises(VideoError, match="no such file"):
        open_video(tmp_path / "nowhere.mp4")


def test_headers_without_frames_say_so(film: SimpleNamespace, tmp_path: Path) -> None:
    path = film.encode(
        tmp_path / "a.mp4", 30, options=H264, muxer={"movflags": "frag_keyframe+empty_moov"}
    )
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moof") - 4])
    with pytest.raises(VideoError, match="no frames"):
        open_video(path)


def test_a_fragmented_file_is_whole(film: SimpleNamespace, tmp_path: Path) -> None:
    path = film.encode(
        tmp_path / "a.mp4", 30, options=H264, gop=8, muxer={"movflags": "frag_keyframe"}
    )
    video = open_video(path)
    assert film.codes(video.frames_at([29, 0, 13]).frames) == [29, 0, 13]
    assert video.num_frames == 30


def test_bad_requests_are_refused(film: SimpleNamespace, tmp_path: Path) -> None:
    path = film.encode(tmp_path / "a.mp4", 5, options=H264)
    video = open_video(path)
    with pytest.raises(ValueError, match="at least one index"):
        video.frames_at([])
    with pytest.raises(ValueError, match="frame -1 .* does not exist"):
        video.frames_at([-1])
    with pytest.raises(ValueError, match="size is"):
        video.frames_at([0], size=(0, 4))
    with pytest.raises(ValueError, match="finite"):
        video.frames_at_times([float("nan")])
    with pytest.raises(ValueError, match="at least 1"):
        video.chunks(0)
    with pytest.raises(ValueError, match="backend is 'decord'"):
        open_video(path, backend="decord")
    with pytest.raises(ValueError, match="rate of its own"):
        open_video(path, fps=10)
    with pytest.raises(ValueError, match="threads is -1"):
        open_video(path, threads=-1)
    with pytest.raises(ValueError, match="fps is 0"):
        open_video(np.zeros((2, 4, 4, 3), np.uint8), fps=0)


def test_a_changed_file_is_read_anew(film: SimpleNamespace, tmp_path: Path) -> None:
    path = film.encode(tmp_path / "a.mp4", 5, options=H264)
    assert open_video(path).num_frames == 5
    film.encode(path, 9, options=H264)
    assert open_video(path).num_frames == 9


def test_a_memory_of_damage_warns_once_per_video(film: SimpleNamespace, tmp_path: Path) -> None:
    path = film.damage_packet(film.encode(tmp_path / "d.mp4", 20, options=H264), 10)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with open_video(path) as video:
            video.frames_at([1])
            video.frames_at([2])
    assert len(seen) == 1
    assert issubclass(seen[0].category, VideoWarning)
    assert repr(video).startswith("Video(")
