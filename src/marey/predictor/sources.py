"""What a source is: a file, a folder, a glob, a folder of frames, or something endless."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

VIDEOS = frozenset(
    (".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".gif", ".h264", ".hevc", ".ivf", ".m2ts")
    + (".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob")
    + (".webm", ".wmv", ".y4m")
)
PICTURES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))
ADDRESSES = ("rtsp://", "rtsps://", "rtmp://", "http://", "https://", "udp://", "tcp://", "srt://")
Source = str | int | Path | np.ndarray | Tensor


def is_endless(source: object) -> bool:
    """Whether a source is a webcam number or a stream address. A file named ``0`` is a file."""
    if isinstance(source, bool) or not isinstance(source, (int, str)):
        return False
    if isinstance(source, int):
        return source >= 0
    return source.lower().startswith(ADDRESSES) or (
        source.isdecimal() and not Path(source).exists()
    )


def name_of(source: Source) -> str:
    """How a result names a source."""
    return "array" if isinstance(source, (np.ndarray, Tensor)) else str(source)


def expand_all(sources: Source | Sequence[Source]) -> list[Source]:
    """The videos of one source or of several, see ``expand``."""
    if isinstance(sources, (str, int, Path, np.ndarray, Tensor)):
        return expand(sources)
    return [one for source in sources for one in expand(source)]


def expand(source: Source) -> list[Source]:
    """The videos a source means, sorted: itself, a folder's files (below it too), a glob's matches.

    A folder with pictures and no videos is one video. Raises ValueError when nothing is there
    or the source never ends.
    """
    if is_endless(source):
        raise ValueError(f"{source} never ends; iterate over marey.predictor.Stream instead")
    if not isinstance(source, (str, Path)):
        return [source]
    path = Path(source)
    if path.is_file():
        return [str(source)]
    if path.is_dir():
        found = _in_folder(path)
        if not found:
            raise ValueError(
                f"folder {source} holds no video and no frames; give a folder that does"
            )
        return found
    if glob.has_magic(str(source)):
        matches = sorted(glob.glob(str(source), recursive=True))
        if not matches:
            raise ValueError(f"no file matches {source}; check the pattern")
        return [one for match in matches for one in expand(match)]
    raise ValueError(
        f"{source} does not exist; give a file, folder, glob, webcam number or stream address"
    )


def _in_folder(path: Path) -> list[Source]:
    files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
    videos = [p for p in files if p.suffix.lower() in VIDEOS]
    frames = {p.parent for p in files if p.suffix.lower() in PICTURES}
    beside = {p.parent for p in videos}
    return [str(p) for p in sorted([*videos, *(frames - beside)])]
