"""How fast the drawn world is: clips and frames a second on one core, encoding included.

    python benchmarks/drawing.py [clips a task]

Seconds are of processor time, so that a busy machine changes little.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from marey.data.drawn import worker
from marey.data.synthetic import TASKS

FRAMES = {"scenes": 100, "untrimmed": 250, "recall": 250}  # long tasks, cut short


def measure(task: str, count: int, root: Path) -> tuple[float, int]:
    """Seconds for ``count`` clips of the training split, and how many frames they have."""
    options = {"frames": FRAMES.get(task, 0)}
    job = {"task": task, "options": options, "layout": "", "root": str(root)}
    worker.make(job, "train", count)  # the first call imports the encoder
    start = time.process_time()
    rows = [worker.make(job, "train", index) for index in range(count)]
    seconds = time.process_time() - start
    return seconds, sum(max(1, round(row["seconds"] * 25)) for row in rows)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 24
    print(f"{'task':12}{'clips/s':>10}{'frames/s':>10}   160x120, one core, files written")
    with tempfile.TemporaryDirectory() as folder:
        for task in TASKS:
            seconds, frames = measure(task, count, Path(folder))
            print(f"{task:12}{count / seconds:10.1f}{frames / seconds:10.0f}")


if __name__ == "__main__":
    main()
