"""When: labelled segments of long files, as they become certain.

    file -> thread: frames at the network's rate -> windows -> network -> candidates
         -> those that nothing to come can change -> segments

The file is decoded once, from start to end, while the network works on what came before; memory
holds a few windows, however long the file. A clip classifier has no segments of its own: it is
asked about one stretch after another, and equal answers that follow each other are joined.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from marey.choices import TaskChoice
from marey.config import to_plain
from marey.data.transforms import test_views, to_input
from marey.data.windows import num_steps, test_size
from marey.geometry.segments import Found
from marey.predictor.predictor import Precision, Predictor, Result, choice_of, reason
from marey.predictor.sources import Source, expand_all, name_of
from marey.tasks.segment_decoding import settled
from marey.tasks.temporal_detection import TemporalDetection
from marey.types import Prediction, steps_a_second
from marey.video import Video, VideoError, open_video
from marey.video.windows import padded_windows
from marey.zoo.published.basictad import segments_of

AHEAD = 2  # windows decoded before the network asks for them
CHUNK = 24  # frames asked of the decoder at once
T = TypeVar("T")


class When:
    """A network ready to find segments: ``when(source)`` gives one result a video.

    ``min_score`` is the least score of a segment that is told; by default 0.3 of a detector, 0.5 of
    a classifier. ``window_s`` and ``step_s`` are a classifier's stretches, by default one clip long
    and without gap. Of the last file, ``seconds`` holds what was spent (``decode``, ``network`` and
    ``wall``) and ``highest`` the best score of anything in it, told or not; 0 where there was none.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        min_score: float | None = None,
        device: str = "auto",
        precision: Precision = "float32",
        batch: int = 1,
        window_s: float | None = None,
        step_s: float | None = None,
        num_threads: int | None = None,
    ) -> None:
        """Raises ValueError for a score outside 0 to 1, and for what ``Predictor`` refuses."""
        self.detects = getattr(model, "task", "") == "temporal_detection"
        self.min_score = (0.3 if self.detects else 0.5) if min_score is None else min_score
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"min_score is {min_score}; a score lies between 0 and 1")
        for name, told_s in (("window_s", window_s), ("step_s", step_s)):
            if self.detects and told_s is not None:
                raise ValueError(
                    f"{name} is {told_s:g}, but a detector's windows are those it was trained on; "
                    "leave it out"
                )
        shared: dict[str, Any] = {"device": device, "precision": precision, "batch": batch}
        clip_s = None if self.detects else window_s or clip_length(model)
        self.ready = Predictor(
            model, window_s=clip_s, step_s=step_s, num_threads=num_threads, **shared
        )
        self.seconds = {"decode": 0.0, "network": 0.0, "wall": 0.0}
        self.highest = 0.0
        if self.detects:
            told = choice_of(model) or TaskChoice(
                segments=segments_of(model.config.head, model.classes or ())  # type: ignore[union-attr,arg-type]
            )
            self.overlap = told.windows.overlap
            self.task = TemporalDetection(told, model)

    def __call__(self, source: Source | Sequence[Source]) -> list[Result]:
        """Results of all videos a source means, see ``each``."""
        return list(self.each(source))

    def each(self, source: Source | Sequence[Source]) -> Iterator[Result]:
        """One result a video. Of several videos, one that cannot be read has ``skipped``; a single
        one raises VideoError."""
        every = expand_all(source)
        for one in every:
            self.highest = 0.0
            try:
                with open_video(one) as video:  # type: ignore[arg-type]
                    found = list(self.stream(video))
                    lost = f"frames that could not be decoded: {video.lost}" if video.lost else ""
            except VideoError as error:
                if len(every) == 1:
                    raise
                found, lost = [], reason(error)
            yield self.result(name_of(one), found, lost)

    def result(self, source: str, found: list[Prediction], skipped: str = "") -> Result:
        """One result as plain data, segments in order of time; without any, ``highest_score``
        is the best that was seen, where anything scored."""
        ordered = sorted(found, key=lambda one: (one.start_s, one.end_s))
        result: Result = {"source": source, "model": self.ready.variant, "task": "when"}
        result["predictions"] = to_plain(ordered)
        if not found and self.highest:
            result["highest_score"] = round(self.highest, 6)
        return result | ({"skipped": skipped} if skipped else {})

    def stream(self, video: Video) -> Iterator[Prediction]:
        """Segments of an open video, each as soon as nothing to come can change it."""
        self.seconds, self.highest = dict.fromkeys(self.seconds, 0.0), 0.0
        started = time.perf_counter()
        yield from self._detected(video) if self.detects else self._classified(video)
        self.seconds["wall"] = time.perf_counter() - started

    # Detectors

    def _detected(self, video: Video) -> Iterator[Prediction]:
        end_s = float(video.times[0]) + video.duration_s
        pending: list[Found] = []
        for start, frames, after in ahead(self._windows(video), AHEAD):
            pending.append(self._candidates(start, frames))
            whole = Found(*(torch.cat(column) for column in zip(*pending, strict=True)))
            sure = settled(whole, after, self._reach())
            yield from self._told(Found(*(column[sure] for column in whole)), end_s)
            pending = [Found(*(column[~sure] for column in whole))]

    def _reach(self) -> Any:
        """The rule by which candidates can change each other, of both rounds of suppression."""
        joined, again = self.task.choice.joined, self.task.choice.again
        least = min(joined.threshold, 1.0 if again.kind == "none" else again.threshold)
        return replace(joined, threshold=least, per_class=joined.per_class and not self.task.pairs)

    def _told(self, found: Found, end_s: float) -> Iterator[Prediction]:
        segments = self.task.segments([found], end_s=end_s)
        rows = zip(*(column.tolist() for column in segments), strict=True)
        for (start, end), score, label in sorted(rows):
            if score >= self.min_score and end > start:
                name = self.ready.label(label)
                yield Prediction(name, round(score, 6), round(start, 3), round(end, 3))

    def _candidates(self, start: int, frames: Tensor) -> Found:
        """Candidates of one window (T, C, H, W) uint8, in frames of the video."""
        began = time.perf_counter()
        spec, count = self.ready.spec, len(frames)
        clip = test_views(to_input(frames, spec), spec, 1)  # (1, C, T, S, S)
        clip = torch.nn.functional.pad(clip, (0, 0, 0, 0, 0, spec.frames - count))
        with torch.inference_mode(), self.ready.autocast():
            answers = self.ready.model(clip.to(self.ready.device)).float()
        found = self.task.candidates(answers, [count])[0]
        self.seconds["network"] += time.perf_counter() - began
        self.highest = max([self.highest, *found.scores[:1].tolist()])
        return found._replace(segments=found.segments + start)

    def _windows(self, video: Video) -> Iterator[tuple[int, Tensor, float]]:
        """(start, frames (T, C, H, W) uint8, start of the next window) of every window in turn."""
        spec, rate = self.ready.spec, steps_a_second(self.ready.spec)
        size = test_size(video, spec)
        total = num_steps(video, spec)
        step = max(1, int((1 - self.overlap) * spec.frames))
        held: list[Tensor] = []
        first = read = 0
        for start, after in padded_windows(total, spec.frames, step).tolist():
            while read < min(after, total):
                began = time.perf_counter()
                upto = min(read + CHUNK, after, total)
                moments = (torch.arange(read, upto, dtype=torch.float64) + 0.5) / rate
                held.append(video.frames_at_times(moments - 1e-6, size=size).frames)
                read = upto
                total = min(total, num_steps(video, spec))  # a damaged file ends early
                self.seconds["decode"] += time.perf_counter() - began
            frames = torch.cat(held)[start - first : min(after, total) - first]
            if not len(frames):
                return
            last = after >= total
            yield start, frames, float("inf") if last else float(start + step)
            if last:
                return
            held, first = [torch.cat(held)[start + step - first :]], start + step

    # Clip classifiers

    def _classified(self, video: Video) -> Iterator[Prediction]:
        """Stretches whose likeliest class is the same and likely enough, joined."""
        ready = self.ready
        assert ready.window_s is not None
        assert ready.step_s is not None
        open_: Prediction | None = None
        weight = 0
        stretches = ready.windows(video, ready.window_s, ready.step_s)
        for clips, spans in ahead(self._timed(stretches), AHEAD):
            began = time.perf_counter()
            rows = ready.probabilities(clips)
            self.seconds["network"] += time.perf_counter() - began
            for row, (start, end) in zip(rows, spans, strict=True):
                best = ready.ranked(row, start, end)[0]
                self.highest = max(self.highest, best.score)
                if open_ and best.label == open_.label and best.score >= self.min_score:
                    mean = (open_.score * weight + best.score) / (weight + 1)
                    weight += 1
                    open_ = replace(open_, score=round(mean, 6), end_s=best.end_s)
                    continue
                if open_:
                    yield open_
                open_, weight = (best, 1) if best.score >= self.min_score else (None, 0)
        if open_:
            yield open_

    def _timed(self, things: Iterator[T]) -> Iterator[T]:
        while True:
            began = time.perf_counter()
            thing = next(things, None)
            self.seconds["decode"] += time.perf_counter() - began
            if thing is None:
                return
            yield thing


