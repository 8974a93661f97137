"""Parts over time alone, (B, C, T): convolution and norm, a feature pyramid, moving taps.

Source: T. Lin et al., "Feature Pyramid Networks", CVPR 2017; X. Zhu et al., "Deformable ConvNets
v2", CVPR 2019; both in one dimension as the authors of BasicTAD have them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvNorm1d(nn.Module):
    """Conv1d without bias -> ``norm``, by default a batch norm; padded to keep the length."""

    def __init__(
        self, width_in: int, width: int, kernel: int = 3, *, norm: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width_in, width, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm1d(width) if norm is None else norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class StillNorm1d(nn.BatchNorm1d):
    """A batch norm whose statistics stand still; scale and shift learn."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.training = False

    def train(self, mode: bool = True) -> StillNorm1d:
        return super().train(False)


class StillNorm3d(nn.BatchNorm3d):
    """The same over (B, C, T, H, W)."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.training = False

    def train(self, mode: bool = True) -> StillNorm3d:
        return super().train(False)


class Pyramid1d(nn.Module):
    """Every level learns from the longer ones above it: lateral 1, top-down sum, output 3.

    Levels of ``widths`` channels, lengths falling -> levels of ``width`` channels. The shorter
    level is repeated to the exact length of the longer one. No activations.
    """

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(ConvNorm1d(own, width, 1) for own in widths)
        self.outputs = nn.ModuleList(ConvNorm1d(width, width) for _ in widths)
        for module in self.modules():
            if isinstance(module, nn.Conv1d) and not module.weight.is_meta:
                nn.init.xavier_uniform_(module.weight)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        sums = [lateral(x) for lateral, x in zip(self.laterals, levels, strict=True)]
        for i in range(len(sums) - 1, 0, -1):
            sums[i - 1] = sums[i - 1] + F.interpolate(sums[i], size=sums[i - 1].shape[-1])
        return [output(x) for output, x in zip(self.outputs, sums, strict=True)]


class DeformConv1d(nn.Module):
    """A convolution of three taps, each moved by a learned offset and weighted by a learned mask.

    (B, C, T) -> (B, width, T). Tap k of step t reads the signal, padded by a zero on both sides,
    at t + k + offset, between its neighbours in proportion; what lies outside is 0.
    """

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width_in, width, 3, stride=3)
        self.offset = nn.Conv1d(width_in, 3, 3, padding=1)
        self.mask = nn.Conv1d(width_in, 3, 3, padding=1)
        for moved in (self.offset, self.mask):
            if not moved.weight.is_meta:
                nn.init.zeros_(moved.weight)

    def forward(self, x: Tensor) -> Tensor:
        steps = x.shape[-1]
        offset, mask = self.offset(x), self.mask(x).sigmoid()  # (B, 3, T)
        padded = F.pad(x, (1, 1))
        taps = torch.arange(3, device=x.device)[:, None] + torch.arange(steps, device=x.device)
        place = taps + offset
        left = place.detach().floor()
        right = (left + 1).clamp(0, steps + 1)
        left, place = left.clamp(0, steps + 1), place.clamp(0, steps + 1)
        read = _at(padded, left) * (1 + left - place)[:, None]
        read = read + _at(padded, right) * (1 - right + place)[:, None]
        read = read * mask[:, None]  # (B, C, 3, T)
        return self.conv(read.transpose(2, 3).flatten(2))


def _at(signal: Tensor, place: Tensor) -> Tensor:
    """(B, C, T) read at whole places (B, 3, T): (B, C, 3, T)."""
    flat = place.long().flatten(1)[:, None].expand(-1, signal.shape[1], -1)
    return signal.gather(2, flat).unflatten(2, place.shape[1:])
