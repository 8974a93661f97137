"""Optical flow: where every pixel moves from one frame to the next, and its form as bytes.

    method      how                                          needs
    dis         dense inverse search, about 7 ms a pair      OpenCV (extra "flow")
    farneback   polynomial expansion, about 23 ms a pair     OpenCV (extra "flow")
    tvl1        TV-L1 as the field's data sets, about 0.9 s  OpenCV's contrib package
    raft        a network, best on a GPU                     a file of torchvision's RAFT weights

Times are for 340x256 pixels on one core. A field is (H, W, 2) float32: x to the right, y down, in
pixels. As bytes it is cut at ``bound`` pixels and spread over 0 to 255; 128 is no motion.

Source: K. Simonyan, A. Zisserman, "Two-Stream Convolutional Networks", NIPS 2014, and the tools
dense_flow and gpu_flow for the bytes; T. Kroeger et al., ECCV 2016 (DIS); C. Zach et al., DAGM 2007
(TV-L1); Z. Teed, J. Deng, ECCV 2020 (RAFT).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

Method = Literal["dis", "farneback", "tvl1", "raft"]
Image = NDArray[np.uint8]
Field = NDArray[np.float32]
Estimator = Callable[[Image, Image], Field]

ZERO = 128  # the byte of no motion
PRESETS = {"ultrafast": 0, "fast": 1, "medium": 2}  # of DIS
RAFT_SIDE = 128  # pixels, the least RAFT takes


@dataclass(frozen=True, kw_only=True)
class FlowChoice:
    """How flow is computed and kept. ``short_side`` 0 is that of the video.

    ``warped``: the camera's motion is taken out first, see ``marey.video.camera``.
    """

    method: Method = "dis"
    preset: Literal["ultrafast", "fast", "medium"] = "medium"
    bound: float = 20.0  # pixels a frame
    short_side: int = 256
    quality: int = 95  # of JPEG
    warped: bool = False

    def __post_init__(self) -> None:
        if self.method not in ("dis", "farneback", "tvl1", "raft"):
            raise ValueError(f"method is {self.method!r}; choose dis, farneback, tvl1 or raft")
        if self.preset not in PRESETS:
            raise ValueError(f"preset is {self.preset!r}; choose one of {', '.join(PRESETS)}")
        if not 0 < self.bound < 1e4:
            raise ValueError(f"bound is {self.bound:g} pixels; give a positive number, as 20")
        if self.short_side != 0 and self.short_side < 16:
            raise ValueError(f"short_side is {self.short_side}; give 16 pixels or more, or 0")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality is {self.quality}; JPEG knows 1 to 100")


def quantise(field: Field, bound: float = 20.0) -> Image:
    """(..., 2) pixels as bytes, 128 for no motion; beyond ``bound`` they are cut.

    Source: dense_flow, 255 (v + bound) / (2 bound), rounded half to even.
    """
    scaled = (np.clip(field, -bound, bound) + bound) * (255.0 / (2 * bound))
    return np.rint(scaled).astype(np.uint8)


def dequantise(stored: Image, bound: float = 20.0, zero: int = ZERO) -> Field:
    """Bytes as pixels, right to a step of ``2 bound / 255``; the byte ``zero`` is exactly none."""
    return (stored.astype(np.float32) - zero) * np.float32(2 * bound / 255.0)


def estimator(choice: FlowChoice, *, weights: str | Path = "", device: str = "cpu") -> Estimator:
    """A function from two frames (H, W, 3) uint8 to the field between them.

    ``weights`` is a file of torchvision's RAFT, small or large, for that method alone. Raises
    ValueError, in one line with the cure, for a method whose package or weights are not there.
    """
    if (choice.method == "raft") != bool(weights):
        raise ValueError(
            "raft needs its weights: give --raft-weights FILE (torchvision's raft_small or large)"
            if choice.method == "raft"
            else f"weights were given for {choice.method}, which has none; choose raft"
        )
    if choice.method == "raft":
        return raft(Path(weights), device)
    cv2 = opencv(choice.method)
    if choice.method == "dis":
        compute = cv2.DISOpticalFlow_create(PRESETS[choice.preset]).calc
    elif choice.method == "tvl1":
        compute = cv2.optflow.DualTVL1OpticalFlow_create().calc
    else:

        def compute(first: Image, second: Image, none: None) -> Field:
            found: Field = cv2.calcOpticalFlowFarneback(
                first, second, none, 0.5, 3, 15, 3, 5, 1.2, 0
            )
            return found

    def between(first: Image, second: Image) -> Field:
        grey = [cv2.cvtColor(np.ascontiguousarray(x), cv2.COLOR_RGB2GRAY) for x in (first, second)]
        return np.asarray(compute(*grey, None), dtype=np.float32)

    return between


def opencv(method: str) -> Any:
    """OpenCV, one thread, for a method or ``warped`` flow.

    Raises ValueError that names the extra where it is not installed.
    """
    try:
        cv2 = import_module("cv2")
    except ImportError:
        raise ValueError(
            f"optical flow by {method!r} needs OpenCV, which is not installed: "
            "pip install 'marey[flow]'"
        ) from None
    if method == "tvl1" and not hasattr(
        getattr(cv2, "optflow", None), "DualTVL1OpticalFlow_create"
    ):
        raise ValueError(
            "tvl1 needs OpenCV's contrib package, and this OpenCV goes without: pip install "
            "opencv-contrib-python-headless in place of opencv-python-headless, or use dis"
        )
    cv2.setNumThreads(1)
    return cv2


def raft(weights: Path, device: str = "cpu") -> Estimator:
    """torchvision's RAFT, small or large as the file says.

    Raises ValueError for a file that is neither. Nothing in the file is executed.
    """
    from torchvision.models import optical_flow

    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        name = "raft_large" if "mask_predictor.convrelu.0.weight" in state else "raft_small"
        network = getattr(optical_flow, name)(weights=None)
        network.load_state_dict(state)
    except FileNotFoundError:
        raise ValueError(f"{weights} does not exist; give a file of RAFT weights") from None
    except Exception as error:  # a file of anything may fail in many ways
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{weights} holds no RAFT of torchvision ({line[:120]})") from None
    place = torch.device("cuda" if device == "auto" and torch.cuda.is_available() else
                         "cpu" if device == "auto" else device)  # fmt: skip
    network = network.to(place).eval()

    def between(first: Image, second: Image) -> Field:
        pair = torch.from_numpy(np.stack([first, second])).to(place).movedim(-1, 1)
        height, width = pair.shape[-2:]
        high, wide = (max(RAFT_SIDE, -(-n // 8) * 8) for n in (height, width))
        clip = torch.nn.functional.pad(
            pair.float() / 127.5 - 1, (0, wide - width, 0, high - height), mode="replicate"
        )
        with torch.inference_mode():
            found = network(clip[:1], clip[1:])[-1][0, :, :height, :width]
        return found.movedim(0, -1).float().cpu().numpy()

    return between
