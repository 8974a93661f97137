"""What makes a network run at any width within a budget: settings, statistics, the query table.

    setting          a width; and the frames and short side its clips are brought to first
    statistics       a norm's running mean and variance, for each setting that was recalibrated
    table            rows of setting, cost, accuracy and latency; it is saved with the weights
    select           the best row within a budget, as a setting to run at

``Mutual`` stands before the class of a network (``models.mutualnet``) and changes none of its
tensors' names, so that weights of the plain network fit.

Source: T. Yang, S. Zhu, C. Chen et al., "MutualNet", ECCV 2020, Sections 3.2 and 3.3, and the
authors' code. Differs: a width without statistics is an error there; here the leading ones of the
full network stand in, with a warning.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.heads import ClipClassifier
from marey.layers.switch import (
    FULL,
    NONE,
    Key,
    Setting,
    Slice,
    Statistics,
    Switch,
    key_of,
    leading,
    make_plain,
    make_switchable,
    switch_norms,
)
from marey.models.query_table import Row, best, counted

STEP = 0.05  # between the widths of a network whose table was not measured


@dataclass(frozen=True, kw_only=True)
class Slimming:
    """What MutualNet adds to the configuration of a network."""

    widths: tuple[float, ...] = ()  # that track norm statistics in training
    width_range: tuple[float, float] = (0.25, 1.0)
    sizes: tuple[int, ...] = ()  # short sides of a clip; empty: 7, 6, 5 and 4 sevenths of crop
    frame_counts: tuple[int, ...] = ()  # of a clip for narrower networks; empty: all
    table: tuple[Row, ...] = ()  # the query table

    @property
    def short_sides(self) -> tuple[int, ...]:
        """``sizes``, or the published share of ``crop``: 224, 192, 160 and 128 of 224."""
        crop: int = self.crop  # type: ignore[attr-defined]
        return self.sizes or tuple(round(crop * part / 7) for part in (7, 6, 5, 4))


class Mutual(ClipClassifier):
    """What a network becomes by learning with its narrower selves; stands before it as a base.

    ``width`` is what it runs at when a call names none: 1, or what a caller has set.
    """

    config: Any

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        check_slimming(config)
        self.switch, self._key = Switch(), (1.0, 0, 0)
        self._keys: list[Key] = []  # of the settings with statistics, by place
        make_switchable(self, self.switch, self.slice_of)
        self._hold()

    def slice_of(self, name: str, module: nn.Module) -> Slice | None:
        """How a layer narrows; None leaves it at full width."""
        raise NotImplementedError

    # ---- running

    @property
    def width(self) -> Setting:
        return setting_of(self._key)

    @width.setter
    def width(self, width: float) -> None:
        self._key = key_of(width)

    def forward(self, clip: Any, width: float | None = None) -> Tensor:
        """Logits (B, K) at a width, or a setting of ``select``: then clips shrink first."""
        return self.forward_positions(clip, width).mean(dim=1)

    def forward_positions(self, clip: Any, width: float | None = None) -> Tensor:
        """Logits at every position, (B, P, K)."""
        key = self._key if width is None else key_of(width)
        with self.switch.at(key[0], self.place(key, clip)):
            return super().forward_positions(self.shrunk(clip, key))

    def stages(self, clip: Any, width: float | None = None) -> list[Any]:
        """The maps of the network underneath, at a width."""
        if self.switch.busy:
            return super().stages(clip)  # type: ignore[misc]
        key = self._key if width is None else key_of(width)
        with self.switch.at(key[0], self.place(key, clip)):
            return super().stages(self.shrunk(clip, key))  # type: ignore[misc]

    def shrunk(self, clip: Any, key: Key) -> Any:
        """The clip as a setting wants it."""
        return shrink(clip, *key[1:])

    def reading(self, clip: Any) -> tuple[int, int]:
        """Frames and short side of what the narrowed part of the network would see of a clip."""
        return clip.shape[2], min(clip.shape[3], clip.shape[4])

    # ---- statistics

    @property
    def places(self) -> list[Setting]:
        """The settings that have norm statistics of their own, beside the full network."""
        return [setting_of(key) for key in self._keys]

    def place(self, key: Key, clip: Any) -> int:
        """Whose statistics a clip meets at a setting. In training only widths have some."""
        keys, exact, plain = self._keys, self._whole(key, clip), (key[0], 0, 0)
        if not self.training and exact in keys:
            return keys.index(exact)
        if plain in keys:
            return keys.index(plain)
        if key[0] >= 1:
            return FULL
        if not self.training and not torch.compiler.is_compiling():
            warnings.warn(
                f"width {key[0]:g} has no norm statistics of its own: the leading ones of the "
                "full network stand in and cost accuracy; call recalibrate(clips, settings)",
                stacklevel=5,
            )
        return NONE

    def _hold(self) -> None:
        """Room for the statistics of ``places`` in every norm; those that stay keep theirs."""
        narrow = [(width, 0, 0) for width in self.config.widths if width < 1]
        self._keys = narrow + [row.setting.key for row in self.config.table if row.calibrated]
        for norm in switch_norms(self):
            ratio, own = norm.slice.ratio, nn.ModuleDict()
            for i, (width, *_) in enumerate(self._keys):
                if ratio is None and i < len(narrow):
                    continue  # a norm that never narrows has one set for all widths
                count = norm.num_features
                channels = count if ratio is None else leading(count, width, ratio)
                own[str(i)] = Statistics(channels)
            norm.own = own.to(norm.weight.device)

    def set_table(self, table: Iterable[Row]) -> None:
        """Replace the query table; rows that are still there keep their statistics."""
        before = self._keys
        kept = [dict(norm.own.items()) for norm in switch_norms(self)]
        self.config = replace(self.config, table=tuple(table))
        self._hold()
        for i, key in enumerate(self._keys):
            if key in before:
                was = str(before.index(key))
                for norm, own in zip(switch_norms(self), kept, strict=True):
                    if was in own:
                        norm.own[str(i)] = own[was]

    @torch.no_grad()
    def recalibrate(self, clips: Iterable[Any], settings: Iterable[float]) -> None:
        """Norm statistics of each setting from full-size training clips, one batch after another.

        Their plain average over batches, the paper's rule (it takes nine). A setting enters the
        table if it is not there. Raises ValueError without clips.
        """
        batches = list(clips)
        if not batches:
            raise ValueError("there are no clips to compute norm statistics from; give some")
        chosen = [self._whole(key_of(width), batches[0]) for width in settings]
        rows = {row.setting.key: row for row in self.config.table}
        for key in chosen:
            rows[key] = replace(rows.get(key) or self.row(setting_of(key)), calibrated=True)
        self.set_table(rows.values())
        mode = [(module, module.training) for module in self.modules()]
        norms = switch_norms(self)
        momenta = [norm.momentum for norm in norms]
        try:
            self.eval()
            for key in chosen:
                place = self._keys.index(key)
                for norm in norms:
                    norm.train()
                    norm.momentum = None  # the plain average
                    norm.own[str(place)] = Statistics(norm.own[str(place)].running_mean.numel())  # type: ignore[union-attr,operator,arg-type]
                    norm.own.to(norm.weight.device)
                for batch in batches:
                    with self.switch.at(key[0], place):
                        super().forward_positions(self.shrunk(batch, key))
        finally:
            for module, training in mode:
                module.training = training
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum

    def _whole(self, key: Key, clip: Any) -> Key:
        """A setting with the frames and size it will meet, if it does not name them."""
        frames, size = self.reading(clip)
        return key[0], key[1] or frames, key[2] or size

    # ---- budgets

    def select(
        self,
        *,
        gflops: float | None = None,
        latency_ms: float | None = None,
        params_m: float | None = None,
    ) -> Setting:
        """The best setting within a budget: a width that also says how small clips must be.

        The most accurate row of the query table, or the costliest where accuracies were not
        measured. Raises ValueError for a budget below the narrowest network, or without one.
        """
        budget = {"gflops": gflops, "latency_ms": latency_ms, "params_m": params_m}
        wanted = {name: value for name, value in budget.items() if value is not None}
        return best(self.name, self.config.table or self.grid(), wanted).setting

    def grid(self) -> tuple[Row, ...]:
        """Every setting of the configuration with its cost and no accuracy.

        Widths are those with statistics in training, or else steps of a twentieth.
        """
        config = self.config
        low, high = config.width_range
        count = max(0, round((high - low) / STEP))
        steps = [round(high - i * STEP, 4) for i in range(count)] + [low]
        widths = sorted({*config.widths, low, high}) if config.widths else steps
        frames = config.frame_counts or (self.slow_frames,)
        spec: Any = getattr(self, "spec", None)
        sizes = {*config.short_sides, *([spec.test_size] if spec is not None else [])}
        twin = self._on_meta()
        return tuple(
            twin.row(Setting(width, frames=count, size=size))
            for width in dict.fromkeys(widths)
            for count in frames
            for size in sorted(sizes)
        )

    def note(self, setting: Setting, **figures: float) -> None:
        """Write figures of a setting (``accuracy``, ``latency_ms``) into its row of the table."""
        rows = (
            replace(row, **figures) if row.setting.key == setting.key else row
            for row in self.config.table
        )
        self.config = replace(self.config, table=tuple(rows))

    @property
    def slow_frames(self) -> int:
        """Frames that the narrowed part of the network sees of a full clip."""
        return int(self.config.frames)

    def row(self, setting: Setting) -> Row:
        """A setting with its cost and parameters: one pass over a clip without memory."""
        twin = self if next(self.parameters()).is_meta else self._on_meta()
        adds, parameters = twin._cost(setting)
        return Row(
            width=float(setting),
            frames=setting.frames or self.slow_frames,
            size=setting.size or self.config.crop,
            gflops=adds / 1e9,
            params_m=parameters / 1e6,
        )

    def _on_meta(self) -> Any:
        with torch.device("meta"):
            twin: Any = type(self)(replace(self.config, table=()))
        return twin.eval()

    def _cost(self, setting: Setting) -> tuple[int, int]:
        """Multiply-adds and parameters of one pass over a full clip at a setting."""
        side, frames = max(setting.size, self.config.crop), self.config.frames
        clip = torch.empty(1, 3, frames, side, side, device="meta")
        with self.switch.at(setting, NONE if setting < 1 else FULL):
            forward = super().forward_positions
            return counted(self, lambda: forward(self.shrunk(clip, setting.key)))

    def narrowed(self, width: float) -> nn.Module:
        """A setting as a network of its own: sliced weights in ordinary layers, nothing shared.

        It takes clips of the setting's frames and size, and belongs to no variant of the zoo.
        """
        key = key_of(width)
        side, frames = max(key[2], self.config.crop), self.config.frames
        alone: Any = copy.deepcopy(self).eval()
        clip = torch.zeros(1, 3, frames, side, side, device=next(self.parameters()).device)
        with alone.switch.at(key[0], alone.place(key, clip)):
            made: Any = super(Mutual, alone)
            make_plain(alone, lambda: made.forward_positions(alone.shrunk(clip, key)))
        alone.__class__ = next(kind for kind in type(self).__mro__[1:] if kind is not Mutual)
        for name in ("switch", "_key", "_keys", "variant"):
            alone.__dict__.pop(name, None)
        if hasattr(alone, "spec"):
            size = {"size": key[2], "test_size": key[2]} if key[2] else {}
            count = {"frames": key[1]} if key[1] else {}
            alone.spec = replace(alone.spec, **size, **count)
        return alone

    def reset_head(self, num_classes: int) -> None:
        """Replace the classifier by a fresh one; ``config`` follows.

        Accuracies of the query table were of the old classes: they go where their number changes.
        """
        if num_classes != self.config.num_classes:
            self.set_table(replace(row, accuracy=None) for row in self.config.table)
        super().reset_head(num_classes)
        make_switchable(self, self.switch, self.slice_of)


def setting_of(key: Key) -> Setting:
    return Setting(key[0], frames=key[1], size=key[2])


def shrink(clip: Tensor, frames: int, side: int) -> Tensor:
    """Every so manieth frame, each resized to a short side; 0 leaves frames or pixels alone.

    (B, C, T, H, W) -> (B, C, frames, H', W'), bilinear with aligned corners, as published.
    """
    total, height, width = clip.shape[2:]
    if frames and frames < total:
        clip = clip[:, :, :: total // frames][:, :, :frames]
    if not side or side == min(height, width):
        return clip
    scale = side / min(height, width)
    return resized(clip, round(height * scale), round(width * scale))


def resized(clip: Tensor, height: int, width: int) -> Tensor:
    """Bilinear with aligned corners, frame by frame: (B, C, T, H, W) to a height and width."""
    frames = clip.transpose(1, 2)  # (B, T, C, H, W)
    size = (height, width)
    made = F.interpolate(frames.flatten(0, 1), size, mode="bilinear", align_corners=True)
    return made.unflatten(0, frames.shape[:2]).transpose(1, 2)


def check_slimming(config: Slimming) -> None:
    """Raises ValueError for widths or a range outside (0, 1]."""
    low, high = config.width_range
    if not 0 < low <= high <= 1:
        raise ValueError(f"width_range is {config.width_range}; give 0 < low <= high <= 1")
    for width in config.widths:
        key_of(width)
    if any(n < 1 for n in (*config.sizes, *config.frame_counts)):
        raise ValueError(f"sizes {config.sizes} and frame_counts {config.frame_counts} must be > 0")
