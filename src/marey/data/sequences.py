"""Clips of long videos in order of time; ``stream_order`` says which are read side by side.

Where a row is a video, clip k covers the seconds from k * step on; its labels are those that hold
at its middle, or the video's own where it has no segments. Clips end where a video does: what is
left is shorter than a step. Where rows are parts of videos, such as the actions of EPIC-Kitchens,
each has one clip, in the middle of the part and with its labels. For networks that answer for every
step of time (``frame_level``) each frame of a training clip has the labels that hold then, (T, K),
and a clip of an evaluation those of its last frame.

Batches carry the clips' numbers as their ``index``, by which a memory finds its video again.

Source: C.-Y. Wu et al., "MeMViT", CVPR 2022, the authors' data loader.
Differs: the crop and the mirror of a video's clips can be one draw (``share_crop``), so that what
is remembered is where it was.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor

from marey.choices import AugmentChoice, DataChoice, StreamChoice
from marey.data import transforms
from marey.data.augment import TrainAugment
from marey.data.dataset import ClipShape, lost_frames, mirror_rules, seeded, why
from marey.data.loader import ClipLoader, check_place
from marey.data.stream_order import Numbers, StreamOrder
from marey.data.table import ItemTable
from marey.data.windows import test_size
from marey.types import ClipSpec, Failure, Item, Sample, steps_a_second
from marey.video import Video, VideoError, VideoWarning, open_video

_TRIES = 16  # other clips tried in place of an unreadable one
_OPEN = 16  # files held open at once, so that a stream does not open its own for every clip


class SequenceDataset:
    """The clips of the videos in ``items`` by number; a row is a video, or a part of one.

    Raises ValueError for parts without a start or an end, a step between parts, more classes than
    ``num_classes``, and augmentation that mixes or repeats clips.
    """

    frame_level = False  # labels for each frame of a clip

    def __init__(
        self,
        items: ItemTable,
        spec: ClipSpec,
        *,
        training: bool,
        streams: StreamChoice | None = None,
        augment: AugmentChoice | None = None,
        data: DataChoice | None = None,
        seed: int = 0,
        num_classes: int = 0,
    ) -> None:
        count = num_classes or items.num_classes
        if items.num_classes > count:
            raise ValueError(
                f"the data has {items.num_classes} classes but the network {count}; "
                f"build it with num_classes={items.num_classes}"
            )
        self.table, self.spec, self.training, self.seed = items, spec, training, seed
        self.choice, self.num_classes = streams or StreamChoice(), count
        self.augment, self.data = augment or AugmentChoice(), data or DataChoice()
        if self.augment.repeats != 1 or self.augment.mixup or self.augment.cutmix:
            raise ValueError(
                "a memory is of one video: leave augment.mixup and cutmix at 0, repeats at 1"
            )
        self.step_s = step_seconds(self.choice, spec)
        self.views = (1, 1)
        self._keep, self._swap = mirror_rules(items.classes, self.augment)
        if training:
            self._train = TrainAugment(spec, self.augment)
        else:
            transforms.test_scale(spec, 1)
        self._held: dict[int, Video] = {}
        self.parts = len(items) > 0 and items.times(0) != (None, None)
        self.rows = rows_of_videos(items) if self.parts else [[row] for row in range(len(items))]
        if self.parts and self.choice.step_s:
            raise ValueError(
                f"streams.step_s is {self.choice.step_s:g}, but the data has a row, and so a clip, "
                "for each part of a video; leave it at 0"
            )
        count_of = len if self.parts else self._count
        self.numbers = Numbers(tuple(count_of(rows) for rows in self.rows))

    def __len__(self) -> int:
        return self.numbers.total

    @property
    def items(self) -> SequenceDataset:
        """Itself, as what tells the video and the times of a clip."""
        return self

    def __getitem__(self, number: int) -> Item:
        """A clip's video, times, labels and key."""
        video, clip = self.numbers.place(number)
        if self.parts:
            return self.table[self.rows[video][clip]]
        start = self.start(video, clip)
        end = start + clip_length_s(self.spec)
        item, labels = self.table[self.rows[video][0]], self.labels(video, clip)
        return Item(item.video, start, end, labels, f"{item.key}@{start:g}-{end:g}")

    def start(self, video: int, clip: int) -> float:
        """When a clip begins, in seconds; before its video does where a part is short and early."""
        if not self.parts:
            return clip * self.step_s
        first, last = self.table.times(self.rows[video][clip])
        return (first + last - clip_length_s(self.spec)) / 2  # type: ignore[operator]

    def labels(self, video: int, clip: int, at_s: float | None = None) -> tuple[int, ...]:
        """Class numbers that hold at a moment: by default in the middle of a clip, or at its last
        frame where frames have labels of their own."""
        if self.parts:
            return self.table.target(self.rows[video][clip])
        if at_s is None:
            start, length_s = self.start(video, clip), clip_length_s(self.spec)
            share = 1 - 0.5 / self.spec.frames if self.frame_level else 0.5
            at_s = start + share * length_s
        return self.table.target_within(self.rows[video][0], at_s, at_s)

    def labels_of(self, video: int) -> set[int]:
        """Class numbers that hold anywhere in a video."""
        return {label for row in self.rows[video] for label in self.table.target(row)}

    def sample(
        self, index: int, epoch: int, draw: int = 0, shape: ClipShape | None = None
    ) -> Sample:
        """Clip ``index`` as a sample.

        An unreadable one is named in ``failures``; in training another stands in for it, and its
        number says so. Raises ValueError under policy 'strict' for a video shorter than a clip.
        """
        if shape is not None:
            raise ValueError("clips in order have one shape: leave schedule.multigrid at none")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VideoWarning)  # told through failures instead
            if not self.training:
                return self._evaluation_sample(index)
            return self._readable_sample(index, epoch)

    def _readable_sample(self, number: int, epoch: int) -> Sample:
        failures: list[Failure] = []
        generator = seeded(self.seed, epoch, number)
        for _ in range(_TRIES):
            try:
                sample = self._training_sample(number, epoch)
            except VideoError as error:
                failures.append(Failure(self[number].video, why(error)))
                video = int(torch.randint(len(self.rows), (), generator=generator))
                clips = self.numbers.of(video)
                number = clips[int(torch.randint(len(clips), (), generator=generator))]
                continue
            return replace(sample, failures=(*failures, *sample.failures))
        raise ValueError(
            f"{len(failures)} files in a row could not be read, the last {failures[-1].source} "
            f"({failures[-1].reason}); check the data with 'marey data check'"
        )

    def _training_sample(self, number: int, epoch: int) -> Sample:
        place, clip = self.numbers.place(number)
        own = seeded(self.seed, epoch, number)
        generator = seeded(self.seed, epoch, place) if self.choice.share_crop else own
        video = self._open(place)
        may_flip = not self._keep.intersection(self.labels_of(place))
        drawn = self._train.draw(video.height, video.width, generator, may_flip=may_flip)
        moments = clip_moments(self.start(place, clip), self.spec)
        if self.choice.perturb:
            moments = perturbed(moments, self.spec, own)
        height, width = drawn.scaled
        smaller = height < video.height and width < video.width
        size = (height, width) if smaller else None
        frames = video.frames_at_times(moments - 1e-6, size=size).frames
        pixels = self._train.apply(frames, drawn, generator)
        swap = self._swap if drawn.flip else {}
        told = moments.tolist() if self.frame_level else [None]
        each = [[swap.get(x, x) for x in self.labels(place, clip, at_s)] for at_s in told]
        target = torch.stack([self._weights(labels) for labels in each])  # (T, K), or (1, K)
        target = target if self.frame_level else target[0]
        return self._sample(number, pixels, moments, target, video)

    def _evaluation_sample(self, number: int) -> Sample:
        place, clip = self.numbers.place(number)
        try:
            video = self._open(place)
            pixels, moments = test_clip(video, self.start(place, clip), self.spec)
        except VideoError as error:
            failure = Failure(self[number].video, why(error))
            empty = torch.zeros(1, self.spec.frames, dtype=torch.float64)
            weights = self._weights(())
            key = self[number].key
            return Sample(None, None, weights, key, empty, number, failures=(failure,))
        target = self._weights(self.labels(place, clip))
        return self._sample(number, pixels, moments, target, video)

    def _sample(
        self,
        number: int,
        pixels: Tensor,
        moments: Tensor,
        target: Tensor,
        video: Video,
    ) -> Sample:
        return Sample(
            rgb=pixels[None],
            flow=None,
            target=target,
            key=self[number].key,
            times=moments[None],
            index=number,
            clamped=end_of(video) < clip_length_s(self.spec) - 1e-6,
            failures=lost_frames(self[number], video),
        )

    def _weights(self, labels: Sequence[int]) -> Tensor:
        weights = torch.zeros(self.num_classes)
        weights[list(labels)] = 1.0
        return weights

    def _count(self, rows: list[int]) -> int:
        """Clips of a video; one that cannot be opened has one, which then says so."""
        try:
            with self._read(rows[0]) as video:
                if self.data.policy == "strict" and end_of(video) < clip_length_s(self.spec):
                    raise ValueError(
                        f"{video.source} lasts {end_of(video):.2f} s but a clip "
                        f"{clip_length_s(self.spec):.2f} s under policy='strict'; use "
                        "policy='clamp' or a longer video"
                    )
                return num_clips(video, self.step_s, self.spec)
        except VideoError:
            return 1

    def _open(self, place: int) -> Video:
        """A video, left open for the clips to come."""
        if place not in self._held:
            self._held[place] = self._read(self.rows[place][0])
        self._held[place] = video = self._held.pop(place)
        while len(self._held) > _OPEN:
            self._held.pop(next(iter(self._held))).close()
        return video

    def _read(self, row: int) -> Video:
        tolerant = self.data.policy == "clamp"
        fps = self.table.fps
        return open_video(
            self.table[row].video, backend=self.data.backend, tolerant=tolerant, fps=fps
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": {}}


def rows_of_videos(items: ItemTable) -> list[list[int]]:
    """The rows of each video, in order of time; videos as they first appear.

    Raises ValueError for a row without a start or an end.
    """
    videos: dict[str, list[tuple[float, int]]] = {}
    for row in range(len(items)):
        first, last = items.times(row)
        if first is None or last is None:
            raise ValueError(
                f"row {row} ({items[row].key}) has no start or no end, but other rows are parts of "
                "videos; give both to all, or to none"
            )
        videos.setdefault(items[row].video, []).append((first + last, row))
    return [[row for _, row in sorted(found)] for found in videos.values()]


def step_seconds(choice: StreamChoice, spec: ClipSpec) -> float:
    """Seconds from one clip to the next. Raises ValueError for a negative number."""
    if choice.step_s < 0:
        raise ValueError(
            f"streams.step_s is {choice.step_s:g}; give seconds from clip to clip, or 0 for one "
            "clip after another"
        )
    return choice.step_s or clip_length_s(spec)


def clip_length_s(spec: ClipSpec) -> float:
    """Seconds that a clip covers."""
    return spec.frames / steps_a_second(spec)


def end_of(video: Video) -> float:
    """When the last frame ends, in seconds."""
    return float(video.times[0]) + video.duration_s


def num_clips(video: Video, step_s: float, spec: ClipSpec) -> int:
    """How many clips lie within a video, at least one."""
    room = end_of(video) - clip_length_s(spec)
    return max(1, int((room + 1e-6) // step_s) + 1)


def clip_moments(start_s: float, spec: ClipSpec) -> Tensor:
    """When each frame of a clip is seen, (T,) seconds: in the middle of its share of the clip."""
    share = torch.arange(spec.frames, dtype=torch.float64) + 0.5
    return start_s + share / steps_a_second(spec)


def perturbed(moments: Tensor, spec: ClipSpec, generator: Generator) -> Tensor:
    """Each moment moved by up to half the gap between frames, the first forward, the last back."""
    gap = 1 / steps_a_second(spec)
    moved = (torch.rand(len(moments), generator=generator, dtype=torch.float64) - 0.5) * gap
    moved[0], moved[-1] = moved[0].abs(), -moved[-1].abs()
    return moments + moved


def test_clip(video: Video, start_s: float, spec: ClipSpec) -> tuple[Tensor, Tensor]:
    """The centre crop of a clip, (C, T, S, S) float, and the moments (T,) of its frames."""
    moments = clip_moments(start_s, spec)
    frames = video.frames_at_times(moments - 1e-6, size=test_size(video, spec)).frames
    return transforms.test_views(transforms.to_input(frames, spec), spec, 1)[0], moments


def build_streams(
    dataset: SequenceDataset,
    *,
    batch: int,
    seed: int,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
) -> ClipLoader:
    """A loader of ``batch`` clips per process and step, each the next of another stream.

    Raises ValueError for an empty table or numbers that cannot be.
    """
    check_place(dataset, batch, workers, rank, world)
    order = StreamOrder(
        numbers=dataset.numbers,
        batch=batch,
        seed=seed,
        rank=rank,
        world=world,
        training=dataset.training,
    )
    return ClipLoader(dataset, order, workers=workers)
