"""BasicTAD and PlusTAD: half a minute of frames through a clip network, then a pyramid over time.

A backbone keeps every time step of a window; a neck halves time again and again; one head, shared
by all levels, answers for each place which class is there and where it starts and ends. PlusTAD
sees twice the frames and halves them behind the backbone, where it costs nothing but the backbone.

    part      shape of basictad_ab for a 96-frame window at 112x112
    window    1 3 96 112 112
    maps      1 2048 96 4 4
    level 0   1 256 96
    level 4   1 256 6
    answers   1 930 22

``answers`` (B, N, K + 2) has a row for each candidate, levels one after the other, in a level by
place, at a place by anchor: class logits (before them background, for ``softmax``), then two
offsets, of an anchor's centre and length or distances to start and end.

Source: M. Yang et al., "BasicTAD: an Astounding RGB-Only Baseline for Temporal Action Detection",
CVIU 2023, and the authors' code.
Differs: without a pyramid, the first level of TDM and VDM is projected to the width of the others;
a head narrower than the neck's output is a field; stages under an ``fpn`` neck are pooled
over time where the backbone does not halve it. BasicTADConfig exceeds the 14-field cap: backbone,
neck and head are chosen apart.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.conv3d import called
from marey.layers.temporal import ConvNorm1d, DeformConv1d, Pyramid1d, StillNorm1d, StillNorm3d

Neck = Literal["pool", "tdm", "vdm", "fpn", "pool_fpn", "tdm_fpn", "vdm_fpn"]
Head = Literal["anchor", "sigmoid", "softmax"]
PRIOR = 0.01  # probability of each class a fresh head starts from
ANCHOR_BASE = 2.0  # length of the shortest anchor, in strides of its level


@dataclass(frozen=True, kw_only=True)
class BasicTADConfig:
    """One detector. ``backbone`` names a clip network, ``backbone_net`` replaces its fields."""

    num_classes: int = 20
    frames: int = 96
    crop: int = 112
    backbone: str = "slow_r50_8x8"
    backbone_net: dict[str, Any] = field(default_factory=dict)
    time_pool: int = 1  # frames that become one behind the backbone
    neck: Neck = "pool"
    neck_width: int = 512  # of the convolutions that halve time
    fpn_width: int = 256
    still_norms: bool = True  # the neck's norms never see statistics, as published
    head: Head = "sigmoid"
    head_width: int = 0  # 0: the width of the levels
    head_depth: int = 4
    levels: int = 5
    anchors: int = 5  # of each place, for the anchor head


_PLUS = BasicTADConfig(frames=192, crop=160, time_pool=2)

VARIANTS: dict[str, BasicTADConfig] = {
    "basictad_ab": BasicTADConfig(neck="vdm_fpn", head="anchor"),
    "basictad_af": BasicTADConfig(),
    "plustad_ab": replace(_PLUS, neck="vdm_fpn", head="anchor"),
    "plustad_af": replace(_PLUS, head="softmax"),
}


class HalfStep(nn.Module):
    """Conv over three steps with stride 2, no bias, norm, ReLU: over (B, C, T, H, W) if ``wide``,
    else over (B, C, T)."""

    def __init__(self, width_in: int, width: int, *, wide: bool, still: bool) -> None:
        super().__init__()
        self.conv: nn.Conv1d | nn.Conv3d
        self.norm: nn.Module
        if wide:
            self.conv = nn.Conv3d(width_in, width, (3, 1, 1), (2, 1, 1), (1, 0, 0), bias=False)
            self.norm = StillNorm3d(width) if still else nn.BatchNorm3d(width)
        else:
            self.conv = nn.Conv1d(width_in, width, 3, 2, 1, bias=False)
            self.norm = StillNorm1d(width) if still else nn.BatchNorm1d(width)
        if not self.conv.weight.is_meta:
            nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(called(self.conv, x)))


class Halving(nn.Module):
    """The last map, then ``count`` convolutions that each halve time; all averaged over space.

    ``keeps_space`` (VDM): convolutions see every place, and the average comes last. Otherwise (TDM)
    it comes first. (B, C, T, H, W) -> count + 1 levels (B, width, T / 2^i).
    """

    def __init__(
        self, width_in: int, width: int, count: int, *, keeps_space: bool, still: bool
    ) -> None:
        super().__init__()
        self.keeps_space = keeps_space
        self.stages = nn.ModuleList(
            HalfStep(width_in if i == 0 else width, width, wide=keeps_space, still=still)
            for i in range(count)
        )
        self.widths = (width_in, *[width] * count)

    def forward(self, maps: Tensor) -> list[Tensor]:
        x = maps if self.keeps_space else maps.mean((3, 4))
        levels = [x]
        for stage in self.stages:
            levels.append(stage(levels[-1]))
        return [m.mean((3, 4)) for m in levels] if self.keeps_space else levels


class Pooling(nn.Module):
    """The last map averaged over space, then pooled by 3 with stride 2, ``count`` times."""

    def __init__(self, width_in: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.widths = (width_in,) * (count + 1)

    def forward(self, maps: Tensor) -> list[Tensor]:
        levels = [maps.mean((3, 4))]
        for _ in range(self.count):
            levels.append(F.max_pool1d(levels[-1], 3, 2, 1))
        return levels


class SegmentHead(nn.Module):
    """Two towers of convolutions over time, shared by all levels, and what they project to.

    ``anchor``: batch norms, two deltas an anchor. ``sigmoid``: group norms, two distances a place.
    ``softmax``: no norms, a deformable convolution last, and background before the classes.
    Distances are exp(scale * raw), with a learned scale a level, in strides of the level.
    """

    def __init__(self, width_in: int, config: BasicTADConfig) -> None:
        super().__init__()
        self.kind = config.head
        self.each = config.anchors if config.head == "anchor" else 1
        self.extra = 1 if config.head == "softmax" else 0
        width = config.head_width or width_in
        self.class_tower, self.offset_tower = (
            nn.Sequential(*_tower(width_in, width, config)) for _ in range(2)
        )
        rows = self.each * (config.num_classes + self.extra)
        self.projection = nn.Conv1d(width, rows, 3, padding=1)
        self.offsets = nn.Conv1d(width, 2 * self.each, 3, padding=1)
        if config.head != "anchor":
            self.scales = nn.ParameterList(torch.ones(1) for _ in range(config.levels))
        self._start()

    def _start(self) -> None:
        """The published draws: normal of deviation 0.01 and rare classes; torch's own, softmax."""
        if self.kind == "softmax" or self.projection.weight.is_meta:
            return
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.constant_(self.projection.bias, -math.log(1 / PRIOR - 1))  # type: ignore[arg-type]

    def level(self, x: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Class logits (B, each * K, T) and offsets (B, each * 2, T) of one level (B, C, T)."""
        classes = self.projection(self.class_tower(x))
        offsets = self.offsets(self.offset_tower(x))
        if self.kind != "anchor":
            offsets = (offsets * self.scales[number]).exp()
        return classes, offsets

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """(B, N, K + 2), see the top of the page."""
        rows = []
        for number, x in enumerate(levels):
            both = [m.unflatten(1, (self.each, -1)) for m in self.level(x, number)]
            rows.append(torch.cat(both, dim=2).permute(0, 3, 1, 2).flatten(1, 2))  # (B, T * A, K+2)
        return torch.cat(rows, dim=1)

    def reset(self, num_classes: int) -> None:
        """A fresh classifier of ``num_classes``, on the device of the old one."""
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; a detector needs at least one")
        old = self.projection
        device = "cpu" if old.weight.is_meta else old.weight.device
        rows = self.each * (num_classes + self.extra)
        self.projection = nn.Conv1d(
            old.in_channels, rows, 3, padding=1, device=device, dtype=old.weight.dtype
        )
        if self.kind != "softmax":
            nn.init.normal_(self.projection.weight, std=0.01)
            nn.init.constant_(self.projection.bias, -math.log(1 / PRIOR - 1))  # type: ignore[arg-type]


def _tower(width_in: int, width: int, config: BasicTADConfig) -> list[nn.Module]:
    """``head_depth`` convolutions of three steps, the first from the levels' width."""
    parts: list[nn.Module] = []
    for i in range(config.head_depth):
        own = width_in if i == 0 else width
        if config.head == "softmax":
            last = i + 1 == config.head_depth
            layer = DeformConv1d(own, width) if last else nn.Conv1d(own, width, 3, padding=1)
            parts.append(nn.Sequential(layer, nn.ReLU()))
        else:
            groups = math.gcd(32, width)
            norm = nn.GroupNorm(groups, width) if config.head == "sigmoid" else None
            parts.append(nn.Sequential(ConvNorm1d(own, width, norm=norm), nn.ReLU()))
    return parts


class BasicTAD(nn.Module):
    """(B, 3, T, H, W) -> (B, N, K + 2) over a network whose ``features`` or ``stages`` it reads."""

    variant: str
    task = "temporal_detection"

    def __init__(self, config: BasicTADConfig, backbone: nn.Module) -> None:
        super().__init__()
        check_config(config)
        self.config, self.backbone = config, backbone
        backbone.head = nn.Identity()  # its own classifier is not asked
        kind, _, top = config.neck.partition("_")
        width = sum(backbone.widths)  # type: ignore[arg-type]
        if kind == "fpn":
            self.neck, widths = None, _stage_widths(backbone, config)
        else:
            self.neck = _neck(kind, width, config)
            widths = list(self.neck.widths)
        pyramid = "fpn" in (kind, top)
        self.fpn = Pyramid1d(widths, config.fpn_width) if pyramid else None
        if not pyramid and len(set(widths)) > 1:
            self.entry = nn.Conv1d(width, config.neck_width, 1)  # one head, one width
            widths = [config.neck_width]
        self.head = SegmentHead(config.fpn_width if pyramid else widths[0], config)

    def maps(self, clip: Tensor) -> Tensor:
        """The backbone's last maps, pathways joined, time halved by ``time_pool``."""
        first, *others = self.backbone.features(clip)  # type: ignore[operator]
        size = first.shape[2:]
        joined = torch.cat([first, *(F.adaptive_avg_pool3d(m, size) for m in others)], dim=1)
        return self._pooled(joined)

    def _pooled(self, maps: Tensor) -> Tensor:
        step = (self.config.time_pool, 1, 1)
        return maps if step[0] == 1 else F.max_pool3d(maps, step, step)

    def levels(self, clip: Tensor) -> list[Tensor]:
        """What the head sees: (B, C, T'), T' halving from level to level, rounded up."""
        if self.neck is None:
            stages = self.backbone.stages(clip)[-self.config.levels :]  # type: ignore[operator]
            means = [self._pooled(m).mean((3, 4)) for m in stages]
            sizes = level_sizes(means[0].shape[-1], self.config.levels)
            levels = [
                x if x.shape[-1] == n else F.adaptive_max_pool1d(x, n)
                for x, n in zip(means, sizes, strict=True)
            ]
        else:
            levels = self.neck(self.maps(clip))
        if hasattr(self, "entry"):
            levels = [self.entry(levels[0]), *levels[1:]]
        return levels if self.fpn is None else self.fpn(levels)

    def stage_modules(self) -> list[nn.Module]:
        """Parts whose activations may be recomputed: the backbone's."""
        told = getattr(self.backbone, "stage_modules", None)
        return list(told()) if callable(told) else []

    def frozen_part(self) -> nn.Module:
        """Whose norms ``run.norm frozen`` means: the backbone's. Others are trained."""
        return self.backbone

    def head_parameters(self) -> tuple[str, ...]:
        """Names of the tensors that depend on the number of classes."""
        return "head.projection.weight", "head.projection.bias"

    def reset_head(self, num_classes: int) -> None:
        """Replace the classifier by a fresh one; ``config`` follows."""
        self.head.reset(num_classes)
        self.config = replace(self.config, num_classes=num_classes)

    def forward(self, clip: Tensor) -> Tensor:
        return self.head(self.levels(clip))


def _neck(kind: str, width: int, config: BasicTADConfig) -> Pooling | Halving:
    if kind == "pool":
        return Pooling(width, config.levels - 1)
    return Halving(
        width,
        config.neck_width,
        config.levels - 1,
        keeps_space=kind == "vdm",
        still=config.still_norms,
    )


def level_sizes(first: int, levels: int) -> list[int]:
    """Steps of each level, from those of the first: each half of the one before, rounded up."""
    return [-(-first // 2**i) for i in range(levels)]


def steps_of(candidates: int, config: BasicTADConfig) -> list[int]:
    """Steps of each level of a network that answers with so many candidates.

    Raises ValueError for a number that no pyramid of these levels has.
    """
    each = config.anchors if config.head == "anchor" else 1
    first = max(1, candidates // (2 * each) - config.levels)
    while sum(level_sizes(first, config.levels)) * each < candidates:
        first += 1
    sizes = level_sizes(first, config.levels)
    if sum(sizes) * each != candidates:
        raise ValueError(f"{candidates} candidates are no pyramid of {config.levels} levels")
    return sizes


def _stage_widths(backbone: nn.Module, config: BasicTADConfig) -> list[int]:
    """Channels of the stages under an ``fpn`` neck, asked of a copy without memory."""
    empty = copy.deepcopy(backbone).to("meta")
    clip = torch.empty(1, 3, config.frames, config.crop, config.crop, device="meta")
    maps = empty.stages(clip)[-config.levels :]  # type: ignore[operator]
    if len(maps) < config.levels or not all(isinstance(m, Tensor) for m in maps):
        raise ValueError(
            f"neck 'fpn' needs {config.levels} stages of one pathway and {config.backbone} has "
            f"{len(maps)}; use levels={len(maps)}, or neck='pool_fpn'"
        )
    return [m.shape[1] for m in maps]


def check_config(config: BasicTADConfig) -> None:
    """Raises ValueError where a configuration cannot make a detector."""
    counts = ("num_classes", "time_pool", "neck_width", "fpn_width", "head_depth", "anchors")
    for name in (*counts, "frames", "levels"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be 1 or more")
    if config.frames % config.time_pool:
        raise ValueError(
            f"frames is {config.frames}, which time_pool {config.time_pool} does not divide"
        )
    if config.head_width < 0:
        raise ValueError(f"head_width is {config.head_width}; 0 is the width of the levels")
