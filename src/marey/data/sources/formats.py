"""The table of layouts: how each is recognised and which function reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from marey.data.sources import (
    activitynet,
    charades,
    csv_list,
    epic,
    folder,
    hmdb51,
    jester,
    kinetics,
    segments,
    ssv2,
    thumos14,
    ucf101,
)
from marey.data.sources.labels import is_image, is_video
from marey.data.table import DataSet


@dataclass(frozen=True)
class Format:
    """``fits`` looks at names and first lines; ``open`` takes (path, where=) and reads all."""

    fits: Callable[[Path], bool]
    open: Callable[..., DataSet]
    about: str


def _fits_list(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in (".csv", ".txt", ".tsv", ".lst", ".list", "")


def _fits_lists(path: Path) -> bool:
    return path.is_dir() and bool(csv_list.list_files(path))


def _fits_folder(path: Path) -> bool:
    return path.is_dir() and folder.layout_of(path) == "folder"


def _fits_images(path: Path) -> bool:
    return path.is_dir() and folder.layout_of(path) == "images"


FORMATS: dict[str, Format] = {
    "csv": Format(
        lambda path: bool(csv_list.header_files(path)),
        csv_list.open_csv,
        "CSV with a header: path,label[,split][,start_s,end_s]",
    ),
    "list": Format(_fits_list, csv_list.open_list, "lines 'path label'"),
    "lists": Format(_fits_lists, csv_list.open_list_folder, "folder of train.csv, val.csv"),
    "kinetics": Format(
        lambda path: bool(kinetics.annotation_files(path)),
        kinetics.open_kinetics,
        "label,youtube_id,time_start,time_end,split and clips named by them",
    ),
    "ssv1": Format(ssv2.fits_v1, ssv2.open_v1, "Something-Something v1"),
    "ssv2": Format(ssv2.fits_v2, ssv2.open_v2, "Something-Something v2"),
    "jester": Format(jester.fits, jester.open_jester, "Jester v1"),
    "ucf101": Format(
        lambda path: ucf101.lists_folder(path) is not None,
        ucf101.open_ucf101,
        "classInd.txt, trainlist01.txt",
    ),
    "hmdb51": Format(
        lambda path: hmdb51.lists_folder(path) is not None,
        hmdb51.open_hmdb51,
        "CLASS_test_split1.txt",
    ),
    "charades": Format(charades.fits, charades.open_charades, "Charades_v1_train.csv"),
    "frame_list": Format(
        lambda path: bool(charades.frame_lists(path)),
        charades.open_frame_lists,
        "PySlowFast's lists of labelled frames",
    ),
    "segments": Format(
        segments.fits, segments.open_segments, "CSV of segments: video,start_s,end_s,label[,split]"
    ),
    "activitynet": Format(
        lambda path: bool(activitynet.annotation_files(path)),
        activitynet.open_activitynet,
        "ActivityNet JSON: ActivityNet, FineAction, HACS, drawn:untrimmed",
    ),
    "thumos14": Format(thumos14.fits, thumos14.open_thumos14, "CLASS_val.txt, CLASS_test.txt"),
    "epic": Format(epic.fits_epic, epic.open_epic, "EPIC_100_train.csv"),
    "ego4d": Format(epic.fits_ego4d, epic.open_ego4d, "moments_train.json"),
    "folder": Format(_fits_folder, folder.open_folder, "a folder per class"),
    "images": Format(_fits_images, folder.open_images, "a folder of pictures per class"),
    "unlabelled": Format(lambda _: False, folder.open_unlabelled, "any videos below a folder"),
}
# Clips usually lie in folders beside their list: who wrote a list means it.
_WITHOUT_LIST = {"folder", "images"}
# Files that other layouts also name so, or whose lines also read as plain lists.
_PLAIN = {"list", "lists"}


def recognise(path: Path) -> str:
    """The name of the one layout that fits. Raises ValueError where none does, or several do."""
    fitting = [name for name, known in FORMATS.items() if known.fits(path)]
    names = fitting
    for weaker in (_WITHOUT_LIST, _PLAIN):
        names = [name for name in names if name not in weaker] or names
    if len(names) == 1:
        return names[0]
    if names:
        raise ValueError(
            f"{path} could be {' or '.join(names)}; say which with format={names[0]!r}"
        )
    raise ValueError(f"{path} {_why_not(path)}")


def _why_not(path: Path) -> str:
    if path.is_file():
        if is_video(path.name) or is_image(path.name):
            return "is a single clip, not a data set; give the folder of class folders or a list"
        return f"has a layout that is not known (formats: {', '.join(FORMATS)}); name it by format"
    entries = [entry.name for entry in path.iterdir()]
    if not entries:
        return "is an empty folder; put clips in folders named for their classes, or give a list"
    if any(is_video(name) for name in entries):
        return (
            "holds videos but no class folders; put each in a folder named for its class, give a "
            "list, or format='unlabelled'"
        )
    return f"has a layout that is not known (formats: {', '.join(FORMATS)}); name it by format"
