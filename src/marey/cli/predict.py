"""``marey predict`` and ``marey extract``.

Predict has more than 14 fields: each is a switch that people type.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from marey.cli.budget import keep_to
from marey.cli.parse import NetFields, UsageError, echo, views
from marey.cli.weights import model_for
from marey.config import write_whole

SOURCE_HELP = "files, folders, globs, frame folders, a webcam number or a stream address"


@dataclass(frozen=True, kw_only=True)
class Predict(NetFields):
    """What happens in each SOURCE: a file, folder, glob, frame folder, webcam number or stream.

    Results go to stdout, one source after another; notes and files that could not be read go to
    stderr, and the exit code is 1 when there were any.
    """

    sources: Annotated[
        Positional[tuple[str, ...]], tyro.conf.arg(metavar="SOURCE...", help=SOURCE_HELP)
    ]
    model: str = ""
    """variant, where the weights do not tell"""
    weights: str = ""
    """run folder or weight file, ours or any published layout"""
    task: Literal["what", "when"] = "what"
    """what: which classes; when: segments of long files, printed as they are final"""
    min_score: float | None = None
    """when: the least score of a segment; default 0.3, of a classifier 0.5"""
    views: str = ""
    """TIMExSPACE views of each file, as 10x3"""
    window: float = 0.0
    """seconds: one prediction a window instead of one a file"""
    step: float = 0.0
    """seconds from one window to the next; 0: without gap"""
    top: int = 5
    """labels printed of each source"""
    json: bool = False
    """one line of JSON a source on stdout"""
    json_out: str = ""
    """write those lines to a file"""
    save: str = ""
    """folder for videos with the labels drawn in; when: for .json, .csv, .vtt and a page"""
    stream: bool = False
    """play SOURCE as if it were live"""
    every: float = 0.0
    """seconds between predictions with --stream; 0: 1, or as a network with memory was trained"""
    seconds: float = 0.0
    """stop a webcam or stream after so many seconds; 0: until interrupted"""
    flow: str = ""
    """folder of stored flow, for networks that read it beside frames"""
    policy: Literal["clamp", "strict"] = "clamp"
    """strict refuses files shorter than the clip"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    batch: int = 8
    """views through the network at once"""
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    """numbers of the forward pass"""
    budget: str = ""
    """of a MutualNet: 4G multiply-adds, 20ms a clip, or 5M parameters at most"""
    random_weights: bool = False
    """predict with initial weights, to try the machinery"""
    net_fields: tyro.conf.Suppress[str] = "{}"

    def run(self) -> int:
        """Predict, print and save."""
        if not self.sources:
            raise UsageError(
                "SOURCE is missing: name a video, folder, glob, webcam number or address"
            )
        if self.top < 1:
            raise UsageError(f"--top {self.top} prints nothing: give 1 or more")
        from marey.predictor import Predictor, is_endless
        from marey.tasks.long_video import remembers

        wanted = views(self.views)
        model = model_for(self.model, self.weights, self.random_weights, self.net)
        model = keep_to(model, self.budget) if self.budget else model
        if self.task == "when":
            return self._when(model)
        if getattr(model, "task", "classification") == "temporal_detection":
            raise UsageError(f"{model.variant} finds segments: add --task when")
        endless = [s for s in self.sources if self.stream or is_endless(s)]
        if endless and len(self.sources) > 1:
            raise UsageError(f"{endless[0]} is endless: give it alone")
        if endless:
            return self._watch(model, endless[0])
        ready = Predictor(
            model,
            views=wanted,
            top=self.top,
            device=self.device,
            batch=self.batch,
            precision=self.precision,
            policy=self.policy,
            flow=self.flow,
            window_s=self.window or None,
            step_s=self.step or None,
        )
        if remembers(model):
            echo(f"{model.variant} is asked about views alone; --stream lets it remember")
        code = self._tell(ready.each(self.sources))
        if ready.clamped and self.policy == "clamp":
            echo(f"{ready.clamped} videos or windows shorter than the clip repeat frames")
        return code

    def _tell(self, results: Iterable[dict[str, Any]]) -> int:
        from marey.predictor import save_annotated, unique_names
        from marey.predictor.sources import expand_all, name_of

        lines, short = [], False
        names = iter(unique_names([name_of(s) for s in expand_all(self.sources)]))
        for result, name in zip(results, names, strict=True):
            line = json.dumps(result, ensure_ascii=False)
            if self.json_out:
                lines.append(line)
            if "skipped" in result:
                short = True
                echo(f"{result['source']}: skipped, {result['skipped']}")
            if self.json:
                print(line, flush=True)
            elif result["predictions"]:
                print(in_words(result), flush=True)
            if self.save and result["predictions"]:
                saved = save_annotated(result["source"], result, Path(self.save), name=name)
                echo(f"wrote {saved}")
        if self.json_out:
            write_whole(self.json_out, "".join(line + "\n" for line in lines))
        return 1 if short else 0

    def _when(self, model: Any) -> int:
        """Segments of each file: printed as they are final, then written whole."""
        from marey.predictor import When, save_timeline, unique_names
        from marey.predictor.sources import expand_all, name_of
        from marey.video import VideoError, open_video

        ready = When(
            model,
            min_score=self.min_score,
            device=self.device,
            precision=self.precision,
            window_s=self.window or None,
            step_s=self.step or None,
        )
        every = expand_all(self.sources)
        lines, short = [], False
        for source, name in zip(every, unique_names([name_of(s) for s in every]), strict=True):
            found, skipped, duration_s, ready.highest = [], "", 0.0, 0.0
            if not self.json:
                print(name_of(source), flush=True)
            try:
                with open_video(source) as video:  # type: ignore[arg-type]
                    duration_s = float(video.times[0]) + video.duration_s
                    for one in ready.stream(video):
                        found.append(one)
                        if not self.json:
                            print(segment_line(one), flush=True)
                    if video.lost:
                        skipped = f"frames that could not be decoded: {video.lost}"
            except VideoError as error:
                skipped = f"{error.cause} (at {error.position})"
            result = ready.result(name_of(source), found, skipped)
            lines.append(json.dumps(result, ensure_ascii=False))
            short = short or bool(skipped)
            if not found and duration_s and not self.json:
                print(f"  {no_segment(ready.min_score, ready.highest)}", flush=True)
            if skipped:
                echo(f"{name_of(source)}: skipped, {skipped}")
            if self.json:
                print(lines[-1], flush=True)
            if self.save and duration_s:
                page = save_timeline(result, Path(self.save), name=name, duration_s=duration_s)
                echo(f"wrote {page} and .json, .csv, .vtt beside it")
        if self.json_out:
            write_whole(self.json_out, "".join(line + "\n" for line in lines))
        return 1 if short else 0

    def _watch(self, model: Any, source: str) -> int:
        from marey.predictor import Stream

        live = Stream(
            model,
            source,
            every_s=self.every or None,
            top=self.top,
            device=self.device,
            max_seconds=self.seconds or None,
        )
        for result in live:
            text = json.dumps(result, ensure_ascii=False) if self.json else in_words(result)
            print(text, flush=True)
        return 0


