"""Which frames a file shows, when, and from which keyframes they are reached.

Two ways to know. Reading the packets without decoding them is cheap, and right whenever each packet
is one shown frame with a time stamp of its own. Decoding everything is slow and always right; it is
used where the packets are in doubt (no stamps, stamps that repeat, damage, fewer packets than the
header promises) and when a frame that the packets promised never came out of the decoder.
"""

from __future__ import annotations

import itertools
import os
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from marey.video.container import demuxed
from marey.video.error import VideoError
from marey.video.packed import display_places, one_picture, split

Ints = NDArray[np.int64]
Floats = NDArray[np.floating]

NOMINAL_RATE = Fraction(25)
CACHE_FRAMES = 1_000_000  # over all remembered files, 16 bytes each


@dataclass(frozen=True, kw_only=True)
class FrameIndex:
    """The shown frames of one video stream in display order.

    ``times`` (N,) seconds; ``stamps`` (N,) the same in units of the stream, or None when frames
    can only be told apart by counting; ``keys`` (K, 2) presentation and decoding stamp of each
    keyframe, increasing; ``rate`` average frames per second. ``decoded``: made by decoding
    everything. ``lost``: frames the file promises and does not hold.
    """

    times: Floats
    stamps: Ints | None
    keys: Ints
    rate: Fraction
    decoded: bool = False
    lost: int = 0
    hidden: int = 0  # samples that an edit list hides
    places: dict[int, int] | None = None  # display order by decoding stamp, see ``packed``

    def __len__(self) -> int:
        return len(self.times)

    @property
    def fps(self) -> float:
        return float(self.rate)

    def key_of(self, frame: int) -> int:
        """Row in ``keys`` of the last keyframe shown no later than a frame, -1 if there is none."""
        if self.stamps is None:
            return -1
        return int(np.searchsorted(self.keys[:, 0], self.stamps[frame], side="right")) - 1

    def first_shown(self, key: int) -> int:
        """Index of the first frame shown from a keyframe on."""
        assert self.stamps is not None
        return int(np.searchsorted(self.stamps, self.keys[key, 0]))

    def constant_rate(self) -> bool:
        """Whether all steps in time are equal, to one unit of the stream's clock."""
        if self.stamps is None or len(self.stamps) < 3:
            return self.stamps is not None
        steps = np.diff(self.stamps)
        return int(steps.max() - steps.min()) <= 1


@dataclass(frozen=True)
class PacketTable:
    """What the packets of a stream say: (P,) stamps, (P,) marks, and whether they are in doubt."""

    shown: Ints
    keys: Ints
    hidden: int
    promised: int  # 0: nothing can be said
    doubt: str  # empty: trusted

    @staticmethod
    def of(index: FrameIndex) -> PacketTable:
        """The table behind an index that proved wrong: its count is worth nothing."""
        assert index.stamps is not None
        return PacketTable(index.stamps, index.keys, index.hidden, 0, "missing frames")


_remembered: OrderedDict[tuple[str, int, int, bool], FrameIndex] = OrderedDict()


