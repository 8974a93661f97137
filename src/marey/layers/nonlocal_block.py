"""Non-local block: every position of a clip looks at every other, and adds what it finds.

    y_i = sum_j f(x_i, x_j) g(x_j) / C(x),  z = norm(out(y)) + x

    step          shape for a 1024-wide map of 4x14x14, pool (1, 2, 2)
    query         1 512 784
    key           1 512 196
    affinity      1 784 196
    out           1 1024 4 14 14

Four pairwise functions f (``Pairwise``): ``gaussian`` exp(x_i . x_j), ``embedded_gaussian``
exp(theta(x_i) . phi(x_j) / sqrt(d)), both normalised by a softmax over j; ``dot_product`` and
``concatenation`` ReLU(w . [theta(x_i), phi(x_j)]), both divided by the number of positions j.

Source: X. Wang et al., "Non-local Neural Networks", CVPR 2018, Section 3.
Differs: the embedded Gaussian is scaled by d^-0.5, as the authors' code does and the text does not.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.conv import Triple

Pairwise = Literal["gaussian", "embedded_gaussian", "dot_product", "concatenation"]


class NonLocal(nn.Module):
    """(B, C, T, H, W) -> the same shape. Keys and values come from the max-pooled map.

    ``groups`` cuts time into that many equal parts, each attending only to itself. The affinity is
    computed in float32 whatever the autocast type: the dot product is unscaled and overflows early.
    ``scaled`` divides the embedded Gaussian's affinity by the root of its width; ``pool_last``
    pools keys and values after their projection, as other publishers do.

    Raises ValueError for an unknown pairwise function, or frames that do not divide into groups.
    """

    def __init__(
        self,
        width: int,
        *,
        pairwise: Pairwise = "embedded_gaussian",
        pool: Triple = (1, 2, 2),
        groups: int = 1,
        width_mid: int | None = None,
        scaled: bool = True,
        pool_last: bool = False,
    ) -> None:
        super().__init__()
        if pairwise not in get_args(Pairwise):
            options = ", ".join(get_args(Pairwise))
            raise ValueError(f"pairwise is {pairwise!r}; choose one of {options}")
        width_mid = width_mid or max(width // 2, 1)
        self.pairwise, self.pool, self.groups = pairwise, pool, groups
        self.scaled, self.pool_last = scaled, pool_last
        if pairwise != "gaussian":
            self.theta = nn.Conv3d(width, width_mid, 1)
            self.phi = nn.Conv3d(width, width_mid, 1)
        if pairwise == "concatenation":
            self.pair = nn.Conv3d(2 * width_mid, 1, 1, bias=False)
        self.g = nn.Conv3d(width, width_mid, 1)
        self.out = nn.Conv3d(width_mid, width, 1)
        self.norm = nn.BatchNorm3d(width)
        self.last = True

    def forward(self, x: Tensor) -> Tensor:
        if self.groups == 1:
            return self._attend(x)
        if x.shape[2] % self.groups:
            raise ValueError(
                f"map has {x.shape[2]} time steps, which do not divide into {self.groups} "
                f"non-local groups; give a longer clip or set nonlocal_groups to 1"
            )
        parts = x.unflatten(2, (self.groups, -1)).movedim(2, 1)  # (B, G, C, T/G, H, W)
        joined = self._attend(parts.flatten(0, 1)).unflatten(0, parts.shape[:2])
        return joined.movedim(1, 2).flatten(2, 3)  # (B, C, T, H, W)

    def _attend(self, x: Tensor) -> Tensor:
        before = x if self.pool_last else self._pooled(x)
        value = self.g(before)
        query, key = (
            (x, before) if self.pairwise == "gaussian" else (self.theta(x), self.phi(before))
        )
        if self.pool_last:
            value, key = self._pooled(value), self._pooled(key)
        value, query, key = value.flatten(2), query.flatten(2), key.flatten(2)  # (B, D, N or M)
        wide = torch.promote_types(query.dtype, torch.float32)
        with _without_autocast(x):
            weight = self._weights(query.to(wide), key.to(wide))  # (B, M, N)
            found = torch.bmm(value.to(wide), weight.transpose(1, 2))  # (B, D, M)
        found = found.to(value.dtype).unflatten(2, x.shape[2:])
        return x + self.norm(self.out(found))

    def _pooled(self, x: Tensor) -> Tensor:
        return F.max_pool3d(x, self.pool, self.pool) if max(self.pool) > 1 else x

    def _weights(self, query: Tensor, key: Tensor) -> Tensor:
        """How much position j counts for position i, (B, M, N)."""
        if self.pairwise == "concatenation":
            of_query, of_key = self.pair.weight.flatten(1).chunk(2, dim=1)  # (1, D) each
            pair = (of_query @ query).transpose(1, 2) + of_key @ key
            return F.relu(pair) / key.shape[2]
        affinity = torch.bmm(query.transpose(1, 2), key)
        if self.pairwise == "dot_product":
            return affinity / key.shape[2]
        if self.pairwise == "embedded_gaussian" and self.scaled:
            affinity = affinity * query.shape[1] ** -0.5
        return affinity.softmax(dim=2)


def _without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Matrix products as they are written, where autocast would narrow them."""
    kind = x.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return nullcontext()
    return torch.autocast(device_type=kind, enabled=False)
