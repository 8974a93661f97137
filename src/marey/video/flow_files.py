"""Optical flow on disk: written whole, and read whoever wrote it.

    layout                                              who writes it
    VIDEO/flow_x_00001.jpg, VIDEO/flow_y_00001.jpg      marey flow, dense_flow, TSN, mmaction2
    VIDEO/x_00001.jpg, VIDEO/y_00001.jpg                older copies of the same
    u/VIDEO/frame000001.jpg, v/VIDEO/frame000001.jpg    gpu_flow, two-stream fusion
    VIDEO.mkv                                           marey flow --store video, without loss

A video of F frames has F - 1 fields. Readers give frames (T, 2, H, W) uint8 in which 128 is no
motion; folders that count from 127 (mmaction2's script) say so in a ``flow.json``, or the reader
is told. ``flow.json`` in a folder, ``VIDEO.flow.json`` beside a file, holds how it was made.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures
from torch import Tensor

from marey.video.backends import DEFAULT_FPS, IMAGE_SUFFIXES, even_index, resized
from marey.video.decoder import PyavFile
from marey.video.error import VideoError
from marey.video.flow import ZERO, FlowChoice
from marey.video.index import FrameIndex
from marey.video.reader import Video
from marey.video.sampling import stack_indices

Image = NDArray[np.uint8]
MANIFEST = "flow.json"
SUFFIX = ".mkv"
NUMBERED = re.compile(r"(?:flow_)?([xy])_(\d+)$")
FRAME = re.compile(r"frame_?(\d+)$")


def is_flow(path: str | Path) -> bool:
    """Whether a path is a folder of flow images or a file of flow."""
    place = Path(path)
    if place.is_dir():
        return any(NUMBERED.match(Path(name).stem) for name in os.listdir(place)) or bool(
            _uv(place)
        )
    return place.is_file() and beside(place).is_file()


def beside(file: Path) -> Path:
    """Where the manifest of a file of flow lies."""
    return file.with_name(f"{file.stem}.{MANIFEST}")


def open_flow(path: str | Path, *, fps: float | None = None, zero: int = 0) -> Video:
    """Stored flow as a ``Video`` whose frames have two channels, x and y.

    ``fps`` is for folders that do not say; ``zero`` the byte of no motion, 0 for what the folder
    says or 128. Raises VideoError for a missing or unreadable picture, ValueError for what is no
    flow.
    """
    place = Path(path)
    if not is_flow(place):
        raise ValueError(f"{place} holds no optical flow; compute it with 'marey flow SRC DST'")
    if place.is_dir():
        return Video(FlowFolder(place, fps=fps, zero=zero))
    return Video(FlowFile(place, zero=zero))


def find_flow(root: Path, video: str | Path, base: str | Path | None = None) -> Path:
    """The flow of ``video``, a path in or below ``base``, somewhere in the folder ``root``.

    Without a ``base``, under as many of the folders above the video as there are in ``root``.
    Raises ValueError naming the places looked at.
    """
    if base is None:
        above = [path for path in reversed(Path(video).absolute().parents) if path.name]
        tops = {place.name for folder in (root, root / "u") for place in folder.glob("*/")}
        base = next((path.parent for path in above if path.name in tops), Path(video).parent)
    inside = Path(os.path.relpath(video, base))
    if inside.parts[:1] == ("..",):
        inside = Path(inside.name)
    shorter = inside.with_suffix("") if not Path(video).is_dir() else inside
    names = dict.fromkeys((shorter, inside, Path(shorter.name)))
    for name in names:
        for found in (root / name, root / f"{name}{SUFFIX}", root / "u" / name):
            if is_flow(found):
                return found
    raise ValueError(
        f"{video} has no flow in {root} (looked for {shorter} and {shorter}{SUFFIX}); "
        "compute it with 'marey flow'"
    )


def flow_around(flow: Video, frames: Tensor, length: int, count: int) -> Tensor:
    """The ``length`` fields around each of ``frames`` of a video, (N * length, 2, H, W) uint8.

    ``count`` is how many frames that video has. Raises VideoError for the flow of another.
    """
    fields = flow.num_frames
    if fields not in (max(count - 1, 1), count):  # some tools write a last field of no motion
        cause = f"{fields} fields of flow for {count} frames, between which there are {count - 1}"
        raise VideoError(flow.source, "its last field", f"{cause}; compute it again")
    return flow.frames_at(stack_indices(frames, length, fields)).frames


class FlowFolder:
    """Pairs of grey pictures, numbered without a gap. A reader as those of ``backends``."""

    name, modality = "flow folder", "flow"
    lost = 0

    def __init__(self, folder: Path, *, fps: float | None = None, zero: int = 0) -> None:
        self.source = str(folder)
        told = manifest(folder / MANIFEST)
        self.zero = zero or int(told.get("zero", ZERO))
        self._pairs = _pairs(folder)
        if told.get("fields", len(self._pairs)) != len(self._pairs):
            cause = f"{len(self._pairs)} pairs of pictures, but {told['fields']} were written"
            raise VideoError(self.source, MANIFEST, cause)
        self.index = index_of(len(self._pairs), fps, told)
        self._shape: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        if self._shape is None:
            self._shape = self._read(self._pairs[0][0]).shape
        return self._shape

    def frames(
        self, wanted: Sequence[int], size: tuple[int, int] | None = None
    ) -> Iterator[tuple[int, Image]]:
        """(index, (H, W, 2) bytes): x and y."""
        for i in wanted:
            parts = [self._read(path) for path in self._pairs[i]]
            if parts[0].shape != parts[1].shape:
                name = self._pairs[i][1].name
                raise VideoError(self.source, name, f"{parts[1].shape} beside {parts[0].shape}")
            parts = [_scaled(part, size or self.shape) for part in parts]
            yield i, from_zero(np.stack(parts, axis=-1), self.zero)

    def close(self) -> None:
        """Nothing to give back."""

    def _read(self, path: Path) -> Image:
        try:
            with Pictures.open(path) as picture:
                return np.asarray(picture.convert("L"))
        except (OSError, ValueError, SyntaxError, Pictures.DecompressionBombError) as error:
            cause = f"does not decode ({type(error).__name__})"
            raise VideoError(self.source, path.name, cause) from None


class FlowFile:
    """A file of flow: x in red, y in green."""

    name, modality = "flow file", "flow"

    def __init__(self, file: Path, *, zero: int = 0) -> None:
        self.source = str(file)
        told = manifest(beside(file))
        self.zero = zero or int(told.get("zero", ZERO))
        self._file = PyavFile(str(file), tolerant=False, threads=1)
        count = len(self._file.index)
        if told.get("fields", count) != count:
            raise VideoError(self.source, MANIFEST, f"{told['fields']} fields, the file {count}")
        self.index = index_of(count, self._file.index.fps, told)

    @property
    def lost(self) -> int:
        return self._file.lost

    @property
    def shape(self) -> tuple[int, int]:
        return self._file.shape

    def frames(
        self, wanted: Sequence[int], size: tuple[int, int] | None = None
    ) -> Iterator[tuple[int, Image]]:
        """(index, (H, W, 2) bytes): x and y."""
        for i, image in self._file.frames(wanted):
            parts = [
                _scaled(np.ascontiguousarray(image[..., k]), size or self.shape) for k in (0, 1)
            ]
            yield i, from_zero(np.stack(parts, axis=-1), self.zero)

    def close(self) -> None:
        """Give back the file."""
        self._file.close()


class FlowWriter:
    """Fields one by one to a folder of JPEG pairs or a lossless file, which appears when whole."""

    def __init__(self, path: Path, choice: FlowChoice, *, fps: float, store: str) -> None:
        self.path, self.choice, self.fps = path, choice, fps
        self._partial = path.with_name(f".{path.name}.partial{path.suffix}")
        self._folder = store == "jpeg"
        self.discard()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container: Any = None
        self._count = 0
        if self._folder:
            self._partial.mkdir()

    def write(self, stored: Image) -> None:
        """One field (H, W, 2) as bytes."""
        self._count += 1
        if self._folder:
            for k, axis in enumerate("xy"):
                picture = Pictures.fromarray(np.ascontiguousarray(stored[..., k]))
                name = f"flow_{axis}_{self._count:05d}.jpg"
                picture.save(self._partial / name, quality=self.choice.quality)
            return
        if self._container is None:
            self._begin(stored.shape[0], stored.shape[1])
        blank = np.full((*stored.shape[:2], 1), ZERO, np.uint8)
        frame = av.VideoFrame.from_ndarray(np.concatenate([stored, blank], axis=-1), format="rgb24")
        frame.pts, frame.time_base = self._count - 1, 1 / self._rate
        self._mux(self._stream.encode(frame.reformat(format="bgr0")))

    def close(self, times: Sequence[float], source: str, unsteadied: int = 0) -> Path:
        """Finish: the manifest, then the final name.

        ``unsteadied`` fields of warped flow still hold the camera's motion.
        """
        told = asdict(self.choice) | {
            "zero": ZERO,
            "rounding": "nearest",
            "fields": self._count,
            "fps": self.fps,
            "times": [round(float(t), 6) for t in times],
            "source": Path(source).name,
        }
        if self.choice.warped:
            told["unsteadied"] = unsteadied
        text = json.dumps(told) + "\n"
        if self._folder:
            (self._partial / MANIFEST).write_text(text)
            os.replace(self._partial, self.path)
            return self.path
        self._mux(self._stream.encode(None))
        self._container.close()
        os.replace(self._partial, self.path)
        written = beside(self.path).with_suffix(".partial")
        written.write_text(text)
        os.replace(written, beside(self.path))  # last: without it the file does not count
        return self.path

    def discard(self) -> None:
        """Leave nothing half-written."""
        if getattr(self, "_container", None) is not None:
            self._container.close()
        if self._partial.is_dir():
            shutil.rmtree(self._partial)
        self._partial.unlink(missing_ok=True)

    def _begin(self, height: int, width: int) -> None:
        self._rate = Fraction(self.fps).limit_denominator(100_000)
        self._container = av.open(str(self._partial), "w")
        self._stream = self._container.add_stream("ffv1", rate=self._rate)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "bgr0"
        self._stream.codec_context.time_base = 1 / self._rate

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            self._container.mux(packet)


def from_zero(stored: Image, zero: int) -> Image:
    """Bytes in which ``zero`` is no motion, moved so that 128 is."""
    if zero == ZERO:
        return stored
    return np.clip(stored.astype(np.int16) + (ZERO - zero), 0, 255).astype(np.uint8)


def manifest(path: Path) -> dict[str, Any]:
    """What a ``flow.json`` says, if it is there. Raises ValueError for a broken one."""
    if not path.is_file():
        return {}
    try:
        told = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no JSON ({error}); compute this flow again") from None
    zero = told.get("zero", ZERO) if isinstance(told, dict) else None
    if zero not in (127, 128):
        raise ValueError(f"{path} says zero {zero!r}; no motion is byte 127 or 128")
    return dict(told)


def index_of(count: int, fps: float | None, told: dict[str, Any]) -> FrameIndex:
    """Times of the fields: those of the first frame of each pair, else even ones."""
    index = even_index(count, fps or float(told.get("fps", DEFAULT_FPS)))
    times = told.get("times", ())
    return replace(index, times=np.asarray(times, float)) if len(times) == count else index


def _scaled(image: Image, size: tuple[int, int]) -> Image:
    return image if image.shape == size else resized(image, size)


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    """(x, y) pictures in order. Raises VideoError for the first number that lacks one of them."""
    apart = _uv(folder)
    pattern = FRAME if apart else NUMBERED
    found: dict[str, dict[int, Path]] = {"x": {}, "y": {}}
    for axis, place in zip("xy", apart or (folder, folder), strict=True):
        for path in place.iterdir():
            match = pattern.match(path.stem)
            if match is None or path.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            if apart or match[1] == axis:
                found[axis][int(match[match.lastindex or 1])] = path
    numbers = found["x"].keys() | found["y"].keys()
    for number in range(min(numbers, default=1), max(numbers, default=1) + 1):
        for axis in "xy":
            if number not in found[axis]:
                raise VideoError(str(folder), f"number {number}", f"its {axis} picture is missing")
    return [(found["x"][n], found["y"][n]) for n in sorted(numbers)]


def _uv(folder: Path) -> tuple[Path, Path] | None:
    """The two folders of the layout u/VIDEO, v/VIDEO, given the first."""
    for above in folder.parents:
        if above.name == "u":
            other = above.with_name("v") / folder.relative_to(above)
            return (folder, other) if other.is_dir() else None
    return None
