"""Two streams joined inside: what is seen (a frame) and how it moves (optical flow around it).

Each stream is an image network. At a chosen step the maps of both are fused, so that the same place
in both can be compared; the fused map goes on in the spatial tower. Up to the last place the
temporal tower runs on unfused, and where that is the classifier, both answer and are averaged. A
clip is one or more moments: with ``conv3d`` and ``pool="3d"`` they meet too.

    step     spatial and temporal shapes of two_stream_conv3d_vgg16_5f for 5 moments at 224x224
    input    1 3 5 224 224      1 20 5 224 224
    relu1    1 64 5 224 224     1 64 5 224 224
    relu2    1 128 5 112 112    1 128 5 112 112
    relu3    1 256 5 56 56      1 256 5 56 56
    relu4    1 512 5 28 28      1 512 5 28 28
    relu5    1 512 5 14 14      1 512 5 14 14
    fc6      1 4096 1 1 1       1 4096 1 1 1
    fc7      1 4096 1 1 1       1 4096 1 1 1
    logits   1 101

Source: C. Feichtenhofer, A. Pinz, A. Zisserman, "Convolutional Two-Stream Network Fusion for Video
Action Recognition", CVPR 2016, and feichtenhofer/twostreamfusion; the streams of K. Simonyan,
A. Zisserman, "Two-Stream Convolutional Networks", NIPS 2014.
Differs: the paper interleaves the channels of concatenated maps, the code stacks them, spatial
first, and so do we. A linear classifier stands on bilinear fusion, where the paper trained an SVM.
TwoStreamConfig exceeds the 14-field cap: one field for each thing the published rows vary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.config import nearest
from marey.layers.frames import check_frames, fold, snippets, unfold
from marey.layers.fusion import Fusion, FusionKind
from marey.layers.heads import ClipClassifier
from marey.layers.init import start_head, start_resnet
from marey.layers.resnet2d import BLOCKS, R18, R50, R101, R152, Trunk2d
from marey.layers.resnet3d import BlockKind
from marey.layers.vgg import FULL, MAPS, Vgg
from marey.types import Inputs

Backbone = Literal["vgg_m", "vgg16", "resnet"]
Tower = Vgg | Trunk2d
RESNET_MAPS = ("stem", "res2", "res3", "res4", "res5")
LAST = "logits"  # the place after every step: answers are averaged


@dataclass(frozen=True, kw_only=True)
class TwoStreamConfig:
    """One network. ``frames`` are the moments of a training clip, each with its own stack of flow.

    ``places`` are steps of the towers, or ``logits``; ``fusion`` is how maps are joined there.
    """

    num_classes: int = 101
    dropout: float = 0.85
    frames: int = 1
    crop: int = 224
    streams: Literal["both", "spatial", "temporal"] = "both"  # or one alone
    spatial: Backbone = "vgg16"
    temporal: Backbone = "vgg16"
    block: BlockKind = "bottleneck"  # of ResNets, as are depths
    depths: tuple[int, ...] = R50
    width: int = 64  # of a ResNet's stem; 64 is the VGGs' own too, half is half of every layer
    snippet: int = 10  # fields of flow around each frame
    fusion: FusionKind = "conv"
    places: tuple[str, ...] = (LAST,)
    pool: Literal["2d", "3d"] = "2d"  # of the last maps: each moment, or all of a clip together
    stop: str = ""  # the step up to which nothing learns, as "relu5"; empty: all learn

    @property
    def modality(self) -> Inputs:
        """What a clip is made of."""
        known: dict[str, Inputs] = {"both": "rgb_flow", "spatial": "rgb", "temporal": "flow"}
        return known[self.streams]


_16 = TwoStreamConfig()
_M = replace(_16, spatial="vgg_m", temporal="vgg_m")
_16_M = replace(_16, temporal="vgg_m", frames=5, places=("relu5", LAST))
_R50 = replace(_16, spatial="resnet", temporal="resnet", dropout=0.5)
_3D: dict[str, Any] = {"fusion": "conv3d", "pool": "3d", "frames": 5}

VARIANTS: dict[str, TwoStreamConfig] = {
    "two_stream_vgg_m": _M,
    "two_stream_sum_vgg_m": replace(_M, fusion="sum", places=("relu5",)),
    "two_stream_max_vgg_m": replace(_M, fusion="max", places=("relu5",)),
    "two_stream_concat_vgg_m": replace(_M, fusion="concat", places=("relu5",)),
    "two_stream_bilinear_vgg_m": replace(_M, fusion="bilinear", places=("relu5",)),
    "two_stream_conv_vgg_m": replace(_M, places=("relu5",)),
    "two_stream_conv_relu2_vgg_m": replace(_M, places=("relu2",)),
    "two_stream_conv_relu3_vgg_m": replace(_M, places=("relu3",)),
    "two_stream_conv_relu4_vgg_m": replace(_M, places=("relu4",)),
    "two_stream_conv_relu5_logits_vgg_m": replace(_M, places=("relu5", LAST)),
    "two_stream_conv_relu3_relu5_fc6_vgg_m": replace(_M, places=("relu3", "relu5", "fc6")),
    "two_stream_vgg16": _16,
    "two_stream_conv_vgg16_vgg_m_5f": _16_M,
    "two_stream_conv_pool3d_vgg16_vgg_m_5f": replace(_16_M, pool="3d"),
    "two_stream_conv3d_vgg16_vgg_m_5f": replace(_16_M, **_3D),
    "two_stream_conv3d_single_vgg16_5f": replace(_16, places=("relu5",), **_3D),
    "two_stream_conv3d_vgg16_5f": replace(_16, places=("relu5", LAST), **_3D),
    "two_stream_r18": replace(_R50, block="basic", depths=R18),
    "two_stream_r50": _R50,
    "two_stream_conv_r50": replace(_R50, places=("res5",)),
    "two_stream_conv3d_r50_5f": replace(_R50, places=("res5", LAST), **_3D),
    "two_stream_conv3d_r101_5f": replace(_R50, places=("res5", LAST), depths=R101, **_3D),
    "two_stream_conv3d_r152_5f": replace(_R50, places=("res5", LAST), depths=R152, **_3D),
}


class StreamHead(nn.Module):
    """One classifier for each tower that reaches the end: maps (B, D, T, h, w) -> (B, towers, K).

    Logits are averaged over places and moments.
    """

    start_std = 0.01

    def __init__(self, widths: Sequence[int], num_classes: int, *, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(widths[0], num_classes)
        if len(widths) == 2:
            self.projection_temporal = nn.Linear(widths[1], num_classes)
        self.names = ("projection", "projection_temporal")[: len(widths)]

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        answers = []
        for name, x in zip(self.names, maps, strict=True):
            pooled = x.mean(dim=(3, 4)).transpose(1, 2)  # (B, T, D)
            answers.append(getattr(self, name)(self.dropout(pooled)).mean(dim=1))
        return torch.stack(answers, dim=1)

    def reset(self, num_classes: int) -> None:
        """Fresh classifiers of ``num_classes`` outputs, on the device of the old ones."""
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; a classifier needs at least one")
        for name in self.names:
            old: nn.Linear = getattr(self, name)
            device = "cpu" if old.weight.is_meta else old.weight.device
            fresh = nn.Linear(old.in_features, num_classes, device=device, dtype=old.weight.dtype)
            start_head(fresh, std=self.start_std)
            setattr(self, name, fresh)


class TwoStream(ClipClassifier):
    """``network(rgb, flow)`` -> (B, K) logits; ``each=True`` gives (B, towers, K), not averaged.

    ``rgb`` (B, 3, S, H, W); ``flow`` (B, 2, S * snippet, H, W), the fields around each of S frames,
    or (B, 2 * snippet, S, H, W), x and y in turn. Both may come as one clip,
    (B, 3 + 2 * snippet, S, H, W), or as a pair. With one stream alone the clip is that stream's.
    """

    head: StreamHead  # type: ignore[assignment]

    def __init__(self, config: TwoStreamConfig) -> None:
        super().__init__()
        self.config, self.steps = config, check_config(config)
        self.spatial, self.temporal = towers(config)
        kept = [part for part in (self.spatial, self.temporal) if part is not None]
        made: dict[str, Fusion] = {}
        for place in config.places if len(kept) == 2 else ():
            if place != LAST:
                pair = widths_of(kept[0])[place], widths_of(kept[1])[place]
                made[place] = Fusion(config.fusion, pair)
        self.fusions = nn.ModuleDict(made)
        last = self.steps[-1]
        if len(kept) == 1 or config.places[-1] == LAST:
            self.widths = tuple(widths_of(part)[last] for part in kept)
        else:
            fused = made[config.places[-1]].width
            ends = config.fusion == "bilinear" or config.places[-1] == last
            self.widths = (fused if ends else widths_of(kept[0])[last],)
        self.head = StreamHead(self.widths, config.num_classes, dropout=config.dropout)
        for part in (*kept, self.head):
            start_resnet(part, head_std=StreamHead.start_std)
        self.requires_grad_(True)

    @property
    def num_answers(self) -> int:
        """Towers that answer: each has a loss of its own."""
        return len(self.widths)

    def head_parameters(self) -> tuple[str, ...]:
        """Names of the tensors that depend on the number of classes."""
        return tuple(
            f"head.{name}.{leaf}" for name in self.head.names for leaf in ("weight", "bias")
        )

    def requires_grad_(self, requires_grad: bool = True) -> TwoStream:
        """As torch's; but what stands up to ``config.stop`` keeps still."""
        super().requires_grad_(requires_grad)
        still = self.steps[: self.steps.index(self.config.stop) + 1] if self.config.stop else ()
        for part in (self.spatial, self.temporal):
            for name, step in ({} if part is None else steps_of(part)).items():
                if name in still:
                    step.requires_grad_(False)
        for name, fusion in self.fusions.items():
            if name in still[:-1]:  # what fuses at the stop itself learns
                fusion.requires_grad_(False)
        return self

    def moments(self, clip: Tensor | Sequence[Tensor], flow: Tensor | None = None) -> list[Tensor]:
        """(B, C, S, H, W) of each stream, flow as stacks.

        Raises ValueError for a stream that is missing, or streams of other moments.
        """
        if not isinstance(clip, Tensor):
            clip, flow = clip
        config, length = self.config, self.config.snippet
        if config.streams == "spatial":
            found = [clip]
        elif config.streams == "temporal":
            found = [snippets(clip if flow is None else flow, "flow", length)]
        elif flow is not None:
            found = [clip, snippets(flow, "flow", length)]
        elif clip.dim() == 5 and clip.shape[1] == 3 + 2 * length:
            found = [clip[:, :3], clip[:, 3:]]
        else:
            raise ValueError(
                f"{self.name} reads frames and their flow: give both, or one clip "
                f"(B, {3 + 2 * length}, S, H, W), not {tuple(clip.shape)} alone"
            )
        for x in found:
            check_frames(x, frames=config.frames, name=self.name)
        if len(found) == 2 and found[0].shape[2:] != found[1].shape[2:]:
            shapes = " and ".join("x".join(map(str, x.shape[2:])) for x in found)
            raise ValueError(
                f"frames and flow are of {shapes} (moments, rows, columns), but {self.name} joins "
                "the same places of both; give every frame its stack of flow, in one size"
            )
        return found

    def stages(
        self, clip: Tensor | Sequence[Tensor], flow: Tensor | None = None
    ) -> list[tuple[Tensor, ...]]:
        """(spatial, temporal) maps after every step, fused where they are, (B, C, T, H, W).

        Of one tower alone after the last place.
        """
        streams = self.moments(clip, flow)
        parts = [part for part in (self.spatial, self.temporal) if part is not None]
        steps, frames = [steps_of(part) for part in parts], streams[0].shape[2]
        maps, found = [fold(x) for x in streams], []
        for name in self.steps:
            maps = [step[name](x) for step, x in zip(steps, maps, strict=False)]
            if name in self.fusions:
                fused = self.fusions[name](*maps, frames)
                maps = [fused] if name == self.config.places[-1] else [fused, maps[1]]
            found.append(tuple(unfold(x, frames) for x in maps))
            if name in self.fusions and self.config.fusion == "bilinear":
                break
            if name in (MAPS[-1], RESNET_MAPS[-1]):
                maps, frames = self.pooled(maps, parts, frames)
        return found

    def pooled(
        self, maps: list[Tensor], parts: Sequence[Tower], frames: int
    ) -> tuple[list[Tensor], int]:
        """What full layers see of the last maps, and how many moments are left."""
        if self.config.pool == "3d":
            window = min(self.config.frames, frames)
            maps = [
                F.max_pool3d(unfold(x, frames), (window, 1, 1), (2, 1, 1)) for x in maps
            ]  # (B, C, T', H, W)
            frames = maps[0].shape[2]
            maps = [fold(x) for x in maps]
        pairs = zip(maps, parts, strict=False)
        return [part.pool(x) if isinstance(part, Vgg) else x for x, part in pairs], frames

    def features(
        self, clip: Tensor | Sequence[Tensor], flow: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """What the classifiers see, (B, D, T, h, w) for each tower."""
        return self.stages(clip, flow)[-1]

    def forward(
        self,
        clip: Tensor | Sequence[Tensor],
        flow: Tensor | None = None,
        *,
        each: bool = False,
    ) -> Tensor:
        logits = self.head(self.features(clip, flow))
        return logits if each else logits.mean(dim=1)

    def forward_positions(
        self, clip: Tensor | Sequence[Tensor], flow: Tensor | None = None
    ) -> Tensor:
        """Logits of the clip, the mean over places, moments and towers: (B, 1, K)."""
        return self.forward(clip, flow)[:, None]

    def stage_modules(self) -> list[nn.Module]:
        """Parts whose activations may be recomputed, each one map in and one map out."""
        parts = (part for part in (self.spatial, self.temporal) if part is not None)
        return [step for part in parts for step in steps_of(part).values()]


def towers(config: TwoStreamConfig) -> tuple[Tower | None, Tower | None]:
    """The spatial and the temporal tower, each as far as it is run."""
    end = check_config(config)[-1]
    both, place = config.streams == "both", config.places[-1]
    fused_at = end if place == LAST or not both else place
    spatial = temporal = None
    if config.streams != "spatial":
        temporal = tower(config, config.temporal, 2 * config.snippet, until=fused_at)
    if config.streams != "temporal":
        joined = {}
        if both and config.fusion == "concat" and temporal is not None:
            joined = {p: widths_of(temporal)[p] for p in config.places if p != LAST}
        until = fused_at if config.fusion == "bilinear" else end
        spatial = tower(config, config.spatial, 3, until=until, joined=joined)
    return spatial, temporal


def tower(
    config: TwoStreamConfig,
    kind: Backbone,
    channels: int,
    *,
    until: str,
    joined: Mapping[str, int] | None = None,
) -> Tower:
    """One stream's network up to a step."""
    if kind != "resnet":
        return Vgg(
            kind,
            channels=channels,
            scale=config.width / 64,
            crop=config.crop,
            dropout=config.dropout,
            joined=joined,
            until=until,
            second_norm=channels == 3,
        )
    trunk = Trunk2d(BLOCKS[config.block], config.depths, width=config.width, channels=channels)
    for name in RESNET_MAPS[RESNET_MAPS.index(until) + 1 :]:
        setattr(trunk, name, nn.Identity())  # past the place where its map goes over
    return trunk


def steps_of(part: Tower) -> dict[str, nn.Module]:
    """The steps of a tower by name, in order."""
    if isinstance(part, Vgg):
        return dict(part.steps.items())
    named = zip(RESNET_MAPS, part.steps, strict=True)
    return {name: step for name, step in named if not isinstance(step, nn.Identity)}


def widths_of(part: Tower) -> dict[str, int]:
    """Channels after each step of a tower."""
    if isinstance(part, Vgg):
        return part.widths
    return dict(zip(RESNET_MAPS, part.widths, strict=True))


def check_config(config: TwoStreamConfig) -> tuple[str, ...]:
    """The names of the steps. Raises ValueError where a configuration makes no network."""
    for name in ("num_classes", "frames", "snippet", "width"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be 1 or more")
    both = config.streams == "both"
    kinds = (config.spatial, config.temporal) if both else (getattr(config, config.streams),) * 2
    if len({kind == "resnet" for kind in kinds}) == 2:
        raise ValueError(
            f"spatial is {kinds[0]!r} and temporal {kinds[1]!r}; a ResNet fuses with a ResNet only"
        )
    steps = RESNET_MAPS if kinds[0] == "resnet" else MAPS + FULL
    known = (*steps, LAST)
    if config.stop and config.stop not in steps:
        raise ValueError(
            f"stop is {config.stop!r}; it names one of {', '.join(steps)}"
            f"{nearest(config.stop, steps)}"
        )
    if not both:
        return steps
    for place in config.places:
        if place not in known:
            raise ValueError(
                f"places has {place!r}; choose of {', '.join(known)}{nearest(place, known)}"
            )
    at = [known.index(place) for place in config.places]
    if not at or at != sorted(set(at)):
        raise ValueError(f"places is {config.places}; give one or more, each once and in order")
    if config.fusion == "bilinear" and (len(at) > 1 or config.places[0] not in MAPS + RESNET_MAPS):
        raise ValueError(
            f"bilinear fusion leaves no map to go on with: give it one place, a map, "
            f"not {config.places}"
        )
    inside = [place for place in config.places if place not in (RESNET_MAPS[-1], LAST)]
    if config.fusion == "concat" and steps == RESNET_MAPS and inside:
        raise ValueError(
            f"concat widens what a ResNet's next stage reads: fuse after res5, not {inside[0]}"
        )
    return steps
