"""UCF101 from its own files.

    classInd.txt       1 ApplyEyeMakeup
    trainlist01.txt    ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1
    testlist01.txt     ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi

The lists lie in the folder or in ``ucfTrainTestlist``, the videos in class folders below the
folder or ``UCF-101``. ``where={"fold": "2"}`` takes another of the three folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from marey.data.sources.labels import number_of, probe_files, read_lines, refuse_where
from marey.data.table import DataSet, ItemTable, build_table


def lists_folder(path: Path) -> Path | None:
    """Where ``classInd.txt`` lies."""
    for folder in (path, path / "ucfTrainTestlist", path / "ucfTrainTestlist/ucfTrainTestlist"):
        if (folder / "classInd.txt").is_file():
            return folder
    return None


def open_ucf101(path: Path, *, where: Mapping[str, str] | None = None) -> DataSet:
    """Splits ``train`` and ``test`` of one fold.

    Raises ValueError for a fold that does not exist and a class folder without a number.
    """
    refuse_where(where, "ucf101", "fold")
    fold = (where or {}).get("fold", "1")
    folder = lists_folder(path)
    if folder is None:
        raise ValueError(f"{path} has no classInd.txt; give the folder of the UCF101 lists")
    classes = _read_classes(folder / "classInd.txt")
    numbers = {name: i for i, name in enumerate(classes)}
    videos = next((p for p in (path / "UCF-101", path / "videos") if p.is_dir()), path)
    tables = {}
    for split in ("train", "test"):
        source = folder / f"{split}list{int(fold):02d}.txt" if fold.isdigit() else Path()
        if not source.is_file():
            raise ValueError(f"fold {fold!r} has no {split} list in {folder}; folds are 1, 2, 3")
        paths = [line.rsplit(" ", 1)[0] if _numbered(line) else line for line in read_lines(source)]
        probe_files(paths, videos, str(source))
        targets = [number_of(p.split("/")[0], numbers, str(source)) for p in paths]
        tables[split] = ItemTable(build_table(paths, targets), classes, root=videos)
    return DataSet(splits=tables, classes=classes, format="ucf101", address=str(path))


def _numbered(line: str) -> bool:
    return line.rsplit(" ", 1)[-1].isdigit()


def _read_classes(path: Path) -> tuple[str, ...]:
    names = {}
    for line in read_lines(path):
        number, _, name = line.strip().partition(" ")
        if not number.isdigit() or not name:
            raise ValueError(f"{path}: {line!r} is not 'NUMBER CLASS'; correct the line")
        names[int(number)] = name.strip()
    return tuple(names[n] for n in sorted(names))
