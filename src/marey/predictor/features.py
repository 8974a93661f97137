"""Features of videos, window by window, one file a video."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from marey.config import write_whole
from marey.predictor.feed import clip_seconds
from marey.predictor.predictor import Predictor, reason
from marey.predictor.sources import Source, expand_all, name_of
from marey.report.annotated import unique_names
from marey.types import Failure
from marey.video import VideoError

FORMATS = ("npz", "safetensors")


def extract_features(
    sources: Source | Sequence[Source],
    model: nn.Module | Predictor,
    out: str | Path,
    *,
    window_s: float | None = None,
    step_s: float | None = None,
    format: Literal["npz", "safetensors"] = "npz",
    device: str = "auto",
    flow: str = "",
    progress: Callable[[Path], None] | None = None,
) -> tuple[list[Path], list[Failure]]:
    """Write the network's last maps, averaged over space and time, of every window of every video.

    One file a video in folder ``out``, written whole: ``features`` (N, D) float32 and ``times``
    (N, 2) float64, the seconds [start, end) of each window. Networks with two pathways give both,
    one after the other. A window is one clip of the network long, or ``window_s``, and they are
    ``step_s`` apart, by default without gap. ``flow`` is the folder of stored flow, for a network
    that reads it beside frames. Returns the files and the videos that failed.
    Raises ValueError when that is all of them.
    """
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}; choose npz or safetensors")
    if isinstance(model, Predictor):
        if flow:
            raise ValueError(f"flow {flow!r} was given with a Predictor; give it to that instead")
        predictor = model
    else:
        predictor = Predictor(model, device=device, flow=flow)
    window = clip_seconds(predictor.spec) if window_s is None else window_s
    step = window if step_s is None else step_s
    every = expand_all(sources)
    names = unique_names([name_of(one) for one in every])
    written: list[Path] = []
    failures: list[Failure] = []
    for source, name in zip(every, names, strict=True):
        try:
            rows, times = video_features(source, predictor, window, step)
        except VideoError as error:
            if len(every) == 1:
                raise
            failures.append(Failure(name_of(source), reason(error)))
            continue
        columns = {"features": rows, "times": times}
        written.append(_write(Path(out) / f"{name}.{format}", columns, source=name_of(source)))
        if progress:
            progress(written[-1])
    if failures and not written:
        raise ValueError(f"none of {len(failures)} videos could be read; {failures[0].reason}")
    return written, failures


def video_features(
    source: Source, predictor: Predictor, window_s: float, step_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) float32 and times (N, 2) of one video. Raises VideoError, ValueError."""
    rows: list[Tensor] = []
    times: list[tuple[float, float]] = []
    with predictor.open(source) as video:
        for clips, spans in predictor.windows(video, window_s, step_s):
            rows.append(pooled(predictor, clips))
            times += spans
    return torch.cat(rows).numpy(), np.asarray(times, dtype=np.float64)


def pooled(predictor: Predictor, clips: Tensor) -> Tensor:
    """Last maps of clips (N, C, T, H, W) averaged over T, H and W, pathways joined: (N, D)."""
    with torch.inference_mode(), predictor.autocast():
        maps = predictor.model.features(clips.to(predictor.device))  # type: ignore[operator]
        return torch.cat([one.float().mean((2, 3, 4)) for one in maps], dim=1).cpu()


def _write(path: Path, columns: dict[str, np.ndarray], *, source: str) -> Path:
    if path.suffix == ".safetensors":
        from safetensors.numpy import save

        return write_whole(path, save(columns, metadata={"source": source}))
    store = io.BytesIO()
    np.savez(store, **columns, source=np.array(source))  # type: ignore[arg-type]
    return write_whole(path, store.getvalue())
