"""The numbers behind the reference cases: weights and clips that every machine fills alike.

A case (``NAME.json``) lists the tensors of a published layout and the inputs; ``NAME.npz`` holds
what the original implementation answers. Values come from ``numpy.random.RandomState``, whose
streams never change, seeded by the CRC-32 of each tensor's own name.
"""

import json
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


def normal(name: str, shape: tuple[int, ...]) -> Array:
    """Standard normal float32, from a name alone."""
    draw = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
    return draw.standard_normal(size=tuple(shape)).astype(np.float32)


def tensor(name: str, shape: tuple[int, ...]) -> Array:
    """One tensor of a checkpoint, in a range that keeps deep networks sane."""
    shape = tuple(int(n) for n in shape)
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    value = normal(name, shape)
    if name.endswith("running_var"):
        return 0.5 + np.abs(value)
    if name.endswith("running_mean"):
        return 0.1 * value
    if len(shape) < 2:
        scale = name.endswith(("weight", "gamma", "scale"))
        return 1.0 + 0.1 * value if scale else 0.05 * value
    if name.endswith(("weight", "kernel")):
        return value / np.float32(np.sqrt(int(np.prod(shape[1:]))))
    return 0.1 * value


def state(case: dict) -> dict[str, Array]:
    """All tensors of a case; ``fill_scale`` multiplies those whose names end as it says."""
    filled = {name: tensor(name, shape) for name, shape in case["state"].items()}
    for ending, factor in case.get("fill_scale", {}).items():
        for name, value in filled.items():
            gained = name.endswith("weight") and value.ndim >= 2
            if ending != "rule" and (gained if ending == "gain" else name.endswith(ending)):
                filled[name] = value * np.float32(factor)
    return filled


def clips(case: dict) -> list[Array]:
    """The inputs of a case, in its order."""
    return [normal("input:" + i["name"], tuple(i["shape"])) for i in case["inputs"]]


def read(folder: Path, name: str) -> dict:
    """A case by name, with ``expected`` arrays by name."""
    case = json.loads((folder / f"{name}.json").read_text())
    with np.load(folder / f"{name}.npz") as stored:
        case["expected"] = {key: stored[key] for key in stored.files}
    return case


def gap(found: Array, expected: Array) -> float:
    """Largest difference in units of the tolerance: below 1 passes."""
    assert found.shape == expected.shape, (found.shape, expected.shape)
    unit = expected.std() if expected.size >= 16 else np.abs(expected).max()
    return float(np.abs(found - expected).max() / (1e-4 * unit))
