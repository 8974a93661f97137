"""Relative tables, their index and their resizing, against the original's numbers."""

from pathlib import Path
from typing import Any

import pytest
import torch

from marey.layers.positions import (
    relative_index,
    relative_rows,
    resize_absolute,
    resize_table,
    resized,
)


@pytest.fixture(scope="module")
def case(filling: dict[str, Any], golden: Path) -> dict[str, Any]:
    found: dict[str, Any] = filling["read"](golden, "mvit_relpos")
    return found


def test_every_index_is_the_original_one(case: dict[str, Any]) -> None:
    for queries, keys in case["config"]["index_pairs"]:
        expected = case["expected"][f"idx_{queries}_{keys}"]
        assert (relative_index(queries, keys) == expected).all(), (queries, keys)


def test_the_exact_index_differs_only_where_steps_do_not_divide() -> None:
    def off(queries: int, keys: int) -> int:
        return int((relative_index(queries, keys) != relative_index(queries, keys, "exact")).sum())

    assert [off(56, 7), off(14, 14), off(7, 14), off(100, 25)] == [0, 0, 0, 0]
    assert (off(78, 10), off(39, 10), off(334, 42)) == (103, 38, 423)


@pytest.mark.parametrize("length", [19, 13, 37, 17, 7])
def test_tables_are_resized_as_the_original_does(
    filling: dict[str, Any], case: dict[str, Any], length: int
) -> None:
    from_name = torch.from_numpy(filling["normal"]("input:rel_pos_table", (17, 6)))
    found = resize_table(from_name, length)
    torch.testing.assert_close(found, torch.from_numpy(case["expected"][f"interp_17_to_{length}"]))


def test_a_row_for_each_pair() -> None:
    table = torch.arange(7.0)[:, None]
    assert relative_rows(table, 4, 4)[..., 0].tolist() == [
        [3, 2, 1, 0],
        [4, 3, 2, 1],
        [5, 4, 3, 2],
        [6, 5, 4, 3],
    ]


def test_absolute_tables_follow_the_grid_linearly() -> None:
    table = torch.arange(4.0).view(1, 4, 1)
    assert resize_absolute(table, (4,), (4,)) is table
    assert resize_absolute(table, (4,), (2,)).flatten().tolist() == [0.5, 2.5]
    plane = (torch.arange(2.0)[:, None] * 4 + torch.arange(2.0)).view(1, 4, 1)
    wide = resize_absolute(plane, (2, 2), (2, 4)).view(2, 4)
    assert wide[1].sub(wide[0]).tolist() == [4.0] * 4
    assert wide[0].tolist() == [0.0, 0.25, 0.75, 1.0]


def test_stored_tables_are_told_from_other_tensors() -> None:
    assert resized("blocks.0.attn.rel_pos_h", torch.randn(13, 4), (27, 4)) is not None
    assert resized("blocks.0.attn.qkv.weight", torch.randn(13, 4), (27, 4)) is None
    joint = torch.cat([torch.full((1, 1, 3), 9.0), torch.ones(1, 16, 3)], dim=1)
    larger = resized("positions.joint", joint, (1, 37, 3))
    assert larger is not None
    assert larger[0, :, 0].tolist() == pytest.approx([9.0] + [1.0] * 36)
    assert resized("positions.spatial", torch.ones(1, 15, 3), (1, 36, 3)) is None
