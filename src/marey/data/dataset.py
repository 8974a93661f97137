"""ClipDataset: item table + ClipSpec + transforms -> Sample.

A training sample is one view of one random clip; an evaluation sample holds all test views of a
video, which is decoded once. Everything random in a sample follows from (seed, epoch, index,
draw), so that any worker of any run makes the same one.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from marey.choices import AugmentChoice, DataChoice
from marey.config import nearest
from marey.data import transforms
from marey.data.augment import Draw, TrainAugment
from marey.data.sources.labels import is_image
from marey.data.table import ItemTable
from marey.types import ClipSpec, Failure, Item, Sample
from marey.video import Video, VideoError, VideoWarning, open_video
from marey.video.flow_files import find_flow, flow_around, is_flow, open_flow
from marey.video.sampling import clip_indices, clip_length, is_clamped

_TRIES = 16  # other rows tried in place of an unreadable one
_AT_ONCE = 32  # frames turned into floats together at test time


@dataclass(frozen=True)
class ClipShape:
    """Clips of one step (multigrid): frames, pixels, and how many times the usual batch."""

    frames: int
    size: int
    batch_factor: int = 1


def seeded(*key: int) -> Generator:
    """A generator that follows from whole numbers alone, the same on every machine."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


class ClipDataset:
    """Rows of ``items`` as samples. ``views`` (time, space) counts in evaluation only.

    Raises ValueError for more classes in the data than ``num_classes``, for class names in the
    augmentation that the data does not have, and for impossible crops.
    """

    def __init__(
        self,
        items: ItemTable,
        spec: ClipSpec,
        *,
        training: bool,
        augment: AugmentChoice | None = None,
        data: DataChoice | None = None,
        seed: int = 0,
        views: tuple[int, int] | None = None,
        num_classes: int = 0,
    ) -> None:
        self.items, self.spec, self.training, self.seed = items, spec, training, seed
        self.augment = augment or AugmentChoice()
        self.data = data or DataChoice()
        self.views = views or spec.views
        self.num_classes = num_classes or items.num_classes
        if items.num_classes > self.num_classes:
            raise ValueError(
                f"the data has {items.num_classes} classes but the network {self.num_classes}; "
                f"build it with num_classes={items.num_classes}"
            )
        if training:
            self._train = TrainAugment(spec, self.augment)
            self._keep, self._swap = mirror_rules(items.classes, self.augment)
        else:
            if self.views[0] < 1:
                raise ValueError(f"{self.views[0]} temporal views; use at least 1")
            transforms.test_scale(spec, self.views[1])

    def __len__(self) -> int:
        return len(self.items)

    def sample(
        self, index: int, epoch: int, draw: int = 0, shape: ClipShape | None = None
    ) -> Sample:
        """Row ``index`` as a sample; ``draw`` tells repeated clips of one row apart.

        An unreadable file is named in ``failures``: in training another row stands in for it,
        drawn from the same generator; in evaluation ``rgb`` is None.
        Raises ValueError under policy 'strict' for a video shorter than the clip.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VideoWarning)  # told through failures instead
            if not self.training:
                return self._evaluation_sample(index)
            return self._readable_sample(index, seeded(self.seed, epoch, index, draw), shape)

    def _readable_sample(self, index: int, generator: Generator, shape: ClipShape | None) -> Sample:
        """A training sample of this row, or of the first readable one drawn in its place."""
        failures: list[Failure] = []
        row = index
        for _ in range(_TRIES):
            try:
                sample = self._training_sample(row, generator, shape)
            except VideoError as error:
                failures.append(Failure(self.items[row].video, why(error)))
                row = int(torch.randint(len(self), (), generator=generator))
                continue
            return replace(sample, failures=(*failures, *sample.failures))
        raise ValueError(
            f"{len(failures)} files in a row could not be read, the last {failures[-1].source} "
            f"({failures[-1].reason}); check the data with 'marey data check'"
        )

    def _training_sample(self, row: int, generator: Generator, shape: ClipShape | None) -> Sample:
        item = self.items[row]
        spec, augment = self._shaped(shape, generator)
        with self._open(item) as video:
            span = self._checked_span(video, item, spec)
            indices = clip_indices(
                video.num_frames, video.fps, spec, generator=generator, span=span
            )
            may_flip = not self._keep.intersection(item.target)
            drawn = augment.draw(video.height, video.width, generator, may_flip=may_flip)
            clip = video.frames_at(indices, size=_decode_size(video, drawn))
            lost = lost_frames(item, video)
            clamped = is_clamped(video.num_frames, video.fps, spec, span=span)
            beside = self._flow_beside(item, video, indices) if augment.flow else None
        pixels = augment.apply(clip.frames, drawn, generator)[None]  # (1, C, T, H, W)
        flow = None
        if augment.flow is not None and beside is not None:
            flow = augment.flow.apply(beside, drawn, generator)[None]
        labels = item.target
        if self.items.has_intervals:
            labels = self.items.target_within(row, float(clip.times[0]), float(clip.times[-1]))
        if drawn.flip:
            labels = tuple(self._swap.get(label, label) for label in labels)
        return Sample(
            **self._named(pixels, flow),
            target=self._weights(labels),
            key=item.key,
            times=clip.times[None],
            index=row,
            clamped=clamped,
            failures=lost,
        )

    def _evaluation_sample(self, row: int) -> Sample:
        item, spec = self.items[row], self.spec
        time, space = self.views
        try:
            with self._open(item) as video:
                span = self._checked_span(video, item, spec)
                count, fps = video.num_frames, video.fps
                indices = torch.stack(
                    [
                        clip_indices(count, fps, spec, view=view, num_views=time, span=span)
                        for view in range(time)
                    ]
                )  # (time, T)
                unique, position = indices.unique(return_inverse=True)
                clip = video.frames_at(unique)
                beside = None
                if spec.modality == "rgb_flow":
                    beside = self._flow_beside(item, video, unique)
                lost = lost_frames(item, video)
                clamped = is_clamped(count, fps, spec, span=span)
        except VideoError as error:
            failure = Failure(item.video, why(error))
            empty = torch.zeros(
                time * space, clip_length(spec, training=False), dtype=torch.float64
            )
            weights = self._weights(item.target)
            return Sample(None, None, weights, item.key, empty, row, failures=(failure,))
        flow = None
        if beside is not None:
            steps = torch.arange(spec.flow_frames)
            at = (position[..., None] * spec.flow_frames + steps).flatten(1)  # (time, T * L)
            flow = _all_views(beside, at, spec.of("flow"), space)
            spec = spec.of("rgb")
        views = _all_views(clip.frames, position, spec, space)
        times = clip.times[position].repeat_interleave(space, dim=0)
        return Sample(
            **self._named(views, flow),
            target=self._weights(item.target),
            key=item.key,
            times=times,
            index=row,
            clamped=clamped,
            failures=lost,
        )

    def _named(self, pixels: Tensor, flow: Tensor | None) -> dict[str, Tensor | None]:
        """Pixels, and flow read beside them, as the fields of a sample that they belong to."""
        if self.spec.modality == "flow":
            return {"rgb": None, "flow": pixels}
        return {"rgb": pixels, "flow": flow}

    def _open(self, item: Item) -> Video:
        tolerant = self.data.policy == "clamp"
        if self.spec.modality == "flow":
            return self._open_flow(item)
        if is_image(item.video):
            return open_video(read_image(item.video), tolerant=tolerant)
        fps = self.items.fps if self.items.fps and Path(item.video).is_dir() else None
        return open_video(item.video, backend=self.data.backend, tolerant=tolerant, fps=fps)

    def _open_flow(self, item: Item) -> Video:
        """The flow of a row: in the folder ``data.flow``, or where the row itself is flow."""
        place: Path | str = item.video
        if self.data.flow:
            place = find_flow(Path(self.data.flow), item.video, self.items.root)
        elif not is_flow(place):
            raise ValueError(
                f"the network reads optical flow but {item.video} is none: compute it with "
                "'marey flow DATA DIR' and name the folder, --data.flow DIR"
            )
        fps = self.items.fps if self.items.fps and Path(place).is_dir() else None
        return open_flow(place, fps=fps, zero=self.data.flow_zero)

    def _flow_beside(self, item: Item, video: Video, frames: Tensor) -> Tensor:
        """The stack of flow around each of ``frames``, (T * flow_frames, 2, H, W) uint8.

        Raises VideoError where the flow is not that of this video.
        """
        with self._open_flow(item) as flow:
            return flow_around(flow, frames, self.spec.flow_frames, video.num_frames)

    def _checked_span(self, video: Video, item: Item, spec: ClipSpec) -> tuple[int, int] | None:
        span = frame_span(video.times, item.start_s, item.end_s)
        if video.num_frames == 0:
            raise VideoError(item.video, "header", "no frames")
        if self.data.policy == "strict" and is_clamped(
            video.num_frames, video.fps, spec, span=span
        ):
            count = video.num_frames if span is None else span[1] - span[0]
            raise ValueError(
                f"clip {item.key} has {count} frames but the network needs {_needed(spec, video)} "
                "under policy='strict'; use policy='clamp' or a longer video"
            )
        return span

    def _shaped(
        self, shape: ClipShape | None, generator: Generator
    ) -> tuple[ClipSpec, TrainAugment]:
        """The spec of this step: another shape also means a random stride over as long a time."""
        if shape is None or (shape.frames, shape.size) == (self.spec.frames, self.spec.size):
            return self.spec, self._train
        spec = self.spec
        longest = spec.stride * spec.frames // shape.frames
        stride = int(
            torch.randint(spec.stride, max(longest, spec.stride) + 1, (), generator=generator)
        )
        low = max(shape.size, round(spec.jitter[0] * shape.size / spec.size))
        spec = replace(
            spec, frames=shape.frames, size=shape.size, stride=stride, jitter=(low, spec.jitter[1])
        )
        return spec, TrainAugment(spec, self.augment)

    def _weights(self, labels: Sequence[int]) -> Tensor:
        """(K,) label weights: one-hot or multi-hot, zeros where unlabelled."""
        weights = torch.zeros(self.num_classes)
        weights[list(labels)] = 1.0
        return weights


def _all_views(frames: Tensor, position: Tensor, spec: ClipSpec, space: int) -> Tensor:
    """(U, C, H, W) uint8 unique frames and (time, T) places in them to (V, C, T, S, S) views.

    Every frame is scaled once, a few at a time, and every view written in place: thirty views of a
    long clip are most of a gigabyte.
    """
    parts = [
        transforms.scale_for_test(transforms.to_input(part, spec), spec, space)
        for part in frames.split(_AT_ONCE)
    ]
    scaled = torch.cat(parts, dim=1)  # (C, U, h, w)
    offsets = transforms.test_offsets(scaled.shape[-2], scaled.shape[-1], spec, space)
    size = spec.test_size
    shape = (len(position), space, len(scaled), position.shape[1], size, size)
    views = torch.empty(shape)  # (time, space, C, T, S, S)
    for i, at in enumerate(position):
        for k, (top, left) in enumerate(offsets):
            views[i, k] = scaled[:, at, top : top + size, left : left + size]
        if space == 10:
            views[i, 5:] = transforms.mirrored(views[i, :5], spec)
    return views.flatten(0, 1)


def frame_span(times: Tensor, start_s: float | None, end_s: float | None) -> tuple[int, int] | None:
    """Half-open interval of the frames shown in [start_s, end_s), never empty; None: all.

    ``times`` (N,) seconds, increasing. A row outside the file means the frame nearest to it.
    """
    if start_s is None and end_s is None:
        return None
    stamps = times.numpy()
    count = len(stamps)
    slack = 1e-6  # times written with few digits
    first = 0 if start_s is None else int(np.searchsorted(stamps, start_s - slack, side="left"))
    last = count if end_s is None else int(np.searchsorted(stamps, end_s - slack, side="left"))
    first = min(first, max(count - 1, 0))
    return first, max(last, first + 1)


def read_image(path: str) -> np.ndarray:
    """A picture as a video of one frame, (1, H, W, 3) uint8, turned upright by its EXIF mark."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture)
            return np.asarray(upright.convert("RGB"))[None]
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise VideoError(path, "header", str(error)) from None


