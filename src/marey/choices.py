"""The values a recipe is made of, on the ground floor so that data and engine can be handed them.

Every leaf is plain data and round-trips through JSON (``config``). Nothing here imports torch.
AugmentChoice exceeds the 14-field cap: one field for each thing the published recipes vary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class DataChoice:
    """Which rows are read, and what happens to files that are short or broken."""

    path: str = ""  # a file or folder whose layout is recognised, or drawn:TASK
    format: str = ""  # empty: recognised from the layout
    where: dict[str, str] | None = None  # column = value, rows of a list that count
    context_s: float = 0.0  # seconds added on both sides of timed rows
    train: str = "train"
    val: str = "val"
    policy: Literal["clamp", "strict"] = "clamp"  # strict refuses clips longer than their video
    bad_share: float = 0.05  # the run fails above this share of unreadable files
    workers: int = -1  # -1: as many as cores allow, up to 8
    backend: Literal["auto", "pyav", "torchcodec"] = "auto"
    flow: str = ""  # folder of optical flow for networks that read it; empty: rows are flow
    flow_zero: Literal[0, 127, 128] = 0  # byte of no motion; 0: what the flow says, else 128


@dataclass(frozen=True, kw_only=True)
class AugmentChoice:
    """What is drawn once per training clip, and per batch."""

    # short-side jitter, random-resized crop, one of 13 places and a few scales (TSN), or near a
    # border with free sides (two-stream fusion)
    crop: Literal["jitter", "area", "corners", "borders"] = "jitter"
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)  # of the short side, for crop="corners"
    inverse_uniform: bool = False  # 1/side uniform instead of side
    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (0.75, 1.3333)
    flip: float = 0.5
    keep_direction: tuple[str, ...] = ()  # classes whose clips are never mirrored
    swap_labels: tuple[tuple[str, str], ...] = ()  # classes that trade names when mirrored
    rand_layers: int = 0  # RandAugment operations per clip
    rand_magnitude: int = 9
    colour: float = 0.0
    erasing: float = 0.0
    repeats: int = 1  # repeated augmentation: clips of one video in a batch
    mixup: float = 0.0  # Beta parameter, 0 = off
    cutmix: float = 0.0


Decay = Literal["linear", "gaussian", "gaussian_long", "hard"]


@dataclass(frozen=True, kw_only=True)
class SuppressionChoice:
    """How overlapping segments of time become one; see ``geometry.segments``."""

    kind: Literal["hard", "soft", "weighted", "none"] = "hard"
    threshold: float = 0.5  # overlap from which a better segment counts
    decay: Decay = "gaussian"  # of soft suppression
    sigma: float = 0.5  # of gaussian decay
    spare: tuple[float, float] = (0.0, 0.0)  # of gaussian_long: overlap, plus a share of the length
    min_score: float = 0.001
    most: int = 200  # segments kept, of each class and of all
    per_class: bool = True
    voting: float = 0.0  # overlap from which candidates move the kept segment; 0: off


@dataclass(frozen=True, kw_only=True)
class WindowChoice:
    """How windows are cut from long videos, and what happens to their pixels in training."""

    complete: float = 0.75  # share of an instance, or of the window, that must be in it
    overlap: float = 0.25  # of neighbouring windows, in evaluation
    each: int = 1  # windows drawn from every video, an epoch
    photometric: float = 0.5  # probabilities
    rotation: float = 0.5
    angle: float = 45.0  # degrees, either way


@dataclass(frozen=True, kw_only=True)
class SegmentChoice:
    """How a detector's answers become segments: in a window, over the video, once more.

    ``repeat_as``: every segment of the first class also stands for the second, which contains it.
    """

    min_score: float = 0.005
    candidates: int = 2000  # of a window, the best
    inside: SuppressionChoice = SuppressionChoice(kind="none", most=100000)
    joined: SuppressionChoice = SuppressionChoice(kind="weighted", threshold=0.5, most=1200)
    repeat_as: tuple[tuple[str, str], ...] = ()
    again: SuppressionChoice = SuppressionChoice(kind="none", most=100000)
    overlaps: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7)  # at which precision is measured
    rule: Literal["cleaned", "activitynet", "thumos14"] = "cleaned"  # see metrics.segment_ap


@dataclass(frozen=True, kw_only=True)
class StreamChoice:
    """How long videos are read as clips in order of time, for networks with a memory."""

    step_s: float = 0.0  # seconds from clip to clip; 0: one clip after another
    share_crop: bool = True  # one crop, mirror and colouring for all clips of a video, an epoch
    perturb: bool = False  # in training frames move by up to half the gap between them


@dataclass(frozen=True, kw_only=True)
class TaskChoice:
    """What a batch means. ``combine``: how the scores of a video's views become one.

    ``logits`` averages before the softmax, as TSN, TSM and TEA do, the others after it.
    """

    kind: Literal["classification", "mutual", "temporal_detection", "long_video"] = "classification"
    labels: Literal["single", "multi"] = "single"
    smoothing: float = 0.0
    combine: Literal["mean", "max", "logits"] = "mean"
    # (name, classes) of sets that a video has one label of each: verbs and nouns; as the data says
    label_sets: tuple[tuple[str, int], ...] = ()
    windows: WindowChoice = WindowChoice()
    segments: SegmentChoice = SegmentChoice()
    streams: StreamChoice = StreamChoice()


@dataclass(frozen=True, kw_only=True)
class OptimChoice:
    """Optimiser and parameter groups; ``lr`` is for ``reference_batch`` clips, scaled linearly."""

    kind: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.1
    reference_batch: int = 0  # 0: lr is used as it stands
    momentum: float = 0.9
    nesterov: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    norm_weight_decay: float = 0.0  # norms, and biases under adamw
    head_lr_factor: float = 1.0  # a fresh head on pretrained weights learns faster
    first_lr_factor: float = 1.0  # the first kernel, where it reads other channels than before
    bias_lr_factor: float = 1.0  # biases outside norms; if not 1, they are not decayed either
    layer_decay: float = 1.0
    clip_norm: float = 0.0  # 0: off


@dataclass(frozen=True, kw_only=True)
class ScheduleChoice:
    """Learning rate over (fractional) epochs, and the shape of clips over epochs (multigrid)."""

    kind: Literal["cosine", "steps", "relative_steps", "constant"] = "cosine"
    epochs: float = 196.0
    warmup_epochs: float = 0.0
    warmup_start: float = 0.01  # factor-free learning rate at epoch 0
    end: float = 0.0
    steps: tuple[float, ...] = ()
    factors: tuple[float, ...] = ()  # one per step for relative_steps
    gamma: float = 0.1
    cosine_after_warmup: bool = False
    cycles: int = 1  # of the cosine, which starts anew after each
    head_epochs: float = 0.0  # until then only the classifier learns
    multigrid: Literal["none", "short", "long", "both"] = "none"


@dataclass(frozen=True, kw_only=True)
class RunChoice:
    """How the loop runs: batch over all processes, numbers, averaging, checkpoints."""

    batch: int = 8
    accumulate: int = 1
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    compile: bool = False
    checkpointing: bool = False  # recompute activations of each stage
    parallel: Literal["ddp", "fsdp"] = "ddp"
    norm: Literal["batch", "sync", "frozen", "partial"] = "batch"  # partial: all but the first
    precise_bn: int = 0  # batches used to recompute batch-norm statistics; 0: off
    ema: float = 0.0  # decay of the averaged weights; 0: off
    seed: int = 0
    save_steps: int = 0  # also save every so many steps; 0: at epoch ends only
    keep: int = 2
    evaluate_epochs: int = 1
    log_steps: int = 10


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A published result: metric, data set, protocol, and where it stands. None: unknown."""

    dataset: str
    metric: str
    value: float | None
    protocol: str = ""
    source: str = ""
