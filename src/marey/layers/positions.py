"""Where a token is: tables of learned positions, and how they follow another size of input.

    kind        table                     used as
    absolute    (1, T*H*W, D) and parts   added to the tokens once
    relative    (L, D) for one axis       row of (query i, key j), scored against the query

A relative table of one axis serves queries and keys of different steps: with q rows and k columns
the row is i * max(k/q, 1) - j * max(q/k, 1) + (k - 1) * max(q/k, 1), cut to a whole number. An axis
may be read with the steps of a shorter one (``base``): what lies further apart shares the end rows.

Source: Y. Li et al., "MViTv2", CVPR 2022, Section 4.1, and the authors' code.
"""

from __future__ import annotations

from functools import lru_cache
from math import isqrt
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

IndexRule = Literal["float32", "exact"]


Sizes = tuple[int, int]  # queries and keys along one axis


@lru_cache(maxsize=512)
def relative_index(
    queries: int, keys: int, rule: IndexRule = "float32", base: Sizes | None = None
) -> Any:
    """Row of the table for each query i and key j of one axis, (queries, keys) int64 array.

    ``float32`` sums in that precision and order, as the authors' code does; where steps do not
    divide it is sometimes one off the ``exact`` whole number, which torchvision's order gives.
    """
    i, j = np.arange(queries)[:, None], np.arange(keys)[None, :]
    q, k = base or (queries, keys)
    if rule == "exact":
        rows = (i * k + (k - 1 - j) * q) // min(q, k)
    else:
        of_query = np.float32(max(k / q, 1.0))
        of_key = np.float32(max(q / k, 1.0))
        first = np.float32((k - 1) * max(q / k, 1.0))
        distance = i.astype(np.float32) * of_query - j.astype(np.float32) * of_key
        rows = np.trunc(distance + first).astype(np.int64)
    return rows if base is None else rows.clip(0, relative_index(q, k, rule).max())


def resize_table(table: Tensor, length: int) -> Tensor:
    """(L, D) to (length, D) by linear interpolation between row centres."""
    if table.shape[0] == length:
        return table
    rows = F.interpolate(table.T[None].float(), size=length, mode="linear", align_corners=False)
    return rows[0].T.to(table.dtype)


def relative_rows(
    table: Tensor,
    queries: int,
    keys: int,
    rule: IndexRule = "float32",
    base: Sizes | None = None,
) -> Tensor:
    """The table's row for each query and key of one axis, (queries, keys, D).

    The table is resized to 2 * max(queries, keys) - 1 rows, of ``base`` where there is one.
    """
    resized = resize_table(table, 2 * max(base or (queries, keys)) - 1)
    index = constant_index(queries, keys, rule, base)
    return F.embedding(index.to(table.device), resized)


@lru_cache(maxsize=16)
def grid_rows(
    queries: tuple[int, ...], keys: tuple[int, ...], axes: str, first: int, rule: IndexRule
) -> tuple[Any, Any]:
    """Rows of the tables of several ``axes`` of grids (T, H, W), as arrays.

    The tables stand one after the other, each of 2 * max(queries, keys) - 1 rows, and a row of
    zeros ends them. Returns which rows each query needs (first + queries, columns) int64, a column
    for each key coordinate of each axis, and which columns each key takes, (first + keys, columns)
    float32 of zeros and ones. The ``first`` queries and keys, which have no place, need the zeros
    and take none.
    """
    needed, taken, start = [], [], 0
    for letter in axes:
        axis = "thw".index(letter)
        q, k = queries[axis], keys[axis]
        place = [np.indices(grid)[axis].ravel() for grid in (queries, keys)]
        needed.append(start + relative_index(q, k, rule)[place[0]])
        taken.append(np.eye(k, dtype=np.float32)[place[1]])
        start += 2 * max(q, k) - 1
    rows, hot = np.concatenate(needed, axis=1), np.concatenate(taken, axis=1)
    before = ((first, 0), (0, 0))
    return np.pad(rows, before, constant_values=start), np.pad(hot, before)


def constant_index(queries: int, keys: int, rule: IndexRule, base: Sizes | None = None) -> Tensor:
    """``relative_index`` as a tensor; compilers and exporters see a constant."""
    if torch.compiler.is_compiling():
        return torch.tensor(_listed(queries, keys, rule, base))
    return torch.from_numpy(relative_index(queries, keys, rule, base))


@torch.compiler.assume_constant_result
def _listed(queries: int, keys: int, rule: IndexRule, base: Sizes | None = None) -> list[list[int]]:
    rows: list[list[int]] = relative_index(queries, keys, rule, base).tolist()
    return rows


def resize_absolute(table: Tensor, old: tuple[int, ...], new: tuple[int, ...]) -> Tensor:
    """(1, prod(old), D) to (1, prod(new), D), linear along each of up to three axes of the grid."""
    if old == new:
        return table
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(old)]
    grid = table.unflatten(1, old).movedim(-1, 1)  # (1, D, *old)
    grid = F.interpolate(grid.float(), size=new, mode=mode, align_corners=False)
    return grid.flatten(2).transpose(1, 2).to(table.dtype)


def resized(
    name: str, value: Tensor, shape: tuple[int, ...], config: object = None
) -> Tensor | None:
    """A stored table in the shape a network wants, or None for a tensor that is no table.

    Tables over the square of space are resized by bicubic, the others by linear interpolation, as
    the authors' code does when it loads them. Names and shapes say enough: ``config`` is not asked.
    """
    leaf = name.rpartition(".")[2]
    if leaf.startswith("rel_pos_") and value.shape[1:] == shape[1:]:
        return resize_table(value, shape[0])
    if not name.startswith("positions.") or value.dim() != 3 or value.shape[2] != shape[2]:
        return None
    if leaf == "temporal":
        return resize_absolute(value, (value.shape[1],), (shape[1],))
    first = 0 if isqrt(shape[1]) ** 2 == shape[1] else 1  # the class token's row of a joint table
    old, new = isqrt(value.shape[1] - first), isqrt(shape[1] - first)
    if leaf not in ("spatial", "joint") or old**2 + first != value.shape[1]:
        return None
    grid = value[:, first:].unflatten(1, (old, old)).movedim(-1, 1).float()
    grid = F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    table = grid.flatten(2).transpose(1, 2).to(value.dtype)
    return torch.cat([value[:, :first], table], dim=1)
