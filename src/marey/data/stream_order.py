"""Which clips of long videos make which batch: each the next of its video, videos side by side.

    number   0 1 2 3   5 6 7   9 10      clips of a video follow each other, and between two videos
    video    a a a a   b b b   c c       one number is left out

    training     the videos, shuffled anew each epoch, in one row; the row is cut into as many equal
                 streams as a batch has places, so that every clip is read once an epoch
    evaluation   whole videos: a place of the batch takes the next one when its own has ended

Source: C.-Y. Wu et al., "MeMViT", CVPR 2022, the authors' data loader.
Differs: their streams leave some clips out and read others twice where their number does not
divide the clips; in evaluation they cut videos.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch

from marey.data.dataset import seeded
from marey.data.loader import Request


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
