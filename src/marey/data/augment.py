"""Random operations on one training clip; the same draw holds for all its frames.

A ``Draw`` is made before decoding, from the size of the video alone, so that frames can be scaled
while they are converted. Every number comes from the generator passed in.

Sources: PySlowFast (short-side jitter, crop, erasing); yjxiong/tsn-pytorch (corners);
RandAugment's operations and ranges as the "rand-mM-nN-mstd0.5-inc1" policies have them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from marey.choices import AugmentChoice
from marey.data import rand_augment
from marey.data.transforms import resize, short_side_size, to_input
from marey.types import ClipSpec


@dataclass(frozen=True)
class Draw:
    """What was drawn for a clip: frames are scaled to ``scaled``, cut to ``box``, sized ``size``.

    ``scaled`` is (H, W), ``box`` is (top, left, height, width) in the scaled frame.
    """

    scaled: tuple[int, int]
    box: tuple[int, int, int, int]
    size: int
    flip: bool


class TrainAugment:
    """``TrainAugment(spec, choice)(frames, generator)`` -> (clip, flipped).

    Raises ValueError for a choice that cannot be carried out.
    """

    def __init__(self, spec: ClipSpec, choice: AugmentChoice) -> None:
        low, high = spec.jitter
        if choice.crop == "jitter" and not spec.size <= low <= high:
            raise ValueError(
                f"jitter {low}-{high} does not hold a crop of {spec.size}; "
                "the short side must be at least the crop, and the range increasing"
            )
        for name in ("flip", "erasing"):
            if not 0 <= getattr(choice, name) <= 1:
                raise ValueError(f"{name} is {getattr(choice, name):g}; a probability is 0 to 1")
        if choice.crop == "area" and not 0 < choice.area[0] <= choice.area[1] <= 1:
            raise ValueError(f"area {choice.area} is not an increasing range within 0 to 1")
        if choice.crop == "corners" and not all(0 < s <= 1 for s in choice.scales or (0,)):
            raise ValueError(f"scales {choice.scales} are not shares of the short side, 0 to 1")
        if not 0 <= choice.rand_magnitude <= 10 or choice.rand_layers < 0:
            raise ValueError(
                f"rand_magnitude {choice.rand_magnitude} with {choice.rand_layers} layers: "
                "magnitude is 0 to 10, layers 0 or more"
            )
        if spec.modality == "flow" and (choice.rand_layers or choice.colour):
            raise ValueError(
                "rand_layers and colour change colours, and optical flow has none: set both to 0"
            )
        self.flow: TrainAugment | None = None  # of the flow that is read beside colours
        if spec.modality == "rgb_flow":
            plain = replace(choice, rand_layers=0, colour=0.0)
            spec, self.flow = spec.of("rgb"), TrainAugment(spec.of("flow"), plain)
        self.spec, self.choice = spec, choice

    def draw(self, height: int, width: int, generator: Generator, *, may_flip: bool = True) -> Draw:
        """The geometry of one clip of a video of this size."""
        scaled, box = DRAWS[self.choice.crop](height, width, self.spec, self.choice, generator)
        flip = _uniform(generator) < self.choice.flip
        return Draw(scaled, box, self.spec.size, flip and may_flip)

    def __call__(
        self, frames: Tensor, generator: Generator, *, may_flip: bool = True
    ) -> tuple[Tensor, bool]:
        """(T, C, H, W) uint8 to (C, T, S, S) float, and whether it was mirrored."""
        drawn = self.draw(frames.shape[-2], frames.shape[-1], generator, may_flip=may_flip)
        return self.apply(frames, drawn, generator), drawn.flip

    def apply(self, frames: Tensor, drawn: Draw, generator: Generator) -> Tensor:
        """Carry out a draw on frames of any size: those of the video, or already scaled ones."""
        choice = self.choice
        frames = cut(frames, drawn)
        if drawn.flip:
            frames = mirror(frames, self.spec)
        if choice.rand_layers:
            frames = rand_augment.apply(
                frames, choice.rand_layers, choice.rand_magnitude, generator
            )
        if choice.colour:
            frames = rand_augment.colour_jitter(frames, choice.colour, generator)
        clip = to_input(frames, self.spec)
        if choice.erasing:
            clip = erase(clip, choice.erasing, generator)
        return clip


def mirror(frames: Tensor, spec: ClipSpec) -> Tensor:
    """(T, C, H, W) bytes seen in a mirror; flow along x points the other way, u to 255 - u.

    Source: dense_flow and TSN's loader, whose convention moves 128 to 127.
    """
    frames = frames.flip(-1)
    if spec.modality == "flow":
        frames[:, 0] = 255 - frames[:, 0]
    return frames


def cut(frames: Tensor, drawn: Draw) -> Tensor:
    """(T, C, H, W) frames of any size to the drawn box, (T, C, size, size), dtype kept.

    Bytes stored with channels last, as readers give them, are scaled several times faster.
    """
    top, left, height, width = drawn.box
    scaled = resize(frames, *drawn.scaled)
    return resize(scaled[..., top : top + height, left : left + width], drawn.size, drawn.size)


def draw_jitter(
    height: int, width: int, spec: ClipSpec, choice: AugmentChoice, generator: Generator
) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """Short side uniform in the spec's jitter range (or its inverse uniform), rounded; then a crop.

    The crop's offset has an exclusive upper bound, as the official code draws it.
    """
    low, high = spec.jitter
    share = _uniform(generator)
    if choice.inverse_uniform:
        side = round(1.0 / (1.0 / high + share * (1.0 / low - 1.0 / high)))
    else:
        side = round(low + share * (high - low))
    scaled = short_side_size(height, width, side)
    top, left = (_below(n - spec.size, generator) for n in scaled)
    return scaled, (top, left, spec.size, spec.size)


def draw_area(
    height: int, width: int, spec: ClipSpec, choice: AugmentChoice, generator: Generator
) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """A box of random area and aspect, within ten tries; then the largest central one allowed."""
    low, high = (math.log(a) for a in choice.aspect)
    for _ in range(10):
        area = (
            height
            * width
            * (choice.area[0] + _uniform(generator) * (choice.area[1] - choice.area[0]))
        )
        aspect = math.exp(low + _uniform(generator) * (high - low))
        box_w, box_h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < box_w <= width and 0 < box_h <= height:
            top = _below(height - box_h + 1, generator)
            left = _below(width - box_w + 1, generator)
            return (height, width), (top, left, box_h, box_w)
    ratio = min(max(width / height, choice.aspect[0]), choice.aspect[1])
    box_h = min(height, round(width / ratio))
    box_w = min(width, round(height * ratio))
    return (height, width), ((height - box_h) // 2, (width - box_w) // 2, box_h, box_w)


def draw_corners(
    height: int, width: int, spec: ClipSpec, choice: AugmentChoice, generator: Generator
) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """A box at one of 13 fixed places of the frame with the spec's short side.

    Its sides are shares of the short side, at most one step of ``scales`` apart; a side within
    three pixels of the crop is the crop's.
    Source: L. Wang et al., "Temporal Segment Networks", ECCV 2016, Section 3.2; tsn-pytorch.
    """
    scaled = short_side_size(height, width, spec.short_side)
    sides = [int(min(scaled) * share) for share in choice.scales]
    sides = [spec.size if abs(side - spec.size) < 3 else side for side in sides]
    pairs = [(a, b) for i, a in enumerate(sides) for k, b in enumerate(sides) if abs(i - k) <= 1]
    box_h, box_w = pairs[_below(len(pairs), generator)]
    down, right = PLACES[_below(len(PLACES), generator)]
    top, left = (scaled[0] - box_h) // 4 * down, (scaled[1] - box_w) // 4 * right
    return scaled, (top, left, box_h, box_w)


def draw_borders(
    height: int, width: int, spec: ClipSpec, choice: AugmentChoice, generator: Generator
) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """A box each of whose sides is 0.75 to 1.25 times the crop, near a border and never central.

    In the frame with the spec's short side, and at most as large; on either axis it starts in the
    first or the last quarter of its free room.
    Source: C. Feichtenhofer et al., CVPR 2016, the authors' code.
    """
    scaled = short_side_size(height, width, spec.short_side)
    box, places = [], []
    for side in scaled:
        drawn = round(spec.size * (0.75 + 0.5 * _uniform(generator)))
        box.append(min(drawn, side))
        near = _uniform(generator) / 4 * (side - box[-1])
        far = _uniform(generator) < 0.5
        places.append(round(side - box[-1] - near if far else near))
    return scaled, (places[0], places[1], box[0], box[1])


# Quarters of the free room: corners, centre, middles of the sides, quarter points.
PLACES = (
    *((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)),
    *((0, 2), (4, 2), (2, 0), (2, 4)),
    *((1, 1), (1, 3), (3, 1), (3, 3)),
)
DRAWS = {
    "jitter": draw_jitter,
    "area": draw_area,
    "corners": draw_corners,
    "borders": draw_borders,
}


def erase(clip: Tensor, probability: float, generator: Generator) -> Tensor:
    """Noise in one box of (C, T, H, W) float, the same box in every frame, with ``probability``.

    The box has 2 % to 33 % of the area and an aspect of 0.3 to 3.3; the noise is a unit normal.
    """
    height, width = clip.shape[-2:]
    if _uniform(generator) >= probability:
        return clip
    for _ in range(10):
        area = height * width * (0.02 + _uniform(generator) * (1 / 3 - 0.02))
        aspect = math.exp(math.log(0.3) * (1 - 2 * _uniform(generator)))
        box_h, box_w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < box_h < height and 0 < box_w < width:
            top = _below(height - box_h + 1, generator)
            left = _below(width - box_w + 1, generator)
            noise = torch.randn((*clip.shape[:2], box_h, box_w), generator=generator)
            clip[..., top : top + box_h, left : left + box_w] = noise
            break
    return clip


def _uniform(generator: Generator) -> float:
    return float(torch.rand((), generator=generator, dtype=torch.float64))


def _below(bound: int, generator: Generator) -> int:
    """A random integer in [0, bound), or 0 where there is none."""
    if bound <= 0:
        return 0
    return int(torch.randint(0, bound, (), generator=generator))
