"""Optical flow of a video or of all videos of a data set: stopped runs go on, bad files are named.

Each video's flow appears under the path of the video below its data set, when it is whole:
``DST/clips/train/a.mp4`` becomes the folder ``DST/clips/train/a`` or the file ``a.mkv`` there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, local
from typing import Literal

import numpy as np

from marey.data.sources import FORMATS, open_data
from marey.data.sources.labels import is_image, is_video
from marey.data.table import DataSet
from marey.types import Failure
from marey.video import VideoError, open_video
from marey.video.camera import camera_motion, steadied
from marey.video.flow import Estimator, FlowChoice, estimator, opencv, quantise
from marey.video.flow_files import MANIFEST, SUFFIX, FlowWriter, beside, manifest

Store = Literal["jpeg", "video"]
Settings = tuple[FlowChoice, Store, str, str]  # choice, store, file of weights, device
Progress = Callable[[int, int], None]
AT_ONCE = 16  # frames in memory


@dataclass(frozen=True)
class FlowReport:
    """Videos whose flow was ``written`` now, was there ``before``, and those that failed.

    ``unsteadied``: pairs of frames of those written now, whose flow was to be warped and whose
    camera motion could not be told, so that it is still in their flow.
    """

    written: int
    before: int
    failures: tuple[Failure, ...]
    unsteadied: int = 0


@dataclass(frozen=True)
class Job:
    """One video and where its flow goes."""

    video: str
    place: str
    fps: float | None = None


def write_flow(
    source: str | Path,
    out: str | Path,
    *,
    choice: FlowChoice | None = None,
    store: Store = "jpeg",
    workers: int = 0,
    weights: str = "",
    device: str = "auto",
    progress: Progress | None = None,
) -> FlowReport:
    """Compute and store the flow of a video file, a frame folder, a data set or bare videos.

    ``workers`` threads, 0: as many as cores; one for RAFT. Videos that have their flow already are
    left alone; of damaged ones, as a VideoWarning says, it is that of the frames left.
    ``progress(done, total)`` is called as videos are finished. Raises ValueError for a source that
    is not there or holds no video, a method that cannot run here, and a folder with flow of another
    kind or that is a file.
    """
    choice = choice or FlowChoice()
    if store not in ("jpeg", "video"):
        raise ValueError(f"store is {store!r}; choose jpeg or video")
    if workers < 0:
        raise ValueError(f"workers is {workers}; use 0 for as many as cores, or more")
    estimator(choice, weights=weights, device=device)  # refuses before anything is written
    if choice.warped:
        opencv("warped")
    if Path(out).is_file():
        raise ValueError(f"{out} is a file; give a folder for the flow, there or not")
    jobs = jobs_of(source, Path(out), store)
    if not jobs:
        raise ValueError(f"{source} holds no videos or folders of frames to compute flow of")
    waiting = [job for job in jobs if not finished(job, choice)]
    failures: list[Failure] = []
    unsteadied = 0
    workers = 1 if choice.method == "raft" else workers or os.cpu_count() or 1
    done = len(jobs) - len(waiting)
    if progress is not None:
        progress(done, len(jobs))
    for found in _computed(waiting, (choice, store, weights, device), workers):
        done += 1
        if isinstance(found, Failure):
            failures.append(found)
        else:
            unsteadied += found
        if progress is not None:
            progress(done, len(jobs))
    written, before = len(waiting) - len(failures), len(jobs) - len(waiting)
    return FlowReport(written, before, tuple(failures), unsteadied)


def jobs_of(source: str | Path, out: Path, store: Store) -> list[Job]:
    """One job a video, in order. Raises ValueError for two videos that differ in suffix alone."""
    path = Path(source)
    ending = SUFFIX if store == "video" else ""
    if path.is_file() and is_video(path.name):
        return [Job(str(path), str(out / path.stem) + ending)]
    if path.is_dir() and any(is_image(name) for name in os.listdir(path)):
        return [Job(str(path), str(out / path.name) + ending)]
    jobs: dict[str, Job] = {}
    for video, root, fps in _videos(open_data(source, format="unlabelled" if _bare(path) else "")):
        inside = os.path.relpath(video, root)
        inside = os.path.basename(video) if inside.startswith("..") else inside
        stem = inside if os.path.isdir(video) else os.path.splitext(inside)[0]
        place = str(out / stem) + ending
        if place in jobs and jobs[place].video != video:
            raise ValueError(
                f"{video} and {jobs[place].video} would both go to {place}; rename one of them"
            )
        jobs[place] = Job(video, place, fps)
    return list(jobs.values())


def _bare(path: Path) -> bool:
    """Whether a folder holds videos and no layout: flow needs no labels."""
    if not path.is_dir() or not any(is_video(name) for name in os.listdir(path)):
        return False
    return not any(known.fits(path) for known in FORMATS.values())


def _videos(data: DataSet) -> Iterator[tuple[str, str, float | None]]:
    """(video, root, rate of a frame folder) of every row of every split."""
    for items in data.splits.values():
        for item in items:
            if not is_image(item.video):
                yield item.video, items.root, items.fps if os.path.isdir(item.video) else None


def finished(job: Job, choice: FlowChoice) -> bool:
    """Whether the flow of a job is there, whole. Raises ValueError for flow of another kind."""
    place = Path(job.place)
    written = beside(place) if place.suffix == SUFFIX else place / MANIFEST
    if not place.exists() or not written.is_file():
        if place.is_dir() and any(place.iterdir()):
            raise ValueError(
                f"{place} exists and was not written by this command; choose another folder"
            )
        return False
    told = {"warped": False} | manifest(written)  # flow written before there was a choice
    for name, value in asdict(choice).items():
        if told.get(name) != value:
            raise ValueError(
                f"{place} holds flow with {name} {told.get(name)!r}, not {value!r}; "
                "choose another folder or the same settings"
            )
    return True


def flow_of(job: Job, settings: Settings, between: Estimator, stop: Event) -> Failure | int:
    """Compute and store the flow of one video; why not, where it cannot be read.

    The number is that of pairs whose camera motion could not be told, where it was to go.
    """
    try:
        return _write(job, settings, between, stop)
    except VideoError as error:
        return Failure(job.video, f"{error.cause} (at {error.position})")


def _write(job: Job, settings: Settings, between: Estimator, stop: Event) -> int:
    choice, store, _, _ = settings
    with open_video(job.video, fps=job.fps) as video:
        if video.num_frames < 2:
            raise VideoError(job.video, "header", f"{video.num_frames} frame; flow needs two")
        writer = FlowWriter(Path(job.place), choice, fps=video.fps, store=store)
        last, times, unsteadied = None, [], 0
        try:
            for clip in video.chunks(AT_ONCE, size=stored_size(video.height, video.width, choice)):
                for frame, time in zip(clip.frames, clip.times, strict=True):
                    image = np.ascontiguousarray(frame.permute(1, 2, 0).numpy())  # (H, W, 3)
                    if stop.is_set():
                        raise KeyboardInterrupt
                    if last is not None:
                        seen = image
                        if choice.warped:
                            motion = camera_motion(last, image)
                            unsteadied += motion is None
                            seen = image if motion is None else steadied(last, image, motion)
                        writer.write(quantise(between(last, seen), choice.bound))
                    last = image
                    times.append(float(time))
            if len(times) < 2:
                raise VideoError(job.video, "frame 1", "one frame decodes; flow needs two")
            writer.close(times[:-1], job.video, unsteadied)
        except BaseException:
            writer.discard()
            raise
    return unsteadied


def stored_size(height: int, width: int, choice: FlowChoice) -> tuple[int, int] | None:
    """(H, W) with the chosen short side; None for that of the video."""
    side, short = choice.short_side, min(height, width)
    if side in (0, short):
        return None
    return round(height * side / short), round(width * side / short)


def _computed(jobs: list[Job], settings: Settings, workers: int) -> Iterator[Failure | int]:
    """One answer a video, as they come, from threads: OpenCV and the decoder work outside the lock.

    Processes would have to be started anew, as OpenCV does not survive a fork.
    """
    choice, _, weights, device = settings
    here, stop = local(), Event()

    def work(job: Job) -> Failure | int:
        if not hasattr(here, "between"):
            here.between = estimator(choice, weights=weights, device=device)
        return flow_of(job, settings, here.between, stop)

    pool = ThreadPoolExecutor(max(1, min(workers, len(jobs))))
    try:
        for done in as_completed([pool.submit(work, job) for job in jobs]):
            yield done.result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
