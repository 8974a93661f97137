import time
import weakref
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from marey.choices import AugmentChoice, DataChoice
from marey.data.dataset import ClipDataset, ClipShape
from marey.data.loader import build_loader, collate
from marey.data.mixing import Mix
from marey.data.table import ItemTable, build_table
from marey.types import Batch, ClipSpec

SPEC = ClipSpec(
    frames=2,
    stride=2,
    rate=25.0,
    size=16,
    test_size=16,
    short_side=16,
    jitter=(16, 20),
    views=(1, 1),
)
CHOICE = AugmentChoice(mixup=0.8, cutmix=1.0, erasing=0.5)


@pytest.fixture
def items(tmp_path: Path, make_video) -> ItemTable:
    for i in range(5):
        make_video(tmp_path / f"{i}.mp4", frames=6, size=(18, 24), tint=2 * i)
    rows = build_table([f"{i % 5}.mp4" for i in range(11)], [i % 3 for i in range(11)])
    return ItemTable(rows, ("a", "b", "c"), root=tmp_path)


def training(items: ItemTable, augment: AugmentChoice = CHOICE, **options):
    dataset = ClipDataset(items, SPEC, training=True, augment=augment, seed=1)
    mix = Mix(augment) if augment.mixup else None
    return build_loader(dataset, batch=2, training=True, seed=1, mix=mix, **options)


def evaluation(items: ItemTable, **options):
    dataset = ClipDataset(items, SPEC, training=False)
    return build_loader(dataset, training=False, seed=1, **options)


def equal(ours: Iterable[Batch], theirs: Iterable[Batch]) -> bool:
    pairs = list(zip(ours, theirs, strict=True))
    return len(pairs) > 0 and all(
        torch.equal(a.rgb, b.rgb)
        and torch.equal(a.target, b.target)
        and torch.equal(a.index, b.index)
        and a.keys == b.keys
        for a, b in pairs
    )


def test_batches_are_the_same_whatever_the_workers_and_wherever_it_resumes(
    items: ItemTable,
) -> None:
    loader = training(items)
    assert len(loader) == 5
    whole = list(loader.epoch(2))
    assert len(whole) == 5
    assert whole[0].rgb.shape == (2, 1, 3, 2, 16, 16)
    assert equal(whole[3:], loader.epoch(2, start_step=3))
    working = training(items, workers=2)
    assert equal(whole, working.epoch(2))
    broken_off = working.epoch(0)
    next(broken_off)
    assert equal(whole[1:], working.epoch(2, start_step=1))  # an abandoned epoch leaves no trace
    assert list(loader.epoch(2, start_step=5)) == []


def test_an_epoch_shuffles_and_drops_the_rest(items: ItemTable) -> None:
    loader = training(items)
    orders = [torch.cat([b.index for b in loader.epoch(e)]).tolist() for e in (0, 1)]
    assert orders[0] != orders[1]
    assert all(len(set(order)) == 10 for order in orders)


def test_ranks_share_an_epoch_without_overlap(items: ItemTable) -> None:
    ranks = [training(items, rank=r, world=2) for r in (0, 1)]
    assert [len(r) for r in ranks] == [2, 2]
    seen = [torch.cat([b.index for b in r.epoch(0)]).tolist() for r in ranks]
    assert len(set(seen[0] + seen[1])) == 8
    whole = torch.cat([b.index for b in training(items).epoch(0)]).tolist()
    assert seen[0][:2] + seen[1][:2] == whole[:4]
    mixed = [next(r.epoch(0)).target for r in ranks]
    assert not torch.equal(mixed[0].sort()[0], mixed[1].sort()[0])  # own draw of the share


def test_less_than_one_batch_makes_one_short_step_on_every_rank(items: ItemTable) -> None:
    few = items.select([0, 1, 2])
    dataset = ClipDataset(few, SPEC, training=True)
    for world, size in ((1, 3), (2, 1), (4, 1)):
        for rank in range(world):
            loader = build_loader(dataset, batch=8, training=True, seed=0, rank=rank, world=world)
            batches = list(loader.epoch(0))
            assert [len(b) for b in batches] == [size]


def test_repeats_are_clips_of_one_video_in_a_batch(items: ItemTable) -> None:
    loader = training(items, AugmentChoice(repeats=2, flip=0.0))
    assert len(loader) == 11
    batch = next(loader.epoch(0))
    assert batch.keys[0] == batch.keys[1]
    assert not torch.equal(batch.rgb[0], batch.rgb[1])
    with pytest.raises(ValueError, match="a batch of 2 clips does not divide into 3"):
        training(items, AugmentChoice(repeats=3))


