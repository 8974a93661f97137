"""What is installed, what decodes, what to fix: the lines ``marey doctor`` prints."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("torch", "torchvision", "av", "numpy", "pyarrow", "safetensors", "tyro")
OPTIONAL = {
    "torchcodec": "pip install 'marey[fast]' for a second decoder",
    "opencv-python-headless": "pip install 'marey[flow]' to compute optical flow",
    "onnx": "pip install 'marey[export]' to export ONNX",
    "onnxruntime": "pip install 'marey[export]' to check ONNX exports",
}


@dataclass(frozen=True)
class Finding:
    """One thing looked at. ``fine`` is None where nothing depends on it."""

    what: str
    told: str
    fine: bool | None = True
    cure: str = ""


def examine() -> list[Finding]:
    """Look at packages, devices, decoders, the compiler and the cache folder."""
    found = [Finding("python", platform.python_version())]
    found += [_package(name) for name in PACKAGES]
    found += [_package(name, cure) for name, cure in OPTIONAL.items()]
    for check in (_devices, _threads, _codecs, _second_decoder, _compiler, _cache):
        found.append(_guarded(check))
    return found


def _guarded(check: Callable[[], Finding]) -> Finding:
    """A check that fails is a finding, never a traceback."""
    try:
        return check()
    except Exception as error:  # a broken installation may raise anything
        line = (str(error).splitlines() or [type(error).__name__])[0]
        name = check.__name__.strip("_").replace("_", " ")
        return Finding(name, line, fine=False, cure="reinstall the package named in the line")


def _package(name: str, cure: str = "") -> Finding:
    try:
        return Finding(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        if cure:
            return Finding(name, "not installed", fine=None, cure=cure)
        return Finding(name, "missing", fine=False, cure=f"pip install {name}")


def _devices() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("device", "cpu only", fine=None)
    names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return Finding("device", names)


def _threads() -> Finding:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding("threads", f"{torch.get_num_threads()} used by torch, {cores} cores")


def _codecs() -> Finding:
    """Write and read a tiny clip with each codec this PyAV carries."""
    import numpy as np

    from marey.video import open_video, write_video

    frames = np.zeros((4, 64, 64, 3), np.uint8)
    frames[:, 16:48, 16:48] = 200
    with tempfile.TemporaryDirectory() as folder:
        path = write_video(Path(folder) / "probe.mp4", frames, 25)
        with open_video(path, backend="pyav") as video:
            seen = video.frames_at([0, 3]).frames
    good = abs(float(seen[0, :, 32, 32].float().mean()) - 200) < 8
    if good:
        return Finding("decoding", "PyAV wrote and read an H.264 clip")
    return Finding("decoding", "PyAV read back other pixels", fine=False, cure="pip install -U av")


def _second_decoder() -> Finding:
    from marey.video.torchcodec_file import torchcodec_problem

    problem = torchcodec_problem()
    if problem:
        return Finding("second decoder", problem, fine=None, cure="PyAV is used instead")
    return Finding("second decoder", "torchcodec decoded a probe clip (--data.backend torchcodec)")


def _compiler() -> Finding:
    compiler = next((c for c in ("g++", "clang++", "cl") if shutil.which(c)), None)
    if compiler:
        return Finding("torch.compile", f"inductor can use {compiler}")
    return Finding(
        "torch.compile", "no C++ compiler", fine=None, cure="install g++ for --run.compile"
    )


def _cache() -> Finding:
    from marey.data.synthetic import cache_folder

    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free / 2**30
    if not os.access(folder, os.W_OK):
        return Finding("cache", f"{folder} is not writable", fine=False, cure="set MAREY_CACHE")
    return Finding("cache", f"{folder}, {free:.0f} GiB free", fine=free > 1)
