"""The drawn world: videos with known answers, as arrays or as real files.

    draw("direction", "train", 7)                         one clip as an array
    write_dataset("fine", "clips", train=100, val=20)     files and their annotations
    materialise("fine", train=100, val=20)                the same in the cache, drawn once
    parse_address("drawn:fine?train=100&val=20")          what the command line writes

Everything follows from (world version, task, split, index); the splits share no figure, texture or
prop. What each task is for stands in ``TASKS``. This page imports no torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from marey.config import nearest, to_plain, write_json
from marey.data.drawn import layouts, worker
from marey.data.drawn.film import Options, PersonRow, Span
from marey.data.drawn.pools import SPLITS, WORLD_VERSION
from marey.data.drawn.rows import Row
from marey.data.drawn.tasks import TASKS, TaskInfo, class_names, film_of, task_info

__all__ = [
    "SPLITS",
    "TASKS",
    "WORLD_VERSION",
    "DrawnClip",
    "TaskInfo",
    "cache_folder",
    "draw",
    "materialise",
    "parse_address",
    "write_dataset",
]
SCHEME = "drawn:"
RECORD = "dataset.json"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DrawnClip:
    """A drawn video and everything known about it.

    ``frames`` (T, H, W, 3) uint8; ``times`` (T,) seconds; ``label`` a number into ``classes``, -1
    where the video has none; ``spans`` (start_s, end_s, class number); ``people`` rows of (time_s,
    person, box xyxy fractions, class numbers); ``things`` (kind of prop, mask (H, W) bool) of
    pictures; ``flow`` (T - 1, H, W, 2) pixels or None.
    """

    frames: np.ndarray
    times: np.ndarray
    label: int
    classes: tuple[str, ...]
    spans: tuple[Span, ...] = ()
    people: tuple[PersonRow, ...] = ()
    things: tuple[tuple[int, np.ndarray], ...] = ()
    flow: np.ndarray | None = None


def draw(task: str, split: str, index: int, **options: Any) -> DrawnClip:
    """One drawn clip, equal at every call. ``options`` are the fields of ``drawn.film.Options``:
    difficulty, size (H, W), fps (a number or 'vfr'), frames, classes, distance_s.

    Raises ValueError for an unknown task, split, class or option.
    """
    chosen = _options(options)
    film = film_of(task, split, index, chosen)
    return DrawnClip(
        frames=film.frames(),
        times=film.times,
        label=film.label,
        classes=class_names(task, chosen),
        spans=tuple(film.spans),
        people=tuple(film.people),
        things=tuple(film.things),
        flow=film.flow,
    )


def write_dataset(
    task: str,
    out: str | Path,
    *,
    layout: str = "",
    workers: int = -1,
    progress: Progress | None = None,
    **options: Any,
) -> Path:
    """Draw a data set into folder ``out`` and return it; nothing is left behind when it fails.

    ``options``: ``train``, ``val``, ``test`` (videos per split, default the task's own numbers) and
    those of ``draw``. ``layout`` names a format of annotations; empty is the task's own.
    ``workers``: processes, 0 for this one alone, -1 for one a core. ``progress(done, total)`` is
    called after each video. A folder that already holds the same data set is returned as it is.

    Raises ValueError for unknown names, or a folder that holds anything else.
    """
    plan = _plan(task, layout, options)
    out = Path(out)
    if _finished(out, plan):
        return out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not empty and not this data set; choose an empty or new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        _fill(plan, partial, workers, progress)
        _move(partial, out, plan)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def materialise(task: str, **options: Any) -> Path:
    """As ``write_dataset``, into the cache: drawn once, whoever asks and however often.

    Two processes that ask at once draw it once; the second waits.
    """
    known = {k: v for k, v in options.items() if k not in ("workers", "progress")}
    plan = _plan(task, known.pop("layout", ""), known)
    out = cache_folder() / "drawn" / f"{task}-{fingerprint(plan)}"
    if _finished(out, plan):
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    with _locked(out.with_suffix(".lock")):
        return write_dataset(task, out, **options)


def cache_folder() -> Path:
    """MAREY_CACHE, or marey's part of the user's cache folder."""
    if named := os.environ.get("MAREY_CACHE"):
        return Path(named)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "marey"


def parse_address(address: str) -> tuple[str, dict[str, Any]]:
    """``drawn:TASK?train=64&val=32&size=160x120&classes=sit,stand`` as (task, options).

    ``size`` is width x height, ``fps`` a number or vfr, ``distance_s`` one number or low-high;
    underscores in class names stand for spaces.

    Raises ValueError for another scheme, task or option, or a value that is not one.
    """
    if not address.startswith(SCHEME):
        raise ValueError(f"{address!r} is not a drawn data set; write drawn:TASK, e.g. drawn:fine")
    task, _, query = address.removeprefix(SCHEME).partition("?")
    task_info(task)
    options: dict[str, Any] = {}
    for part in filter(None, query.split("&")):
        name, _, text = part.partition("=")
        if name not in READERS:
            raise ValueError(
                f"{name!r} is not an option of a drawn data set{nearest(name, READERS)}"
                f" (options: {', '.join(READERS)})"
            )
        try:
            options[name] = READERS[name](unquote(text))
        except ValueError:
            raise ValueError(
                f"{name}={text} in {address!r} cannot be read; write e.g. {EXAMPLES[name]}"
            ) from None
    _plan(task, options.get("layout", ""), {k: v for k, v in options.items() if k != "layout"})
    return task, options


def fingerprint(plan: Mapping[str, Any]) -> str:
    """Twelve characters that change with anything the files depend on."""
    text = json.dumps(plan, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    return int(height), int(width)


def _pair(text: str) -> tuple[float, float]:
    low, _, high = text.partition("-")
    return float(low), float(high or low)


def _classes(text: str) -> tuple[str, ...]:
    return tuple(name.strip().replace("_", " ") for name in text.split(",") if name.strip())


READERS: dict[str, Callable[[str], Any]] = {
    "train": int,
    "val": int,
    "test": int,
    "difficulty": int,
    "size": _size,
    "fps": lambda text: "vfr" if text == "vfr" else float(text),
    "frames": int,
    "classes": _classes,
    "distance_s": _pair,
    "layout": str,
}
EXAMPLES = {
    "train": "train=64",
    "val": "val=32",
    "test": "test=32",
    "difficulty": "difficulty=1",
    "size": "size=160x120",
    "fps": "fps=25 or fps=vfr",
    "frames": "frames=32",
    "classes": "classes=sit,stand",
    "distance_s": "distance_s=10-30",
    "layout": "layout=folder",
}


def _options(values: Mapping[str, Any]) -> Options:
    known = list(Options.__dataclass_fields__)
    for name in values:
        if name not in known:
            raise ValueError(
                f"{name!r} is not an option of the drawn world{nearest(name, known)}"
                f" (options: {', '.join(known)})"
            )
    options = worker.options_of({k: v for k, v in values.items() if v is not None})
    options.check()
    return options


def _plan(task: str, layout: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the files depend on, as plain data, checked."""
    info = task_info(task)
    options = _options({k: v for k, v in values.items() if k not in SPLITS})
    class_names(task, options)
    sizes = {
        split: int(default if values.get(split) is None else values[split])
        for split, default in zip(SPLITS, info.counts, strict=True)
    }
    if min(sizes.values()) < 0 or not any(sizes.values()):
        raise ValueError(f"splits {sizes} hold no videos or fewer than none; ask for at least one")
    layouts.layout_of(task, layout, info.kind)
    return {
        "world_version": WORLD_VERSION,
        "task": task,
        "layout": layout,
        "counts": sizes,
        "options": to_plain(options),
        **({"revision": info.revision} if info.revision else {}),
    }


def _finished(folder: Path, plan: Mapping[str, Any]) -> bool:
    """Whether a folder holds exactly this data set, whole (its record is written last)."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and record.get("plan") == plan


def _fill(plan: dict[str, Any], root: Path, workers: int, progress: Progress | None) -> None:
    items = [(split, index) for split, count in plan["counts"].items() for index in range(count)]
    job = {**plan, "root": str(root)}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    share = min((cores or 1) if workers < 0 else workers, len(items) // 40)
    made = []
    with contextlib.closing(
        _spread(job, items, share) if share > 1 else _alone(job, items)
    ) as done:
        for row in done:
            made.append(row)
            if progress is not None:
                progress(len(made), len(items))
    made.sort(key=lambda row: (SPLITS.index(row["split"]), row["index"]))
    info = TASKS[plan["task"]]
    layout = layouts.layout_of(plan["task"], plan["layout"], info.kind)
    names = class_names(plan["task"], worker.options_of(plan["options"]))
    layout.lists(root, [Row(**row) for row in made], names)
    write_json(root / RECORD, {"plan": plan, "classes": names, "summary": info.summary})


def _alone(
    job: dict[str, Any], items: Sequence[tuple[str, int]]
) -> Generator[dict[str, Any], None, None]:
    for split, index in items:
        yield worker.make(job, split, index)


def _spread(
    job: dict[str, Any], items: Sequence[tuple[str, int]], share: int
) -> Generator[dict[str, Any], None, None]:
    """The rows of all items, drawn by ``share`` processes.

    Raises RuntimeError when one of them fails, with its last line.
    """
    source = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH", ""))))
    command = [sys.executable, "-m", "marey.data.drawn.worker"]
    started = []
    try:
        for k in range(share):
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            )
            started.append(process)
            assert process.stdin is not None
            process.stdin.write(json.dumps({**job, "items": items[k::share]}) + "\n")
            process.stdin.close()
        yield from _in_turn([_rows(process) for process in started])
        for process in started:
            if process.wait() != 0:
                raise RuntimeError(f"a drawing process stopped with code {process.returncode}")
    finally:
        for process in started:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _rows(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)


def _in_turn(streams: list[Iterator[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Rows of all streams, one of each in turn, until all have ended."""
    while streams:
        for rows in list(streams):
            row = next(rows, None)
            if row is None:
                streams.remove(rows)
            else:
                yield row


def _move(partial: Path, out: Path, plan: Mapping[str, Any]) -> None:
    """Give the finished folder its name; a twin that was faster is kept instead."""
    partial.chmod(0o755)
    try:
        if out.is_dir():
            out.rmdir()
        os.rename(partial, out)
    except OSError:
        if not _finished(out, plan):
            raise


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process; on systems without it _move sorts out twins."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
