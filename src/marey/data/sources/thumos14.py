"""THUMOS14 as distributed: one text file a class and set.

    annotation/BaseballPitch_val.txt     video_validation_0000266  72.8 76.4
    annotation/BaseballPitch_test.txt    video_test_0000324  4.8 7.8
    validation/video_validation_0000266.mp4, test/video_test_0000324.mp4   anywhere below

The annotated validation videos are for training, the annotated test videos for measuring: splits
``train`` and ``test``. Classes are numbered by the alphabet. ``Ambiguous`` segments belong to no
class: only the rule ``thumos14`` of measuring looks at them. Every CliffDiving instance is also one
of Diving.

Known faults of the annotations, which ``marey data check`` reports: most HammerThrow instances of
video_test_0000270 lie after its end, as do a few of 0000814 and of two validation videos.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from marey.data.sources.labels import read_lines, refuse_where
from marey.data.sources.segments import UNCLEAR, Segment, segment_set, with_files
from marey.data.table import DataSet

PARTS = {"val": "train", "test": "test"}


def lists(path: Path) -> list[Path]:
    """The class files of a folder, up to two folders down."""
    if not path.is_dir():
        return []
    found: list[Path] = []
    for pattern in ("*", "*/*", "*/*/*"):
        for part in PARTS:
            found += path.glob(f"{pattern}_{part}.txt")
    return sorted(found)


def fits(path: Path) -> bool:
    """Whether a folder has class files, and among them one of THUMOS14."""
    stems = {file.stem for file in lists(path)}
    return bool(stems & {"BaseballPitch_val", "BaseballPitch_test", "Ambiguous_test"})


def open_thumos14(path: Path, *, where: Mapping[str, str] | None = None) -> DataSet:
    """Splits ``train`` and ``test``.

    Raises ValueError for a line that is not 'video start end', and where no video has a file.
    """
    refuse_where(where, "thumos14")
    files = lists(path)
    if not files:
        raise ValueError(f"{path} has no CLASS_val.txt or CLASS_test.txt; put them in annotation/")
    splits: dict[str, dict[str, list[Segment]]] = {}
    names = set()
    for file in files:
        name, _, part = file.stem.rpartition("_")
        names |= {name} - {UNCLEAR}
        videos = splits.setdefault(PARTS[part], {})
        for number, line in enumerate(read_lines(file), 1):
            fields = line.split()
            try:
                video, start, end = fields[0], float(fields[1]), float(fields[2])
            except (IndexError, ValueError):
                raise ValueError(
                    f"{file} line {number} is {line!r}, not 'video start end'; correct it"
                ) from None
            videos.setdefault(video, []).append((start, end, name))
    found, notes = {}, []
    for split, videos in sorted(splits.items(), reverse=True):
        found[split], missing = with_files(dict(sorted(videos.items())), path, split)
        notes += missing
    return segment_set(
        found, tuple(sorted(names)), path, format="thumos14", address=path, notes=notes
    )
