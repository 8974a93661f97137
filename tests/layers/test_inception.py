"""Parts of Inception networks: faster ways on a CPU give the numbers of the plain ones."""

import pytest
import torch
from torch.nn import functional as F

from marey.layers.inception import ConvUnit, Form, Mixed, Pool, largest_around

LAST = torch.channels_last_3d


@pytest.mark.parametrize("shape", [(2, 5, 4, 7, 6), (1, 3, 1, 1, 5), (1, 2, 3, 2, 1)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
def test_one_axis_after_another_is_the_pool(shape: tuple, layout: torch.memory_format) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).contiguous(
        memory_format=layout
    )
    before = x.clone()
    with torch.no_grad():
        assert torch.equal(largest_around(x), F.max_pool3d(x, 3, 1, 1))
        assert torch.equal(Pool((3, 3, 3), (1, 1, 1), Form())(x), F.max_pool3d(x, 3, 1, 1))
    assert torch.equal(x, before)


def test_a_pool_learns_as_torch_has_it() -> None:
    x = torch.randn(1, 2, 3, 4, 5, requires_grad=True)
    Pool((3, 3, 3), (1, 1, 1), Form())(x).square().sum().backward()
    found = x.grad
    x.grad = None
    F.max_pool3d(x, 3, 1, 1).square().sum().backward()
    assert found is not None
    assert x.grad is not None
    assert torch.equal(found, x.grad)


@pytest.mark.parametrize(
    ("form", "norm", "stride"),
    [
        (Form(), True, (1, 1, 1)),
        (Form(padding="same"), True, (2, 2, 2)),
        (Form(time_norm=False), False, (1, 1, 1)),
    ],
)
def test_memory_order_and_folding_change_no_number(form: Form, norm: bool, stride: tuple) -> None:
    torch.manual_seed(0)
    unit = ConvUnit(4, 6, (3, 3, 3), form, stride=stride, norm=norm).eval()
    for value in (*unit.parameters(), *unit.buffers()):
        if value.dim() == 1:
            torch.nn.init.uniform_(value, 0.5, 1.5)
    x = torch.randn(2, 4, 5, 6, 7)
    plain = unit(x)
    torch.testing.assert_close(unit(x.contiguous(memory_format=LAST)), plain)
    with torch.no_grad():
        torch.testing.assert_close(unit(x.contiguous(memory_format=LAST)), plain)


def test_a_mixed_block_is_its_four_branches() -> None:
    torch.manual_seed(0)
    block = Mixed(4, (2, 3, 4, 2, 3, 5), Form(), time=3, separable=True, gates=False).eval()
    x = torch.rand(1, 4, 4, 6, 6)
    with torch.no_grad():
        found = block(x.contiguous(memory_format=LAST))
    expected = torch.cat(
        [
            block.b0(x),
            block.b1(block.b1_in(x)),
            block.b2(block.b2_in(x)),
            block.b3(F.max_pool3d(x, 3, 1, 1)),
        ],
        dim=1,
    )
    assert found.shape == (1, block.width, 4, 6, 6) == (1, 2 + 4 + 3 + 5, 4, 6, 6)
    torch.testing.assert_close(found, expected)
