"""Forward pass and training step of ours beside the same network of others, in one process.

    python benchmarks/models.py                        every row of peers.py
    python benchmarks/models.py slow_r50_8x8 's3d*' --threads 2 --repeats 7

Ours and the peer hold the same weights, and their outputs are compared before anything is timed:
`gap` is the largest difference in units of the outputs' spread. A row with a budget has another
network for its peer; it says what share of the peer's time per multiply-add ours takes. Then ours
and the peer take turns, call by call, and medians are printed in milliseconds per clip. `last` is
the same network with channels last in memory; `peer/ours` above 1 means that ours is faster. A step
is forward, backward and an update by SGD with momentum.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatchcase
from typing import Any

import torch
from peers import ROWS, Row, lively
from torch import Tensor, nn

from marey import zoo
from marey.metrics.cost import measure

TOLERANCE = 1e-3
HEADING = (
    f"{'ours | peer':<52}{'GMAC':>7}{'gap':>9}{'dtype':>9}{'pass':>6}"
    f"{'ours':>9}{'peer':>9}{'peer/ours':>11}{'last':>9}{'last':>9}{'peer/ours':>11}"
)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def channels_last(network: nn.Module) -> nn.Module:
    """A copy whose kernels have channels last in memory; torch then keeps maps that way too."""
    found = copy.deepcopy(network)
    for module in found.modules():
        if isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        elif isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return found


def autocast(dtype: str) -> AbstractContextManager[Any]:
    return torch.autocast(DEVICE, torch.bfloat16) if dtype == "bf16" else nullcontext()


def call(network: nn.Module, given: Any) -> Tensor:
    """A list of clips is handed over as a fresh one: pytorchvideo's networks write into it."""
    return network(list(given) if isinstance(given, list) else given)


def forward(network: nn.Module, clip: Any, dtype: str) -> Callable[[], None]:
    def run() -> None:
        with torch.inference_mode(), autocast(dtype):
            call(network, clip)

    network.eval()
    return run


def step(network: nn.Module, clip: Any, dtype: str) -> Callable[[], None]:
    """A training step that leaves the weights where they are: the rate is zero."""
    optimiser = torch.optim.SGD(network.parameters(), lr=0.0, momentum=0.9)

    def run() -> None:
        optimiser.zero_grad(set_to_none=True)
        with autocast(dtype):
            loss = call(network, clip).float().square().mean()
        loss.backward()
        optimiser.step()

    network.train()
    return run


def medians(runs: list[Callable[[], None]], repeats: int, clock: str) -> list[float]:
    """Milliseconds of each, taking turns, after one call each to warm up.

    Neighbours change places from turn to turn, so that neither always follows the other.
    """
    now = time.process_time if clock == "cpu" else time.perf_counter
    times: list[list[float]] = [[] for _ in runs]
    for turn in range(repeats + 1):
        for at in range(len(runs)):
            at ^= turn % 2
            run, found = runs[at], times[at]
            start = now()
            run()
            if DEVICE == "cuda":
                torch.cuda.synchronize()
            if turn:
                found.append(1000 * (now() - start))
    return [statistics.median(found) for found in times]


def gap_between(ours: nn.Module, peer: nn.Module, clip: Tensor, given: Any) -> float:
    with torch.inference_mode():
        found, wanted = call(ours.eval(), clip), call(peer.eval(), given)
    return float((found - wanted).abs().max() / wanted.std())


def contenders(row: Row, chosen: argparse.Namespace) -> tuple[Any, nn.Module, Tensor, Any]:
    """Ours and the peer with the same weights, and what each is fed."""
    torch.manual_seed(0)
    ours: Any = zoo.build(row.ours, **row.fields)
    lively(ours)
    peer = row.make()
    if not row.budget:
        peer.load_state_dict(dict(row.state(ours)), strict=True)
    size = chosen.size or row.crop or ours.spec.size
    frames = row.frames or ours.spec.frames
    clip = torch.randn(chosen.batch, row.channels, frames, size, size, device=DEVICE)
    ours, peer = ours.to(DEVICE), peer.to(DEVICE)
    return ours, peer, clip, row.feed(ours, clip)


def lines(row: Row, chosen: argparse.Namespace) -> Iterator[str]:
    """The printed lines of a row. Raises ValueError when the two networks do not agree."""
    ours, peer, clip, given = contenders(row, chosen)
    gap = float("nan") if row.budget else gap_between(ours, peer, clip, given)
    if gap >= TOLERANCE:
        raise ValueError(f"outputs differ by {gap:.1e} of their spread, more than {TOLERANCE:g}")
    cost, theirs = (measure(n, tuple(clip[:1].shape)).multiply_adds / 1e9 for n in (ours, peer))
    fed = [(ours, clip), (peer, given)]
    if not chosen.no_last:
        fed += [(channels_last(ours), clip), (channels_last(peer), given)]
    for dtype in chosen.dtypes:
        for name, make in (("fwd", forward), ("step", step)):
            if name == "step" and chosen.no_step:
                continue
            runs = [make(network, x, dtype) for network, x in fed]
            times = [t / chosen.batch for t in medians(runs, chosen.repeats, chosen.clock)]
            title = f"{row.ours} | {row.peer}"
            pairs = zip(times[::2], times[1::2], strict=True)
            timed = "".join(f"{a:>9.1f}{b:>9.1f}{b / a:>11.2f}" for a, b in pairs)
            if row.budget:
                share = times[0] / times[1] * theirs / cost
                timed += f"  {share:.2f} of the peer's time per multiply-add, at most {row.budget}"
            yield f"{title:<52}{cost:>7.1f}{gap:>9.0e}{dtype:>9}{name:>6}{timed}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", nargs="*", help="patterns of our variants; all rows if none")
    parser.add_argument("--size", type=int, default=0, help="pixels a side; the variant's own if 0")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    clocks = ("wall", "cpu")
    parser.add_argument(
        "--clock", choices=clocks, default="wall", help="cpu: processor time, for a shared machine"
    )
    kinds = ("float32", "bf16")
    parser.add_argument("--dtypes", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--no-step", action="store_true", help="forward passes only")
    parser.add_argument("--no-last", action="store_true", help="as built only, no channels last")
    chosen = parser.parse_args()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    warnings.simplefilter("ignore")
    patterns = chosen.rows or ["*"]
    rows = [row for row in ROWS if any(fnmatchcase(row.ours, pattern) for pattern in patterns)]
    if not rows:
        parser.error(f"no row matches {', '.join(patterns)}; rows: {[r.ours for r in ROWS]}")
    card = torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"
    print(f"torch {torch.__version__}, {card}, {torch.get_num_threads()} threads")
    print(HEADING, flush=True)
    failed = 0
    for row in rows:
        try:
            for line in lines(row, chosen):
                print(line, flush=True)
        except Exception as error:  # an absent or ageing peer may fail in many ways
            failed += 1
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            print(f"{row.ours + ' | ' + row.peer:<52}  not measured: {reason}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
