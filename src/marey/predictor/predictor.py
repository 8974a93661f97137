"""A video in, annotations out: ``predict`` for one call, ``Predictor`` for many.

A result is plain data, one a video, the same in Python and JSON:

    {"source": ..., "model": ..., "task": "what",
     "predictions": [{"label": ..., "score": ..., "start_s": ..., "end_s": ...}, ...],
     "skipped": "why"}          only when the video, or frames of it, could not be used

A file is scored the official way: probabilities at every position, mean over positions, then over
views. Three views in time and one crop are the default, a tenth of the published 10x3.

Predictor takes eleven arguments, above the cap: each is a switch of the command line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import torch
from torch import Tensor, nn

from marey.choices import TaskChoice
from marey.config import from_plain, to_plain
from marey.data.transforms import short_side_size, test_scale, test_views, to_input
from marey.layers.frames import snippets
from marey.predictor.sources import Source, expand_all, name_of
from marey.report.run import weights_head
from marey.tasks.classification import combined
from marey.tasks.label_sets import classification
from marey.types import Clip, ClipSpec, Prediction
from marey.video import Video, VideoError, open_video
from marey.video.flow_files import find_flow, flow_around, is_flow, open_flow
from marey.video.sampling import clip_indices, is_clamped
from marey.video.windows import Window, windows_of

LARGE = 720  # short side in pixels
Precision = Literal["float32", "bf16", "fp16"]
Policy = Literal["clamp", "strict"]
Result = dict[str, Any]


class Options(TypedDict, total=False):
    """What ``predict`` hands on to ``Predictor``."""

    views: tuple[int, int] | None
    top: int
    device: str
    batch: int
    precision: Precision
    policy: Policy
    window_s: float | None
    step_s: float | None
    num_threads: int | None
    flow: str  # folder of stored flow, for networks that read frames and flow
    min_score: float | None  # task 'when': the least score of a segment


def predict(
    source: Source | Sequence[Source],
    model: nn.Module | str | Path,
    *,
    weights: str | Path | None = None,
    task: str = "what",
    **options: Unpack[Options],
) -> list[Result]:
    """One result a video. ``source``: file, folder, glob, frame folder, array, or several of them.

    ``model``: a network of ``marey.build`` or ``marey.load``, a name together with ``weights``, or
    a weight file or run folder. ``window_s`` cuts videos into windows, ``step_s`` apart. Of several
    videos those that cannot be read have ``skipped``. Raises ValueError for a source that is not
    there or never ends, VideoError for a single one that cannot be read.
    """
    if task == "when":
        from marey.predictor.when import find_segments

        return find_segments(source, network(model, weights), dict(options))
    if task != "what":
        raise ValueError(f"task is {task!r}; choose 'what' (which class) or 'when' (segments)")
    if "min_score" in options:
        raise ValueError("min_score is for task='when'; top says how many classes are told")
    return Predictor(network(model, weights), **options)(source)  # type: ignore[misc]


def network(model: nn.Module | str | Path, weights: str | Path | None = None) -> nn.Module:
    """The network a caller means. Raises ValueError for a bare name: it would guess at random."""
    from marey import zoo

    if isinstance(model, nn.Module):
        if weights is not None:
            raise ValueError(
                "weights were given with a network that has its own; give a name instead"
            )
        return model
    if weights is None and not Path(model).exists() and str(model) in zoo.list_models():
        raise ValueError(
            f"{model} without weights would guess at random; give weights=FILE or a run folder"
        )
    return zoo.load(str(model), weights=weights)


class Predictor:
    """A network ready to look at videos: ``predictor(source)`` gives one result a video."""

    def __init__(
        self,
        model: nn.Module,
        *,
        views: tuple[int, int] | None = None,
        top: int = 5,
        device: str = "auto",
        batch: int = 8,
        precision: Precision = "float32",
        policy: Policy = "clamp",
        window_s: float | None = None,
        step_s: float | None = None,
        num_threads: int | None = None,
        flow: str = "",
    ) -> None:
        """``views`` in time and space; ``batch`` clips at once, which bounds the memory.
        ``flow``: folder of stored flow, for a network that reads it beside frames.

        ``window_s``: one row of predictions a window instead of one a video, windows ``step_s``
        apart, by default without gap. Raises ValueError for a network without a clip spec, or a
        value out of range.
        """
        spec = getattr(model, "spec", None)
        if not isinstance(spec, ClipSpec):
            raise ValueError("network carries no clip spec; take one of marey.build or marey.load")
        for name, value in (("top", top), ("batch", batch), ("views", min(views or (1, 1)))):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        for name, seconds in (("window_s", window_s), ("step_s", step_s)):
            if seconds is not None and not seconds > 0:
                raise ValueError(f"{name} is {seconds}; give a positive number of seconds")
        if getattr(model, "task", "classification") != "classification" and window_s is not None:
            raise ValueError("a detector has windows of its own: leave window_s and step_s out")
        _one_of("precision", precision, ("float32", "bf16", "fp16"))
        _one_of("policy", policy, ("clamp", "strict"))
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        self.device = choose_device(device)
        self.model = model.to(self.device).eval()
        if precision != "float32":  # half precision convolves twice as fast on such memory
            self.model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.spec, self.views = spec, views or default_views(spec)
        test_scale(spec, self.views[1])
        self.top, self.batch, self.precision, self.policy = top, batch, precision, policy
        self.window_s, self.step_s = window_s or step_s, step_s or window_s
        self.flow = flow
        if spec.modality == "rgb_flow" and not flow:
            raise ValueError(
                "the network reads frames and their optical flow: compute it with 'marey flow "
                "SRC DIR' and name the folder, --flow DIR (in Python flow=DIR)"
            )
        self.clamped = 0  # videos or windows so far that were shorter than a clip of the network
        self.classes: tuple[str, ...] | None = getattr(model, "classes", None)
        self.variant = str(getattr(model, "variant", type(model).__name__))
        self.task = classification(task_of(model), num_classes_of(model), chunk=batch)

    def __call__(self, source: Source | Sequence[Source]) -> list[Result]:
        """Results of all videos a source means, see ``each``."""
        return list(self.each(source))

    def each(self, source: Source | Sequence[Source]) -> Iterator[Result]:
        """One result a video, as soon as it is done.

        Of several videos, one that cannot be read has ``skipped``; a single one raises VideoError.
        Raises ValueError when a source is not there or never ends.
        """
        every = expand_all(source)
        for one in every:
            name = name_of(one)
            try:
                with self.open(one) as video:
                    found = self.look(video)
                    lost = f"frames that could not be decoded: {video.lost}" if video.lost else ""
            except VideoError as error:
                if len(every) == 1:
                    raise
                found, lost = [], reason(error)
            yield self.result(name, found, lost)

    def open(self, source: Source) -> Video:
        """A source as the network reads it. Raises ValueError for colours where it reads flow."""
        if self.spec.modality != "flow":
            return open_video(source)  # type: ignore[arg-type]
        if not isinstance(source, (str, Path)) or not is_flow(source):
            raise ValueError(
                f"{self.variant} reads optical flow but {name_of(source)} is none; compute it with "
                "'marey flow SRC DST' and predict on DST"
            )
        return open_flow(source)

    def look(self, video: Video) -> list[Prediction]:
        """The top classes of a whole video, or of each of its windows, in order of time."""
        if self.window_s is None or self.step_s is None:
            start = float(video.times[0])
            return self.ranked(self.scores(video), start, start + video.duration_s)
        found: list[Prediction] = []
        for clips, spans in self.windows(video, self.window_s, self.step_s):
            for row, span in zip(self.probabilities(clips), spans, strict=True):
                found += self.ranked(row, *span)
        return found

    def windows(
        self, video: Video, window_s: float, step_s: float
    ) -> Iterator[tuple[Tensor, list[tuple[float, float]]]]:
        """Batches of one clip a window, (N, C, T, H, W), and the [start, end) seconds of each.

        Raises ValueError for windows that follow each other faster than frames do.
        """
        if 0 < step_s * video.fps < 1 - 1e-6:
            raise ValueError(
                f"step_s is {step_s:g} but a frame of {video.source} lasts {1 / video.fps:.3g} s: "
                "give window_s or step_s that or more"
            )
        cut: list[Window] = list(windows_of(video.times, video.duration_s, window_s, step_s))
        for start in range(0, len(cut), self.batch):
            some = cut[start : start + self.batch]
            cuts = [self._frames(video, 1, (w.first, w.after)) for w in some]
            clips = [self.crops(frames, 1, flow) for frames, flow in cuts]
            yield torch.cat(clips), [(w.start_s, w.end_s) for w in some]

    def scores(self, video: Video) -> Tensor:
        """Probabilities (K,) of a whole video: its views combined as the task says."""
        time, space = self.views
        frames, flow = self._frames(video, time)  # decoded once, turned into floats by and by
        count = max(1, self.batch // space)
        parts = frames.split(count)
        beside = [None] * len(parts) if flow is None else flow.split(count)
        rows = torch.cat(
            [
                self.probabilities(self.crops(some, space, fields))
                for some, fields in zip(parts, beside, strict=True)
            ]
        )
        return combined(rows, self.task.choice.combine)

    def _frames(
        self, video: Video, time: int, span: tuple[int, int] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Frames of ``time`` views of a video or its frames ``span``: (V, T, C, H, W) uint8.

        And where both are read their flow, (V, T * flow_frames, 2, h, w).
        """
        count, fps = video.num_frames, video.fps
        span = (min(span[0], count - 1), min(span[1], count)) if span else None
        clamped = is_clamped(count, fps, self.spec, span=span)
        self.clamped += clamped
        if self.policy == "strict" and clamped:
            cause = f"is shorter than a clip of {self.variant} under policy='strict'; use 'clamp'"
            raise VideoError(video.source, f"frame {count}", cause)
        rows = [
            clip_indices(count, fps, self.spec, view=view, num_views=time, span=span)
            for view in range(time)
        ]
        frames = video.frames_at(torch.cat(rows), size=_decode_size(video)).frames
        flow = None
        if self.spec.modality == "rgb_flow":
            with open_flow(find_flow(Path(self.flow), Path(video.source).absolute())) as fields:
                flow = flow_around(fields, torch.cat(rows), self.spec.flow_frames, count)
                flow = flow.unflatten(0, (time, -1))
        return frames.unflatten(0, (time, -1)), flow

    def crops(self, frames: Tensor, space: int, flow: Tensor | None = None) -> Tensor:
        """(V, T, C, H, W) uint8 to the network's input, space within time, (V, C, T, S, S).

        With ``flow``, one clip of both: its stacks stand behind the colours.
        """
        if flow is not None:
            spec = self.spec.of("rgb"), self.spec.of("flow")
            pairs = zip((frames, flow), spec, strict=True)
            colours, fields = (
                torch.cat([test_views(to_input(f, s), s, space) for f in part]) for part, s in pairs
            )
            return torch.cat([colours, snippets(fields, "flow", self.spec.flow_frames)], dim=1)
        return torch.cat([test_views(to_input(f, self.spec), self.spec, space) for f in frames])

    def probabilities(self, clips: Tensor) -> Tensor:
        """(V, K) of clips (V, C, T, H, W), a batch at a time."""
        with torch.inference_mode(), self.autocast():
            return self.task.scores(self.model, clips[:, None])

    def autocast(self) -> Any:
        """The context that sets the precision of the forward pass."""
        if self.precision == "float32":
            return nullcontext()
        half = self.precision == "fp16" and self.device.type != "cpu"
        kind = torch.float16 if half else torch.bfloat16  # a processor has no fast fp16
        return torch.autocast(self.device.type, dtype=kind)

    def classify(self, clip: Clip, span_s: tuple[float, float]) -> list[Prediction]:
        """The top classes of one clip that is already as long as the network wants."""
        return self.ranked(self.probabilities(self.crops(clip.frames[None], 1))[0], *span_s)

    def ranked(self, scores: Tensor, start_s: float, end_s: float) -> list[Prediction]:
        """The ``top`` classes of one row of scores (K,), highest first."""
        return [
            Prediction(
                " ".join(map(self.label, numbers)),
                round(value, 6),
                round(start_s, 3),
                round(end_s, 3),
            )
            for value, numbers in self.task.top(scores, self.top)
        ]

    def label(self, number: int) -> str:
        """The name of a class, ``class 12`` where the network brought no names."""
        return self.classes[number] if self.classes else f"class {number}"

    def result(self, source: str, found: list[Prediction], skipped: str = "") -> Result:
        """One result as plain data."""
        result: Result = {"source": source, "model": self.variant, "task": "what"}
        result["predictions"] = to_plain(found)
        return result | ({"skipped": skipped} if skipped else {})


