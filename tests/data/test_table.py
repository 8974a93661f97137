import importlib
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from marey.data.table import DataSet, ItemTable, build_table, class_places

CLASSES = ("bend", "jack", "wave")


def table() -> ItemTable:
    rows = build_table(
        ["a b.mp4", "c.mp4", "/abs/d.mp4"],
        [2, None, 0],
        start_s=[1.0, None, 0.05],
        end_s=[2.5, None, None],
    )
    return ItemTable(rows, CLASSES, root="/root/clips", context_s=0.12)


def test_a_row_has_its_absolute_path_and_its_times_with_context() -> None:
    items = table()
    first, second, third = items
    assert (first.video, first.start_s, first.end_s) == ("/root/clips/a b.mp4", 0.88, 2.62)
    assert (first.target, first.key) == ((2,), "a b.mp4@1-2.5")
    assert (second.start_s, second.end_s, second.target, second.key) == (None, None, (), "c.mp4")
    assert (third.video, third.start_s, third.end_s) == ("/abs/d.mp4", 0.0, None)
    assert items[-1] == third
    with pytest.raises(IndexError, match="row 3 of a table of 3"):
        items[3]


def test_columns_are_counted_without_rows() -> None:
    items = table()
    np.testing.assert_array_equal(items.targets, [2, -1, 0])
    np.testing.assert_array_equal(items.label_counts(), [1, 0, 1])
    assert items.num_classes == 3
    assert [i.key for i in items.select([2, 0])] == ["/abs/d.mp4@0.05-", "a b.mp4@1-2.5"]


def test_many_labels_and_labels_of_a_part() -> None:
    intervals = [
        [
            {"start_s": 0.0, "end_s": 2.0, "label": 1},
            {"start_s": 1.5, "end_s": 4.0, "label": 0},
        ],
        [],
    ]
    rows = build_table(["a.mp4", "b.mp4"], [[0, 1], []], intervals=intervals, multi_label=True)
    items = ItemTable(rows, CLASSES)
    assert items.multi_label
    np.testing.assert_array_equal(items.label_counts(), [1, 1, 0])
    assert items.target_within(0, 0.0, 1.0) == (1,)
    assert items.target_within(0, 1.5, 1.9) == (0, 1)
    assert items.target_within(0, 2.0, 3.0) == (0,)  # intervals are half-open
    assert items.target_within(1, 0.0, 9.0) == ()
    with pytest.raises(ValueError, match="multi-label"):
        _ = items.targets
    moved = items.relabel(("wave", "jack", "bend"))
    assert moved.target(0) == (2, 1) or moved.target(0) == (1, 2)
    assert moved.target_within(0, 0.0, 1.0) == (1,)
    assert moved.target_within(0, 3.0, 3.5) == (2,)


def test_relabel_matches_names_and_refuses_strangers() -> None:
    moved = table().relabel(("Wave", "stand", "BEND"))
    np.testing.assert_array_equal(moved.targets, [0, -1, 2])
    assert moved[0].start_s == 0.88
    with pytest.raises(ValueError, match="class 'wave' .* 2 classes wanted; did you mean 'waves'"):
        table().relabel(("bend", "waves"))


def test_plain_numbers_are_places_and_folded_names_must_be_unique() -> None:
    assert class_places(("0", "1"), ("run", "walk", "sit")) == [0, 1]
    assert class_places(("air_drumming",), ("running", "air drumming")) == [1]
    assert class_places(("run",), ("Run", "RUN")) == [None]
    assert class_places(("0", "1"), ("1", "0")) == [1, 0]


TELL = """
def tell(items, answers):
    answers.put((len(items), items[70_000].key, items[70_000].start_s))
"""


def test_a_pickled_table_is_the_same_table() -> None:
    again = pickle.loads(pickle.dumps(table()))
    assert list(again) == list(table())
    assert again.classes == CLASSES


def test_a_spawned_process_maps_the_file_of_a_long_table_which_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "told_by_a_child.py").write_text(TELL)  # spawned processes import by name
    monkeypatch.syspath_prepend(tmp_path)
    tell = importlib.import_module("told_by_a_child").tell
    count = 80_000
    rows = build_table(
        [f"clips/{i}.mp4" for i in range(count)],
        pa.array(np.arange(count) % 3, pa.int32()),
        start_s=np.full(count, 0.5),
        end_s=np.full(count, 1.5),
    )
    items = ItemTable(rows, CLASSES)
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=tell, args=(items, answers))
    process.start()
    assert answers.get(timeout=60) == (count, "clips/70000.mp4@0.5-1.5", 0.5)
    process.join()
    shared = items._shared
    assert shared is not None
    assert shared.is_file()
    assert items[70_000].key == "clips/70000.mp4@0.5-1.5"
    assert pickle.loads(pickle.dumps(items))[1].key == "clips/1.mp4@0.5-1.5"
    del items
    assert not Path(shared).exists()


def test_splits_are_found_by_name_and_by_their_other_names() -> None:
    items = table()
    data = DataSet(splits={"train": items, "test": items}, classes=CLASSES, address="DATA")
    assert data.split("val") is items
    with pytest.raises(ValueError, match="split 'tran' is not in DATA; did you mean 'train'"):
        data.split("tran")
    whole = DataSet(splits={"": items}, classes=CLASSES)
    assert whole.split("anything") is items
    assert data.relabel(("wave", "jack", "bend")).splits["test"].targets[0] == 0
