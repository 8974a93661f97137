"""Drawn videos whose frames carry their own number, and ways to make odd and broken files."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch

SQUARE, BITS = 16, 8
HEIGHT, WIDTH = 32, SQUARE * BITS


def coded(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """(H, W, 3): square b from the left is bright when bit b of the number is one."""
    image = np.full((height, width, 3), 40, np.uint8)
    for b in range(BITS):
        if number >> b & 1:
            image[:SQUARE, SQUARE * b : SQUARE * (b + 1)] = 215
    return image


def read_codes(frames: torch.Tensor) -> list[int]:
    """The numbers that frames (T, 3, H, W) carry; H and W may have been scaled together."""
    grey = frames.float().mean(1)
    height = grey.shape[1] * SQUARE // HEIGHT if grey.shape[1] < HEIGHT else SQUARE
    step = grey.shape[2] / BITS if grey.shape[2] < WIDTH else SQUARE
    middle = [int(step * (b + 0.5)) for b in range(BITS)]
    rows = grey[:, height // 4 : max(height * 3 // 4, height // 4 + 1)].mean(1)
    return [sum(int(row[x] > 128) << b for b, x in enumerate(middle)) for row in rows]


def encode(
    path: Path,
    count: int,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (HEIGHT, WIDTH),
    stamps: Sequence[int] | None = None,
    unit: Fraction = Fraction(1, 25),
    options: dict[str, str] | None = None,
    gop: int = 250,
    b_frames: int = 0,
    muxer: dict[str, str] | None = None,
    draw: Callable[[int], np.ndarray] | None = None,
) -> Path:
    """``count`` numbered frames through any encoder and container PyAV has."""
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.height, stream.width = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = unit
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        stream.codec_context.thread_count = 1
        stream.options = options or {}
        for i in range(count):
            image = draw(i) if draw else coded(i, *size)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = (stamps[i] if stamps else i), unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def patch_box(path: Path, box: bytes, offset: int, values: Sequence[int]) -> Path:
    """Overwrite 32-bit numbers in the first MP4 box of a kind, ``offset`` bytes after its name."""
    data = bytearray(path.read_bytes())
    at = data.index(box) + 4 + offset
    struct.pack_into(f">{len(values)}i", data, at, *values)
    path.write_bytes(data)
    return path


def damage_packet(path: Path, number: int) -> Path:
    """Make the length that begins one packet of an MP4 impossible."""
    with av.open(str(path)) as container:
        places = [p.pos for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    data[places[number] : places[number] + 4] = b"\x7f\xff\xff\xff"
    path.write_bytes(data)
    return path


@pytest.fixture(scope="session")
def film() -> SimpleNamespace:
    """The tools above, for tests."""
    return SimpleNamespace(
        coded=coded,
        codes=read_codes,
        encode=encode,
        patch_box=patch_box,
        damage_packet=damage_packet,
        height=HEIGHT,
        width=WIDTH,
    )


@pytest.fixture(autouse=True)
def forgetful() -> None:
    """Every test sees files for the first time."""
    from marey.video import index

    index.forget()
