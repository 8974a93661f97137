"""Annotation files of tasks that are more than one label a clip: AVA, ActivityNet, COCO, flow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from marey.config import write_whole
from marey.data.drawn.props import KINDS
from marey.data.drawn.rows import Row, label_list, table

SUBSETS = {"train": "training", "val": "validation", "test": "testing"}


def ava(root: Path, rows: Sequence[Row], classes: tuple[str, ...]) -> None:
    """``annotations/ava_SPLIT_v2.2.csv``: video, second, box, action number from 1, person.

    Differs: seconds count from the start of the file; the real set's begin at 902.
    """
    for split in dict.fromkeys(row.split for row in rows):
        lines = [
            (Path(row.path).stem, f"{int(time_s):04d}", *(f"{v:.4f}" for v in box), k + 1, person)
            for row in rows
            if row.split == split
            for time_s, person, box, names in row.more["people"]
            for k in names
        ]
        table(root, f"annotations/ava_{split}_v2.2.csv", lines)
        names = "".join(f"{Path(row.path).stem}\n" for row in rows if row.split == split)
        write_whole(root / f"annotations/ava_file_names_{split}_v2.2.txt", names)
    text = "".join(
        f'label {{\n  name: "{name}"\n  label_id: {k + 1}\n  label_type: PERSON_MOVEMENT\n}}\n'
        for k, name in enumerate(classes)
    )
    write_whole(root / "annotations/ava_action_list_v2.2.pbtxt", text)


def activitynet(root: Path, rows: Sequence[Row], classes: tuple[str, ...]) -> None:
    """``activity_net.v1-3.min.json``: per video its duration, subset and labelled segments."""
    database = {
        Path(row.path).stem.removeprefix("v_"): {
            "duration": row.seconds,
            "subset": SUBSETS[row.split],
            "resolution": row.more["resolution"],
            "url": "",
            "annotations": [
                {"segment": [start, end], "label": classes[k]}
                for start, end, k in row.more["spans"]
            ],
        }
        for row in rows
    }
    top = {"nodeName": "Root", "nodeId": 0, "parentName": None, "parentId": None}
    taxonomy = [top] + [
        {"nodeName": name, "nodeId": k + 1, "parentName": "Root", "parentId": 0}
        for k, name in enumerate(classes)
    ]
    value = {"version": "VERSION 1.3", "taxonomy": taxonomy, "database": database}
    write_whole(root / "activity_net.v1-3.min.json", json.dumps(value))


def coco(root: Path, rows: Sequence[Row], classes: tuple[str, ...]) -> None:
    """``annotations/instances_SPLIT.json`` with boxes and masks of props, and ``labels.csv``."""
    categories = [
        {"id": k + 1, "name": kind, "supercategory": "prop"} for k, kind in enumerate(KINDS)
    ]
    for split in dict.fromkeys(row.split for row in rows):
        images: list[dict[str, Any]] = []
        found: list[dict[str, Any]] = []
        for number, row in enumerate((r for r in rows if r.split == split), start=1):
            width, height = (int(n) for n in row.more["resolution"].split("x"))
            name = str(Path(row.path).relative_to(f"images/{split}"))
            images.append({"id": number, "file_name": name, "width": width, "height": height})
            for thing in row.more["things"]:
                found.append({**thing, "id": len(found) + 1, "image_id": number, "iscrowd": 0})
        value = {"images": images, "annotations": found, "categories": categories}
        write_whole(root / f"annotations/instances_{split}.json", json.dumps(value))
    label_list(root, rows, classes)


def thing(kind: int, mask: np.ndarray) -> dict[str, Any]:
    """One instance as COCO has it: box (x, y, width, height) pixels, area, runs by column."""
    y, x = np.nonzero(mask)
    left, top = int(x.min()), int(y.min())
    flat = np.concatenate([[0], mask.T.reshape(-1).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(flat))
    bounds = np.concatenate([[0], edges, [mask.size]])
    runs = np.diff(bounds)
    runs = runs[:-1] if runs[-1] == 0 else runs
    return {
        "category_id": kind + 1,
        "bbox": [left, top, int(x.max()) - left + 1, int(y.max()) - top + 1],
        "area": int(mask.sum()),
        "segmentation": {"counts": [int(n) for n in runs], "size": list(mask.shape)},
    }
