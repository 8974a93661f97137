"""Streaming TSM: does it keep up with a camera? Latency of every frame, one after another.

    python benchmarks/streaming.py                              ResNet-18 at 224, two threads
    python benchmarks/streaming.py --model tsm_online_r50_8f --frames 60

The network sees each frame once (`step`), with what it kept of the last one, prepared as a live
stream of `marey predict` prepares it (norms folded, channels last). Beside it stands what
the same network costs when a whole clip is run again for every frame. Weights are random: only time
is measured.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch

from marey import zoo
from marey.layers.folding import for_inference

CAMERA = 30.0  # frames per second


def main() -> None:
    """Print the latencies, and whether a camera is kept up with."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="tsm_online_r18_8f")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    plain: Any = zoo.build(chosen.model).eval()
    network: Any = for_inference(plain)
    stream = torch.randn(chosen.frames, 1, 3, chosen.size, chosen.size)
    frames = [frame.contiguous(memory_format=torch.channels_last) for frame in stream]
    state, spent, began = None, [], 0.0
    with torch.inference_mode():
        _, state = network.step(frames[0])
        began = time.process_time()
        for frame in frames:
            start = time.perf_counter()
            _, state = network.step(frame, state)
            spent.append(time.perf_counter() - start)
        worked = 1000 * (time.process_time() - began) / len(stream)
        clip = stream[: network.config.frames].movedim(0, 2)  # (1, 3, T, H, W)
        plain(clip)
        whole = []
        for _ in range(3):
            start = time.perf_counter()
            plain(clip)
            whole.append(time.perf_counter() - start)
    milliseconds = torch.tensor(spent) * 1000
    middle, slow = (milliseconds.quantile(q).item() for q in (0.5, 0.95))
    rate = 1000 / middle
    most, again = milliseconds.max().item(), 1000 * sorted(whole)[1]
    print(f"{chosen.model}, {chosen.size} px, {chosen.threads} threads, {chosen.frames} frames")
    print(f"per frame      {middle:6.1f} ms median, {slow:.1f} at 95 %, {most:.1f} at most")
    print(f"computing      {worked:6.1f} ms of processor time a frame, all threads together")
    print(f"frames/s       {rate:6.1f} (a camera gives {CAMERA:.0f})")
    print(f"a whole clip   {again:6.1f} ms, if it were run again for every frame")
    print("keeps up" if rate >= CAMERA else "does not keep up")


if __name__ == "__main__":
    main()
