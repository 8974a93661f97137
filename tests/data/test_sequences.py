"""Clips of long videos: their numbers and labels, the order of streams, files that fail."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marey.choices import AugmentChoice, DataChoice, StreamChoice
from marey.data.sequences import (
    SequenceDataset,
    build_streams,
    clip_moments,
    num_clips,
    perturbed,
)
from marey.data.sources import open_data
from marey.data.stream_order import Numbers, StreamOrder
from marey.data.table import ItemTable, build_table
from marey.types import ClipSpec
from marey.video import open_video, write_video

SPEC = ClipSpec(
    frames=2, stride=5, rate=10.0, size=16, test_size=16, short_side=16, jitter=(16, 20)
)  # one second a clip
PLAIN = AugmentChoice(flip=0.0)


@pytest.fixture
def segments(tmp_path: Path) -> Path:
    """Videos of 3.2, 5 and 0.6 seconds at 10 frames a second; frame k is grey 20 + 4 k."""
    for name, count in (("a", 32), ("b", 50), ("c", 6)):
        frames = [np.full((32, 48, 3), 20 + 4 * k, np.uint8) for k in range(count)]
        write_video(tmp_path / f"{name}.mp4", frames, 10, crf=4)
    lines = ["a.mp4,0.4,1.6,jump,train", "a.mp4,1.2,2.6,turn,train", "b.mp4,2.0,3.0,turn,train"]
    text = "\n".join(["video,start_s,end_s,label,split", *lines, "c.mp4,,,,train"])
    (tmp_path / "segments.csv").write_text(text + "\n")
    return tmp_path / "segments.csv"


def dataset(path: Path, *, training: bool = False, **fields: Any) -> SequenceDataset:
    items = open_data(str(path)).split("train")
    given = {"augment": PLAIN, **fields}
    return SequenceDataset(items, SPEC, training=training, **given)


def test_numbers_leave_one_out_between_videos() -> None:
    numbers = Numbers((4, 3, 1))
    assert [list(numbers.of(v)) for v in range(3)] == [[0, 1, 2, 3], [5, 6, 7], [9]]
    assert [numbers.place(n) for n in (0, 3, 5, 7, 9)] == [(0, 0), (0, 3), (1, 0), (1, 2), (2, 0)]
    assert numbers.total == 8


def order(training: bool, rank: int = 0, world: int = 1, batch: int = 2, **more: Any) -> Any:
    counts = more.pop("counts", (4, 3, 6, 1))
    place = {"batch": batch, "rank": rank, "world": world, "seed": 3, "training": training}
    return StreamOrder(numbers=Numbers(counts), **place)


def rows(one: StreamOrder, epoch: int = 0, start: int = 0) -> list[list[int]]:
    return [[row for row, _ in request.rows] for request in one.requests(epoch, start)]


def test_training_reads_every_clip_once_in_streams_that_run_on() -> None:
    steps = rows(order(True))
    assert len(steps) == order(True).steps(0) == 7
    assert all(len(step) == 2 for step in steps)
    numbers = Numbers((4, 3, 6, 1))
    every = {n for v in range(4) for n in numbers.of(v)}
    assert Counter(n for step in steps for n in step) == Counter(every)
    pairs = [pair for s, t in pairwise(steps) for pair in zip(s, t, strict=True)]
    follows = sum(b == a + 1 for a, b in pairs)
    assert follows >= 14 - 2 - 4 - 1  # all but the ends of videos and of streams
    assert rows(order(True), epoch=1) != steps
    assert rows(order(True), start=3) == steps[3:]


def test_processes_share_the_streams() -> None:
    alone = rows(order(True, batch=4))
    shares = [rows(order(True, rank=r, world=2)) for r in (0, 1)]
    assert [a + b for a, b in zip(*shares, strict=True)] == alone


def test_evaluation_reads_whole_videos_side_by_side() -> None:
    steps = rows(order(False))
    assert steps[0] == [9, 0]  # the longest two begin
    assert [len(step) for step in steps] == [2] * 7
    assert sorted(n for step in steps for n in step) == sorted(
        n for v in range(4) for n in Numbers((4, 3, 6, 1)).of(v)
    )
    for number in (1, 6, 12, 14):
        at = next(i for i, step in enumerate(steps) if number in step)
        assert number - 1 in steps[at - 1]
    assert rows(order(False), start=3) == steps[3:]
    shares = [n for r in (0, 1) for step in rows(order(False, rank=r, world=2)) for n in step]
    assert sorted(shares) == sorted(n for step in steps for n in step)


def test_clips_of_a_file(segments: Path) -> None:
    data = dataset(segments)
    assert data.numbers.counts == (3, 5, 1)
    assert len(data) == 9
    labels = [set(data[n].target) for n in (0, 1, 2, 4, 5, 6, 7, 8, 10)]
    assert labels == [{0}, {0, 1}, {1}, set(), set(), {1}, set(), set(), set()]  # at 0.5, 1.5 ...
    item = data[6]
    assert (Path(item.video).name, item.start_s, item.end_s) == ("b.mp4", 2.0, 3.0)
    assert item.key.endswith("b.mp4@2-3")


def test_a_sample_shows_the_frames_of_its_moments(segments: Path) -> None:
    data = dataset(segments, streams=StreamChoice(step_s=0.5))
    assert data.numbers.counts == (5, 9, 1)
    sample = data.sample(3, 0)
    assert sample.rgb is not None
    assert sample.rgb.shape == (1, 3, 2, 16, 16)
    assert sample.times.tolist() == [[1.75, 2.25]]
    with open_video(data[3].video) as video:
        wanted = video.frames_at([17, 22]).frames[:, 0].float().mean((1, 2))
    shown = sample.rgb[0, 0].mean((1, 2)) * 0.225 + 0.45
    assert torch.allclose(shown * 255, wanted, atol=1.5)
    assert not sample.clamped
    assert data.sample(16, 0).clamped  # 0.6 s of one


def test_frames_have_labels_of_their_own(segments: Path) -> None:
    told = {}
    for training in (True, False):
        data = dataset(segments, training=training)
        data.frame_level = True
        told[training] = [data.sample(n, 0).target for n in (0, 1, 2, 6)]
        assert all(isinstance(target, torch.Tensor) for target in told[training])
        assert [set(data[n].target) for n in (0, 1, 2)] == [{0}, {1}, set()]
    # a frame at 0.25 and 0.75, 1.25 and 1.75, 2.25 and 2.75 of a; at 2.25 and 2.75 of b
    jump, turn, both, none = [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]
    wanted = [[none, jump], [both, turn], [turn, none], [turn, turn]]
    assert [target.tolist() for target in told[True]] == wanted
    assert [target.tolist() for target in told[False]] == [frames[-1] for frames in wanted]


def test_mirrored_frames_have_mirrored_labels(segments: Path) -> None:
    augment = AugmentChoice(flip=1.0, swap_labels=(("jump", "turn"),))
    data = dataset(segments, training=True, augment=augment)
    data.frame_level = True
    assert data.sample(1, 0).target.tolist() == [[1.0, 1.0], [1.0, 0.0]]


def test_all_clips_of_a_video_are_cut_alike(segments: Path) -> None:
    for shared in (True, False):
        data = dataset(segments, training=True, streams=StreamChoice(share_crop=shared), seed=1)
        drawn = []
        draw = data._train.draw

        def noted(*args: Any, draw: Any = draw, drawn: list = drawn, **more: Any) -> Any:
            drawn.append(draw(*args, **more))
            return drawn[-1]

        data._train.draw = noted  # type: ignore[method-assign]
        for number in (4, 5, 6, 7, 8):
            data.sample(number, 0)
        assert (len(set(drawn)) == 1) == shared


def test_perturbed_moments_stay_in_their_share() -> None:
    spec = replace(SPEC, frames=8)
    even = clip_moments(3.0, spec)
    generator = torch.Generator().manual_seed(0)
    found = torch.stack([perturbed(even, spec, generator) - even for _ in range(200)])
    assert found.abs().max() <= 0.25
    assert found.std() > 0.1
    assert found[:, 0].min() >= 0
    assert found[:, -1].max() <= 0


def test_labels_of_whole_videos_hold_for_all_their_clips(segments: Path) -> None:
    table = build_table(["b.mp4"], [1])
    data = SequenceDataset(
        ItemTable(table, ("x", "y"), root=segments.parent), SPEC, training=False, augment=PLAIN
    )
    assert [data[n].target for n in range(5)] == [(1,)] * 5


def test_a_broken_file_is_named_and_another_clip_stands_in(segments: Path) -> None:
    (segments.parent / "a.mp4").write_bytes(b"no video")
    data = dataset(segments)
    assert data.numbers.counts == (1, 5, 1)
    sample = data.sample(0, 0)
    assert sample.rgb is None
    assert sample.failures[0].source.endswith("a.mp4")
    training = dataset(segments, training=True).sample(0, 0)
    assert training.rgb is not None
    assert training.index != 0
    assert training.failures[0].source.endswith("a.mp4")


def test_workers_make_the_same_batches(segments: Path) -> None:
    found = []
    for workers in (0, 1):
        loader = build_streams(dataset(segments, training=True), batch=2, seed=0, workers=workers)
        try:
            found.append(list(loader.epoch(0)))
        finally:
            loader.close()
    assert len(found[0]) == 5
    for one, two in zip(*found, strict=True):
        assert one.keys == two.keys
        assert torch.equal(one.rgb, two.rgb)
        assert torch.equal(one.index, two.index)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"augment": AugmentChoice(mixup=0.8)}, "leave augment.mixup and cutmix at 0"),
        ({"augment": AugmentChoice(repeats=2)}, "repeats at 1"),
        ({"streams": StreamChoice(step_s=-1)}, "streams.step_s is -1"),
        ({"data": DataChoice(policy="strict")}, r"c.mp4 lasts 0.60 s but a clip 1.00 s"),
        ({"num_classes": 1}, "the data has 2 classes but the network 1"),
    ],
)
def test_what_cannot_be_is_refused(segments: Path, fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataset(segments, **fields)


def test_parts_of_videos_are_clips_in_their_middle_in_order_of_time(segments: Path) -> None:
    rows = [("b.mp4", 3.0, 4.0, 1), ("a.mp4", 2.0, 2.6, 0), ("b.mp4", 0.0, 0.4, 0)]
    paths, starts, ends, labels = zip(*rows, strict=True)
    table = build_table(paths, labels, start_s=starts, end_s=ends)
    items = ItemTable(table, ("x", "y"), root=segments.parent)
    data = SequenceDataset(items, SPEC, training=False)
    assert (data.numbers.counts, len(data)) == ((2, 1), 3)
    assert [data[n].target for n in (0, 1, 3)] == [(0,), (1,), (0,)]
    assert [data[n].start_s for n in (0, 1, 3)] == [0.0, 3.0, 2.0]
    early, late = data.sample(0, 0), data.sample(1, 0)
    assert early.times[0].tolist() == pytest.approx([-0.05, 0.45])  # 0.2 s, half a second around
    assert late.times[0].tolist() == pytest.approx([3.25, 3.75])
    greys = [sample.rgb[0, 0, :, 8, 8].tolist() for sample in (early, late)]
    expected = [[20, 20 + 4 * 4], [20 + 4 * 32, 20 + 4 * 37]]
    for grey, values in zip(greys, expected, strict=True):
        assert grey == pytest.approx([(v / 255 - 0.45) / 0.225 for v in values], abs=0.06)
    assert late.target.tolist() == [0.0, 1.0]


def test_parts_need_both_times_and_no_step(segments: Path) -> None:
    table = build_table(["a.mp4", "b.mp4"], [0, 0], start_s=[0.0, None], end_s=[1.0, None])
    items = ItemTable(table, ("x",), root=segments.parent)
    with pytest.raises(ValueError, match=r"row 1 \(b.mp4\) has no start or no end"):
        SequenceDataset(items, SPEC, training=False)
    with pytest.raises(ValueError, match="streams.step_s is 2, but the data has a row"):
        SequenceDataset(items.select([0]), SPEC, training=False, streams=StreamChoice(step_s=2.0))
    with pytest.raises(ValueError, match="rank 2 is not one of 2"):
        build_streams(dataset(segments), batch=1, seed=0, rank=2, world=2)


def test_how_many_clips_lie_in_a_video(segments: Path) -> None:
    with open_video(segments.parent / "b.mp4") as video:
        assert [num_clips(video, step, SPEC) for step in (1.0, 0.5, 2.0, 3.99, 10.0)] == [
            5,
            9,
            3,
            2,
            1,
        ]
