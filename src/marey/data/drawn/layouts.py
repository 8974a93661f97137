"""Where the files of a drawn data set go, and its lists in the formats of real data sets.

A layout places each video by (split, name, label, number) and writes the lists afterwards. Real
sets without a validation split get the drawn one under ``test``, after the test videos.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marey.config import nearest, write_whole
from marey.data.drawn import official
from marey.data.drawn.rows import Row, label_list, lines, table

Place = Callable[[str, str, str, int], str]
Lists = Callable[[Path, Sequence[Row], tuple[str, ...]], None]
SPLIT_BASE = {"train": 0, "val": 100_000, "test": 200_000}
_OFFICIAL = {"train": "train", "val": "test", "test": "test"}


@dataclass(frozen=True)
class Layout:
    """``frames``: a video is a folder of JPEG images, named by this pattern."""

    place: Place
    lists: Lists
    kinds: tuple[str, ...] = ("labels",)
    frames: str = ""


def _number(split: str, number: int) -> int:
    return SPLIT_BASE[split] + number


def _camel(label: str) -> str:
    return "".join(part.capitalize() for part in label.split())


def _under(label: str) -> str:
    return label.replace(" ", "_")


def _kinetics(root: Path, rows: Sequence[Row], classes: tuple[str, ...]) -> None:
    header = ("label", "youtube_id", "time_start", "time_end", "split")
    for split, stem in (("train", "train"), ("val", "validate"), ("test", "test")):
        chosen = [r for r in rows if r.split == split]
        made = [(r.label, Path(r.path).stem.rsplit("_", 2)[0], 0, 10, stem) for r in chosen]
        if made:
            table(root, f"{stem}.csv", [header, *made])


def _ssv2(root: Path, rows: Sequence[Row], classes: tuple[str, ...]) -> None:
    numbers = {name: str(k) for k, name in enumerate(classes)}
    write_whole(root / "labels/labels.json", json.dumps(numbers))
    for split, stem in (("train", "train"), ("val", "validation"), ("test", "test")):
        chosen = [r for r in rows if r.split == split]
        made: list[dict[str, Any]] = [{"id": Path(r.path).stem} for r in chosen]
        if split != "test":
            for line, row in zip(made, chosen, strict=True):
                line |= {"label": row.label, "template": row.label, "placeholders": []}
        else:
            answers = [(Path(r.path).stem, r.label) for r in chosen]
            table(root, "labels/test-answers.csv", answers, ";")
        write_whole(root / f"labels/{stem}.json", json.dumps(made))


def _pairs(prefix: str) -> Lists:
    """Lists of 20BN's first sets, ``ID;label``; the test list has no labels."""

    def write(root: Path, rows: Sequence[Row], classes: tuple[str, ...]) -> None:
        lines(root, f"{prefix}-labels.csv", classes)
        for split, stem in (("train", "train"), ("val", "validation"), ("test", "test")):
            chosen = [r for r in rows if r.split == split]
            told = [
                r.path.rsplit("/", 1)[1] + (f";{r.label}" if stem != "test" else "") for r in chosen
            ]
            lines(root, f"{prefix}-{stem}.csv", told)

    return write


def _charades(root: Path, rows: Sequence[Row], classes: tuple[str, ...]) -> None:
    told = [f"c{k:03d} {name.capitalize()}" for k, name in enumerate(classes)]
    lines(root, "Charades_v1_classes.txt", told)
    header = (
        "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length"
    )
    for part in ("train", "test"):
        made: list[Sequence[object]] = [header.split(",")]
        for r in rows:
            if _OFFICIAL[r.split] == part:
                end = f"{r.seconds:.2f}"
                action = f"c{classes.index(r.label):03d} 0.00 {end}"
                made.append(
                    (Path(r.path).stem, "DRWN", "Room", 7, 7, "Yes", "", "", r.label, action, end)
                )
        table(root, f"Charades_v1_{part}.csv", made)


def _ucf101(root: Path, rows: Sequence[Row], classes: tuple[str, ...]) -> None:
    folder = "ucfTrainTestlist"
    names = [_camel(name) for name in classes]
    lines(root, f"{folder}/classInd.txt", [f"{k + 1} {name}" for k, name in enumerate(names)])
    short = {r.path: r.path.removeprefix("UCF-101/") for r in rows}
    train = [f"{short[r.path]} {classes.index(r.label) + 1}" for r in rows if r.split == "train"]
    lines(root, f"{folder}/trainlist01.txt", train)
    lines(root, f"{folder}/testlist01.txt", [short[r.path] for r in rows if r.split != "train"])


