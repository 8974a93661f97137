"""Channel-separated networks: shapes, cost, and the middles of their blocks."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from marey.metrics.cost import measure
from marey.models import csn
from marey.models.csn import VARIANTS, Csn


def meta(name: str, **fields: object) -> Csn:
    with torch.device("meta"):
        return Csn(replace(VARIANTS[name], **fields))


def test_the_shapes_of_the_docstring() -> None:
    rows = {}
    for line in (csn.__doc__ or "").splitlines():
        name, *numbers = line.split() or [""]
        if numbers and all(n.isdigit() for n in numbers):
            rows[name] = tuple(int(n) for n in numbers)
    network = meta("ircsn_r152")
    clip = torch.empty(rows["input"], device="meta")
    found = {"input": clip, "positions": network.forward_positions(clip), "logits": network(clip)}
    maps = network.stages(clip)
    found |= dict(zip(("stem", "res2", "res3", "res4", "res5"), maps, strict=True))
    assert {n: tuple(v.shape) for n, v in found.items()} == rows


@pytest.mark.parametrize(("name", "gmacs"), [("ircsn_r152", 96.7), ("ipcsn_r152", 108.8)])
def test_published_cost(name: str, gmacs: float) -> None:
    cost = measure(meta(name), (1, 3, 32, 256, 256))
    assert cost.multiply_adds / 1e9 == pytest.approx(gmacs, rel=0.002)


def test_the_middles_of_the_blocks() -> None:
    reduced = meta("ircsn_r50").get_submodule("res3.blocks.0.b.conv")
    assert isinstance(reduced, nn.Conv3d)
    assert (reduced.groups, reduced.kernel_size, reduced.stride) == (128, (3, 3, 3), (2, 2, 2))
    preserved = meta("ipcsn_r152").get_submodule("res3.blocks.0.b.conv")
    assert [type(part).__name__ for part in preserved.children()] == [
        "Conv3d",
        "BatchNorm3d",
        "Conv3d",
    ]
    assert preserved.point.groups == 1  # type: ignore[union-attr]
    assert preserved.deep.groups == 128  # type: ignore[union-attr]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="a channel-separated network has bottlenecks"):
        meta("ircsn_r50", convs=("3d", "2+1d", "3d", "3d", "3d"))
