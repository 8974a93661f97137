"""``check_data``: read every file of a data set and say what is wrong with it.

Files are read whole, in several processes. A fault is anything that makes training or a figure
wrong: a file that cannot be read or lost frames, a row with too few frames, a rate far from the
others', two files of the same content, one file (or one content) in two splits, a split without
some class, rows that were left out; of labelled segments also those past the end of their video,
reversed or of no length, and a subset without any.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from marey.data.dataset import frame_span, read_image
from marey.data.sources.labels import is_image
from marey.data.table import DataSet, ItemTable
from marey.types import Failure
from marey.video import VideoError, VideoWarning, open_video

Progress = Callable[[int, int], None]
Span = tuple[float | None, float | None]
_RATE_RATIO = 1.25  # a rate this many times the median, or less than its inverse, is odd
_SHOWN = 20
_CHUNK = 64
_THUMBNAIL = (16, 16)  # frames are decoded in full and converted small


@dataclass(frozen=True)
class FileFacts:
    """What reading one file showed; ``spans`` are the frames inside each asked-for span."""

    path: str
    reason: str = ""  # why it is unreadable; empty: it is not
    frames: int = 0
    fps: float = 0.0
    lost: int = 0
    digest: str = ""
    spans: tuple[int, ...] = ()
    end_s: float = 0.0  # when the last frame ends


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """Findings of one data set. ``histogram`` is split -> class -> rows."""

    address: str
    format: str
    files: int
    rows: int
    unreadable: tuple[Failure, ...] = ()
    damaged: tuple[Failure, ...] = ()
    too_short: tuple[Failure, ...] = ()
    odd_rate: tuple[Failure, ...] = ()
    duplicates: tuple[tuple[str, ...], ...] = ()
    shared: tuple[Failure, ...] = ()
    segments: tuple[Failure, ...] = ()
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    histogram: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    faults: int = 0

    def lines(self) -> list[str]:
        """The report for people, one finding a line, the verdict last."""
        found = [f"{self.address}: {self.format}, {self.rows} rows, {self.files} files"]
        found += _histogram_lines(self.histogram)
        for title, failures in (
            ("unreadable", self.unreadable),
            ("damaged", self.damaged),
            ("too short", self.too_short),
            ("odd rate", self.odd_rate),
            ("in two splits", self.shared),
            ("wrong segments", self.segments),
        ):
            found += _listed(title, [f"{f.source}: {f.reason}" for f in failures])
        found += _listed("same content", [" = ".join(group) for group in self.duplicates])
        found += _listed(
            "classes without a row",
            [f"split {split or '(none)'}: {', '.join(n)}" for split, n in self.missing.items()],
        )
        found += _listed("left out", list(self.notes))
        found.append(f"{self.faults} faults" if self.faults else "no faults")
        return found


def check_data(
    dataset: DataSet, *, workers: int = 0, progress: Progress | None = None, frames: int = 0
) -> CheckReport:
    """Read every file once. ``workers`` 0: as many as cores; ``frames``: fewer is too short.

    ``progress(done, total)`` is called as files are finished. Raises ValueError for negative
    numbers.
    """
    if workers < 0 or frames < 0:
        raise ValueError(f"workers {workers} and frames {frames} cannot be negative; use 0 or more")
    jobs = _jobs(dataset)
    facts: dict[str, FileFacts] = {}
    for fact in _read_all(jobs, workers or os.cpu_count() or 1):
        facts[fact.path] = fact
        if progress is not None:
            progress(len(facts), len(jobs))
    ordered = [facts[path] for path in jobs]
    readable = [f for f in ordered if not f.reason]
    findings = {
        "unreadable": tuple(Failure(f.path, f.reason) for f in ordered if f.reason),
        "damaged": tuple(Failure(f.path, f"frames lost: {f.lost}") for f in readable if f.lost),
        "too_short": tuple(_short(readable, jobs, frames)),
        "odd_rate": tuple(_odd(readable)),
        "shared": tuple(_shared(dataset, facts)),
        "segments": tuple(_wrong_segments(dataset, facts)),
    }
    duplicates, missing = _duplicates(readable), _missing(dataset)
    faults = sum(map(len, findings.values())) + len(duplicates) + len(missing)
    return CheckReport(
        address=dataset.address,
        format=dataset.format,
        files=len(jobs),
        rows=sum(len(items) for items in dataset.splits.values()),
        duplicates=duplicates,
        missing=missing,
        notes=dataset.notes,
        histogram={
            split: dict(zip(items.classes, items.label_counts().tolist(), strict=True))
            for split, items in dataset.splits.items()
        },
        faults=faults + len(dataset.notes),
        **findings,
    )


def read_file(path: str, spans: tuple[Span, ...] = (), fps: float | None = None) -> FileFacts:
    """Decode a whole file (or frame folder, or picture) and hash its bytes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VideoWarning)
            source = read_image(path) if is_image(path) else path
            rate = fps if os.path.isdir(path) else None
            with open_video(source, fps=rate) as video:
                for _ in video.chunks(_CHUNK, size=_THUMBNAIL):
                    pass
                inside = [frame_span(video.times, *span) for span in spans]
                end_s = float(video.times[-1]) + 1 / video.fps
                counts = tuple(video.num_frames if at is None else at[1] - at[0] for at in inside)
                begins = [start for start, _ in spans if start is not None and start >= end_s]
                if begins:
                    reason = f"a row begins at {begins[0]:g} s, after the end at {end_s:g} s"
                    return FileFacts(path, reason)
                count, average, mark = video.num_frames, video.fps, digest(path)
                return FileFacts(path, "", count, average, video.lost, mark, counts, end_s)
    except VideoError as error:
        return FileFacts(path, f"{error.cause} (at {error.position})")
    except OSError as error:
        return FileFacts(path, str(error))


