"""A list of a million rows: seconds to open, and memory that each loader worker has to itself.

    python benchmarks/item_table.py [--rows 1000000] [--workers 2]

Unique memory is the Private pages of /proc/PID/smaps_rollup (Linux). A worker's own share is what a
worker over the long list has beyond one over a list of ten rows, after it has read 2000 random
rows, for workers that are forked and workers that are spawned. Bar: under 1 s and under 50 MB.
Opening is the best of three; "cpu s" is what it costs on all cores together.
The last row shows what the same rows cost as a list of Python objects.
"""

from __future__ import annotations

import argparse
import multiprocessing
import pickle
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from marey.data.sources import open_data
from marey.types import Item

READS = 2000


def write_list(path: Path, rows: int, *, header: bool) -> None:
    """A Kinetics-like list: 400 classes, paths of about 60 characters, two splits."""
    with path.open("w") as file:
        if header:
            file.write("path,label,split\n")
        for i in range(rows):
            label = i % 400
            clip = f"videos/class {label:03d}/some_video_{i:07d}_000012_000022.mp4"
            file.write(
                f"{clip},class {label:03d},{'train' if i % 10 else 'val'}\n"
                if header
                else f"{clip} {label}\n"
            )
    (path.parent / "videos/class 000").mkdir(parents=True, exist_ok=True)
    (path.parent / "videos/class 000/some_video_0000000_000012_000022.mp4").touch()


def unique_mb() -> float:
    """Memory of this process that no other shares, MB."""
    private = 0
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_"):
            private += int(line.split()[1])
    return private / 1024


def worker(items: Any, number: int, answers: Any) -> None:
    """Read random rows of a table (or list), then tell how much memory is ours alone."""
    order = np.random.default_rng(number).integers(len(items), size=READS)
    for i in order:
        assert items[int(i)].video
    answers.put(unique_mb())


def worker_mb(items: Any, method: str, workers: int) -> float:
    """Mean unique memory of workers over ``items``, MB."""
    context: Any = multiprocessing.get_context(method)
    answers = context.Queue()
    started = [context.Process(target=worker, args=(items, n, answers)) for n in range(workers)]
    for process in started:
        process.start()
    found = [answers.get() for _ in started]
    for process in started:
        process.join()
    return sum(found) / len(found)


def added_mb(items: Any, few: Any, method: str, workers: int) -> float:
    return worker_mb(items, method, workers) - worker_mb(few, method, workers)


def opening(path: Path) -> tuple[float, float]:
    """Seconds and CPU seconds of opening a list."""
    begin, cpu = time.perf_counter(), time.process_time()
    open_data(path)
    return time.perf_counter() - begin, time.process_time() - cpu


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    print(f"{options.rows} rows, {options.workers} workers, {READS} random rows read by each")
    print(f"{'list':<22}{'open s':>8}{'cpu s':>7}{'table MB':>10}{'fork +MB':>10}{'spawn +MB':>11}")
    with tempfile.TemporaryDirectory() as folder:
        for name, header in (("csv with header", True), ("lines 'path label'", False)):
            path, short = (Path(folder) / f"{n}_{header}.csv" for n in ("long", "short"))
            write_list(path, options.rows, header=header)
            write_list(short, 10, header=header)
            open_data(short)
            seconds, cpu = min(opening(path) for _ in range(3))
            items = open_data(path).split("train")
            few = open_data(short).split("train")
            added = [added_mb(items, few, method, options.workers) for method in ("fork", "spawn")]
            size = items.table.nbytes / 2**20
            print(
                f"{name:<22}{seconds:>8.2f}{cpu:>7.2f}{size:>10.1f}{added[0]:>10.1f}{added[1]:>11.1f}"
            )
        rows: list[Item] = list(items)
        size = len(pickle.dumps(rows)) / 2**20
        added = [added_mb(rows, rows[:10], method, options.workers) for method in ("fork", "spawn")]
        print(f"{'a list of objects':<22}{'':>15}{size:>10.1f}{added[0]:>10.1f}{added[1]:>11.1f}")


if __name__ == "__main__":
    main()
