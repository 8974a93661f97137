"""Windows of long videos: which are drawn, what is in them, and how the end is padded."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from marey.choices import AugmentChoice, WindowChoice
from marey.data import windows as w
from marey.data.loader import build_loader
from marey.data.sources import open_data
from marey.data.table import ItemTable
from marey.data.windows import WindowDataset
from marey.types import ClipSpec
from marey.video.writer import write_video

SPEC = ClipSpec(
    frames=16,
    stride=1,
    rate=4.0,
    size=16,
    test_size=16,
    short_side=16,
    jitter=(16, 16),
    mean=(0.0,) * 3,
    std=(1.0,) * 3,
)
STILL = WindowChoice(photometric=0.0, rotation=0.0)
PLAIN = AugmentChoice(flip=0.0)


@pytest.fixture
def items(tmp_path: Path) -> ItemTable:
    """Ten seconds whose brightness is the time, with two instances; three seconds with one; a file
    that is not there."""
    for name, seconds in (("long", 10), ("short", 3)):
        level = np.arange(seconds * 8, dtype=np.uint8)[:, None, None, None] * 3
        frames = np.broadcast_to(level, (seconds * 8, 16, 24, 3)).copy()
        write_video(tmp_path / f"{name}.mp4", frames, 8.0)
    (tmp_path / "list.csv").write_text(
        "video,start_s,end_s,label\n"
        "long.mp4,1,2,throw\nlong.mp4,7,12,catch\nlong.mp4,5,4,throw\n"
        "short.mp4,0.5,2.5,catch\ngone.mp4,0,1,throw\n"
    )
    return open_data(tmp_path / "list.csv").splits[""]


def made(items: ItemTable, *, training: bool) -> WindowDataset:
    return WindowDataset(items, SPEC, training=training, windows=STILL, augment=PLAIN)


def test_completeness_is_of_the_instance_or_the_window() -> None:
    spans = torch.tensor([[0.0, 10.0], [8.0, 9.0], [-100.0, 100.0]])
    found = w.completeness(spans, 5, 5)
    assert found.tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert w.completeness(spans, 8, 4).tolist() == pytest.approx([0.5, 1.0, 1.0])
    assert w.completeness(spans, 20, 4).tolist() == pytest.approx([0.0, 0.0, 1.0])


def test_windows_are_drawn_from_all_that_fit_and_no_others() -> None:
    spans = torch.tensor([[10.0, 14.0]])
    draw = torch.Generator().manual_seed(0)
    drawn = {w.draw_window(40, 8, spans, 0.75, draw) for _ in range(400)}
    assert drawn == {6, 7, 8, 9, 10}  # more than three of four steps inside
    anywhere = {w.draw_window(12, 8, spans[:0], 0.75, draw) for _ in range(100)}
    assert anywhere == {0, 1, 2, 3, 4}


def test_a_training_window_has_its_instances_in_its_own_frames(items: ItemTable) -> None:
    data = made(items, training=True)
    assert len(data) == 3
    seen = set()
    for epoch in range(12):
        sample = data.sample(0, epoch)
        row, start, valid = sample.target[:3].tolist()  # type: ignore[index]
        assert (row, valid) == (0, 16)
        assert sample.rgb is not None
        assert sample.rgb.shape == (1, 3, 16, 16, 16)
        brightness = 255 * sample.rgb[0, :, :, 0, 0].mean(0)
        wanted = 3 * ((start + torch.arange(16).double() + 0.5) / 4 * 8 - 1e-6).floor()
        assert (brightness - wanted).abs().max() < 4  # the compression's
        for begin, end, label in sample.target[3:].unflatten(0, (-1, 3)).tolist():  # type: ignore[union-attr]
            if label >= 0:
                seen.add((label, start + begin, start + end))
    assert (1.0, 4.0, 8.0) in seen
    assert all(label == 1.0 or end <= 40 for label, _, end in seen)  # cut to the video
    assert not any(begin >= end for _, begin, end in seen)


def test_a_video_may_give_several_windows_an_epoch(items: ItemTable) -> None:
    """The rows come ``each`` times, and every time another window is drawn."""
    data = WindowDataset(
        items, SPEC, training=True, windows=replace(STILL, each=8), augment=PLAIN, seed=3
    )
    assert len(data) == 24
    samples = [data.sample(index, 0) for index in range(0, 24, 3)]
    assert {int(s.target[0]) for s in samples} == {0}  # type: ignore[index]
    assert len({int(s.target[1]) for s in samples}) > 3  # type: ignore[index]
    with pytest.raises(ValueError, match="each is 0; a video has one window"):
        WindowDataset(items, SPEC, training=True, windows=WindowChoice(each=0))


def test_the_end_is_padded_with_zeros_and_no_times(items: ItemTable) -> None:
    sample = made(items, training=True).sample(1, 0)
    assert sample.clamped
    assert sample.target[2] == 12  # type: ignore[index]
    assert sample.rgb is not None
    assert not sample.rgb[0, :, 12:].any()
    assert torch.isnan(sample.times[0]).tolist() == [False] * 12 + [True] * 4
    assert sample.times[0, 0] == pytest.approx(0.125)


def test_evaluation_covers_every_frame_and_tells_the_whole_truth(items: ItemTable) -> None:
    data = made(items, training=False)
    assert data.places == [(0, 0), (0, 12), (0, 24), (1, 0), (2, 0)]
    last = data.sample(2, 0)
    assert last.target[:3].tolist() == [0, 24, 16]  # type: ignore[index]
    told = last.target[3:].unflatten(0, (-1, 3)).tolist()  # type: ignore[union-attr]
    assert told == [[1, 2, 1], [7, 12, 0], [0, 0, -1]]
    gone = data.sample(4, 0)
    assert gone.rgb is None
    assert "gone.mp4" in gone.failures[0].source


def test_a_missing_file_is_replaced_in_training_and_named(items: ItemTable) -> None:
    sample = made(items, training=True).sample(2, 0)
    assert sample.rgb is not None
    assert sample.failures[0].source.endswith("gone.mp4")


def test_batches_do_not_depend_on_the_worker(items: ItemTable) -> None:
    data = WindowDataset(items.select([0, 1]), SPEC, training=True)
    loaders = [build_loader(data, batch=2, training=True, seed=3, workers=n) for n in (0, 1)]
    first, second = (next(iter(loader.epoch(1))) for loader in loaders)
    for loader in loaders:
        loader.close()
    assert first.rgb is not None
    assert second.rgb is not None
    assert torch.equal(first.rgb, second.rgb)
    assert torch.equal(first.target, second.target)  # type: ignore[arg-type]


def test_classes_that_trade_names_when_mirrored(items: ItemTable) -> None:
    mirrored = AugmentChoice(flip=1.0, swap_labels=(("throw", "catch"),))
    data = WindowDataset(items, SPEC, training=True, windows=STILL, augment=mirrored)
    assert data.sample(1, 0).target[5] == 1  # type: ignore[index]


def test_data_without_segments_and_too_many_classes_are_refused(items: ItemTable) -> None:
    with pytest.raises(ValueError, match="the data has 2 classes but the network 1"):
        WindowDataset(items, SPEC, training=True, num_classes=1)
    plain = ItemTable(items.table.drop_columns(["intervals"]), items.classes)
    with pytest.raises(ValueError, match="the data has no segments"):
        WindowDataset(plain, replace(SPEC), training=True)
