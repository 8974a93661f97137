"""One decoded frame as an RGB array: colours, size and orientation.

Colour matrix and range are those the frame states; where it states none, FFmpeg's defaults hold
(BT.601, limited range). Pixels that are not square are left as stored. More than eight bits are
rounded to eight. Scaling is bilinear with a kernel that widens when shrinking.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

Image = NDArray[np.uint8]

# What a display matrix does to (x, y), as (a, b, c, d): x' = a x + c y, y' = b x + d y.
TURNS: dict[tuple[int, int, int, int], Callable[[Image], Image]] = {
    (1, 0, 0, 1): lambda image: image,
    (-1, 0, 0, 1): lambda image: image[:, ::-1],
    (1, 0, 0, -1): lambda image: image[::-1],
    (-1, 0, 0, -1): lambda image: image[::-1, ::-1],
    (0, 1, -1, 0): lambda image: image.transpose(1, 0, 2)[:, ::-1],
    (0, -1, 1, 0): lambda image: image.transpose(1, 0, 2)[::-1],
    (0, 1, 1, 0): lambda image: image.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda image: image.transpose(1, 0, 2)[::-1, ::-1],
}
UPRIGHT = (1, 0, 0, 1)
Turn = tuple[int, int, int, int]

# Full chroma only changes pictures that are scaled or have more than eight bits.
SCALING = int(Interpolation.BILINEAR) | 0x2000  # SWS_FULL_CHR_H_INT
MATRICES = {1: 1, 4: 4, 7: 7, 9: 9, 10: 9}  # as frames name them -> as swscale does; else BT.601
# PyAV before 17 converts in one thread, and by BT.601 unless told otherwise.
_RECENT = "threads" in (VideoReformatter.reformat.__doc__ or "threads")


def turn_of(frame: Any) -> Turn:
    """How a frame is to be turned for display: one of the eight exact turns.

    A matrix that is none of them (other angles, or garbage) is ignored.
    """
    for data in frame.side_data:
        if "DISPLAYMATRIX" in str(data.type):
            return nearest_turn(np.frombuffer(bytes(data), dtype=np.int32, count=9))
    return UPRIGHT


def nearest_turn(matrix: NDArray[np.int32]) -> Turn:
    """The exact turn that a 3x3 fixed-point display matrix stands for, or upright."""
    a, b, c, d = (float(matrix[i]) for i in (0, 1, 3, 4))
    across, down = np.hypot(a, c), np.hypot(b, d)
    if not across or not down:
        return UPRIGHT
    scaled = np.array([a / across, b / down, c / across, d / down])
    exact = np.rint(scaled)
    turn = tuple(int(v) for v in exact)
    if np.abs(scaled - exact).max() > 0.02 or turn not in TURNS:
        return UPRIGHT
    return turn  # type: ignore[return-value]


def is_sideways(turn: Turn) -> bool:
    """Whether width and height trade places."""
    return turn[0] == 0


class Painter:
    """Turns decoded frames into arrays, reusing one conversion context."""

    def __init__(self) -> None:
        self._convert = VideoReformatter()

    def paint(self, frame: Any, size: tuple[int, int], turn: Turn) -> Image:
        """(H, W, 3) uint8 RGB of exactly ``size`` = (H, W) after turning.

        A view of the frame's own memory, rows padded; copy it before keeping it.
        """
        height, width = size[::-1] if is_sideways(turn) else size
        more: dict[str, int] = {}
        if _RECENT:
            more["threads"] = 1
        elif frame.colorspace in MATRICES:
            more = {"src_colorspace": MATRICES[frame.colorspace], "dst_colorspace": 5}
        rgb = self._convert.reformat(
            frame, width=width, height=height, format="rgb24", interpolation=SCALING, **more
        )
        plane = rgb.planes[0]
        memory: Any = plane
        rows = np.frombuffer(memory, np.uint8, count=plane.line_size * height)
        image = rows.reshape(height, plane.line_size)[:, : width * 3].reshape(height, width, 3)
        return TURNS[turn](image)
