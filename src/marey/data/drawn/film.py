"""One drawn video: its stage, the order in which its frames are shown, and what is known of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from marey.data.drawn import pools
from marey.data.drawn.stage import LEVELS, Stage

Rate = float | Literal["vfr"]
Span = tuple[float, float, int]
PersonRow = tuple[float, int, tuple[float, ...], tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a task is drawn. ``size`` is (H, W); ``frames`` 0 means the task's own duration;
    ``classes`` empty means all; ``distance_s`` is how long ago the event of ``recall`` happened."""

    difficulty: int = 1
    size: tuple[int, int] = (120, 160)
    fps: Rate = 25.0
    frames: int = 0
    classes: tuple[str, ...] = ()
    distance_s: tuple[float, float] = (10.0, 30.0)

    def check(self) -> None:
        """Raises ValueError for a value the world cannot be drawn with."""
        if not 0 <= self.difficulty < len(LEVELS):
            raise ValueError(f"difficulty is {self.difficulty}, must be 0 to {len(LEVELS) - 1}")
        height, width = self.size
        if min(height, width) < 32 or max(height, width) > 2160 or height % 2 or width % 2:
            raise ValueError(
                f"size is {width}x{height} (width x height), must be even numbers from 32 to 2160"
            )
        if self.fps != "vfr" and not 1 <= float(self.fps) <= 240:
            raise ValueError(f"fps is {self.fps}, must be 1 to 240 or 'vfr'")
        if self.frames and not 2 <= self.frames <= 100_000:
            raise ValueError(
                f"frames is {self.frames}, must be 2 to 100000, or 0 for the task's own"
            )
        near, far = self.distance_s
        if not 2 <= near <= far <= 600:
            raise ValueError(f"distance_s is {near}-{far}, must be 2 <= nearest <= farthest <= 600")


def frame_times(
    options: Options, duration_s: float, rng: np.random.RandomState, *, halves: bool = False
) -> np.ndarray:
    """When each frame is shown, (T,) seconds from 0; an even number, in equal halves, if asked.

    A variable rate mixes the steps of 15, 25 and 30 frames per second.
    """
    rate = 25.0 if options.fps == "vfr" else float(options.fps)
    frames = options.frames or max(2, round(duration_s * rate))
    frames += frames % 2 if halves else 0
    if options.fps != "vfr":
        return np.arange(frames) / rate
    part = frames // 2 if halves else frames
    steps = np.round(90_000 / np.array([15, 25, 30]))[rng.randint(3, size=part)] / 90_000
    steps = np.concatenate([steps, steps]) if halves else steps
    return np.concatenate([[0.0], np.cumsum(steps)[:-1]])


@dataclass
class Film:
    """A video before it is rendered. ``shown`` is the order of the stage's frames: as drawn,
    backwards, or with its two halves exchanged.

    ``label`` is a class number, -1 where the video has none; ``spans`` (start_s, end_s, class
    number); ``people`` rows (time_s, person, box xyxy fractions, class numbers); ``things`` rows
    (class number, mask (H, W) bool) of a picture; ``flow`` (T - 1, H, W, 2) pixels.
    """

    stage: Stage
    label: int = -1
    shown: Literal["drawn", "backwards", "exchanged"] = "drawn"
    spans: list[Span] = field(default_factory=list)
    people: list[PersonRow] = field(default_factory=list)
    things: list[tuple[int, np.ndarray]] = field(default_factory=list)
    flow: np.ndarray | None = None
    pictures: np.ndarray | None = None  # frames already made, where there is no figure to draw

    @property
    def times(self) -> np.ndarray:
        """(T,) seconds from 0; a film shown backwards keeps the gaps between its frames."""
        times = self.stage.setting.times
        return times[-1] - times[::-1] if self.shown == "backwards" else times

    def chunks(self) -> Iterator[np.ndarray]:
        """Frames in the order they are shown, (t, H, W, 3) uint8."""
        if self.pictures is not None:
            yield self.pictures
        elif self.shown == "drawn":
            yield from self.stage.chunks()
        else:
            whole = np.concatenate(list(self.stage.chunks()))
            half = len(whole) // 2
            backwards = self.shown == "backwards"
            yield whole[::-1] if backwards else np.roll(whole, half, axis=0)

    def frames(self) -> np.ndarray:
        """All frames at once, (T, H, W, 3) uint8."""
        return np.concatenate(list(self.chunks()))


def save(film: Film, path: Path, *, fps: Rate, gop: int | None) -> Path:
    """The film as H.264 in MP4, written whole.

    With ``gop`` 1 every frame is coded alone with one quantiser, so that equal frames stay equal
    wherever they stand in the file; a rate factor would look at the frames before.
    """
    from marey.video.writer import VideoWriter

    quantiser = film.stage.setting.level.crf
    rate = 25.0 if fps == "vfr" else float(fps)
    writer = VideoWriter(path, rate, crf=quantiser, gop=gop)
    if gop == 1:
        writer._options = {"qp": str(quantiser), "preset": "veryfast"}
    times = iter(film.times.tolist())
    with writer:
        for chunk in film.chunks():
            for frame in chunk:
                moment = next(times)
                writer.write(frame, time_s=moment if fps == "vfr" else None)
    return path


def save_frames(film: Film, folder: Path, pattern: str) -> Path:
    """The frames as images of a folder, numbered from 1 by ``pattern``, such as {:05d}.jpg."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    for chunk in film.chunks():
        for frame in chunk:
            Image.fromarray(frame).save(folder / pattern.format(number), quality=90)
            number += 1
    return folder


def scene_key(task: str, split: str, scene: object) -> tuple[object, ...]:
    """Names of a scene's random streams; refuses unknown splits."""
    pools.members(split)
    return (task, split, scene)
