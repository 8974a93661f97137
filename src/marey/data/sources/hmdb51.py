"""HMDB51 from its own files: CLASS_test_split1.txt, "clip.avi 1" to train, 2 to test, 0 unused.

The lists lie in the folder or ``testTrainMulti_7030_splits``, the videos in class folders below it
or ``hmdb51_org``. ``where={"fold": "2"}`` takes another of the three folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from marey.data.sources.labels import probe_files, read_lines, refuse_where
from marey.data.table import DataSet, ItemTable, build_table

_ROLES = {"1": "train", "2": "test"}


def lists_folder(path: Path) -> Path | None:
    """Where the split lists lie."""
    for folder in (path, path / "testTrainMulti_7030_splits", path / "splits"):
        if folder.is_dir() and any(folder.glob("*_test_split1.txt")):
            return folder
    return None


def open_hmdb51(path: Path, *, where: Mapping[str, str] | None = None) -> DataSet:
    """Splits ``train`` and ``test`` of one fold.

    Raises ValueError for a fold that does not exist and a line that is not "clip number".
    """
    refuse_where(where, "hmdb51", "fold")
    fold = (where or {}).get("fold", "1")
    folder = lists_folder(path)
    if folder is None:
        raise ValueError(
            f"{path} has no CLASS_test_split1.txt; give the folder of the HMDB51 lists"
        )
    ending = f"_test_split{fold}.txt"
    files = sorted(folder.glob(f"*{ending}"))
    if not files:
        raise ValueError(f"fold {fold!r} has no lists in {folder}; folds are 1, 2, 3")
    classes = tuple(f.name.removesuffix(ending) for f in files)
    videos = next((p for p in (path / "hmdb51_org", path / "videos") if p.is_dir()), path)
    found: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    for number, file in enumerate(files):
        for line in read_lines(file):
            name, _, role = line.strip().rpartition(" ")
            if not name or role not in ("0", "1", "2"):
                raise ValueError(f"{file}: {line!r} is not 'CLIP 0|1|2'; correct the line")
            if role in _ROLES:
                found[_ROLES[role]].append((f"{classes[number]}/{name.strip()}", number))
    tables = {}
    for split, rows in found.items():
        paths = [path for path, _ in rows]
        probe_files(paths, videos, str(folder))
        table = build_table(paths, [number for _, number in rows])
        tables[split] = ItemTable(table, classes, root=videos)
    return DataSet(splits=tables, classes=classes, format="hmdb51", address=str(path))