def segment_line(one: Any) -> str:
    """One segment for people."""
    return f"  {one.score:6.3f}  {one.label:32} {one.start_s:8.2f} - {one.end_s:.2f} s"


def no_segment(least: float, highest: float) -> str:
    """Why a file has no segment, and what would tell one."""
    if not highest:
        return f"no segment: nothing scored at all, let alone --min-score {least:g}"
    return f"no segment scores --min-score {least:g}; the highest score was {highest:.3f}"


def in_words(result: dict[str, Any]) -> str:
    """One result for people: the source, then a line a label with its score and times."""
    rows = [str(result["source"])]
    for entry in result["predictions"]:
        span = f"{entry['start_s']:8.2f} - {entry['end_s']:.2f} s"
        rows.append(f"  {entry['score']:6.3f}  {entry['label']:32} {span}")
    return "\n".join(rows)


@dataclass(frozen=True, kw_only=True)
class Extract(NetFields):
    """Features of each SOURCE, one .npz a file: features (windows, width), times (windows, 2)."""

    sources: Annotated[
        Positional[tuple[str, ...]], tyro.conf.arg(metavar="SOURCE...", help=SOURCE_HELP)
    ]
    out: str = "features"
    """folder to write"""
    model: str = ""
    """variant, where the weights do not tell"""
    weights: str = ""
    """run folder or weight file"""
    step: float = 0.0
    """seconds between windows; 0: one window after another"""
    flow: str = ""
    """folder of stored flow, for networks that read it beside frames"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    random_weights: bool = False
    """extract with initial weights, to try the machinery"""
    net_fields: tyro.conf.Suppress[str] = "{}"

    def run(self) -> int:
        """Extract and print the files written."""
        if not self.sources:
            raise UsageError("SOURCE is missing: name a video, folder or glob")
        from marey.predictor import extract_features

        model = model_for(self.model, self.weights, self.random_weights, self.net)
        written, failures = extract_features(
            list(self.sources),
            model,
            Path(self.out),
            step_s=self.step or None,
            device=self.device,
            flow=self.flow,
        )
        for path in written:
            print(path)
        for failure in failures:
            echo(f"{failure.source}: skipped, {failure.reason}")
        return 1 if failures else 0
