"""What a network must show against the original: names, parameters, cost, and every number."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marey import zoo
from marey.metrics.cost import measure
from marey.zoo.weights import published_state

Outputs = Callable[[Any, list[torch.Tensor]], dict[str, torch.Tensor]]


@pytest.fixture
def parity(filling: dict[str, Any], golden: Path) -> Iterator[Callable[..., None]]:
    """``parity(case, variant, layout, outputs, **fields)`` checks one reference case.

    ``outputs(network, clips)`` gives the arrays of the case by their names there; the inputs come
    in the case's order and shapes. ``stated`` narrows the arrays compared, where a case says more
    than the network alone can answer; ``cost_input`` stands for a ``flops_input`` in words.
    """

    def check(
        name: str,
        variant: str,
        layout: str,
        outputs: Outputs,
        *,
        stated: Callable[[str], bool] | None = None,
        cost_input: tuple[int, ...] | None = None,
        **fields: Any,
    ) -> None:
        case = filling["read"](golden, name)
        state = filling["state"](case)
        network: Any = zoo.load(variant, state, **fields)
        assert network.provenance == f"the weights given ({layout})"
        if "params" in case:
            assert sum(p.numel() for p in network.parameters()) == case["params"]
        if case.get("gflops"):
            cost = measure(network, cost_input or _flops_input(case["flops_input"]))
            assert cost.multiply_adds / 1e9 == pytest.approx(case["gflops"], rel=0.01)
        back = published_state(network, layout)
        assert {n: list(v.shape) for n, v in back.items()} == case["state"]
        assert all(np.array_equal(back[n].numpy(), state[n]) for n in state)
        del back, state
        clips = [torch.from_numpy(clip) for clip in filling["clips"](case)]
        with torch.inference_mode():
            found = outputs(network.eval(), clips)
        wanted = {n for n in case["expected"] if n != "fp64_max_abs_diff"}
        wanted = {n for n in wanted if stated is None or stated(n)}
        assert wanted, "the case states nothing that was compared"
        assert wanted <= set(found), f"not answered: {sorted(wanted - set(found))}"
        gaps = {n: filling["gap"](found[n].numpy(), case["expected"][n]) for n in sorted(wanted)}
        assert max(gaps.values()) < 1, gaps

    yield check
    gc.collect()


def _flops_input(text: str) -> Any:
    """``1x3x8x224x224``, or two named shapes joined by a plus; an image is a clip of one frame."""
    plain = text.split(" (")[0].replace(" x ", "x")
    shapes = [[int(n) for n in part.split(":")[-1].split("x")] for part in plain.split(" + ")]
    shapes = [[*s[:2], 1, *s[2:]] if len(s) == 4 else s for s in shapes]
    clips = tuple(torch.empty(shape, device="meta") for shape in shapes)
    return clips if len(clips) > 1 else clips[0]