def _decode_size(video: Video) -> tuple[int, int] | None:
    """Frames larger than any test protocol wants shrink while decoding, to bound memory."""
    if min(video.height, video.width) <= LARGE:
        return None
    return short_side_size(video.height, video.width, LARGE)


def default_views(spec: ClipSpec) -> tuple[int, int]:
    """Three views in time, fewer where the network's own protocol has fewer, one crop."""
    return (1 if spec.sampling in ("segment", "snippet") else max(1, min(3, spec.views[0])), 1)


def task_of(model: nn.Module) -> TaskChoice:
    """One class or several: what the recipe inside the network's own weights says.

    Published weights carry no recipe: those sampled the way of Charades answer for several.
    """
    told = choice_of(model)
    if told is not None:
        return told
    spec = getattr(model, "spec", None)
    if isinstance(spec, ClipSpec) and spec.sampling == "stride":
        return TaskChoice(labels="multi", combine="max")
    return TaskChoice()


def choice_of(model: nn.Module) -> TaskChoice | None:
    """The task of the recipe inside a network's own weights; None where they carry none."""
    provenance = str(getattr(model, "provenance", ""))
    recipe = getattr(model, "recipe", None)
    if recipe is None and provenance:
        recipe = weights_head(Path(provenance))[0].get("recipe")
    told = recipe.get("task") if isinstance(recipe, dict) else None
    return from_plain(TaskChoice, told, where="task") if isinstance(told, dict) else None


def choose_device(name: str) -> torch.device:
    """``auto``: the first accelerator that is there, else the processor.

    Raises ValueError for a device this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used ({reason}); use auto or cpu") from None
    return device


def num_classes_of(model: nn.Module) -> int:
    """How many classes the network answers for."""
    return int(model.config.num_classes)  # type: ignore[union-attr,arg-type]


def reason(error: VideoError) -> str:
    """Why a video cannot be read, without its name: a result names it already."""
    return f"{error.cause} (at {error.position})"


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(known)}")