def _hmdb51(root: Path, rows: Sequence[Row], classes: tuple[str, ...]) -> None:
    for name in classes:
        told = [
            f"{Path(r.path).name} {1 if r.split == 'train' else 2}" for r in rows if r.label == name
        ]
        lines(root, f"testTrainMulti_7030_splits/{_under(name)}_test_split1.txt", told)


def _plain_lists(root: Path, rows: Sequence[Row], classes: tuple[str, ...]) -> None:
    for split in dict.fromkeys(r.split for r in rows):
        lines(root, f"{split}.csv", [r.path for r in rows if r.split == split])


def _nothing(root: Path, rows: Sequence[Row], classes: tuple[str, ...]) -> None:
    """The folders say it all."""


LAYOUTS: Mapping[str, Layout] = {
    "csv": Layout(lambda s, n, c, k: f"clips/{s}/{n}.mp4", label_list),
    "folder": Layout(lambda s, n, c, k: f"{s}/{c}/{n}.mp4", _nothing),
    "frames": Layout(lambda s, n, c, k: f"{s}/{c}/{n}", _nothing, frames="{:05d}.jpg"),
    "kinetics": Layout(
        lambda s, n, c, k: f"clips/{s}/{n.replace('_', '-')}-{s}_000000_000010.mp4", _kinetics
    ),
    "ssv2": Layout(
        lambda s, n, c, k: f"20bn-something-something-v2/{_number(s, k) + 1}.mp4", _ssv2
    ),
    "ssv1": Layout(
        lambda s, n, c, k: f"20bn-something-something-v1/{_number(s, k) + 1}",
        _pairs("something-something-v1"),
        frames="{:05d}.jpg",
    ),
    "jester": Layout(
        lambda s, n, c, k: f"20bn-jester-v1/{_number(s, k) + 1}",
        _pairs("jester-v1"),
        frames="{:05d}.jpg",
    ),
    "charades": Layout(lambda s, n, c, k: f"Charades_v1_480/D{_number(s, k):06d}.mp4", _charades),
    "ucf101": Layout(
        lambda s, n, c, k: f"UCF-101/{_camel(c)}/v_{_camel(c)}_g{_number(s, k) + 1:02d}_c01.avi",
        _ucf101,
    ),
    "hmdb51": Layout(
        lambda s, n, c, k: f"hmdb51_org/{_under(c)}/{n}_{s}_{_under(c)}_f_cm_np1_fr_med_0.avi",
        _hmdb51,
    ),
    "ava": Layout(lambda s, n, c, k: f"videos/{n}_{s}.mp4", official.ava, ("people", "events")),
    "activitynet": Layout(
        lambda s, n, c, k: f"videos/v_{n}_{s}.mp4", official.activitynet, ("spans", "events")
    ),
    "flow": Layout(lambda s, n, c, k: f"clips/{s}/{n}.mp4", label_list, ("flow",)),
    "coco": Layout(lambda s, n, c, k: f"images/{s}/{n}.png", official.coco, ("images",)),
    "imagenet": Layout(lambda s, n, c, k: f"{s}/{c}/{n}.png", _nothing, ("images",)),
    "lists": Layout(lambda s, n, c, k: f"clips/{s}/{n}.mp4", _plain_lists, ("labels", "none")),
}
OWN = {
    "labels": "csv",
    "people": "ava",
    "spans": "activitynet",
    "events": "activitynet",
    "flow": "flow",
    "images": "coco",
    "none": "lists",
}


def layout_of(task: str, name: str, kind: str) -> Layout:
    """The layout called ``name``, or the own one of the task's kind for an empty name.

    Raises ValueError for a layout that does not exist or does not fit the task.
    """
    fitting = [known for known, layout in LAYOUTS.items() if kind in layout.kinds]
    name = name or OWN[kind]
    if name not in fitting:
        raise ValueError(
            f"layout {name!r} does not fit drawn task {task!r}{nearest(name, fitting)}"
            f" (layouts: {', '.join(fitting)})"
        )
    return LAYOUTS[name]
