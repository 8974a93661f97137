"""TEA: both gates by hand, the chain of parts, and how it starts."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from marey.models.tea import TEA, VARIANTS, Excitation, TeaBlock

SMALL = replace(VARIANTS["tea_r50_8f"], width=16, depths=(2, 1, 1, 1), num_classes=5, frames=3)


@pytest.mark.parametrize(("gate", "strength"), [("code", 1.0), ("paper", 2.0)])
def test_the_gate_of_the_code_and_of_the_paper(gate: Any, strength: float) -> None:
    excite = Excitation(32, gate=gate).eval()
    nn.init.zeros_(excite.expand.norm.weight)
    nn.init.constant_(excite.expand.norm.bias, 3.0)  # a = 3 whatever moves
    x = torch.randn(4, 32, 5, 5)
    open_share = torch.tensor(3.0).sigmoid() - 0.5
    torch.testing.assert_close(excite(x, 2), x * (1 + strength * open_share))


def test_parts_are_added_on_but_not_in_the_first_block() -> None:
    network = TEA(SMALL).eval()
    first, second = network.trunk.res2.blocks
    assert isinstance(first, TeaBlock)
    assert isinstance(second, TeaBlock)
    assert (first.first, second.first) == (True, False)

    def reach(block: TeaBlock) -> list[bool]:
        """Which of the parts that enter c change with the first part."""
        seen: list[torch.Tensor] = []
        block.excite.register_forward_hook(lambda _, __, out: out + shift)
        block.c.conv.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        width = block.a.conv.out_channels // 4
        x = torch.randn(3, block.a.conv.in_channels, 8, 8)
        for value in (0.0, 1.0):
            shift = torch.zeros(1, 4 * width, 1, 1)
            shift[:, :width] = value
            block(x, 3)
        return [not torch.equal(a, b) for a, b in zip(*(s.chunk(4, 1) for s in seen), strict=True)]

    assert reach(first) == [True, False, False, False]
    assert reach(second) == [True, True, True, False]


def test_the_last_part_starts_as_a_shift() -> None:
    block: Any = TEA(SMALL).trunk.res2.blocks[0]
    assert block.times[0].weight.squeeze(1).tolist() == [[0, 1, 0]] * 6
    assert block.times[3].weight.squeeze(1).tolist() == [[0, 0, 1]] * 3 + [[1, 0, 0]] * 3


def test_widths_of_the_published_network() -> None:
    with torch.device("meta"):
        network: Any = TEA(VARIANTS["tea_r50_8f"])
    widths = [stage.blocks[0].a.conv.out_channels for stage in network.trunk.stages]
    narrow = [stage.blocks[0].excite.reduce.conv.out_channels for stage in network.trunk.stages]
    assert widths == [104, 208, 416, 832]
    assert narrow == [6, 13, 26, 52]


def test_a_gate_that_is_not_known() -> None:
    with pytest.raises(ValueError, match="gate is 'article'; choose one of code, paper"):
        TEA(replace(SMALL, gate="article"))  # type: ignore[arg-type]