def _decode_size(video: Video, drawn: Draw) -> tuple[int, int] | None:
    """The size to decode at, where the whole frame is to shrink; enlarging is cheaper after."""
    height, width = drawn.scaled
    return (height, width) if height < video.height and width < video.width else None


def mirror_rules(
    classes: tuple[str, ...], augment: AugmentChoice
) -> tuple[frozenset[int], dict[int, int]]:
    """Classes that are never mirrored, and those that trade numbers when they are."""
    number = {name: i for i, name in enumerate(classes)}
    pairs = [name for pair in augment.swap_labels for name in pair]
    for field, names in (("keep_direction", augment.keep_direction), ("swap_labels", pairs)):
        for name in names:
            if name not in number:
                raise ValueError(
                    f"augment.{field} names class {name!r}, which the data does not have"
                    f"{nearest(name, number)}"
                )
    swap = {}
    for one, other in augment.swap_labels:
        swap[number[one]], swap[number[other]] = number[other], number[one]
    return frozenset(number[name] for name in augment.keep_direction), swap


def lost_frames(item: Item, video: Video) -> tuple[Failure, ...]:
    if not video.lost:
        return ()
    return (
        Failure(item.video, f"frames that could not be decoded: {video.lost}; used without them"),
    )


def why(error: VideoError) -> str:
    return f"{error.cause} (at {error.position})"


def _needed(spec: ClipSpec, video: Video) -> str:
    if spec.sampling in ("segment", "snippet", "dense"):
        return f"{spec.frames * spec.segment_frames} (one in each of {spec.frames} segments)"
    return f"{spec.frames * spec.stride} ({spec.frames} frames, {spec.stride} apart)"