def digest(path: str) -> str:
    """SHA-1 of a file's bytes, or of the bytes of all files in a folder, by name."""
    place = Path(path)
    files = sorted(p for p in place.iterdir() if p.is_file()) if place.is_dir() else [place]
    whole = hashlib.sha1(usedforsecurity=False)
    for file in files:
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                whole.update(block)
    return whole.hexdigest()


def _jobs(dataset: DataSet) -> dict[str, tuple[tuple[Span, ...], float | None]]:
    """Path -> (spans of its rows, rate of frame folders), in the order of the list."""
    spans: dict[str, list[Span]] = {}
    rates: dict[str, float | None] = {}
    for items in dataset.splits.values():
        for item in items:
            spans.setdefault(item.video, []).append((item.start_s, item.end_s))
            rates[item.video] = items.fps
    return {path: (tuple(rows), rates[path]) for path, rows in spans.items()}


def _read_all(
    jobs: Mapping[str, tuple[tuple[Span, ...], float | None]], workers: int
) -> Iterator[FileFacts]:
    """Facts of all files as they come. A decoder that dies takes one file with it, not the run."""
    workers = min(workers, len(jobs))
    if workers <= 1:
        yield from (read_file(path, *job) for path, job in jobs.items())
        return
    waiting = dict(jobs)
    try:
        for fact in _pooled(waiting.items(), workers):
            del waiting[fact.path]
            yield fact
        return
    except BrokenProcessPool:
        pass
    for path, job in list(waiting.items()):
        try:
            yield from _pooled([(path, job)], 1)
        except BrokenProcessPool:
            yield FileFacts(path, "the decoder crashed")


def _pooled(
    jobs: Iterable[tuple[str, tuple[tuple[Span, ...], float | None]]], workers: int
) -> Iterator[FileFacts]:
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context(method))
    try:
        pending = [pool.submit(read_file, path, *job) for path, job in jobs]
        for done in as_completed(pending):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _short(
    facts: Iterable[FileFacts],
    jobs: Mapping[str, tuple[tuple[Span, ...], float | None]],
    frames: int,
) -> Iterator[Failure]:
    """Rows with fewer than ``frames`` frames; without that number, videos of a single frame."""
    for fact in facts:
        least = frames or (1 if is_image(fact.path) else 2)
        for count, (start, end) in zip(fact.spans, jobs[fact.path][0], strict=True):
            if count < least:
                span = "" if start is None and end is None else f" in {start or 0:g}-{end or 0:g} s"
                yield Failure(fact.path, f"{count} frames{span}, fewer than {least}")


