"""A network as a file other runtimes read: torch.export or ONNX, checked against the eager network.

The file carries the clip spec and class names, so that whoever runs it knows what goes in and what
comes out. It takes (B, C, T, H, W) float32 clips, with any B, and answers logits (B, K).

A network with memory takes what it remembers as further tensors, and answers what it remembers
after the clip: (clip, *state) -> (logits, *state). Zeros of the shapes in ``state`` are a memory of
nothing; so are zeros in the row of a video that begins.
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
from marey.layers.memory import LayerMemory, Memory
from marey.tasks.long_video import remembers

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
            call = Call.of(model, clip)
            write = _write_torch if kind == "torch" else _write_onnx
            write(call, partial, _facts(model, shape, call))
            with_what, difference, scale, note = "", None, None, ""
            if check:
                with_what, difference, scale, note = _check(kind, call, partial, tolerance)
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


class WithState(nn.Module):
    """A network with memory as a function of tensors alone: (clip, *state) -> (logits, *state)."""

    def __init__(self, model: Any, clip: Tensor) -> None:
        super().__init__()
        self.model, self.reach = model, int(model.config.reach)
        _, after = model(clip, model.init_state())
        self.layers = len(after.layers)
        self.names = tuple(
            f"{part}_{layer}" for layer in range(self.layers) for part in LayerMemory._fields
        )
        self.names += ("held", "clips")
        self.blank = tuple(torch.zeros_like(value) for value in self.flat(after))

    def flat(self, memory: Memory) -> tuple[Tensor, ...]:
        """The tensors of a memory in the order of ``names``."""
        assert memory.held is not None
        assert memory.clips is not None
        return (*(t for layer in memory.layers for t in layer), memory.held, memory.clips)

    def forward(self, clip: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        parts = len(LayerMemory._fields)
        layers = tuple(LayerMemory(*state[parts * i : parts * (i + 1)]) for i in range(self.layers))
        logits, after = self.model(clip, Memory(layers, (), *state[-2:]))
        return (logits, *self.flat(after))


@dataclass(frozen=True)
class Call:
    """What is written: a network, inputs to trace it with, and names of inputs and outputs."""

    network: nn.Module
    inputs: tuple[Tensor, ...]
    names: tuple[str, ...]
    answers: tuple[str, ...]

    @classmethod
    def of(cls, model: nn.Module, clip: Tensor) -> Call:
        """A network as it stands, or with its memory as tensors."""
        if not remembers(model):
            return cls(model, (clip,), ("clip",), ("logits",))
        network = WithState(model, clip)
        after = tuple(f"{name}_after" for name in network.names)
        return cls(network, (clip, *network.blank), ("clip", *network.names), ("logits", *after))

    @property
    def shapes(self) -> tuple[Any, ...]:
        """Which axes may change: the batch of all but single numbers."""
        batch = torch.export.Dim("batch", min=1, max=4096)
        own = tuple({0: batch} if value.dim() else None for value in self.inputs)
        return own if len(own) == 1 else (own[0], own[1:])

    def answer(self, clips: Tensor, state: Any) -> tuple[Tensor, ...]:
        """Logits, and the state after, of the network itself."""
        return _as_tuple(self.network(clips, *state))

    def batch(self, count: int) -> tuple[Tensor, ...]:
        """Memories of nothing, for another number of clips."""
        return tuple(
            value.new_zeros((count, *value.shape[1:])) if value.dim() else value
            for value in self.inputs[1:]
        )


def _facts(model: nn.Module, shape: tuple[int, ...], call: Call) -> dict[str, str]:
    """What travels with the file, as texts."""
    classes = getattr(model, "classes", None)
    state = {
        name: {
            "shape": ["batch", *value.shape[1:]] if value.dim() else [],
            "type": str(value.dtype),
        }
        for name, value in zip(call.names[1:], call.inputs[1:], strict=True)
    }
    remembered = {"state": json.dumps(state)} if state else {}
    return remembered | {
        "variant": str(getattr(model, "variant", type(model).__name__)),
        "spec": json.dumps(to_plain(getattr(model, "spec", None))),
        "classes": json.dumps(list(classes) if classes else None, ensure_ascii=False),
        "input": json.dumps(["batch", *shape[1:]]),
        "output": "logits",
    }


def _write_torch(call: Call, path: Path, facts: Mapping[str, str]) -> None:
    program = torch.export.export(call.network, call.inputs, dynamic_shapes=call.shapes)
    torch.export.save(program, path, extra_files={"marey.json": json.dumps(dict(facts))})


def _write_onnx(call: Call, path: Path, facts: Mapping[str, str]) -> None:
    program: Any = torch.onnx.export(
        call.network,
        call.inputs,
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes=call.shapes,
        input_names=list(call.names),
        output_names=list(call.answers),
        verbose=False,
    )
    assert program is not None, "the dynamo exporter returns a program"
    program.model.metadata_props.update(facts)
    program.save(str(path), external_data=False)


def _check(
    kind: str, call: Call, path: Path, tolerance: float
) -> tuple[str, float | None, float | None, str]:
    """(what ran the file, largest difference, largest logit, note), on batches of 2 and 3; with a
    memory on clips in order, until its oldest is looked at, and of what is remembered then too."""
    if kind == "onnx" and importlib.util.find_spec("onnxruntime") is None:
        return (
            "",
            None,
            None,
            "not checked: onnxruntime is not installed (pip install 'marey[export]')",
        )
    run = _torch_runner(path) if kind == "torch" else _onnx_runner(path, call)
    difference = scale = 0.0
    clip = call.inputs[0]
    steps = getattr(call.network, "reach", 0) + 1
    for clips in (clip, torch.cat([clip.flip(2), clip[:1]])):
        ours: Any = call.batch(len(clips))
        theirs: Any = ours
        for step in range(steps):
            turned = clips.roll(step, dims=2)
            (wanted, *ours), (found, *theirs) = call.answer(turned, ours), run(turned, theirs)
            difference = max(difference, float((found - wanted).abs().max()))
            scale = max(scale, float(wanted.abs().max()))
        for a, b in zip(ours, theirs, strict=True):
            difference = max(difference, float((a.float() - b.float()).abs().max()))
            scale = max(scale, float(a.abs().max()))
    if not difference <= tolerance * max(scale, 1.0):
        raise ValueError(
            f"exported network differs from the eager one by {difference:.3g} on logits up to "
            f"{scale:.3g} (tolerance {tolerance:g}); nothing was written"
        )
    return "torch" if kind == "torch" else "onnxruntime", difference, scale, ""


def _torch_runner(path: Path) -> Any:
    module = torch.export.load(path).module()

    def run(clips: Tensor, state: Any) -> tuple[Tensor, ...]:
        return _as_tuple(module(clips, *state))

    return run


def _onnx_runner(path: Path, call: Call) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    known = {one.name for one in session.get_inputs()}

    def run(clips: Tensor, state: Any) -> tuple[Tensor, ...]:
        named = zip(call.names, (clips, *state), strict=True)
        given = {name: value.numpy() for name, value in named if name in known}
        return tuple(torch.as_tensor(value) for value in session.run(None, given))

    return run


def _as_tuple(answer: Any) -> tuple[Tensor, ...]:
    logits, *rest = answer if isinstance(answer, (tuple, list)) else (answer,)
    return logits.float().cpu(), *rest


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
