"""Weights of a MeMViT that remembered nothing, as Kinetics' are, as the start of one that does.

Tables and compression of memory, and blocks for boxes, keep their start. Tables of space follow the
size; one of time that is too short repeats its last row.

Source: C.-Y. Wu et al., "MeMViT", CVPR 2022, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from marey.layers.positions import resize_table
from marey.zoo.files import as_tensors
from marey.zoo.inflation import Inflation, take
from marey.zoo.names import tidy
from marey.zoo.published.memvit import original

MARK = "blocks.0.attn.rel_pos_t"
MEMORY = "blocks.0.attn.rel_pos_mem_t"


def starts(state: Mapping[str, Tensor], config: Any) -> bool:
    """Whether a tidied state is of a network without memory, or without boxes, and ``config`` is
    not."""
    if MARK not in state or "blocks.0.attn.q.weight" not in state:
        return False
    boxes = any(name.startswith("box_blocks.") for name in state)
    return (bool(config.memory) and MEMORY not in state) or (config.boxes and not boxes)


@torch.no_grad()
def inflate(model: nn.Module, source: Mapping[str, Any]) -> Inflation:
    """Fill a network from one of the same blocks without memory. Raises ValueError for tensors that
    should fit and do not."""
    network: Any = model
    given = tidy(as_tensors(source))
    filled: dict[str, Tensor] = {}
    used, unfit = set(), []
    own = network.state_dict()
    for name, start in own.items():
        theirs = name if name in given else original(name, network.config)
        value = given.get(theirs)
        if value is None or name.startswith("head."):
            continue
        used.add(theirs)
        if value.shape != start.shape and ".rel_pos_" in name:
            value = _table(name, value, len(start))
        if value.shape != start.shape:
            unfit.append(f"{theirs} {tuple(value.shape)} for {tuple(start.shape)}")
        filled[name] = value
    unused = [name for name in given if name not in used]
    return take(own, filled, unused, unfit, cure="take its own depths")


def _table(name: str, value: Tensor, rows: int) -> Tensor:
    """A table of other rows: of time it grows by its last row, else it is resized."""
    if name.endswith("rel_pos_t") and len(value) < rows:
        return torch.cat([value, value[-1:].expand(rows - len(value), -1)])
    return resize_table(value, rows)
