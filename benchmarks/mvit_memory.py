"""Peak memory of MViTv2-S: fused beside plain attention as clips grow, and beside torchvision.

    python benchmarks/mvit_memory.py                   16 to 64 frames at 224, forward and step
    python benchmarks/mvit_memory.py --frames 16 --size 224 --dtype bf16
    python benchmarks/mvit_memory.py --passes step --kinds reversible remembered

Each number comes from a fresh process: the most memory it ever held, less what it held with the
network built and the clip drawn, in MB. A step is forward and backward; its gradients are in the
number. `times` is the growth over the row before. The grid of tokens doubles with the frames, and
so do the keys: memory that grows with their product doubles twice. torchvision's network takes 16
frames at 224 and no others. `reversible` and `remembered` are the reversible MViT-B computing its
blocks' inputs on the way back, and keeping them as ordinary training does.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from typing import Any

import torch

KINDS = ("fused", "plain", "torchvision", "reversible", "remembered")
MADE_FOR = (16, 224)  # the only frames and pixels torchvision's takes


def held_mb() -> float:
    """Memory of this process now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def build(kind: str, frames: int, size: int) -> Any:
    """The network of one column, for clips of ``frames`` at ``size``."""
    if kind == "torchvision":
        from torchvision.models.video import mvit_v2_s

        return mvit_v2_s()
    from marey import zoo

    if kind in ("reversible", "remembered"):
        undone = kind == "reversible"
        return zoo.build("rev_mvit_b_16x4", frames=frames, crop=size, reversible=undone)
    return zoo.build("mvitv2_s_16x4", frames=frames, crop=size, attention=kind)


def measure(kind: str, frames: int, size: int, dtype: str, train: bool) -> float:
    """MB above the built network, in this process."""
    network = build(kind, frames, size).train(train)
    clip = torch.randn(1, 3, frames, size, size)
    with torch.no_grad():
        torch.nn.functional.conv3d(clip[..., :8, :8], torch.ones(1, 3, 3, 3, 3))  # loads libraries
    before = held_mb()
    with torch.set_grad_enabled(train), torch.autocast("cpu", torch.bfloat16, dtype == "bf16"):
        loss = network(clip).float().square().mean()
    if train:
        loss.backward()
    return peak_mb() - before


def apart(**options: Any) -> float:
    """``measure`` in a process of its own."""
    command = [sys.executable, __file__, "--one", json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--dtype", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS[:3]))
    parser.add_argument(
        "--passes", nargs="+", choices=("forward", "step"), default=["forward", "step"]
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(measure(**json.loads(chosen.one)))
        return
    print(f"torch {torch.__version__}, cpu, {chosen.size} pixels, {chosen.dtype}")
    print(f"{'pass':>8}{'frames':>8}" + "".join(f"{k:>13}{'times':>7}" for k in chosen.kinds))
    for name in chosen.passes:
        last: dict[str, float] = {}
        for frames in chosen.frames:
            cells = ""
            for kind in chosen.kinds:
                if kind == "torchvision" and (frames, chosen.size) != MADE_FOR:
                    cells += f"{'-':>13}{'':>7}"
                    continue
                found = apart(
                    kind=kind,
                    frames=frames,
                    size=chosen.size,
                    dtype=chosen.dtype,
                    train=name == "step",
                )
                grown = f"{found / last[kind]:>7.2f}" if kind in last else f"{'':>7}"
                cells += f"{found:>13.0f}{grown}"
                last[kind] = found
            print(f"{name:>8}{frames:>8}{cells}", flush=True)


if __name__ == "__main__":
    main()
