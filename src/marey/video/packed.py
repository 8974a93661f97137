"""XviD and DivX in AVI with packed pictures, as UCF101 and HMDB51 have them.

A packet may hold a picture and the B-picture that follows it; an empty packet later keeps the
count. FFmpeg decodes that, but its time stamps no longer tell the order of display. So packets are
split, and each is given its place in that order, worked out from the kinds of pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from av.bitstream import BitStreamFilterContext

PICTURE = b"\0\0\1\xb6"  # begins a coded picture; the next two bits say of which kind
BIDIRECTIONAL = 2
EMPTY_PICTURE = 8  # bytes; a picture of at most this size repeats the one before


def one_picture(packet: Any) -> bool:
    """Whether an MPEG-4 part 2 packet holds exactly one coded picture."""
    return packet.size > EMPTY_PICTURE and bytes(packet).count(PICTURE) == 1


def split(packets: Iterable[Any], stream: Any) -> Iterator[Any]:
    """The same packets with one picture each."""
    splitter = BitStreamFilterContext("mpeg4_unpack_bframes", stream)
    for packet in packets:
        yield from splitter.filter(packet)


def display_places(packets: Iterable[Any]) -> tuple[dict[int, int], list[tuple[int, int]]] | None:
    """Place in display order by decoding stamp, and (place, decoding stamp) of the keyframes.

    A picture that is not bidirectional is shown when the next such picture has been decoded. None
    where pictures are missing or stamps repeat, so that this cannot be worked out.
    """
    shown: list[int] = []
    keys: list[int] = []
    waiting: int | None = None
    for packet in packets:
        if packet.dts is None or packet.pts is None or not one_picture(packet):
            return None
        data = bytes(packet)
        kind = data[data.index(PICTURE) + len(PICTURE)] >> 6
        if packet.is_keyframe:
            keys.append(packet.dts)
        if kind == BIDIRECTIONAL:
            shown.append(packet.dts)
            continue
        if waiting is not None:
            shown.append(waiting)
        waiting = packet.dts
    if waiting is not None:
        shown.append(waiting)
    places = {dts: place for place, dts in enumerate(shown)}
    if len(places) != len(shown):
        return None
    return places, [(places[dts], dts) for dts in keys]


def placed(packets: Iterable[Any], stream: Any, places: dict[int, int]) -> Iterator[Any]:
    """Packets with one picture each, their presentation stamp the place in display order."""
    for packet in split(packets, stream):
        packet.pts = places.get(packet.dts)
        yield packet
