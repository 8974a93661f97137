"""PyAV behind the face of a reader: any frames of a file, by seeking to keyframes.

A request is cut into runs: a run starts at a keyframe (or where the decoder stands) and reads on to
its last frame. Frames that nothing refers to and nobody asked for are not decoded, which changes no
other frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import av
import numpy as np

from marey.video.container import demuxed, open_stream, plain_cause
from marey.video.error import VideoError
from marey.video.index import (
    FrameIndex,
    PacketTable,
    file_mark,
    index_from_frames,
    index_from_packets,
    recall,
    remember,
)
from marey.video.packed import placed
from marey.video.picture import UPRIGHT, Image, Painter, Turn, is_sideways, turn_of

SKIPPABLE = {"h264", "mpeg4", "mpeg2video", "mpeg1video"}  # "not referred to" is exact in these
NEAR = 4  # frames: decoding this few is cheaper than seeking past them


class Reindexed(Exception):
    """The frames a file was believed to hold turned out wrong; its index has been replaced."""


class PyavFile:
    """A video file read through PyAV. Not for use from several threads at once."""

    name = "pyav"

    def __init__(self, path: str, *, tolerant: bool = True, threads: int = 1) -> None:
        self.source = path
        self.tolerant = tolerant
        self.threads = threads
        self._painter = Painter()
        self._turn: Turn | None = None
        self._container: Any = None
        self._stream: Any = None
        self._reset(None)
        self._open()
        try:
            mark = file_mark(path, tolerant)
            found = recall(mark)
            self.index = found if found is not None else self._make_index()
            remember(mark, self.index)
        except BaseException:
            self.close()
            raise

    @property
    def lost(self) -> int:
        return self.index.lost

    @property
    def stream_number(self) -> int:
        return int(self._stream.index)

    @property
    def bits(self) -> int:
        """Bits per stored colour value, 0 where the header does not say."""
        form = self._stream.codec_context.format
        return max((part.bits for part in form.components), default=0) if form else 0

    @property
    def turned(self) -> bool:
        """Whether frames are stored in another orientation than they are shown in."""
        self.shape  # noqa: B018  decodes a frame if none has been yet
        return self._turn != UPRIGHT

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns as displayed."""
        if self._turn is None:
            next(self.frames([0]))
        return self._displayed()

    def close(self) -> None:
        """Give back the file and the decoder."""
        self._reset(None)
        if self._container is not None:
            self._container.close()
            self._container = None

    def frames(
        self, wanted: Sequence[int], size: tuple[int, int] | None = None
    ) -> Iterator[tuple[int, Image]]:
        """The wanted frames (increasing, each once) as (index, (H, W, 3) view to be copied).

        Raises Reindexed when a promised frame does not exist and tolerance allows to go on
        without; VideoError where it does not.
        """
        if self.index.stamps is None:
            found = self._count_to(wanted)
        else:
            found = self._runs(wanted)
        for frame_index, frame in found:
            if self._turn is None:
                self._turn = turn_of(frame)
            yield frame_index, self._painter.paint(frame, size or self._displayed(), self._turn)

    def _displayed(self) -> tuple[int, int]:
        height, width = self._coded
        return (width, height) if is_sideways(self._turn or UPRIGHT) else (height, width)

    # Opening

    def _open(self) -> None:
        self._container, self._stream = open_stream(self.source, self.threads)
        context = self._stream.codec_context
        self._coded = (context.height, context.width)
        self._skips = context.name in SKIPPABLE
        self._drains = any(n in self._container.format.name for n in ("mp4", "matroska"))

    def _make_index(self) -> FrameIndex:
        index, table = index_from_packets(self._container, self._stream)
        if index is not None:
            return index
        return self._scan(table)

    def _scan(self, table: PacketTable) -> FrameIndex:
        """The index of what really decodes, from the start to the end."""
        self._reopen()
        self._errors = 0
        index = index_from_frames(self._stream, self._everything(), table, source=self.source)
        index = replace(index, lost=max(index.lost, self._errors))
        if index.lost and not self.tolerant:
            raise VideoError(self.source, "the end", f"{index.lost} frames are missing")
        self._reopen()
        return index

    def _reopen(self) -> None:
        self.close()
        self._open()

    def _reset(self, packets: Iterator[Any] | None) -> None:
        """Forget where the decoder stands."""
        self._packets = packets
        self._spare: dict[int, Any] = {}
        self._skipped: set[int] = set()
        self._reached = -1  # last frame given out
        self._errors = 0

    # Decoding

    def _decode(self, packet: Any) -> list[Any]:
        """The frames that one packet (None: the end) brings out; damage is counted or raised."""
        try:
            frames: list[Any] = self._stream.codec_context.decode(packet)
        except av.error.EOFError:
            return []
        except (av.error.FFmpegError, ValueError) as error:
            if not self.tolerant:
                damaged = isinstance(error, av.error.InvalidDataError)
                cause = "a damaged packet" if damaged else plain_cause(error)
                raise VideoError(self.source, self._place(packet), cause) from None
            self._errors += 1
            return []
        for frame in frames:
            if not self._coded[0]:
                self._coded = (frame.height, frame.width)
        return frames

    def _place(self, packet: Any) -> str:
        if packet is None or packet.pts is None:
            return "the end" if packet is None else "a packet without time"
        return f"{float(packet.pts * self._stream.time_base):.3f} s"

    def _everything(self) -> Iterator[Any]:
        """All frames from the start, in display order."""
        self._stream.codec_context.skip_frame = "DEFAULT"
        for packet in demuxed(self._container, self._stream):
            yield from self._decode(packet)
        yield from self._decode(None)

    def _count_to(self, wanted: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """Frames told apart by counting from the start."""
        targets = iter(wanted)
        target = next(targets, None)
        self._reopen()
        for count, frame in enumerate(self._everything()):
            if count == target:
                yield count, frame
                target = next(targets, None)
                if target is None:
                    return
        if target is not None:
            raise VideoError(self.source, f"frame {target}", "the file changed while it was read")

    def _runs(self, wanted: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """Frames told apart by their stamps, one run of decoding after another."""
        at = 0
        for end in self._run_ends(wanted):
            for retreat in (0, 1, None):  # a frame that does not come may need an earlier start
                if not (retreat == 0 and self._can_continue(wanted[at])) and not self._go_to(
                    wanted[at], retreat
                ):
                    continue
                for found in self._run(wanted[at:end], drain=end < len(wanted)):
                    at += 1
                    yield found
                if at == end:
                    break
            else:
                self._give_up(wanted[at])

    def _run_ends(self, wanted: Sequence[int]) -> list[int]:
        """Where to seek instead of reading on: one past the last frame of every run."""
        frames, stamps, keys = np.asarray(wanted), self.index.stamps, self.index.keys[:, 0]
        if stamps is None or len(keys) < 2:
            return [len(frames)]
        key = np.searchsorted(keys, stamps[frames], side="right") - 1
        first = np.searchsorted(stamps, keys[np.maximum(key, 0)])
        far = (key[1:] > 0) & (first[1:] > frames[:-1] + NEAR)
        return [*(np.flatnonzero(far) + 1).tolist(), len(frames)]

    def _can_continue(self, target: int) -> bool:
        stamps = self.index.stamps
        if self._packets is None or stamps is None or self._reached < 0:
            return False
        if int(stamps[target]) in self._spare:
            return True
        if target <= self._reached or int(stamps[target]) in self._skipped:
            return False
        key = self.index.key_of(target)
        return key <= 0 or self.index.first_shown(key) <= self._reached + NEAR

    def _go_to(self, target: int, retreat: int | None) -> bool:
        """Stand before the keyframe of a frame, ``retreat`` keyframes earlier, None: the start.

        False when that would repeat an earlier attempt.
        """
        key = self.index.key_of(target)
        if retreat is not None and key < retreat:
            return False
        if retreat is None or not self._seek(key - retreat):
            self._reopen()
            self._reset(self._demux())
        return True

    def _demux(self) -> Iterator[Any]:
        """The packets from where the file stands."""
        packets = demuxed(self._container, self._stream)
        places = self.index.places
        return packets if places is None else placed(packets, self._stream, places)

    def _seek(self, key: int) -> bool:
        """Stand before a keyframe or, where the container is not that exact, an earlier one."""
        pts, dts = (int(v) for v in self.index.keys[key])
        for stamp in (pts, dts) if self.index.places is None else (dts,):
            try:
                self._container.seek(stamp, stream=self._stream)
            except av.error.FFmpegError:
                continue
            packets = self._demux()
            first = next((p for p in packets if p.is_keyframe), None)
            if first is None or first.pts is None or first.pts > pts:
                continue
            if first.pts == pts or stamp == dts:
                self._reset(chained(first, packets))
                return True
        return False

    def _run(self, targets: Sequence[int], *, drain: bool) -> Iterator[tuple[int, Any]]:
        """The targets in order, until all are out, one is passed over, or the file ends."""
        stamps = self.index.stamps
        assert stamps is not None
        queue = deque((int(stamps[t]), t) for t in targets)
        for frames in self._batches({stamp for stamp, _ in queue}, drain):
            for i, frame in enumerate(frames):
                self._skipped.discard(frame.pts)
                if frame.pts is None or frame.pts < queue[0][0]:
                    continue
                if frame.pts > queue[0][0]:
                    return
                self._spare = {f.pts: f for f in frames[i:] if f.pts is not None}
                self._reached = queue.popleft()[1]
                yield self._reached, frame
                if not queue:
                    return

    def _batches(self, wanted: set[int], drain: bool) -> Iterator[list[Any]]:
        """What the decoder gives, packet by packet, from where it stands to the end of the file.

        ``drain``: once the last wanted packet is in, ask the decoder for what it holds instead of
        reading on; the place in the file is lost with it.
        """
        assert self._packets is not None
        if self._spare:
            yield [self._spare[stamp] for stamp in sorted(self._spare)]
        unfed = wanted - set(self._spare)
        skips = self._skips and not self.index.decoded
        context = self._stream.codec_context
        for packet in self._packets:
            useful = not skips or packet.pts in unfed or packet.pts is None
            context.skip_frame = "DEFAULT" if useful else "NONREF"
            if not useful:
                self._skipped.add(packet.pts)
            unfed.discard(packet.pts)
            yield self._decode(packet)
            if not unfed and drain and self._drains:
                break
        self._packets = None
        yield self._decode(None)

    def _give_up(self, target: int) -> None:
        """A promised frame did not come out: find out which do."""
        if self.index.decoded:
            position = f"frame {target}, {self.index.times[target]:.3f} s"
            raise VideoError(self.source, position, "the file decodes differently every time")
        self.index = self._scan(PacketTable.of(self.index))
        remember(file_mark(self.source, self.tolerant), self.index)
        raise Reindexed


def chained(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    """An iterator with one item put back."""
    yield first
    yield from rest
