"""Opening a file with PyAV and choosing its video stream.

The stream is the one FFmpeg calls best: most pixels, then bit rate; cover pictures of audio files
are not video.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av

from marey.video.error import VideoError

NOT_VIDEO = {"tty"}  # formats that make moving pictures of text files
ATTACHED_PICTURE = 0x400

Discard = getattr(av.stream, "Discard", None)  # newer than the oldest PyAV we accept


def open_stream(source: str, threads: int = 1) -> tuple[Any, Any]:
    """An opened container and its video stream, ready to decode.

    ``threads``: decoding threads, 0 for as many as there are cores. Raises VideoError.
    """
    # "file:" keeps a colon in a name from being read as a protocol.
    address = source if "://" in source else f"file:{source}"
    # A picture called x%03d.png is one file, not a pattern. Nothing else gets options: before
    # PyAV 17.1 they crash some demuxers that find their streams late.
    options = {"pattern_type": "none"} if "%" in source else {}
    try:
        container: Any = av.open(address, metadata_errors="ignore", options=options)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoError(source, "header", plain_cause(error)) from None
    try:
        stream = best_stream(source, container)
        context = stream.codec_context
        context.thread_type = "NONE" if threads == 1 else "AUTO"
        context.thread_count = threads
        for other in container.streams:
            if other.index != stream.index and Discard is not None:
                other.discard = Discard.all
    except BaseException:
        container.close()
        raise
    return container, stream


def best_stream(source: str, container: Any) -> Any:
    """The video stream FFmpeg calls best. Raises VideoError when there is none to decode."""
    stream = container.streams.best("video")
    marks = getattr(stream, "disposition", 0)
    if int(getattr(marks, "value", marks)) & ATTACHED_PICTURE:
        stream = None
    if stream is None or container.format.name in NOT_VIDEO:
        raise VideoError(source, "header", "no video stream")
    if stream.codec_context is None:
        raise VideoError(source, "header", "no decoder for its video stream")
    return stream


def demuxed(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of a stream up to its end or to the point where the container breaks off."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.FFmpegError):
            return
        if packet.size:
            yield packet


def plain_cause(error: BaseException) -> str:
    """What went wrong, without the numbers, paths and log lines of the library."""
    if isinstance(error, av.error.InvalidDataError):
        return "not a readable video (invalid data)"
    text = getattr(error, "strerror", None) or str(error)
    known = {FileNotFoundError: "no such file", PermissionError: "no permission to read it"}
    named = next((words for kind, words in known.items() if isinstance(error, kind)), text)
    return str(named).split(";")[0].strip() or type(error).__name__
