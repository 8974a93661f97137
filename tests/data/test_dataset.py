import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from marey.choices import AugmentChoice, DataChoice
from marey.data import transforms
from marey.data.dataset import ClipDataset, ClipShape, frame_span, read_image, seeded
from marey.data.table import ItemTable, build_table
from marey.types import ClipSpec
from marey.video import VideoError, open_video, write_video

SPEC = ClipSpec(
    frames=4,
    stride=2,
    rate=25.0,
    size=24,
    test_size=24,
    short_side=32,
    jitter=(24, 32),
    views=(2, 3),
)
PLAIN = AugmentChoice(flip=0.0)


@pytest.fixture
def clips(tmp_path: Path, make_video) -> ItemTable:
    for i, name in enumerate(("long", "short", "other")):
        make_video(tmp_path / f"{name}.mp4", frames=(20, 5, 16)[i], tint=i)
    rows = build_table(["long.mp4", "short.mp4", "other.mp4"], [0, 1, 2])
    return ItemTable(rows, ("left", "right", "still"), root=tmp_path)


def levels(rgb: torch.Tensor) -> list[int]:
    """Frame numbers of the first view, from the grey of the left edge."""
    grey = (rgb[0, 0, :, 12, 1] * 0.225 + 0.45) * 255
    return [round((g - 10) / 8) for g in grey.tolist()]


def test_a_training_sample_holds_one_view_with_the_times_of_its_frames(clips: ItemTable) -> None:
    dataset = ClipDataset(clips, SPEC, training=True, augment=PLAIN, seed=3)
    sample = dataset.sample(0, epoch=1)
    assert sample.rgb.shape == (1, 3, 4, 24, 24)
    assert sample.times.shape == (1, 4)
    frames = [round(t * 25) for t in sample.times[0].tolist()]
    assert levels(sample.rgb) == frames
    assert torch.equal(sample.target, torch.tensor([1.0, 0, 0]))
    assert (sample.key, sample.index, sample.clamped, sample.failures) == ("long.mp4", 0, False, ())


def test_seed_epoch_row_and_draw_fix_everything(clips: ItemTable) -> None:
    choice = AugmentChoice(rand_layers=2, colour=0.4, erasing=0.5)
    dataset = ClipDataset(clips, SPEC, training=True, augment=choice, seed=3)
    first = dataset.sample(0, 1, 0)
    again = ClipDataset(clips, SPEC, training=True, augment=choice, seed=3).sample(0, 1, 0)
    assert torch.equal(first.rgb, again.rgb)
    for other in (dataset.sample(0, 2, 0), dataset.sample(0, 1, 1)):
        assert not torch.equal(first.rgb, other.rgb)
    moved = ClipDataset(clips, SPEC, training=True, augment=choice, seed=4).sample(0, 1, 0)
    assert not torch.equal(first.rgb, moved.rgb)
    assert seeded(1, 2).initial_seed() != seeded(12).initial_seed()


def test_evaluation_holds_all_views_time_major(clips: ItemTable, tmp_path: Path) -> None:
    dataset = ClipDataset(clips, SPEC, training=False)
    sample = dataset.sample(0, epoch=0)
    assert sample.rgb.shape == (6, 3, 4, 24, 24)
    # 20 frames, window 8: views start at 0 and 12 * 1/2; indices trunc(linspace(s, s + 7, 4))
    rows = [[round(t * 25) for t in row] for row in sample.times.tolist()]
    assert rows == [[0, 2, 4, 7]] * 3 + [[6, 8, 10, 13]] * 3
    with open_video(tmp_path / "long.mp4") as video:
        frames = video.frames_at([6, 8, 10, 13]).frames
    expected = transforms.test_views(transforms.to_input(frames, SPEC), SPEC, 3)
    torch.testing.assert_close(sample.rgb[3:], expected)


