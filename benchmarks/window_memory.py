"""Peak memory of one training step of a published detector on one window, on the processor.

    python benchmarks/window_memory.py                         plustad_af: 192 frames at 160 pixels
    python benchmarks/window_memory.py basictad_ab --plain     without recomputing activations

Weights are random, the window is noise with two instances, norms of the backbone are frozen and the
optimiser is SGD with momentum, as published. The peak is of the whole process, PyTorch included.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import torch

from marey import zoo
from marey.choices import TaskChoice
from marey.engine.calibrate import hold_frozen
from marey.engine.recompute import recompute_stages
from marey.tasks.temporal_detection import TemporalDetection
from marey.types import Batch


def gibibytes() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def window(frames: int, size: int) -> Batch:
    """One window with instances at a quarter and at the half of it."""
    spans = [[0.0, 0.0, frames], [frames / 4, frames / 3, 2.0], [frames / 2, 0.9 * frames, 7.0]]
    clip = torch.randn(1, 1, 3, frames, size, size)
    told = torch.tensor(spans).flatten()[None]
    return Batch(clip, None, told, ("a",), torch.zeros(1), torch.arange(1))


def main(words: list[str] | None = None) -> None:
    """Take the steps and print what they needed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", default="plustad_af")
    parser.add_argument("--plain", action="store_true", help="keep all activations")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args(words)
    torch.set_num_threads(chosen.threads)
    model: Any = zoo.build(chosen.model).train()
    model.classes = None
    hold_frozen(model, norm="frozen")
    if not chosen.plain:
        recompute_stages(model)
    task = TemporalDetection(TaskChoice(), model)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    batch = window(model.config.frames, model.config.crop)
    print(f"{chosen.model}, 1x3x{model.config.frames}x{model.config.crop}x{model.config.crop}")
    print(f"built     {gibibytes():6.2f} GiB")
    began = time.process_time()
    for _ in range(chosen.steps):
        loss = task.loss(model, batch)["loss"]
        print(f"forward   {gibibytes():6.2f} GiB, loss {float(loss.detach()):.3f}")
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    print(f"step      {gibibytes():6.2f} GiB at most", end="")
    print(f", {(time.process_time() - began) / chosen.steps:.0f} s of processor time")


if __name__ == "__main__":
    main()