def test_shapes_change_clips_and_batch_by_step(items: ItemTable) -> None:
    shapes = (ClipShape(2, 16), ClipShape(1, 16, batch_factor=2), ClipShape(2, 8, batch_factor=2))
    loader = training(items, AugmentChoice(flip=0.0), shape_of=lambda epoch, step: shapes[step % 3])
    batches = list(loader.epoch(0))
    assert [tuple(b.rgb.shape) for b in batches] == [
        (2, 1, 3, 2, 16, 16),
        (4, 1, 3, 1, 16, 16),
        (4, 1, 3, 2, 8, 8),
    ]
    assert len(loader) == loader.steps(0) == 3
    assert equal(batches[1:], loader.epoch(0, start_step=1))


def test_evaluation_counts_every_video_once(items: ItemTable) -> None:
    for world in (1, 2, 3):
        loaders = [evaluation(items, batch=2, rank=r, world=world) for r in range(world)]
        rows = [[int(i) for b in one.epoch(0) for i in b.index] for one in loaders]
        assert sorted(i for one in rows for i in one) == list(range(11))
        assert rows[0] == list(range(0, 11, world))
        assert [len(one) for one in loaders] == [-(-len(r) // 2) for r in rows]
    with_workers = evaluation(items, batch=3, workers=2)
    assert equal(evaluation(items, batch=3).epoch(0), with_workers.epoch(0))
    assert [len(b) for b in with_workers.epoch(0, start_step=2)] == [3, 2]


def test_a_batch_of_unreadable_files_is_empty_and_names_them(
    items: ItemTable, tmp_path: Path
) -> None:
    (tmp_path / "0.mp4").write_text("no")
    loader = evaluation(items, batch=1, workers=1)
    batches = list(loader.epoch(0))
    assert [len(b) for b in batches] == [0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0]
    assert batches[0].rgb is None
    assert batches[0].target.shape == (0, 3)
    assert batches[0].times.shape == (0, 1, 2)
    assert batches[0].failures[0].source == str(tmp_path / "0.mp4")
    pair = next(evaluation(items, batch=2).epoch(0))
    assert (len(pair), len(pair.failures), pair.keys) == (1, 1, ("1.mp4",))


def test_a_loader_dropped_in_the_middle_ends_its_workers_at_once(items: ItemTable) -> None:
    loader = training(items, workers=1)
    epoch = loader.epoch(0)
    next(epoch)
    gone = weakref.ref(loader)
    process = loader._reader._iterator._workers[0]
    begin = time.perf_counter()
    del epoch, loader
    assert gone() is None  # no cycle: nothing waits for the garbage collector
    process.join(4)
    assert process.exitcode is not None
    assert time.perf_counter() - begin < 4


def test_a_refusal_leaves_a_worker_as_its_one_line(items: ItemTable) -> None:
    spec = ClipSpec(frames=8, stride=4, rate=25.0, size=16, jitter=(16, 20))
    strict = DataChoice(policy="strict")
    for workers in (0, 1):
        dataset = ClipDataset(items, spec, training=True, data=strict)
        loader = build_loader(dataset, batch=2, training=True, seed=0, workers=workers)
        with pytest.raises(ValueError, match="^clip .* has 6 frames but the network needs 32"):
            next(loader.epoch(0))


def test_samples_are_stacked_and_clamped_ones_counted(items: ItemTable) -> None:
    dataset = ClipDataset(items, SPEC, training=False)
    batch = collate([dataset.sample(i, 0) for i in (0, 1)])
    assert batch.rgb.shape == (2, 1, 3, 2, 16, 16)
    assert batch.index.tolist() == [0, 1]
    assert (batch.clamped, batch.failures, len(batch)) == (0, (), 2)


def test_numbers_that_make_no_sense_are_refused(items: ItemTable) -> None:
    dataset = ClipDataset(items, SPEC, training=False)
    with pytest.raises(ValueError, match="rank 2 is not one of 2"):
        build_loader(dataset, batch=1, training=False, seed=0, rank=2, world=2)
    with pytest.raises(ValueError, match="batch 0"):
        build_loader(dataset, batch=0, training=False, seed=0)
    with pytest.raises(ValueError, match="needs a training dataset"):
        build_loader(dataset, batch=1, training=True, seed=0)
    empty = ClipDataset(items.select([]), SPEC, training=False)
    with pytest.raises(ValueError, match="no rows"):
        build_loader(empty, batch=1, training=False, seed=0)