def file_mark(path: str, tolerant: bool) -> tuple[str, int, int, bool] | None:
    """What identifies the present content of a file, None for what is not a file."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return os.path.abspath(path), stat.st_mtime_ns, stat.st_size, tolerant


def remember(mark: tuple[str, int, int, bool] | None, index: FrameIndex) -> None:
    """Keep an index for the next time this process opens the same file."""
    if mark is None:
        return
    _remembered[mark] = index
    _remembered.move_to_end(mark)
    while sum(map(len, _remembered.values())) > CACHE_FRAMES or len(_remembered) > 512:
        _remembered.popitem(last=False)


def recall(mark: tuple[str, int, int, bool] | None) -> FrameIndex | None:
    """The index remembered for a file that has not changed since."""
    return _remembered.get(mark) if mark is not None else None


def forget() -> None:
    """Drop everything remembered about files."""
    _remembered.clear()


def read_packets(container: Any, stream: Any) -> PacketTable:
    """One pass over the packets of a stream, nothing decoded."""
    check = packet_check(stream)
    shown: list[int] = []
    keys: list[tuple[int, int]] = []
    hidden, doubt = 0, ""
    for packet in demuxed(container, stream):
        pts, dts = packet.pts, packet.dts
        if pts is None:
            doubt = doubt or "packets without time stamps"
            continue
        if packet.is_keyframe:
            keys.append((pts, pts if dts is None else dts))
        elif not keys and not shown:
            doubt = doubt or "no keyframe at the start"
        if packet.is_corrupt or not check(packet):
            doubt = doubt or "damaged packets"
        if packet.is_discard:
            hidden += 1
        else:
            shown.append(pts)
    stamps = np.unique(np.asarray(shown, dtype=np.int64))
    if len(stamps) != len(shown):
        doubt = doubt or "repeated time stamps"
    promised = promised_frames(container, stream, len(shown) + hidden) - hidden
    if promised > len(shown):
        doubt = doubt or f"{len(shown)} of {promised} frames"
    table = np.asarray(sorted(keys), dtype=np.int64).reshape(-1, 2)
    return PacketTable(stamps, table, hidden, max(promised, len(shown)), doubt)


def promised_frames(container: Any, stream: Any, found: int) -> int:
    """Frames in the sample table of an MP4 or MOV; headers elsewhere are not to be trusted."""
    if "mp4" not in container.format.name:
        return found
    entries = getattr(stream, "index_entries", None)
    return max(found, len(entries) if entries is not None else stream.frames)


def packet_check(stream: Any) -> Any:
    """A quick test of one packet's outer form, for codecs whose packets are chains of lengths.

    H.264 and HEVC in MP4 and Matroska: each unit is preceded by its length, and a chain that does
    not end with the packet is what decoders refuse.
    """
    if stream.codec_context.name == "mpeg4":
        return one_picture
    extra = stream.codec_context.extradata
    place = {"h264": 4, "hevc": 21}.get(stream.codec_context.name)
    if place is None or not extra or extra[0] != 1 or len(extra) <= place:
        return lambda packet: True
    width = (extra[place] & 3) + 1

    def whole(packet: Any) -> bool:
        data, at, end = bytes(packet), 0, packet.size
        while at + width <= end:
            length = int.from_bytes(data[at : at + width], "big")
            at += width + length
            if not length:
                return False
        return at <= end

    return whole


def index_from_packets(container: Any, stream: Any) -> tuple[FrameIndex | None, PacketTable]:
    """The index that the packets give, or None where they are in doubt."""
    table = read_packets(container, stream)
    if table.doubt and container.format.name == "avi" and stream.codec_context.name == "mpeg4":
        return index_of_packed(container, stream, table), table
    if table.doubt or not len(table.shown):
        return None, table
    times = table.shown * float(stream.time_base)
    rate = average_rate(stream, table.shown)
    index = FrameIndex(
        times=times, stamps=table.shown, keys=table.keys, rate=rate, hidden=table.hidden
    )
    return index, table


def index_of_packed(container: Any, stream: Any, table: PacketTable) -> FrameIndex | None:
    """The index of an AVI with packed pictures, or None where it is something else."""
    if not len(table.shown):
        return None
    try:
        container.seek(0, stream=stream)
        found = display_places(split(demuxed(container, stream), stream))
    except av.error.FFmpegError:
        return None
    if found is None:
        return None
    stamps = np.arange(len(found[0]))
    times = (stamps + int(table.shown[0])) * float(stream.time_base)
    keys = np.asarray(found[1], dtype=np.int64).reshape(-1, 2)
    rate = average_rate(stream, stamps)
    return FrameIndex(times=times, stamps=stamps, keys=keys, rate=rate, places=found[0])


def index_from_frames(
    stream: Any, frames: Iterable[Any], table: PacketTable, *, source: str
) -> FrameIndex:
    """The index of the frames that really come out of the decoder, in their order.

    Raises VideoError when there are none.
    """
    stamps = [frame.pts for frame in frames]
    if not stamps:
        raise VideoError(source, "the first frame", "no frames")
    known = [stamp for stamp in stamps if stamp is not None]
    rising = len(known) == len(stamps) and all(a < b for a, b in itertools.pairwise(known))
    rate = average_rate(stream, np.asarray(known, dtype=np.int64) if rising else None)
    lost = max(table.promised - len(stamps), 0)
    if rising:
        array = np.asarray(known, dtype=np.int64)
        return FrameIndex(
            times=array * float(stream.time_base), stamps=array, keys=table.keys, rate=rate,
            decoded=True, lost=lost, hidden=table.hidden,
        )  # fmt: skip
    times: Floats
    if known and len(known) == len(stamps):
        times = np.sort(np.asarray(known)) * float(stream.time_base)
    else:
        times = filled_times(stamps, float(stream.time_base or 0), float(rate))
    return FrameIndex(
        times=times,
        stamps=None,
        keys=np.zeros((0, 2), np.int64),
        rate=rate,
        decoded=True,
        lost=lost,
    )


def filled_times(stamps: list[int | None], unit: float, fps: float) -> Floats:
    """Seconds for every frame where some or all have no stamp: one nominal step after the last.

    A stamp that would turn time back is ignored.
    """
    times = np.zeros(len(stamps))
    last = None
    for i, stamp in enumerate(stamps):
        step = 0.0 if last is None else last + 1.0 / fps
        given = None if stamp is None else stamp * unit
        usable = given is not None and (last is None or last < given)
        times[i] = given if usable and given is not None else step
        last = float(times[i])
    return times


def average_rate(stream: Any, stamps: Ints | None) -> Fraction:
    """Average frames per second: the container's exact figure where it agrees with the stamps.

    Index arithmetic truncates, so 30 must not become 29.99999.
    """
    stated = [stream.average_rate, getattr(stream, "guessed_rate", None), stream.base_rate]
    named = next((Fraction(r) for r in stated if r), None)
    if stamps is None or len(stamps) < 2 or not stream.time_base:
        return named or NOMINAL_RATE
    span = int(stamps[-1] - stamps[0]) * Fraction(stream.time_base)
    measured = (len(stamps) - 1) / span
    if named is not None and abs(named / measured - 1) < Fraction(1, 20):
        return named
    return measured.limit_denominator(100_000)


def without_frame(index: FrameIndex, frame: int) -> FrameIndex:
    """The same index with one unreadable frame taken out and counted as lost."""
    return replace(
        index,
        times=np.delete(index.times, frame),
        stamps=None if index.stamps is None else np.delete(index.stamps, frame),
        lost=index.lost + 1,
    )