def test_each_video_is_decoded_once_for_all_views(
    clips: ItemTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from marey.video import Video

    asked = []
    frames_at = Video.frames_at
    monkeypatch.setattr(
        Video, "frames_at", lambda self, at, **k: asked.append(list(at)) or frames_at(self, at, **k)
    )
    ClipDataset(clips, SPEC, training=False, views=(5, 3)).sample(1, 0)
    assert len(asked) == 1
    assert len(asked[0]) == len(set(map(int, asked[0]))) <= 5


def test_short_clips_are_clamped_and_marked_or_refused(clips: ItemTable) -> None:
    sample = ClipDataset(clips, SPEC, training=False, views=(1, 1)).sample(1, 0)
    assert sample.clamped
    assert [round(t * 25) for t in sample.times[0].tolist()] == [0, 2, 4, 4]
    strict = ClipDataset(
        clips, SPEC, training=True, augment=PLAIN, data=DataChoice(policy="strict")
    )
    assert not strict.sample(0, 0).clamped
    with pytest.raises(ValueError) as caught:
        strict.sample(1, 0)
    assert str(caught.value) == (
        "clip short.mp4 has 5 frames but the network needs 8 (4 frames, 2 apart) under "
        "policy='strict'; use policy='clamp' or a longer video"
    )


def test_an_unreadable_file_is_named_and_replaced_in_training(
    clips: ItemTable, tmp_path: Path
) -> None:
    (tmp_path / "other.mp4").write_text("404: Not Found")
    dataset = ClipDataset(clips, SPEC, training=True, augment=PLAIN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sample = dataset.sample(2, 0)
    assert sample.index in (0, 1)
    assert {f.source for f in sample.failures} == {str(tmp_path / "other.mp4")}
    assert torch.equal(sample.rgb, dataset.sample(2, 0).rgb)
    seen = {dataset.sample(2, epoch).index for epoch in range(12)}
    assert seen == {0, 1}


def test_an_unreadable_file_is_left_out_of_evaluation(clips: ItemTable, tmp_path: Path) -> None:
    (tmp_path / "other.mp4").unlink()
    sample = ClipDataset(clips, SPEC, training=False).sample(2, 0)
    assert sample.rgb is None
    assert sample.times.shape == (6, 4)
    assert sample.failures[0].source == str(tmp_path / "other.mp4")


def test_when_nothing_can_be_read_training_stops(clips: ItemTable, tmp_path: Path) -> None:
    for name in ("long", "short", "other"):
        (tmp_path / f"{name}.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match="files in a row could not be read"):
        ClipDataset(clips, SPEC, training=True).sample(0, 0)


def test_direction_is_kept_or_labels_trade_places(clips: ItemTable) -> None:
    always = AugmentChoice(flip=1.0, keep_direction=("still",), swap_labels=(("left", "right"),))
    dataset = ClipDataset(clips, SPEC, training=True, augment=always)

    def bright_side(sample) -> str:
        row = sample.rgb[0, 0, 0, 12]
        return "left" if row[:2].mean() > row[-2:].mean() else "right"

    mirrored, kept = dataset.sample(0, 0), dataset.sample(2, 0)
    assert torch.equal(mirrored.target, torch.tensor([0, 1.0, 0]))
    assert bright_side(mirrored) == "left"
    assert torch.equal(kept.target, torch.tensor([0, 0, 1.0]))
    assert bright_side(kept) == "right"
    plain = ClipDataset(clips, SPEC, training=True, augment=PLAIN).sample(0, 0)
    assert bright_side(plain) == "right"
    with pytest.raises(ValueError, match="keep_direction names class 'stil'.*did you mean 'still'"):
        ClipDataset(clips, SPEC, training=True, augment=AugmentChoice(keep_direction=("stil",)))


def test_timed_rows_are_sampled_inside_their_span(tmp_path: Path, make_video) -> None:
    make_video(tmp_path / "a.mp4", frames=24)
    rows = build_table(["a.mp4"], [0], start_s=[0.4], end_s=[0.6])
    items = ItemTable(rows, ("word",), root=tmp_path)
    sample = ClipDataset(items, SPEC, training=False, views=(1, 1)).sample(0, 0)
    assert [round(t * 25) for t in sample.times[0].tolist()] == [10, 12, 14, 14]
    assert sample.clamped
    wide = ClipDataset(items.with_context(0.12), SPEC, training=False, views=(1, 1)).sample(0, 0)
    assert round(float(wide.times[0, 0]) * 25) == 7
    assert not wide.clamped


def test_a_span_is_half_open_and_never_empty() -> None:
    times = torch.arange(10, dtype=torch.float64) / 25 + 1.0
    assert frame_span(times, None, None) is None
    assert frame_span(times, 1.04, 1.12) == (1, 3)
    assert frame_span(times, None, 1.2) == (0, 5)
    assert frame_span(times, 1.3, None) == (8, 10)
    assert frame_span(times, 1.05, 1.06) == (2, 3)
    assert frame_span(times, 9.0, 10.0) == (9, 10)


def test_labels_of_a_part_follow_the_sampled_frames(tmp_path: Path, make_video) -> None:
    make_video(tmp_path / "a.mp4", frames=20)
    intervals = [
        [
            {"start_s": 0.0, "end_s": 0.3, "label": 0},
            {"start_s": 0.5, "end_s": 0.8, "label": 1},
        ]
    ]
    rows = build_table(["a.mp4"], [[0, 1]], intervals=intervals, multi_label=True)
    items = ItemTable(rows, ("one", "two"), root=tmp_path)
    dataset = ClipDataset(items, SPEC, training=True, augment=PLAIN)
    seen = set()
    for epoch in range(12):
        sample = dataset.sample(0, epoch)
        first, last = sample.times[0, 0].item(), sample.times[0, -1].item()
        expected = torch.tensor([float(first < 0.3), float(last >= 0.5)])
        assert torch.equal(sample.target, expected)
        seen.add(tuple(sample.target.tolist()))
    assert len(seen) > 1
    whole = ClipDataset(items, SPEC, training=False).sample(0, 0)
    assert torch.equal(whole.target, torch.tensor([1.0, 1.0]))


def test_another_shape_keeps_the_span_of_time(clips: ItemTable) -> None:
    dataset = ClipDataset(clips, SPEC, training=True, augment=PLAIN)
    sample = dataset.sample(0, 0, shape=ClipShape(frames=2, size=16))
    assert sample.rgb.shape == (1, 3, 2, 16, 16)
    spans = set()
    for epoch in range(40):
        times = dataset.sample(0, epoch, shape=ClipShape(frames=2, size=16)).times[0]
        spans.add(round(float(times[1] - times[0]) * 25))
    assert spans == {3, 5, 7}  # strides 2, 3, 4 of two frames: windows of 4, 6, 8


def test_pictures_are_videos_of_one_frame(tmp_path: Path) -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, :30] = (200, 10, 90)
    Image.fromarray(picture).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("not a picture")
    assert np.array_equal(read_image(str(tmp_path / "a.png"))[0], picture)
    with pytest.raises(VideoError, match=r"b\.png"):
        read_image(str(tmp_path / "b.png"))
    items = ItemTable(build_table(["a.png", "b.png"], [0, 1]), ("a", "b"), root=tmp_path)
    spec = ClipSpec(frames=1, stride=1, size=32, test_size=32, short_side=32, jitter=(32, 40))
    sample = ClipDataset(items, spec, training=False, views=(1, 1)).sample(0, 0)
    assert sample.rgb.shape == (1, 3, 1, 32, 32)
    assert not sample.clamped
    assert ClipDataset(items, spec, training=False).sample(1, 0).rgb is None


def test_damaged_files_are_used_and_named(tmp_path: Path) -> None:
    noise = np.random.RandomState(0).randint(0, 256, (30, 48, 64, 3)).astype(np.uint8)
    path = write_video(tmp_path / "a.mp4", noise, 25, gop=30)
    content = bytearray(path.read_bytes())
    middle = content.find(b"mdat") + (content.find(b"moov") or len(content)) // 2
    content[middle : middle + 3000] = bytes(3000)
    path.write_bytes(bytes(content))
    items = ItemTable(build_table(["a.mp4"], [0]), ("a",), root=tmp_path)
    spec = ClipSpec(frames=20, rate=25, size=32, test_size=32, jitter=(32, 40), sampling="segment")
    for training in (True, False):
        sample = ClipDataset(items, spec, training=training, views=(1, 3)).sample(0, 0)
        assert sample.rgb is not None
        assert sample.failures[0].source == str(path)
        assert "frames that could not be decoded: " in sample.failures[0].reason


def test_more_classes_than_the_network_has_are_refused(clips: ItemTable) -> None:
    with pytest.raises(ValueError, match="3 classes but the network 2"):
        ClipDataset(clips, SPEC, training=True, num_classes=2)
    wide = ClipDataset(clips, SPEC, training=True, augment=PLAIN, num_classes=5)
    assert torch.equal(wide.sample(2, 0).target, torch.tensor([0, 0, 1.0, 0, 0]))
    with pytest.raises(ValueError, match="2 spatial views"):
        ClipDataset(clips, SPEC, training=False, views=(1, 2))
