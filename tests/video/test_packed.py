"""AVI files whose packets hold two pictures, made here picture by picture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest

from marey.video import open_video, packed


def pictures(film: SimpleNamespace, count: int) -> list[Any]:
    """Encoded pictures in decoding order: one B-picture between any two others."""
    context: Any = av.CodecContext.create("mpeg4", "w")
    context.width, context.height, context.pix_fmt = film.width, film.height, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.gop_size, context.max_b_frames = 12, 1
    context.bit_rate = 2_000_000
    found = []
    for i in range(count):
        frame = av.VideoFrame.from_ndarray(film.coded(i), format="rgb24")
        frame.pts, frame.time_base = i, Fraction(1, 25)
        found += context.encode(frame)
    return found + context.encode(None)


def empty_picture(tick: int) -> bytes:
    """A picture that says: nothing coded."""
    bits = "01" + "0" + "1" + f"{tick % 25:05b}" + "1" + "0" + "01111"
    return packed.PICTURE + int(bits, 2).to_bytes(2, "big")


@pytest.fixture
def packed_file(film: SimpleNamespace, tmp_path: Path) -> Path:
    """37 numbered frames with every B-picture packed behind the picture before it."""
    parts = [bytes(p) for p in pictures(film, 37)]
    keys = [p.is_keyframe for p in pictures(film, 37)]
    kinds = [part[part.index(packed.PICTURE) + 4] >> 6 for part in parts]
    assert kinds.count(packed.BIDIRECTIONAL) > 12
    path = tmp_path / "packed.avi"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = film.width, film.height, "yuv420p"
        for i, part in enumerate(parts):
            follows = i + 1 < len(parts) and kinds[i + 1] == packed.BIDIRECTIONAL
            data = part + parts[i + 1] if follows else part
            if kinds[i] == packed.BIDIRECTIONAL:
                data = empty_picture(i)
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = i
            packet.is_keyframe = keys[i]
            container.mux(packet)
    return path


def test_packed_pictures_come_in_display_order(packed_file: Path, film: SimpleNamespace) -> None:
    video = open_video(packed_file)
    index = video._backend.index
    assert index.places is not None, "split, not counted from the start"
    assert not index.decoded
    assert len(index.keys) > 2
    assert video.num_frames == 37
    assert film.codes(video.frames_at(range(37)).frames) == list(range(37))
    for wanted in ([36, 0, 17, 18, 19], [25], [12], [13], [11]):
        assert film.codes(video.frames_at(wanted).frames) == wanted
    assert [round(t, 2) for t in video.times.diff().tolist()] == [0.04] * 36


def test_places_are_refused_where_pictures_are_missing(
    packed_file: Path, film: SimpleNamespace
) -> None:
    whole = pictures(film, 9)
    places, keys = packed.display_places(whole)
    assert sorted(places.values()) == list(range(9))
    assert keys[0] == (0, whole[0].dts)
    with av.open(str(packed_file)) as container:
        unsplit = [p for p in container.demux(video=0) if p.size]
    assert packed.display_places(unsplit) is None
