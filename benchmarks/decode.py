"""Frames per second and CPU time of reading clips, beside torchcodec, decord and a plain scan.

    python benchmarks/decode.py [--repeats 9] [--seconds 10] [--full]

Every row opens the file, reads the clip and closes it again, as a loader does; what we remember of
a file between two openings is forgotten before each. Readers take turns within a repeat, so that a
busy machine hurts them alike; figures are medians. CPU time counts all threads; each reader is
asked for one. Files: drawn, 30 fps, H.264 from libx264 (veryfast, crf 23, three B-frames), a
keyframe every 250 frames (the encoder's default, as in most downloads) or every 12.

Rows of readers that are not installed, or do not work here, say why instead of figures.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import av
import numpy as np
import torch

from marey.types import ClipSpec
from marey.video import clip_indices, index, open_video, write_video

SIZES = {"340x256": (256, 340), "720p": (720, 1280)}
Reader = Callable[[str, list[int]], np.ndarray]


def scene(frames: int, height: int, width: int) -> Iterator[np.ndarray]:
    """A textured background that pans and three moving discs, with a little noise."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 216, (height // 8 + 40, width // 8 + 40, 3)).astype(np.uint8)
    wide = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
    grain = rng.integers(0, 12, (4, height, width, 1)).astype(np.uint8)
    rows, columns = np.mgrid[:height, :width]
    for t in range(frames):
        image = wide[t % 200 : t % 200 + height, (2 * t) % 200 : (2 * t) % 200 + width].copy()
        for k in range(3):
            centre = np.array([np.sin(t / 9 + k), np.cos(t / 13 + 2 * k)]) * 0.35 + 0.5
            near = (rows - centre[0] * height) ** 2 + (columns - centre[1] * width) ** 2
            image[near < (height / 9) ** 2] = (250, 60 * k, 20)
        yield np.minimum(image, 240) + grain[t % 4]


def read_ours(backend: Literal["auto", "pyav", "torchcodec"]) -> Reader:
    def read(path: str, wanted: list[int]) -> np.ndarray:
        index.forget()
        with open_video(path, backend=backend) as video:
            return video.frames_at(wanted).frames.permute(0, 2, 3, 1).numpy()

    return read


def read_torchcodec(path: str, wanted: list[int]) -> np.ndarray:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=1)
    return decoder.get_frames_at(indices=wanted).data.numpy()


def read_torchcodec_approximate(path: str, wanted: list[int]) -> np.ndarray:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(
        path, dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="approximate"
    )
    return decoder.get_frames_at(indices=wanted).data.numpy()


def read_decord(path: str, wanted: list[int]) -> np.ndarray:
    import decord

    return decord.VideoReader(path, num_threads=1).get_batch(wanted).asnumpy()


def read_scan(path: str, wanted: list[int]) -> np.ndarray:
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        keep, last, found = set(wanted), max(wanted), []
        for i, frame in enumerate(container.decode(stream)):
            if i in keep:
                found.append(frame.to_ndarray(format="rgb24"))
            if i == last:
                break
    return np.stack(found)


READERS: dict[str, Reader] = {
    "ours": read_ours("auto"),
    "ours, pyav": read_ours("pyav"),
    "ours, torchcodec": read_ours("torchcodec"),
    "torchcodec exact": read_torchcodec,
    "torchcodec approximate": read_torchcodec_approximate,
    "decord": read_decord,
    "plain PyAV scan": read_scan,
}


def usable(path: str, wanted: list[int]) -> tuple[dict[str, Reader], dict[str, str]]:
    """The readers that work here, and why the others do not."""
    good, bad = {}, {}
    for name, read in READERS.items():
        try:
            if len(read(path, wanted)) != len(wanted):
                raise RuntimeError("returned another number of frames")
            good[name] = read
        except Exception as error:  # peers fail in every way, also without their FFmpeg
            bad[name] = (str(error).strip() or type(error).__name__).splitlines()[0][:70]
    return good, bad


def measure(path: str, wanted: list[int], repeats: int) -> None:
    """Print one table: a row per reader."""
    good, bad = usable(path, wanted)
    cpu: dict[str, list[float]] = {name: [] for name in good}
    wall: dict[str, list[float]] = {name: [] for name in good}
    for turn in range(repeats):
        names = list(good)[turn % len(good) :] + list(good)[: turn % len(good)]
        for name in names:
            begin, busy = time.perf_counter(), time.process_time()
            good[name](path, wanted)
            cpu[name].append(time.process_time() - busy)
            wall[name].append(time.perf_counter() - begin)
    ours = statistics.median(cpu["ours"])
    for name in READERS:
        if name in bad:
            print(f"  {name:24s} does not work here: {bad[name]}")
            continue
        busy, took = statistics.median(cpu[name]), statistics.median(wall[name])
        print(
            f"  {name:24s} {len(wanted) / took:8.0f} frames/s  {busy * 1e3:8.1f} ms CPU"
            f"   ours/this {ours / busy:5.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Reading clips: ours beside other readers.")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    frames = options.seconds * 30
    sparse = clip_indices(frames, 30.0, ClipSpec(frames=8, sampling="segment")).tolist()
    start = max(frames - 64, 0) // 2
    dense = clip_indices(
        frames, 30.0, ClipSpec(frames=32, stride=2), span=(start, start + 64)
    ).tolist()
    with tempfile.TemporaryDirectory() as folder:
        for size, (height, width) in SIZES.items():
            for gop in (250, 12):
                path = Path(folder) / f"{size}_{gop}.mp4"
                write_video(path, scene(frames, height, width), 30, crf=23, gop=gop)
                for name, wanted in (("8 sparse frames", sparse), ("dense 32x2 clip", dense)):
                    megabytes = path.stat().st_size / 1e6
                    print(
                        f"{name}, {size}, keyframe every {gop}, {frames} frames, {megabytes:.1f} MB"
                    )
                    measure(str(path), wanted, options.repeats)


if __name__ == "__main__":
    main()
