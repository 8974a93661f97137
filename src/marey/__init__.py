"""marey: what happens in a video, who does it and where, when it starts and ends.

Public names are imported on first use, so that ``import marey`` loads no torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Clip": "marey.types",
    "ClipSpec": "marey.types",
    "Recipe": "marey.recipe",
    "build": "marey.zoo",
    "evaluate": "marey.verbs",
    "expand": "marey.verbs",
    "fuse": "marey.verbs",
    "list_models": "marey.zoo",
    "load": "marey.zoo",
    "open_video": "marey.video",
    "predict": "marey.predictor",
    "tabulate": "marey.verbs",
    "train": "marey.verbs",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'marey' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
