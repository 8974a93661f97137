"""Lists of real data sets, read back by the sources or by their own rules."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from marey.data import synthetic
from marey.data.drawn import official
from marey.data.sources import open_data
from marey.video import open_video

TINY = {"size": (48, 64), "frames": 4, "workers": 0}
SPLIT_BY_NAME = {"val": "test"}  # sets without a validation split keep it under test


@pytest.mark.parametrize(
    ("layout", "known_as", "splits"),
    [
        ("csv", "csv", (6, 3, 3)),
        ("folder", "folder", (6, 3, 3)),
        ("frames", "folder", (6, 3, 3)),
        ("kinetics", "kinetics", (6, 3, 3)),
        ("ssv2", "ssv2", (6, 3, 3)),
        ("ssv1", "ssv1", (6, 3, 3)),
        ("jester", "jester", (6, 3, 3)),
        ("charades", "charades", (6, 0, 6)),
        ("ucf101", "ucf101", (6, 0, 6)),
        ("hmdb51", "hmdb51", (6, 0, 6)),
    ],
)
def test_sources_read_back_what_was_drawn(
    tmp_path: Path, layout: str, known_as: str, splits: tuple[int, int, int]
) -> None:
    classes = ("walk", "wave one arm", "bend")
    out = synthetic.write_dataset(
        "fine", tmp_path / "d", layout=layout, train=6, val=3, test=3, classes=classes, **TINY
    )
    data = open_data(out)
    assert data.format == known_as
    sizes = tuple(len(data.splits[s]) if s in data.splits else 0 for s in ("train", "val", "test"))
    assert sizes == splits
    train = data.splits["train"]
    plain = [name.lower().replace("_", " ").replace(" ", "") for name in data.classes]
    assert sorted(plain) == ["bend", "walk", "waveonearm"]
    labels = sorted(plain[train[k].target[0]] for k in range(6))
    assert labels == ["bend", "bend", "walk", "walk", "waveonearm", "waveonearm"]
    for k in range(6):
        with open_video(train[k].video) as video:
            assert (video.num_frames, video.width, video.height) == (4, 64, 48)


def test_scenes_as_ava(tmp_path: Path) -> None:
    out = synthetic.write_dataset(
        "scenes", tmp_path / "d", train=2, val=1, test=0, size=(48, 64), frames=60, workers=0
    )
    rows = list(csv.reader((out / "annotations/ava_train_v2.2.csv").open()))
    clip = synthetic.draw("scenes", "train", 1, size=(48, 64), frames=60)
    expected = [
        ["scenes_00001_train", f"{int(t):04d}", *(f"{v:.4f}" for v in box), str(k + 1), str(who)]
        for t, who, box, labels in clip.people
        for k in labels
    ]
    assert [r for r in rows if r[0] == "scenes_00001_train"] == expected
    assert (out / "videos/scenes_00000_val.mp4").is_file()
    assert (out / "annotations/ava_action_list_v2.2.pbtxt").read_text().count("label_id") == 11


def test_untrimmed_as_activitynet(tmp_path: Path) -> None:
    out = synthetic.write_dataset(
        "untrimmed", tmp_path / "d", train=1, val=1, test=0, size=(48, 64), frames=400, workers=0
    )
    told = json.loads((out / "activity_net.v1-3.min.json").read_text())
    assert set(told["database"]) == {"untrimmed_00000_train", "untrimmed_00000_val"}
    entry = told["database"]["untrimmed_00000_val"]
    clip = synthetic.draw("untrimmed", "val", 0, size=(48, 64), frames=400)
    assert entry["subset"] == "validation"
    assert entry["duration"] == 16.0
    assert entry["annotations"] == [
        {"segment": [a, b], "label": clip.classes[k]} for a, b, k in clip.spans
    ]
    with open_video(out / "videos/v_untrimmed_00000_val.mp4") as video:
        assert video.num_frames == 400


def test_images_as_coco(tmp_path: Path) -> None:
    out = synthetic.write_dataset(
        "images", tmp_path / "d", train=6, val=0, test=0, size=(96, 128), workers=0
    )
    told = json.loads((out / "annotations/instances_train.json").read_text())
    assert len(told["images"]) == 6
    assert {c["name"] for c in told["categories"]} == {"ball", "box", "cup", "flag"}
    assert told["annotations"]
    for thing in told["annotations"]:
        counts = thing["segmentation"]["counts"]
        assert sum(counts) == 96 * 128
        assert sum(counts[1::2]) == thing["area"]
        x, y, w, h = thing["bbox"]
        assert 0 <= x < x + w <= 128
        assert 0 <= y < y + h <= 96
    assert len(open_data(out).splits["train"]) == 6


def test_run_lengths_decode_to_the_mask() -> None:
    mask = np.zeros((7, 5), bool)
    mask[2:6, 1:4] = True
    mask[6, 4] = True
    for shown in (mask, ~mask):
        counts = official.thing(0, shown)["segmentation"]["counts"]
        values = np.repeat(np.arange(len(counts)) % 2, counts).astype(bool)
        assert np.array_equal(values.reshape(5, 7).T, shown)


def test_flow_fields_lie_beside_the_clips(tmp_path: Path) -> None:
    out = synthetic.write_dataset(
        "flow", tmp_path / "d", train=2, val=0, test=0, size=(48, 64), workers=0
    )
    field = np.load(out / "flow/train/flow_00001.npy")
    assert np.array_equal(field, synthetic.draw("flow", "train", 1, size=(48, 64)).flow)


def test_unlabelled_lists_have_no_labels(tmp_path: Path) -> None:
    out = synthetic.write_dataset("unlabelled", tmp_path / "d", train=4, val=2, **TINY)
    data = open_data(out)
    assert {k: len(v) for k, v in data.splits.items()} == {"train": 4, "val": 2}
    assert data.splits["train"][0].target == ()


def test_layouts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not fit drawn task 'scenes'"):
        synthetic.write_dataset("scenes", tmp_path / "d", layout="ucf101", train=1)
    with pytest.raises(ValueError, match="did you mean 'kinetics'"):
        synthetic.write_dataset("fine", tmp_path / "d", layout="kinetic", train=1)
    assert not list(tmp_path.iterdir())