def find_segments(
    source: Source | Sequence[Source], model: nn.Module, options: dict[str, Any]
) -> list[Result]:
    """``marey.predict`` with task 'when'. Raises ValueError for an option that has no meaning."""
    known = ("min_score", "device", "precision", "batch", "window_s", "step_s", "num_threads")
    for name in options:
        if name not in known:
            raise ValueError(f"{name} means nothing to task 'when'; it knows {', '.join(known)}")
    return When(model, **options)(source)


def clip_length(model: nn.Module) -> float:
    """Seconds of one clip of a classifier."""
    from marey.predictor.feed import clip_seconds

    return clip_seconds(model.spec)  # type: ignore[arg-type]


def ahead(things: Iterator[T], most: int) -> Iterator[T]:
    """The same, made in a thread up to ``most`` before they are asked for; errors come through."""
    made: queue.Queue[tuple[str, Any]] = queue.Queue(most)
    stop = threading.Event()

    def put(kind: str, thing: Any) -> bool:
        while not stop.is_set():
            try:
                made.put((kind, thing), timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for thing in things:
                if not put("thing", thing):
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)

    worker = threading.Thread(target=work, name="marey-ahead", daemon=True)
    worker.start()
    try:
        while True:
            kind, thing = made.get()
            if kind == "end":
                return
            if kind == "error":
                raise thing
            yield thing
    finally:
        stop.set()
        worker.join(timeout=10.0)
