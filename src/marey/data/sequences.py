"""Clips of long videos in order of time, several videos side by side.

    number   0 1 2 3   5 6 7   9 10      clips of a video follow each other, and between two videos
    video    a a a a   b b b   c c       one number is left out

    training     the videos, shuffled anew each epoch, in one row; the row is cut into as many equal
                 streams as a batch has places, so that every clip is read once an epoch
    evaluation   whole videos: a place of the batch takes the next one when its own has ended

Clip k covers the seconds from k * step on; its labels are those that hold at its middle, or the
video's own where it has no segments. Clips end where a video does: what is left is shorter than a
step. Batches carry the clips' numbers as their ``index``, by which a memory finds its video again.

Source: C.-Y. Wu et al., "MeMViT", CVPR 2022, the authors' data loader.
Differs: their streams leave some clips out and read others twice where their number does not
divide the clips; in evaluation they cut videos. The crop and the mirror of a video's clips can be
one draw (``share_crop``), so that what is remembered is where it was.
"""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Generator, Tensor

from marey.choices import AugmentChoice, DataChoice, StreamChoice
from marey.data import transforms
from marey.data.augment import TrainAugment
from marey.data.dataset import ClipShape, lost_frames, mirror_rules, seeded, why
from marey.data.loader import ClipLoader, Request
from marey.data.table import ItemTable
from marey.data.windows import test_size
from marey.types import ClipSpec, Failure, Item, Sample, steps_a_second
from marey.video import Video, VideoError, VideoWarning, open_video

_TRIES = 16  # other clips tried in place of an unreadable one
_OPEN = 16  # files held open at once, so that a stream does not open its own for every clip


@dataclass(frozen=True)
class Numbers:
    """Which numbers the clips of each video have; ``counts`` (V,) clips of each, one or more."""

    counts: tuple[int, ...]

    @cached_property
    def first(self) -> list[int]:
        """The number of each video's first clip."""
        return [0, *accumulate(count + 1 for count in self.counts)][: len(self.counts)]

    @cached_property
    def total(self) -> int:
        """Clips of all videos."""
        return sum(self.counts)

    def place(self, number: int) -> tuple[int, int]:
        """(video, clip of it) of a number."""
        video = bisect_right(self.first, number) - 1
        return video, number - self.first[video]

    def of(self, video: int) -> range:
        """The numbers of a video's clips."""
        return range(self.first[video], self.first[video] + self.counts[video])


