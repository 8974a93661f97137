"""Single operations of X3D and S3D done in several ways on a CPU, in one process.

    python benchmarks/operations.py                    every operation
    python benchmarks/operations.py 'depthwise*' --threads 2

`first` and `last` are torch's own call with channels first and last in memory; `ours` is what the
network calls (`layers.conv.convolve`, `layers.inception.largest_around`). All ways take turns, call
by call, outputs are compared first, and medians of processor time are printed in milliseconds.
`forward` is without gradients, `both` forward and backward pass.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.conv import Triple, convolve
from marey.layers.inception import largest_around

LAST = torch.channels_last_3d
Way = Callable[[Tensor, nn.Conv3d], Tensor]


def slices_summed(x: Tensor, conv: nn.Conv3d) -> Tensor:
    """A kernel over frames as one 2-D convolution for each of its frames, shifted and summed."""
    taps, frames = conv.kernel_size[0], x.shape[2]
    padded = F.pad(x, (0, 0, 0, 0, taps // 2, taps // 2)).transpose(1, 2)  # (B, T', C, H, W)
    total: Tensor | None = None
    for at in range(taps):
        part = padded[:, at : at + frames].flatten(0, 1)
        kernel = conv.weight[:, :, at]
        found = F.conv2d(part, kernel, None, conv.stride[1:], conv.padding[1:], 1, conv.groups)
        total = found if total is None else total + found
    assert total is not None
    return total.unflatten(0, (len(x), -1)).transpose(1, 2)


def frames_by_places(x: Tensor, conv: nn.Conv3d) -> Tensor:
    """A k x 1 x 1 kernel as a 2-D convolution over (T, H W)."""
    kernel = conv.weight.flatten(3)
    found = F.conv2d(x.flatten(3), kernel, None, 1, (kernel.shape[2] // 2, 0), 1, conv.groups)
    return found.unflatten(3, x.shape[3:])


def shifted_products(x: Tensor, conv: nn.Conv3d) -> Tensor:
    """A depthwise k x 1 x 1 kernel as k products of shifted maps, summed."""
    taps, frames = conv.kernel_size[0], x.shape[2]
    padded = F.pad(x, (0, 0, 0, 0, taps // 2, taps // 2))
    weight = conv.weight.flatten(1)[None, :, :, None, None, None]  # (1, C, k, 1, 1, 1)
    total = padded[:, :, :frames] * weight[:, :, 0]
    for at in range(1, taps):
        total = total + padded[:, :, at : at + frames] * weight[:, :, at]
    return total


def pool(x: Tensor, conv: nn.Conv3d) -> Tensor:
    return F.max_pool3d(x, 3, 1, 1)


def pool_twice(x: Tensor, conv: nn.Conv3d) -> Tensor:
    """Space, then time."""
    return F.max_pool3d(F.max_pool3d(x, (1, 3, 3), 1, (0, 1, 1)), (3, 1, 1), 1, (1, 0, 0))


def plain(x: Tensor, conv: nn.Conv3d) -> Tensor:
    return conv(x)


def ours(x: Tensor, conv: nn.Conv3d) -> Tensor:
    return convolve(x, conv, conv.weight)


def ours_pooled(x: Tensor, conv: nn.Conv3d) -> Tensor:
    return pool(x, conv) if torch.is_grad_enabled() else largest_around(x)


@dataclass(frozen=True)
class Operation:
    """A convolution of X3D-M or S3D, or a pool (kernel of zeros), and other ways to do it."""

    name: str
    shape: tuple[int, ...]  # of the clip that comes in
    width: int
    kernel: Triple
    stride: int = 1  # in space
    depthwise: bool = False
    others: dict[str, Way] = field(default_factory=dict)  # all with channels last

    @property
    def pools(self) -> bool:
        return self.kernel == (0, 0, 0)

    def conv(self) -> nn.Conv3d:
        size: Triple = (1, 1, 1) if self.pools else self.kernel
        half = (size[0] // 2, size[1] // 2, size[2] // 2)
        groups = self.width if self.depthwise else 1
        step = (1, self.stride, self.stride)
        return nn.Conv3d(self.shape[1], self.width, size, step, half, groups=groups, bias=False)

    def ways(self, clip: Tensor) -> dict[str, tuple[Tensor, Way]]:
        call, best = (pool, ours_pooled) if self.pools else (plain, ours)
        last = clip.contiguous(memory_format=LAST)
        found = {"first": (clip, call), "last": (last, call), "ours": (last, best)}
        return found | {name: (last, way) for name, way in self.others.items()}


OPERATIONS = (
    Operation("stem 1x3x3", (1, 3, 16, 224, 224), 24, (1, 3, 3), stride=2),
    Operation(
        "stem depthwise 5x1x1",
        (1, 24, 16, 112, 112),
        24,
        (5, 1, 1),
        depthwise=True,
        others={"2-D over (T, HW)": frames_by_places, "five products": shifted_products},
    ),
    Operation("1x1x1 54 to 24", (1, 54, 16, 56, 56), 24, (1, 1, 1)),
    Operation("1x1x1 432 to 192", (1, 432, 16, 7, 7), 192, (1, 1, 1)),
    *(
        Operation(
            f"depthwise 3x3x3 {width}",
            (1, width, 16, side, side),
            width,
            (3, 3, 3),
            depthwise=True,
            others={"three 2-D": slices_summed},
        )
        for width, side in ((54, 56), (216, 14))
    ),
    Operation("S3D 1x3x3 96 to 128", (1, 96, 8, 28, 28), 128, (1, 3, 3)),
    Operation(
        "S3D 3x1x1 128",
        (1, 128, 8, 28, 28),
        128,
        (3, 1, 1),
        others={"2-D over (T, HW)": frames_by_places, "three 2-D": slices_summed},
    ),
    Operation(
        "S3D pool 3x3x3", (1, 192, 8, 28, 28), 192, (0, 0, 0), others={"two pools": pool_twice}
    ),
)


def once(way: Way, clip: Tensor, conv: nn.Conv3d, dtype: torch.dtype, learns: bool) -> None:
    with torch.set_grad_enabled(learns), torch.autocast("cpu", dtype, dtype != torch.float32):
        found = way(clip, conv)
    if learns:
        found.sum().backward()


def medians(runs: list[Callable[[], None]], repeats: int) -> list[float]:
    """Milliseconds of processor time of each, taking turns, after one call each to warm up."""
    times: list[list[float]] = [[] for _ in runs]
    for turn in range(repeats + 1):
        for run, found in zip(runs, times, strict=True):
            start = time.process_time()
            run()
            if turn:
                found.append(1000 * (time.process_time() - start))
    return [statistics.median(found) for found in times]


def line(operation: Operation, dtype: torch.dtype, learns: bool, repeats: int) -> str:
    """One printed line. Raises ValueError where a way computes something else."""
    torch.manual_seed(0)
    conv = operation.conv()
    clip = torch.randn(operation.shape)
    ways = operation.ways(clip)
    with torch.no_grad():
        wanted = ways["first"][1](clip, conv)
        for name, (x, way) in ways.items():
            gap = float((way(x, conv) - wanted).abs().max())
            if gap > 1e-4:
                raise ValueError(f"{operation.name} as {name} differs by {gap:.1e}")
    runs: list[Callable[[], None]] = []
    for x, way in ways.values():
        given = x.to(dtype).detach().requires_grad_(learns)
        runs.append(partial(once, way, given, conv, dtype, learns))
    told = zip(ways, medians(runs, repeats), strict=True)
    kind = "bf16" if dtype == torch.bfloat16 else "float32"
    title = f"{operation.name:<22}{kind:>8}{'both' if learns else 'forward':>9}"
    return title + "".join(f"  {name} {ms:.1f}" for name, ms in told)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("operations", nargs="*", help="patterns of names; all if none")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    patterns = chosen.operations or ["*"]
    rows = [o for o in OPERATIONS if any(fnmatchcase(o.name, p) for p in patterns)]
    if not rows:
        parser.error(f"no operation matches; there are {[o.name for o in OPERATIONS]}")
    print(f"torch {torch.__version__}, cpu, {torch.get_num_threads()} threads")
    for operation in rows:
        for dtype in (torch.float32, torch.bfloat16):
            for learns in (False, True):
                print(line(operation, dtype, learns, chosen.repeats), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
