"""A stage: background, camera, light, noise, the strokes on it, and how hard it is to see.

World coordinates are the pixels of the frame under a camera at rest. Figures of ``scale`` pixels
stand with their feet at ``horizon + EYE * scale``, so larger ones are nearer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from marey.data.drawn import backdrop, figures, motions, pools
from marey.data.drawn.raster import Stroke, coverage, paint, points, radii, track

CHUNK = 32  # frames drawn at once
EYE = 0.62  # height of the camera, in figure heights


@dataclass(frozen=True)
class Level:
    """What a difficulty means. ``shake`` is a fraction of the frame's height, ``noise`` grey
    levels, ``crf`` the quantiser of the encoder."""

    clutter: int
    distractors: int
    shake: float
    occluders: int
    noise: float
    crf: int


LEVELS = (
    Level(1, 0, 0.0, 0, 1.0, 18),
    Level(2, 1, 0.002, 0, 2.0, 21),
    Level(4, 2, 0.010, 1, 4.0, 27),
    Level(7, 3, 0.020, 2, 7.0, 33),
)


@dataclass(frozen=True)
class Setting:
    """What a scene is drawn from: ``key`` names its random streams, ``times`` (T,) seconds.

    ``loop_s`` is the period of everything that is not the action itself, 0 for no period.
    """

    key: tuple[object, ...]
    split: str
    size: tuple[int, int]
    times: np.ndarray
    difficulty: int = 1
    loop_s: float = 0.0

    def stream(self, name: str) -> np.random.RandomState:
        return pools.stream(*self.key, name)

    @property
    def frames(self) -> int:
        return len(self.times)

    @property
    def level(self) -> Level:
        return LEVELS[self.difficulty]

    @property
    def horizon(self) -> float:
        return 0.5 * self.size[0]

    @property
    def duration_s(self) -> float:
        step = self.times[-1] / (self.frames - 1) if self.frames > 1 else 0.04
        return float(self.times[-1] + step)

    def place(
        self, x: float | np.ndarray, scale: float | np.ndarray, near: float = 0.0
    ) -> figures.Place:
        """A place on the ground: ``x`` a fraction of the width, ``scale`` one of the height."""
        height, width = self.size
        size_px = track(scale, self.frames) * height
        ground = self.horizon + EYE * size_px
        return figures.Place(track(x, self.frames) * width, ground, size_px, near)

    def drift(self, rng: np.random.RandomState, terms: int = 3) -> np.ndarray:
        """A smooth random curve (T,) within -1 and 1, with period ``loop_s`` where there is one."""
        curve = np.zeros(self.frames)
        for _ in range(terms):
            phase, rate = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 3.0)
            if self.loop_s:
                rate = float(rng.randint(1, 4)) / self.loop_s
            curve += np.sin(2 * np.pi * rate * self.times + phase) / terms
        return curve


@dataclass
class Figure:
    """A figure on the stage: its look, its joints in pixels and its strokes."""

    look: pools.FigureLook
    seen: figures.Joints
    strokes: list[Stroke]


@dataclass
class Stage:
    """Everything that is drawn of one video. ``figures`` are the actors, in order of entry."""

    setting: Setting
    strokes: list[Stroke] = field(default_factory=list)
    actors: list[Figure] = field(default_factory=list)

    def __post_init__(self) -> None:
        setting, rng = self.setting, self.setting.stream("camera")
        height = setting.size[0]
        self.texture = pools.pick(setting.split, setting.stream("texture"))
        shake = setting.level.shake * height
        pan = np.array([0.035, 0.012]) * height * rng.uniform(0, 1) if setting.difficulty else 0.0
        slow = np.stack([setting.drift(rng, 1), setting.drift(rng, 1)], axis=1)
        fast = np.stack([setting.drift(rng), setting.drift(rng)], axis=1)
        self.offset = slow * pan + fast * shake
        zooming = setting.difficulty > 0 and rng.uniform() < 0.25
        self.zoom = 1.0 + (0.05 if zooming else 0.0) * (1 + setting.drift(rng, 1))
        amount = 0.02 + 0.03 * setting.difficulty
        self.gain = 1.0 + amount * setting.drift(setting.stream("light"))

    def add(self, strokes: list[Stroke]) -> None:
        self.strokes.extend(strokes)

    def enter(self, look: pools.FigureLook, motion: figures.Pose, place: figures.Place) -> Figure:
        """A figure whose joints can still be moved (``figures.reach``) before ``dress``."""
        body = figures.body_joints(look, motion)
        actor = Figure(look, figures.project(body, motion["yaw"], place), [])
        self.actors.append(actor)
        return actor

    def dress(
        self, actor: Figure, motion: figures.Pose, place: figures.Place, tag: str = ""
    ) -> None:
        actor.strokes = figures.strokes_of(actor.look, actor.seen, motion["yaw"], place)
        for stroke in actor.strokes:
            stroke.tag = tag
        self.strokes.extend(actor.strokes)

    def act(
        self, look: pools.FigureLook, motion: figures.Pose, place: figures.Place, tag: str = ""
    ) -> Figure:
        """A figure with nothing to reach for."""
        actor = self.enter(look, motion, place)
        self.dress(actor, motion, place, tag)
        return actor

    @cached_property
    def margin(self) -> int:
        """Pixels of background beyond the frame on each side, enough for the camera's travel."""
        return int(np.ceil(np.abs(self.offset).max() + 2))

    @cached_property
    def picture(self) -> np.ndarray:
        height, width = self.setting.size
        size = (height + 2 * self.margin, width + 2 * self.margin)
        horizon = round(self.setting.horizon) + self.margin
        return backdrop.backdrop(self.texture, size, horizon, self.setting.level.clutter)

    def seen_strokes(self, view: slice) -> list[Stroke]:
        height, width = self.setting.size
        centre = np.array([width / 2, height / 2])
        offset, zoom = self.offset[view], self.zoom[view]
        return [s.cut(view).moved(centre, offset, zoom) for s in self.strokes]

    def chunks(self) -> Iterator[np.ndarray]:
        """The frames in order, (t, H, W, 3) uint8 with t at most ``CHUNK``."""
        for start in range(0, self.setting.frames, CHUNK):
            view = slice(start, min(start + CHUNK, self.setting.frames))
            canvas = self._background(view)
            paint(canvas, self.seen_strokes(view))
            canvas *= self.gain[view, None, None, None].astype(np.float32)
            self._add_noise(canvas, start)
            np.clip(canvas, 0.0, 255.0, out=canvas)
            yield np.ascontiguousarray(canvas.astype(np.uint8).transpose(0, 2, 3, 1))

    def boxes(self, actor: Figure) -> np.ndarray:
        """The box of an actor in each frame, (T, 4) xyxy fractions, clipped to the frame."""
        height, width = self.setting.size
        centre = np.array([width / 2, height / 2])
        moved = [s.moved(centre, self.offset, self.zoom) for s in actor.strokes]
        box = figures.box_of(moved) / np.array([width, height, width, height])
        return np.round(np.clip(box, 0.0, 1.0), 4)

    def mask(self, tag: str) -> np.ndarray:
        """Pixels where the thing ``tag`` is seen, (T, H, W) bool."""
        return coverage(self.seen_strokes(slice(None)), tag, self.setting.size) > 0.5

    def _background(self, view: slice) -> np.ndarray:
        height, width = self.setting.size
        canvas = np.empty((view.stop - view.start, 3, height, width), np.float32)
        for k in range(len(canvas)):
            offset, zoom = self.offset[view.start + k], float(self.zoom[view.start + k])
            if zoom == 1.0:
                canvas[k] = self._shifted(offset + self.margin)
            else:
                canvas[k] = self._zoomed(offset, zoom)
        return canvas

    def _shifted(self, corner: np.ndarray) -> np.ndarray:
        height, width = self.setting.size
        left, top = np.floor(corner).astype(int)
        fx, fy = (corner - (left, top)).astype(np.float32)
        window = self.picture[:, top : top + height + 1, left : left + width + 1]
        if fx == 0 and fy == 0:
            return window[:, :height, :width]
        rows = window[:, :height] * (1 - fy) + window[:, 1:] * fy
        return rows[:, :, :width] * (1 - fx) + rows[:, :, 1:] * fx

    def _zoomed(self, offset: np.ndarray, zoom: float) -> np.ndarray:
        height, width = self.setting.size
        rows, fy = self._taps(height, offset[1], zoom)
        columns, fx = self._taps(width, offset[0], zoom)
        lines = self.picture[:, rows]
        lines += (self.picture[:, rows + 1] - lines) * fy[:, None]
        first = lines[:, :, columns]
        return first + (lines[:, :, columns + 1] - first) * fx

    def _taps(self, count: int, offset: float, zoom: float) -> tuple[np.ndarray, np.ndarray]:
        at = (np.arange(count) + 0.5 - count / 2) / zoom + count / 2 + offset + self.margin - 0.5
        whole = np.clip(np.floor(at).astype(int), 0, count + 2 * self.margin - 2)
        return whole, np.clip(at - whole, 0.0, 1.0).astype(np.float32)

    def _add_noise(self, canvas: np.ndarray, start: int) -> None:
        """Grey sensor noise, drawn chunk by chunk so that long videos need no memory."""
        level = self.setting.level.noise
        rng = self.setting.stream(f"noise {start}")
        shape = (len(canvas), 1, *canvas.shape[2:])
        grain = np.frombuffer(rng.bytes(int(np.prod(shape))), np.int8).reshape(shape)
        canvas += grain * np.float32(level / 74.0) + np.float32(0.5)


