"""Classes of an endless input, as it goes on.

A network that only looks back (``online``, as tsm_online_*) is shown one frame every ``every_s``
seconds and keeps what it needs of those before; any other is shown the newest clip again and again.
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
from marey.types import Clip


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

    Each is a result as ``predict`` gives them, with ``latency_s`` from the arrival of the newest
    frame to the answer, and ``dropped``, frames the network was too slow to see.
    """

    def __init__(
        self,
        model: nn.Module | Predictor,
        source: int | str | Path | Iterable[Timed],
        *,
        every_s: float = 1.0,
        top: int = 5,
        device: str = "auto",
        max_seconds: float | None = None,
        max_results: int | None = None,
        clock: Clock = time,
    ) -> None:
        """``source``: webcam number, stream address, file (played at its own pace), or pairs of
        (seconds, frame (H, W, 3) uint8). ``top`` and ``device`` are a given Predictor's own.

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
        self.feed = Feed(
            source,
            self.predictor.spec,
            every_s=every_s,
            max_seconds=max_seconds,
            span_s=every_s if self.online else None,
            clock=clock,
        )

    def stop(self) -> None:
        """Let the iteration end before its next result; safe from any thread."""
        self.feed.stop()

    def __iter__(self) -> Iterator[Result]:
        """Raises VideoError when the source cannot be opened or breaks off."""
        count = 0
        memory = Memory(self.predictor) if self.online else None
        clips = iter(self.feed)
        try:
            for taken in clips:
                span = (taken.start_s, taken.end_s)
                if memory is None:
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
