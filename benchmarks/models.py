"""Forward pass and training step of ours beside the same networks of others, in one process.

    python benchmarks/models.py --size 160 --repeats 3

Peers are pytorchvideo's networks of the same arithmetic and torchvision's ResNet-50 over the
frames of a clip; a row whose peer is not installed says so. Weights are random: only time is
measured. Each number is the least of the repeats, in milliseconds per clip; `last` keeps channels
last in memory.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from marey import zoo
from marey.metrics.cost import measure

SETTINGS = {"float32": (False, False), "bf16": (True, False), "bf16 last": (True, True)}
ROWS = {
    "c2d_r50_8x8": "c2d_r50",
    "i3d_r50_8x8": "i3d_r50",
    "slow_r50_8x8": "slow_r50",
    "slowfast_r50_8x8": "slowfast_r50",
}


class FrameByFrame(nn.Module):
    """torchvision's ResNet-50 on every frame of a clip, logits averaged."""

    def __init__(self) -> None:
        super().__init__()
        import torchvision

        self.network = torchvision.models.resnet50(weights=None, num_classes=400)

    def forward(self, clip: Tensor) -> Tensor:
        frames = clip.transpose(1, 2).flatten(0, 1)  # (B T, C, H, W)
        return self.network(frames).unflatten(0, (len(clip), -1)).mean(dim=1)


def peers() -> Iterator[tuple[str, str, Callable[[], nn.Module] | str]]:
    """Our variant, the peer's name, and its maker or why there is none."""
    for ours, theirs in ROWS.items():
        try:
            hub = __import__("pytorchvideo.models.hub", fromlist=[theirs])
            yield ours, f"pytorchvideo {theirs}", getattr(hub, theirs)
        except Exception as error:  # an old package may fail in many ways
            yield ours, f"pytorchvideo {theirs}", f"not measured: {str(error).splitlines()[0]}"
    yield "c2d_nopool_r50_8x8", "torchvision resnet50", FrameByFrame


def best_ms(run: Callable[[], Any], repeats: int) -> float:
    """Least wall time of a call after one to warm up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def timings(network: nn.Module, clip: Any, *, repeats: int, train: bool) -> list[float]:
    """Milliseconds per clip of a forward pass, then of a training step, for each setting."""
    device = next(network.parameters()).device.type
    count = len(clip[-1]) if isinstance(clip, list) else len(clip)
    found = []
    for narrow, last in SETTINGS.values():
        layout = torch.channels_last_3d if last else torch.contiguous_format
        for module in network.modules():
            if isinstance(module, nn.Conv3d):
                module.to(memory_format=layout)
            elif isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last if last else layout)

        def autocast(narrow: bool = narrow) -> AbstractContextManager[Any]:
            return torch.autocast(device, torch.bfloat16) if narrow else nullcontext()

        def forward(autocast: Callable[[], Any] = autocast) -> None:
            with torch.inference_mode(), autocast():
                network(clip)

        def step(autocast: Callable[[], Any] = autocast) -> None:
            network.zero_grad(set_to_none=True)
            with autocast():
                loss = network(clip).float().square().mean()
            loss.backward()

        network.eval()
        found.append(best_ms(forward, repeats) / count)
        network.train()
        found.append(best_ms(step, repeats) / count if train else float("nan"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--no-train", action="store_true")
    chosen = parser.parse_args()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"{device}, {torch.get_num_threads()} threads, {chosen.size} px, batch {chosen.batch}")
    columns = [f"{name} {what}" for name in SETTINGS for what in ("fwd", "step")]
    print(f"{'network':<32}{'GMAC':>7}" + "".join(f"{name:>16}" for name in columns))
    for ours, theirs, make in peers():
        frames = zoo.spec_of(ours).frames
        clip = torch.randn(chosen.batch, 3, frames, chosen.size, chosen.size, device=device)
        network: Any = zoo.build(ours).to(device)
        cost = measure(network, tuple(clip[:1].shape)).multiply_adds / 1e9
        pair = list(network.pathways(clip)) if "slowfast" in ours else clip
        rows: list[tuple[str, Any, Any]] = [(ours, lambda made=network: made, clip)]
        rows.append((theirs, make, pair))
        for name, maker, given in rows:
            if isinstance(maker, str):
                print(f"{name:<32}  {maker}")
                continue
            times = timings(
                maker().to(device), given, repeats=chosen.repeats, train=not chosen.no_train
            )
            print(f"{name:<32}{cost:>7.1f}" + "".join(f"{t:>16.1f}" for t in times), flush=True)


if __name__ == "__main__":
    main()