def look_of(setting: Setting, name: str, **changes: str) -> pools.FigureLook:
    """A figure of the split's pool."""
    look = pools.figure_look(pools.pick(setting.split, setting.stream(f"look {name}")))
    return replace(look, **changes) if changes else look  # type: ignore[arg-type]


def skin_of(setting: Setting, name: str) -> pools.PropSkin:
    """A prop's colours from the split's pool."""
    return pools.prop_skin(pools.pick(setting.split, setting.stream(f"skin {name}")))


def add_crowd(stage: Stage) -> None:
    """Distractor figures far behind, moving without meaning, and bars in front of everything."""
    setting = stage.setting
    for k in range(setting.level.distractors):
        rng = setting.stream(f"distractor {k}")
        if k == 0 and setting.difficulty == 1 and rng.uniform() < 0.4:
            continue
        scale, x = rng.uniform(0.2, 0.32), rng.uniform(0.04, 0.96)
        place = setting.place(x + 0.06 * setting.drift(rng, 1), scale)
        sway = setting.drift(rng, 2)
        motion = (motions.wave_two, motions.bend, motions.jack, motions.walk)[rng.randint(4)]
        moving = motion(rng.uniform() + 0.3 * setting.difficulty * sway)
        moving["yaw"] = moving["yaw"] + rng.uniform(-90, 90)
        stage.act(look_of(setting, f"distractor {k}"), moving, place)
    for k in range(setting.level.occluders):
        rng = setting.stream(f"occluder {k}")
        height, width = setting.size
        x, thick = rng.uniform(0.05, 0.95) * width, rng.uniform(0.014, 0.03) * width
        ink = pools.colour(rng.uniform(), 0.2, rng.uniform(0.15, 0.4))
        frames = setting.frames
        stage.add(
            [
                Stroke(
                    points(x, -0.1 * height, frames),
                    points(x + rng.uniform(-8, 8), 1.1 * height, frames),
                    radii(thick, thick, frames),
                    ink,
                    track(1e5, frames),
                )
            ]
        )