@dataclass(frozen=True, kw_only=True)
class StreamOrder:
    """Which clips make which batch, as ``loader.Order`` says it of rows."""

    numbers: Numbers
    batch: int
    seed: int
    rank: int
    world: int
    training: bool

    def steps(self, epoch: int) -> int:
        """Steps of this rank, in every epoch."""
        if self.training:
            return -(-self.numbers.total // (self.batch * self.world))
        return sum(1 for _ in self._whole())

    def requests(self, epoch: int, start_step: int = 0) -> Iterator[Request]:
        """The batches of this rank from a step of an epoch on."""
        steps = self._cut(epoch, start_step) if self.training else self._whole()
        for step, clips in enumerate(steps, start=start_step if self.training else 0):
            if step >= start_step:
                yield Request(epoch, step, tuple((clip, 0) for clip in clips), None)

    def _cut(self, epoch: int, start_step: int) -> Iterator[list[int]]:
        """One clip of each of this rank's streams."""
        shuffled = torch.randperm(len(self.numbers.counts), generator=seeded(self.seed, epoch))
        row = [clip for video in shuffled.tolist() for clip in self.numbers.of(video)]
        length = self.steps(epoch)
        mine = range(self.rank * self.batch, (self.rank + 1) * self.batch)
        for step in range(start_step, length):
            yield [row[(stream * length + step) % len(row)] for stream in mine]

    def _whole(self) -> Iterator[list[int]]:
        """The next clip of each video that is being read, longest videos first."""
        longest = sorted(range(len(self.numbers.counts)), key=lambda v: -self.numbers.counts[v])
        waiting = deque(longest[self.rank :: self.world])
        reading: list[deque[int]] = []
        while waiting or reading:
            while waiting and len(reading) < self.batch:
                reading.append(deque(self.numbers.of(waiting.popleft())))
            yield [clips.popleft() for clips in reading]
            reading = [clips for clips in reading if clips]


class SequenceDataset:
    """The clips of the videos in ``items``, a row a video, by number.

    Raises ValueError for rows that are parts of videos, more classes than ``num_classes``, and
    augmentation that mixes or repeats clips.
    """

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
        if len(items) and items.times(0) != (None, None):
            raise ValueError(
                "each row of the data is a part of a video, but clips are read in order from whole "
                "videos: give segments, video,start_s,end_s,label (see docs/when.md)"
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
        self.numbers = Numbers(tuple(self._count(row) for row in range(len(items))))

    def __len__(self) -> int:
        return self.numbers.total

    @property
    def items(self) -> SequenceDataset:
        """Itself, as what tells the video and the times of a clip."""
        return self

    def __getitem__(self, number: int) -> Item:
        """A clip's video, times, labels and key."""
        row, clip = self.numbers.place(number)
        start = clip * self.step_s
        end = start + clip_length_s(self.spec)
        item = self.table[row]
        return Item(item.video, start, end, self.labels(row, clip), f"{item.key}@{start:g}-{end:g}")

    def labels(self, row: int, clip: int) -> tuple[int, ...]:
        """Class numbers that hold in the middle of a clip."""
        middle = clip * self.step_s + clip_length_s(self.spec) / 2
        return self.table.target_within(row, middle, middle)

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
                row, _ = self.numbers.place(number)
                failures.append(Failure(self.table[row].video, why(error)))
                row = int(torch.randint(len(self.table), (), generator=generator))
                clips = self.numbers.of(row)
                number = clips[int(torch.randint(len(clips), (), generator=generator))]
                continue
            return replace(sample, failures=(*failures, *sample.failures))
        raise ValueError(
            f"{len(failures)} files in a row could not be read, the last {failures[-1].source} "
            f"({failures[-1].reason}); check the data with 'marey data check'"
        )

    def _training_sample(self, number: int, epoch: int) -> Sample:
        row, clip = self.numbers.place(number)
        own = seeded(self.seed, epoch, number)
        generator = seeded(self.seed, epoch, row) if self.choice.share_crop else own
        video = self._open(row)
        may_flip = not self._keep.intersection(self.table.target(row))
        drawn = self._train.draw(video.height, video.width, generator, may_flip=may_flip)
        moments = clip_moments(clip, self.step_s, self.spec)
        if self.choice.perturb:
            moments = perturbed(moments, self.spec, own)
        height, width = drawn.scaled
        smaller = height < video.height and width < video.width
        size = (height, width) if smaller else None
        frames = video.frames_at_times(moments - 1e-6, size=size).frames
        pixels = self._train.apply(frames, drawn, generator)
        labels = self.labels(row, clip)
        if drawn.flip:
            labels = tuple(self._swap.get(label, label) for label in labels)
        return self._sample(number, pixels, moments, labels, video)

    def _evaluation_sample(self, number: int) -> Sample:
        row, clip = self.numbers.place(number)
        try:
            video = self._open(row)
            pixels, moments = test_clip(video, clip, self.step_s, self.spec)
        except VideoError as error:
            failure = Failure(self.table[row].video, why(error))
            empty = torch.zeros(1, self.spec.frames, dtype=torch.float64)
            weights = self._weights(())
            key = self[number].key
            return Sample(None, None, weights, key, empty, number, failures=(failure,))
        return self._sample(number, pixels, moments, self.labels(row, clip), video)

    def _sample(
        self,
        number: int,
        pixels: Tensor,
        moments: Tensor,
        labels: Sequence[int],
        video: Video,
    ) -> Sample:
        return Sample(
            rgb=pixels[None],
            flow=None,
            target=self._weights(labels),
            key=self[number].key,
            times=moments[None],
            index=number,
            clamped=end_of(video) < clip_length_s(self.spec) - 1e-6,
            failures=lost_frames(self.table[self.numbers.place(number)[0]], video),
        )

    def _weights(self, labels: Sequence[int]) -> Tensor:
        weights = torch.zeros(self.num_classes)
        weights[list(labels)] = 1.0
        return weights

    def _count(self, row: int) -> int:
        """Clips of a video; one that cannot be opened has one, which then says so."""
        try:
            with self._read(row) as video:
                if self.data.policy == "strict" and end_of(video) < clip_length_s(self.spec):
                    raise ValueError(
                        f"{video.source} lasts {end_of(video):.2f} s but a clip "
                        f"{clip_length_s(self.spec):.2f} s under policy='strict'; use "
                        "policy='clamp' or a longer video"
                    )
                return num_clips(video, self.step_s, self.spec)
        except VideoError:
            return 1

    def _open(self, row: int) -> Video:
        """A video, left open for the clips to come."""
        if row not in self._held:
            self._held[row] = self._read(row)
        self._held[row] = video = self._held.pop(row)
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


def clip_moments(clip: int, step_s: float, spec: ClipSpec) -> Tensor:
    """When each frame of a clip is seen, (T,) seconds: in the middle of its share of the clip."""
    share = torch.arange(spec.frames, dtype=torch.float64) + 0.5
    return clip * step_s + share / steps_a_second(spec)


def perturbed(moments: Tensor, spec: ClipSpec, generator: Generator) -> Tensor:
    """Each moment moved by up to half the gap between frames, the first forward, the last back."""
    gap = 1 / steps_a_second(spec)
    moved = (torch.rand(len(moments), generator=generator, dtype=torch.float64) - 0.5) * gap
    moved[0], moved[-1] = moved[0].abs(), -moved[-1].abs()
    return moments + moved


def test_clip(video: Video, clip: int, step_s: float, spec: ClipSpec) -> tuple[Tensor, Tensor]:
    """The centre crop of a clip, (C, T, S, S) float, and the moments (T,) of its frames."""
    moments = clip_moments(clip, step_s, spec)
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
    if not len(dataset):
        raise ValueError("the split has no rows; choose another split or check the list")
    if batch < 1 or workers < 0:
        raise ValueError(f"batch {batch} with {workers} workers; use at least 1 and 0")
    if not 0 <= rank < world:
        raise ValueError(f"rank {rank} is not one of {world} processes, counted from 0")
    order = StreamOrder(
        numbers=dataset.numbers,
        batch=batch,
        seed=seed,
        rank=rank,
        world=world,
        training=dataset.training,
    )
    return ClipLoader(dataset, order, workers=workers)