def _odd(facts: Iterable[FileFacts]) -> Iterator[Failure]:
    videos = [f for f in facts if f.frames > 1]
    if not videos:
        return
    usual = median(f.fps for f in videos)
    for fact in videos:
        if not usual / _RATE_RATIO <= fact.fps <= usual * _RATE_RATIO:
            yield Failure(fact.path, f"{fact.fps:.4g} frames/s, most have {usual:.4g}")


def _duplicates(facts: Iterable[FileFacts]) -> tuple[tuple[str, ...], ...]:
    groups = defaultdict(list)
    for fact in facts:
        groups[fact.digest].append(fact.path)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _shared(dataset: DataSet, facts: Mapping[str, FileFacts]) -> Iterator[Failure]:
    """Files, by content where they can be read, that occur in more than one split."""
    places: dict[str, set[str]] = defaultdict(set)
    first: dict[str, str] = {}
    for split, items in dataset.splits.items():
        for path in _paths(items):
            content = facts[path].digest or path
            places[content].add(split)
            first.setdefault(content, path)
    for content, splits in places.items():
        if len(splits) > 1:
            yield Failure(first[content], f"in splits {', '.join(sorted(splits))}")


def _wrong_segments(dataset: DataSet, facts: Mapping[str, FileFacts]) -> Iterator[Failure]:
    """Labelled segments that cannot be meant, and subsets to learn or measure on without any."""
    for split, items in dataset.splits.items():
        if not items.has_intervals:
            continue
        if not items.label_counts().sum() and split not in ("test", "testing"):
            yield Failure(split or "the list", "no video has a segment")
        for row, path in enumerate(_paths(items)):
            fact = facts[path]
            slack = 1 / fact.fps if fact.fps else 0.0
            for start, end, label in items.intervals(row):
                name = items.classes[label] if label >= 0 else "no clear class"
                told = f"{start:g} to {end:g} s of {name!r}"
                if end < start:
                    yield Failure(path, f"{told} ends before it begins")
                elif end == start:
                    yield Failure(path, f"{told} has no length")
                elif not fact.reason and start >= fact.end_s:
                    yield Failure(path, f"{told} begins after the end at {fact.end_s:.2f} s")
                elif not fact.reason and end > fact.end_s + slack:
                    yield Failure(path, f"{told} goes past the end at {fact.end_s:.2f} s")
                elif start < 0:
                    yield Failure(path, f"{told} begins before the video")


def _paths(items: ItemTable) -> list[str]:
    return [os.path.join(items.root, p) for p in items.table.column("path").to_pylist()]


def _missing(dataset: DataSet) -> dict[str, tuple[str, ...]]:
    """Split -> classes that none of its rows has; splits without labels are left alone."""
    found = {}
    for split, items in dataset.splits.items():
        counts = items.label_counts()
        absent = tuple(n for n, c in zip(items.classes, counts, strict=True) if not c)
        if absent and counts.sum():
            found[split] = absent
    return found


def _histogram_lines(histogram: Mapping[str, Mapping[str, int]]) -> list[str]:
    classes = sorted({name for counts in histogram.values() for name in counts})
    if not classes:
        return []
    splits = list(histogram)
    width = max(len("class"), *(len(name) for name in classes))
    head = f"  {'class':<{width}}" + "".join(f"  {s or 'rows':>8}" for s in splits)
    rows = [
        f"  {name:<{width}}" + "".join(f"  {histogram[s].get(name, 0):>8}" for s in splits)
        for name in classes
    ]
    return [head, *rows]


def _listed(title: str, entries: list[str]) -> list[str]:
    if not entries:
        return []
    rest = [f"  ... and {len(entries) - _SHOWN} more"] if len(entries) > _SHOWN else []
    return [f"{title}: {len(entries)}", *(f"  {entry}" for entry in entries[:_SHOWN]), *rest]
