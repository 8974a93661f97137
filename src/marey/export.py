"""A network as a file other runtimes read: torch.export or ONNX, checked against the eager network.

The file carries the clip spec and class names, so that whoever runs it knows what goes in and what
comes out. It takes (B, C, T, H, W) float32 clips, with any B, and answers logits (B, K).
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from marey.config import nearest, to_plain

OPSET = 18  # the oldest set the exporter writes without converting down
FORMATS = {"torch": ".pt2", "onnx": ".onnx"}
NEEDED = {"torch": (), "onnx": ("onnx", "onnxscript")}


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how far its answers are from the eager network's on random clips.

    ``difference`` is the largest absolute difference of logits, ``scale`` the largest logit;
    both None when nothing could run the file, ``note`` then says why.
    """

    path: str
    format: str
    input: tuple[int, ...]
    bytes: int
    difference: float | None
    scale: float | None
    checked_with: str
    note: str = ""


def export(
    model: nn.Module,
    path: str | Path,
    *,
    format: Literal["torch", "onnx"] | None = None,
    frames: int | None = None,
    size: int | None = None,
    check: bool = True,
    tolerance: float = 1e-3,
) -> ExportReport:
    """Write ``model`` to ``path`` for clips of its spec's frames and test size, any batch.

    ``format`` by default follows the ending, .pt2 or .onnx. Nothing is left behind on failure.
    Raises ValueError for an unknown format, a missing package, or answers further than
    ``tolerance`` (relative to the largest logit) from the eager network's.
    """
    path = Path(path)
    kind = _format(path, format)
    spec = getattr(model, "spec", None)
    if spec is None and (frames is None or size is None):
        raise ValueError(
            "model carries no clip spec; say frames= and size=, or take one of marey.build"
        )
    frames = frames or spec.length  # type: ignore[union-attr]
    size = size or spec.test_size  # type: ignore[union-attr]
    channels = 3 if spec is None else spec.channels
    shape = (2, channels, frames, size, size)
    clip = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 4 - 2
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix or FORMATS[kind]}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _evaluating(model), torch.no_grad(), _quiet():
            write = _write_torch if kind == "torch" else _write_onnx
            write(model, clip, partial, _facts(model, shape))
            with_what, difference, scale, note = "", None, None, ""
            if check:
                with_what, difference, scale, note = _check(kind, model, clip, partial, tolerance)
        written = partial.stat().st_size
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return ExportReport(str(path), kind, shape[1:], written, difference, scale, with_what, note)


def _format(path: Path, format: str | None) -> Literal["torch", "onnx"]:
    kind = format or next((k for k, ending in FORMATS.items() if ending == path.suffix), None)
    if kind is None:
        raise ValueError(
            f"{path} ends in neither .pt2 nor .onnx; rename it or say format='torch' or 'onnx'"
        )
    if kind not in FORMATS:
        raise ValueError(f"format is {kind!r}; choose 'torch' or 'onnx'{nearest(kind, FORMATS)}")
    missing = [name for name in NEEDED[kind] if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"{kind} export needs {' and '.join(missing)}; pip install 'marey[export]'"
        )
    return "torch" if kind == "torch" else "onnx"


def _facts(model: nn.Module, shape: tuple[int, ...]) -> dict[str, str]:
    """What travels with the file, as texts."""
    classes = getattr(model, "classes", None)
    return {
        "variant": str(getattr(model, "variant", type(model).__name__)),
        "spec": json.dumps(to_plain(getattr(model, "spec", None))),
        "classes": json.dumps(list(classes) if classes else None, ensure_ascii=False),
        "input": json.dumps(["batch", *shape[1:]]),
        "output": "logits",
    }


def _write_torch(model: nn.Module, clip: Tensor, path: Path, facts: Mapping[str, str]) -> None:
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(model, (clip,), dynamic_shapes=({0: batch},))
    torch.export.save(program, path, extra_files={"marey.json": json.dumps(dict(facts))})


def _write_onnx(model: nn.Module, clip: Tensor, path: Path, facts: Mapping[str, str]) -> None:
    batch = torch.export.Dim("batch", min=1, max=4096)
    program: Any = torch.onnx.export(
        model,
        (clip,),
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes=({0: batch},),
        input_names=["clip"],
        output_names=["logits"],
        verbose=False,
    )
    assert program is not None, "the dynamo exporter returns a program"
    program.model.metadata_props.update(facts)
    program.save(str(path), external_data=False)


def _check(
    kind: str, model: nn.Module, clip: Tensor, path: Path, tolerance: float
) -> tuple[str, float | None, float | None, str]:
    """(what ran the file, largest difference, largest logit, note), on batches of 2 and 3."""
    if kind == "onnx" and importlib.util.find_spec("onnxruntime") is None:
        return (
            "",
            None,
            None,
            "not checked: onnxruntime is not installed (pip install 'marey[export]')",
        )
    run = _torch_runner(path) if kind == "torch" else _onnx_runner(path)
    difference = scale = 0.0
    for clips in (clip, torch.cat([clip.flip(2), clip[:1]])):
        eager = model(clips).float()
        difference = max(difference, float((run(clips) - eager).abs().max()))
        scale = max(scale, float(eager.abs().max()))
    if not difference <= tolerance * max(scale, 1.0):
        raise ValueError(
            f"exported network differs from the eager one by {difference:.3g} on logits up to "
            f"{scale:.3g} (tolerance {tolerance:g}); nothing was written"
        )
    return "torch" if kind == "torch" else "onnxruntime", difference, scale, ""


def _torch_runner(path: Path) -> Any:
    module = torch.export.load(path).module()
    return lambda clips: module(clips).float().cpu()


def _onnx_runner(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda clips: torch.from_numpy(session.run(None, {"clip": clips.numpy()})[0])


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """The network on the CPU in evaluation mode; every part as it was afterwards."""
    modes = [(part, part.training) for part in model.modules()]
    device = next((value.device for value in model.parameters()), torch.device("cpu"))
    model.eval().to("cpu")
    try:
        yield
    finally:
        model.to(device)
        for part, training in modes:
            part.training = training


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters warn about their own inside; their errors still come through."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
