"""The nouns every floor shares. This page imports no torch: tensors appear only in annotations.

Axis legend of the whole library: B batch, V views of one video, C channels, T frames,
H W rows and columns, L tokens, D token width, N boxes or segments, K classes.

Pixels have two layouts: (T, C, H, W) uint8 before ``data.transforms.to_input``,
(..., C, T, H, W) float after it. Times are seconds from the start of the file, intervals are
half-open, boxes are xyxy fractions of the frame.

ClipSpec exceeds the 14-field cap: it is the only contract between data and model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Modality = Literal["rgb", "flow", "rgb_difference"]
Inputs = Literal["rgb", "flow", "rgb_difference", "rgb_flow"]  # rgb_flow: both, of one moment
Sampling = Literal["linspace", "segment", "stride", "snippet", "dense"]


@dataclass(frozen=True, kw_only=True)
class ClipSpec:
    """How pixels become the input of one network.

    ``sampling`` names the index rule. ``linspace``: a window of ``frames * stride`` frames counted
    at ``rate`` frames per second, its indices truncated (Kinetics). ``segment``: one index in each
    of ``frames`` parts of the whole video (Something-Something). ``stride``: a plain stride in the
    file's own frames (Charades). ``snippet``: ``segment_frames`` consecutive frames from each of
    ``frames`` parts of the whole video, ``test_frames`` parts in evaluation (TSN, TSM). ``dense``:
    a window of 64 frames, thinned to ``frames``.

    ``modality="rgb_flow"`` reads each frame and ``flow_frames`` fields of flow around it; ``mean``
    and ``std`` then hold five numbers, of three colours and of x and y.
    """

    frames: int = 8
    stride: int = 8
    least_stride: int = 0  # of plain strides, drawn from here in training; 0: none is drawn
    rate: float = 30.0
    sampling: Sampling = "linspace"
    segment_frames: int = 1
    test_frames: int = 0  # of a snippet clip in evaluation; 0: as many as in training
    size: int = 224
    test_size: int = 256
    short_side: int = 256
    jitter: tuple[int, int] = (256, 320)
    mean: tuple[float, ...] = (0.45, 0.45, 0.45)
    std: tuple[float, ...] = (0.225, 0.225, 0.225)
    channel_order: Literal["rgb", "bgr"] = "rgb"
    value_range: float = 1.0
    modality: Inputs = "rgb"
    flow_frames: int = 10  # around each frame, where both are read
    views: tuple[int, int] = (10, 3)

    @property
    def length(self) -> int:
        """Stored frames of one training clip: those of all its snippets."""
        return self.frames * self.segment_frames

    @property
    def channels(self) -> int:
        """Channels of a clip that holds all of its input in one tensor."""
        return 3 + 2 * self.flow_frames if self.modality == "rgb_flow" else len(self.mean)

    def of(self, modality: Literal["rgb", "flow"]) -> ClipSpec:
        """The same clip, of one of the two that ``rgb_flow`` reads."""
        part = slice(0, 3) if modality == "rgb" else slice(3, 5)
        return replace(self, modality=modality, mean=self.mean[part], std=self.std[part])


def steps_a_second(spec: ClipSpec) -> float:
    """How many frames a second a network sees of a long video."""
    return spec.rate / spec.stride


@dataclass(frozen=True)
class Clip:
    """Consecutive or sampled frames of one source, with the time of each.

    ``frames`` (T, C, H, W) uint8; ``times`` (T,) float64 seconds from the start of the file.
    """

    frames: Tensor
    times: Tensor
    source: str
    modality: Modality = "rgb"

    def __repr__(self) -> str:
        shape = "x".join(str(n) for n in self.frames.shape)
        span = "no frames"
        if len(self.times):
            span = f"{float(self.times[0]):.3f}-{float(self.times[-1]):.3f} s"
        return f"Clip({shape}, {span}, {self.source!r}, {self.modality})"


@dataclass(frozen=True)
class Item:
    """One row of an annotation file. ``target`` holds class numbers; several for multi-label.

    ``start_s`` and ``end_s`` are None where the row means the whole file.
    """

    video: str
    start_s: float | None
    end_s: float | None
    target: tuple[int, ...]
    key: str


@dataclass(frozen=True)
class Failure:
    """A file that could not be used, and why, in one line."""

    source: str
    reason: str


@dataclass(frozen=True)
class Sample:
    """One item as a network sees it. Thirty test views and one training view are the same thing.

    ``rgb`` and ``flow`` (V, C, T, H, W) float or None; ``target`` (K,) float label weights, or one
    such row per label set; ``times`` (V, T) float64 seconds; ``index`` the row in the item table.
    ``clamped`` is true when the video was shorter than the clip and its frames repeat;
    ``failures`` names the files that could not be read and were replaced on the way to this one.
    """

    rgb: Tensor | None
    flow: Tensor | None
    target: Tensor | Mapping[str, Tensor]
    key: str
    times: Tensor
    index: int
    clamped: bool = False
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class Batch:
    """Samples stacked: pixels (B, V, C, T, H, W), ``target`` (B, K), ``times`` (B, V, T).

    ``index`` (B,) int64 rows in the item table; ``clamped`` how many samples repeat frames;
    ``failures`` all files that failed while this batch was made.
    """

    rgb: Tensor | None
    flow: Tensor | None
    target: Tensor | Mapping[str, Tensor]
    keys: tuple[str, ...]
    times: Tensor
    index: Tensor
    clamped: int = 0
    failures: tuple[Failure, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def clips(self) -> tuple[Tensor, ...]:
        """What a network is called with: colours, flow, or both in this order; none if empty."""
        return tuple(clip for clip in (self.rgb, self.flow) if clip is not None)


@dataclass(frozen=True)
class Segments:
    """Intervals of time: ``span_s`` (N, 2), ``labels`` (N,), ``scores`` (N,) or None."""

    span_s: Tensor
    labels: Tensor
    scores: Tensor | None = None


@dataclass(frozen=True)
class Boxes:
    """Boxes at one moment: ``xyxy`` (N, 4), ``labels`` (N, K), ``scores`` (N, K) or None."""

    xyxy: Tensor
    labels: Tensor
    scores: Tensor | None = None
    time_s: float = 0.0


@dataclass(frozen=True)
class Prediction:
    """One label of one stretch of a video: an annotation with a score."""

    label: str
    score: float
    start_s: float
    end_s: float
