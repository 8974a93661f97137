"""Windows of long videos with the segments inside: what a detector of segments learns from.

    training     ``each`` random windows a video, among all that hold an instance well enough
    evaluation   windows a share apart, over the whole video; the last one may reach past its end

A window is ``spec.frames`` frames, ``spec.rate / spec.stride`` a second: frame i shows the moment
(start + i + 1/2) / rate. Where the video ends before, frames are zeros after normalisation, and
their ``times`` are no numbers.

``target`` of a sample is flat, (3 + 3 M,): the row of the video, the window's start in frames, and
how many of its frames are real; then M triples (start, end, class), class -1 where there are fewer.
In training they are frames of the window; in evaluation seconds of the video, and segments of no
clear class (-2) are among them.

Source: the data pipeline of BasicTAD. Differs: windows are drawn from those that fit instead of
again until one fits; colours are not swapped to BGR on the way.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import pyarrow.compute as pc
import torch
from torch import Generator, Tensor

from marey.choices import AugmentChoice, DataChoice, WindowChoice
from marey.data import photometry, transforms
from marey.data.augment import Draw, TrainAugment, cut
from marey.data.dataset import ClipShape, lost_frames, mirror_rules, seeded, why
from marey.data.table import ItemTable
from marey.types import ClipSpec, Failure, Sample, steps_a_second
from marey.video import Video, VideoError, VideoWarning, open_video
from marey.video.windows import padded_windows

_TRIES = 16  # other rows tried in place of an unreadable one


class WindowDataset:
    """Rows of ``items``, which have intervals, as windows.

    Raises ValueError for data without segments, or more classes than ``num_classes``.
    """

    def __init__(
        self,
        items: ItemTable,
        spec: ClipSpec,
        *,
        training: bool,
        windows: WindowChoice | None = None,
        augment: AugmentChoice | None = None,
        data: DataChoice | None = None,
        seed: int = 0,
        num_classes: int = 0,
    ) -> None:
        if not items.has_intervals:
            raise ValueError(
                "the data has no segments: give a list video,start_s,end_s,label, an ActivityNet "
                "JSON file or another format with times (see docs/when.md)"
            )
        count = num_classes or items.num_classes
        if items.num_classes > count:
            raise ValueError(
                f"the data has {items.num_classes} classes but the network {count}; "
                f"build it with num_classes={items.num_classes}"
            )
        self.items, self.spec, self.training, self.seed = items, spec, training, seed
        self.choice = windows or WindowChoice()
        if self.choice.each < 1:
            raise ValueError(
                f"windows.each is {self.choice.each}; a video has one window an epoch or more"
            )
        self.augment, self.data = augment or AugmentChoice(), data or DataChoice()
        self.views = (1, 1)
        self.most = max(1, pc.max(pc.list_value_length(items.table["intervals"])).as_py() or 1)
        self._keep, self._swap = mirror_rules(items.classes, self.augment)
        if training:
            self._train = TrainAugment(spec, self.augment)
        else:
            transforms.test_scale(spec, 1)
            self.places = self._plan()

    def __len__(self) -> int:
        return len(self.items) * self.choice.each if self.training else len(self.places)

    def sample(
        self, index: int, epoch: int, draw: int = 0, shape: ClipShape | None = None
    ) -> Sample:
        """A window of row ``index`` modulo the rows (training), or window ``index`` as a sample.

        An unreadable video is named in ``failures``; another row stands in for it in training.
        """
        if shape is not None:
            raise ValueError("windows have one shape: leave schedule.multigrid at none")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VideoWarning)  # told through failures instead
            if not self.training:
                return self._evaluation_sample(index)
            return self._readable_sample(index, seeded(self.seed, epoch, index, draw))

    def _plan(self) -> list[tuple[int, int]]:
        """(row, start in frames) of every window; a video that cannot be opened has one."""
        places = []
        for row in range(len(self.items)):
            try:
                with self._open(row) as video:
                    total = num_steps(video, self.spec)
            except VideoError:
                total = 1
            step = max(1, int((1 - self.choice.overlap) * self.spec.frames))
            starts = padded_windows(total, self.spec.frames, step)[:, 0].tolist()
            places += [(row, start) for start in starts]
        return places

    def _open(self, row: int) -> Video:
        tolerant = self.data.policy == "clamp"
        return open_video(
            self.items[row].video, backend=self.data.backend, tolerant=tolerant, fps=None
        )

    def _readable_sample(self, index: int, generator: Generator) -> Sample:
        failures: list[Failure] = []
        row = index % len(self.items)
        for _ in range(_TRIES):
            try:
                sample = self._training_sample(row, generator)
            except VideoError as error:
                failures.append(Failure(self.items[row].video, why(error)))
                row = int(torch.randint(len(self.items), (), generator=generator))
                continue
            return replace(sample, failures=(*failures, *sample.failures))
        raise ValueError(
            f"{len(failures)} files in a row could not be read, the last {failures[-1].source} "
            f"({failures[-1].reason}); check the data with 'marey data check'"
        )

    def _training_sample(self, row: int, generator: Generator) -> Sample:
        item, spec = self.items[row], self.spec
        with self._open(row) as video:
            total = num_steps(video, spec)
            spans, labels = self._segments(row, video)
            spans = spans * steps_a_second(spec)
            length = min(spec.frames, total)
            start = draw_window(total, length, spans, self.choice.complete, generator)
            may_flip = not self._keep.intersection(item.target)
            drawn = self._train.draw(video.height, video.width, generator, may_flip=may_flip)
            frames, times = window_frames(video, start, length, spec, size=_size(video, drawn))
            lost = lost_frames(item, video)
        clip = self._augmented(frames, drawn, generator)
        kept = completeness(spans, start, length) > self.choice.complete
        inside = (spans[kept] - start).clamp(0, length)
        if drawn.flip:
            labels = torch.tensor([self._swap.get(k, k) for k in labels.tolist()])
        target = packed((row, start, length), inside, labels[kept], self.most)
        return self._sample(clip, times, target, item.key, row, length, lost)

    def _augmented(self, frames: Tensor, drawn: Draw, generator: Generator) -> Tensor:
        frames = cut(frames, drawn)
        if _below(self.choice.photometric, generator):
            frames = photometry.distort(frames, generator)
        if _below(self.choice.rotation, generator):
            frames = photometry.rotate(frames, self.choice.angle, generator)
        if drawn.flip:
            frames = frames.flip(-1)
        return transforms.to_input(frames, self.spec)

    def _evaluation_sample(self, index: int) -> Sample:
        row, start = self.places[index]
        item, spec = self.items[row], self.spec
        try:
            with self._open(row) as video:
                length = min(spec.frames, num_steps(video, spec) - start)
                clip, times = test_window(video, start, length, spec)
                lost = lost_frames(item, video)
        except VideoError as error:
            failure = Failure(item.video, why(error))
            empty = torch.full((1, spec.frames), torch.nan, dtype=torch.float64)
            target = torch.zeros(3 + 3 * self.most)
            return Sample(None, None, target, item.key, empty, index, failures=(failure,))
        told = [(a, b, k) for a, b, k in self.items.intervals(row) if b > a]
        spans = torch.tensor([row[:2] for row in told], dtype=torch.float32).reshape(-1, 2)
        labels = torch.tensor([row[2] for row in told], dtype=torch.int64)
        target = packed((row, start, length), spans, labels, self.most)
        return self._sample(clip, times, target, f"{item.key}#{start}", index, length, lost)

    def _sample(
        self,
        clip: Tensor,
        times: Tensor,
        target: Tensor,
        key: str,
        index: int,
        length: int,
        lost: tuple[Failure, ...],
    ) -> Sample:
        """Padded to the whole window; counted as clamped where the padding is."""
        missing = self.spec.frames - length
        padded = torch.nn.functional.pad(clip, (0, 0, 0, 0, 0, missing))
        moments = torch.nn.functional.pad(times, (0, missing), value=torch.nan)
        short = missing > 0 and self.training
        return Sample(padded[None], None, target, key, moments[None], index, short, lost)

    def _segments(self, row: int, video: Video) -> tuple[Tensor, Tensor]:
        """Spans (N, 2) in seconds, cut to the video, and labels; without what is left of none."""
        told = [one for one in self.items.intervals(row) if one[2] >= 0]
        spans = torch.tensor([r[:2] for r in told], dtype=torch.float32).reshape(-1, 2)
        spans = spans.clamp(0, float(video.times[0]) + video.duration_s)
        labels = torch.tensor([r[2] for r in told], dtype=torch.int64)
        keep = spans[:, 1] > spans[:, 0]
        return spans[keep], labels[keep]


def num_steps(video: Video, spec: ClipSpec) -> int:
    """How many frames a video has at the rate of the spec, at least one."""
    return max(1, round((float(video.times[0]) + video.duration_s) * steps_a_second(spec)))


def completeness(spans: Tensor, start: int | Tensor, length: int) -> Tensor:
    """Share of each instance, or of the window if larger, that both have: (..., N).

    ``start`` may be (S, 1) for many windows at once.
    """
    shared = torch.minimum(spans[:, 1], torch.as_tensor(start + length))
    shared = (shared - torch.maximum(spans[:, 0], torch.as_tensor(start))).clamp_min(0)
    return torch.maximum(shared / (spans[:, 1] - spans[:, 0]), shared / length)


def draw_window(
    total: int, length: int, spans: Tensor, complete: float, generator: Generator
) -> int:
    """Start of a window, uniform among those that hold an instance by more than ``complete``.

    Any start where no window does, as in a video without instances.
    """
    starts = torch.arange(total - length + 1)
    good = (completeness(spans, starts[:, None], length) > complete).any(1)
    starts = starts[good] if good.any() else starts
    return int(starts[torch.randint(len(starts), (), generator=generator)])


def packed(head: tuple[int, int, int], spans: Tensor, labels: Tensor, most: int) -> Tensor:
    """The flat target of a sample, see the top of the page."""
    rows = torch.zeros(most + 1, 3)
    rows[1:, 2] = -1
    rows[0] = torch.tensor(head, dtype=torch.float32)
    rows[1 : len(labels) + 1, :2], rows[1 : len(labels) + 1, 2] = spans, labels.float()
    return rows.flatten()


def window_frames(
    video: Video, start: int, length: int, spec: ClipSpec, *, size: tuple[int, int] | None
) -> tuple[Tensor, Tensor]:
    """(T, C, H, W) uint8 frames of a window and the moments (T,) they stand for, seconds."""
    moments = (torch.arange(start, start + length, dtype=torch.float64) + 0.5) / steps_a_second(
        spec
    )
    clip = video.frames_at_times(moments - 1e-6, size=size)
    return clip.frames, moments


def test_size(video: Video, spec: ClipSpec) -> tuple[int, int]:
    """(H, W) of the frames a test window is cut from."""
    return transforms.short_side_size(video.height, video.width, transforms.test_scale(spec, 1))


def test_window(video: Video, start: int, length: int, spec: ClipSpec) -> tuple[Tensor, Tensor]:
    """(C, T, S, S) float of the centre crop, unpadded, and the moments (T,).

    Differs: frames shrink while they are decoded, as in training.
    """
    frames, moments = window_frames(video, start, length, spec, size=test_size(video, spec))
    return transforms.test_views(transforms.to_input(frames, spec), spec, 1)[0], moments


def _size(video: Video, drawn: Draw) -> tuple[int, int] | None:
    height, width = drawn.scaled
    return (height, width) if height < video.height and width < video.width else None


def _below(share: float, generator: Generator) -> bool:
    return float(torch.rand((), generator=generator)) < share
