"""Classes of an endless input, as it goes on.

A network that only looks back (``online``, as tsm_online_*) is shown one frame every ``every_s``
seconds and keeps what it needs of those before; one with memory (as memvit_*) is shown one clip
after another, a file's without leaving any out; any other is shown the newest clip again and again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from marey.layers.folding import for_inference
from marey.predictor.feed import Clock, Feed, Timed
from marey.predictor.predictor import Predictor, Result
from marey.predictor.remembering import Remembering, clips_of, step_of
from marey.predictor.sources import is_endless
from marey.predictor.when import AHEAD, ahead
from marey.tasks.long_video import remembers
from marey.types import Clip
from marey.video import open_video


class Memory:
    """An online network on one stream: its state, and the logits of the newest frames.

    Answers the softmax of their mean over as many frames as a training clip has.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.state = predictor, None
        self.model: Any = for_inference(predictor.model)
        self.logits: deque[Tensor] = deque(maxlen=predictor.spec.frames)

    def probabilities(self, clip: Clip) -> Tensor:
        """(K,) after the newest frame of a clip."""
        frame = self.predictor.crops(clip.frames[None, -1:], 1)[:, :, 0]  # (1, C, S, S)
        frame = frame.to(self.predictor.device, memory_format=torch.channels_last)
        with torch.inference_mode(), self.predictor.autocast():
            logits, self.state = self.model.step(frame, self.state)
        self.logits.append(logits[0].float().cpu())
        return torch.stack(tuple(self.logits)).mean(0).softmax(0)


class Stream:
    """Iterate over it for one result every ``every_s`` seconds, of the newest clip there is.

    By default every second; of a network with memory, as its clips followed each other in training.
    Each is a result as ``predict`` gives them, with ``latency_s`` from the arrival of the newest
    frame to the answer, and ``dropped``, frames the network was too slow to see.
    """

    def __init__(
        self,
        model: nn.Module | Predictor,
        source: int | str | Path | Iterable[Timed],
        *,
        every_s: float | None = None,
        top: int = 5,
        device: str = "auto",
        max_seconds: float | None = None,
        max_results: int | None = None,
        clock: Clock = time,
    ) -> None:
        """``source``: webcam number, stream address, file (played at its own pace, but read at full
        speed by a network with memory), or pairs of (seconds, frame (H, W, 3) uint8). ``top`` and
        ``device`` are a given Predictor's own.

        Raises ValueError for a limit that is not positive.
        """
        if max_results is not None and max_results < 1:
            raise ValueError(f"max_results is {max_results}; give at least 1, or leave it out")
        if getattr(getattr(model, "spec", None), "modality", "rgb") in ("flow", "rgb_flow"):
            raise ValueError(
                f"{model.variant} reads optical flow, which a stream does not bring; "
                "take a network that reads colours"
            )
        if not isinstance(model, Predictor):
            model = Predictor(model, top=top, device=device)
        self.predictor: Predictor = model
        self.max_results, self.clock = max_results, clock
        self.online = bool(getattr(self.predictor.model, "online", False))
        self.remembers = remembers(self.predictor.model)
        self.every_s = 1.0 if every_s is None else every_s
        if self.remembers:
            self.every_s = step_of(self.predictor.model, every_s)
        self.feed = Feed(
            source,
            self.predictor.spec,
            every_s=self.every_s,
            max_seconds=max_seconds,
            span_s=self.every_s if self.online else None,
            clock=clock,
        )
        self.remembering: Remembering | None = None  # of the video that is being read

    def stop(self) -> None:
        """Let the iteration end before its next result; safe from any thread."""
        self.feed.stop()

    def __iter__(self) -> Iterator[Result]:
        """Raises VideoError when the source cannot be opened or breaks off."""
        count = 0
        self.remembering = Remembering(self.predictor) if self.remembers else None
        source = self.feed.source
        if self.remembers and isinstance(source, (str, Path)) and not is_endless(source):
            yield from self._whole_file(source)
            return
        memory = Memory(self.predictor) if self.online else None
        clips = iter(self.feed)
        try:
            for taken in clips:
                span = (taken.start_s, taken.end_s)
                if self.remembering is not None:
                    pixels = self.predictor.crops(taken.clip.frames[None], 1)[0]
                    found = self.predictor.ranked(self.remembering.probabilities(pixels), *span)
                elif memory is None:
                    found = self.predictor.classify(taken.clip, span)
                else:
                    found = self.predictor.ranked(memory.probabilities(taken.clip), *span)
                latency = self.clock.monotonic() - taken.arrived_s
                told: dict[str, Any] = {"latency_s": round(latency, 3), "dropped": taken.dropped}
                count += 1
                yield self.predictor.result(self.feed.name, found) | told
                if count == self.max_results:
                    return
        finally:
            clips.close()  # type: ignore[attr-defined]

    def _whole_file(self, path: str | Path) -> Iterator[Result]:
        """Every clip of a file in order, as fast as the network goes."""
        assert self.remembering is not None
        began, most = self.clock.monotonic(), self.feed.max_seconds
        with open_video(str(path)) as video:
            clips = ahead(clips_of(video, self.every_s, self.predictor.spec), AHEAD)
            for count, (pixels, span) in enumerate(clips, start=1):
                arrived = self.clock.monotonic()
                if self.feed.stopped() or (most is not None and arrived - began >= most):
                    return
                found = self.predictor.ranked(self.remembering.probabilities(pixels), *span)
                latency = self.clock.monotonic() - arrived
                told: dict[str, Any] = {"latency_s": round(latency, 3), "dropped": 0}
                yield self.predictor.result(self.feed.name, found) | told
                if count == self.max_results:
                    return
