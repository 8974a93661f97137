"""A one-hour file through a detector: is it faster than real time, and does memory stay put?

    python benchmarks/long_video.py                      an hour of 640x360 at 25 fps, two threads
    python benchmarks/long_video.py --weights runs/mine  a trained detector, not a random one
    python benchmarks/long_video.py --minutes 5 --threads 1

A drawn scene of 24 s is encoded as H.264 and its packets repeated, so the file costs little to make
and the usual to read. Drawing and finding each have a process of their own: the peak memory that is
told is that of finding alone.

    decode     seconds the thread that decodes was busy, shrinking frames included
    network    seconds of the network and of picking candidates
    overlap    what both took together, over the wall clock: above 1 they ran side by side

A random network scores everything alike, so it has more candidates to thin out than a trained one.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

SCENE_S, FPS = 24, 25


def write_file(path: Path, minutes: float) -> None:
    """24 s of ``untrimmed`` at 640x360, again and again."""
    from marey.data import synthetic
    from marey.video.writer import write_video

    scene = synthetic.draw(
        "untrimmed", "val", 3, size=(360, 640), frames=SCENE_S * FPS, difficulty=1
    )
    with tempfile.TemporaryDirectory() as scratch:
        once = Path(scratch) / "scene.mp4"
        write_video(once, scene.frames, float(FPS))
        repeat(once, path, minutes)


def repeat(scene: Path, path: Path, minutes: float) -> None:
    """The packets of ``scene`` one after another until ``minutes`` are full."""
    import av

    with av.open(str(scene)) as source, av.open(str(path), "w") as target:
        given = source.streams.video[0]
        stream = target.add_stream_from_template(given)
        assert given.time_base is not None
        span = int(Fraction(SCENE_S) / given.time_base)
        for turn in range(max(1, round(60 * minutes / SCENE_S))):
            source.seek(0)
            for packet in source.demux(given):
                if packet.dts is None or packet.pts is None:
                    continue  # the packet that ends the stream
                packet.pts, packet.dts = packet.pts + turn * span, packet.dts + turn * span
                packet.stream = stream
                target.mux(packet)


def detector(weights: str) -> Any:
    """A trained network, or that of the ``small_segments`` recipe as it is drawn."""
    import torch

    import marey
    from marey import recipes, zoo
    from marey.config import override

    if weights:
        return marey.load(weights)
    torch.manual_seed(0)
    recipe = recipes.find("small_segments")
    model: Any = zoo.build(recipe.model, num_classes=8, **recipe.net, **recipe.clip_fields())
    model.spec = override(model.spec, recipe.clip, where="clip")
    return model


def measure(path: Path, weights: str, threads: int) -> None:
    """Find segments and print the figures; this process does nothing else."""
    from marey.predictor import When
    from marey.video import open_video

    ready = When(detector(weights), device="cpu", num_threads=threads)
    began, worked = time.perf_counter(), time.process_time()
    with open_video(path) as video:
        duration_s, size = video.duration_s, path.stat().st_size / 1e6
        shape = f"{video.width}x{video.height}"
        count = sum(1 for _ in ready.stream(video))
    wall, cpu = time.perf_counter() - began, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    decode, network = ready.seconds["decode"], ready.seconds["network"]
    print(f"file      {duration_s:8.1f} s of {shape}, {size:.0f} MB; {threads} threads")
    print(f"wall      {wall:8.1f} s, {duration_s / wall:.1f} times faster than real time")
    print(f"processor {cpu:8.1f} s, all threads together")
    print(f"decode    {decode:8.1f} s, {100 * decode / wall:.0f} % of the wall clock")
    print(f"network   {network:8.1f} s, {100 * network / wall:.0f} %")
    print(f"overlap   {(decode + network) / wall:8.2f}")
    print(f"memory    {peak:8.2f} GiB at most, the interpreter and PyTorch included")
    print(f"segments  {count:8}, {ready.highest:.3f} the highest score")


def main(words: list[str] | None = None) -> None:
    """Draw, repeat, and measure in another process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--weights", default="", help="a run or weights file of a detector")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--file", default="", help="any video instead of the drawn one")
    parser.add_argument("--part", choices=("draw", "measure"), help=argparse.SUPPRESS)
    chosen = parser.parse_args(words)
    if chosen.minutes <= 0 or chosen.threads < 1:
        parser.error(f"--minutes {chosen.minutes:g} --threads {chosen.threads}: both above 0")
    if chosen.part == "draw":
        write_file(Path(chosen.file), chosen.minutes)
    elif chosen.part == "measure":
        measure(Path(chosen.file), chosen.weights, chosen.threads)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            path = chosen.file or str(Path(scratch) / "long.mp4")
            own = [sys.executable, __file__, "--file", path, "--minutes", str(chosen.minutes)]
            own += ["--weights", chosen.weights, "--threads", str(chosen.threads)]
            if not chosen.file:
                subprocess.run([*own, "--part", "draw"], check=True)
            subprocess.run([*own, "--part", "measure"], check=True)


if __name__ == "__main__":
    main()
