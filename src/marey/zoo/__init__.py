"""Names and weights to networks: the only place where a model's name means something.

Public names are imported on first use: listing models and reading cards loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marey.zoo.cards import Card as Card
    from marey.zoo.cards import WeightsFile as WeightsFile
    from marey.zoo.classes import class_names as class_names
    from marey.zoo.files import read_state as read_state
    from marey.zoo.inflation import inflate as inflate
    from marey.zoo.inflation import inflate_views as inflate_views
    from marey.zoo.recognition import recognise as recognise
    from marey.zoo.registry import build as build
    from marey.zoo.registry import card as card
    from marey.zoo.registry import config_of as config_of
    from marey.zoo.registry import list_models as list_models
    from marey.zoo.registry import spec_of as spec_of
    from marey.zoo.stream_start import join_streams as join_streams
    from marey.zoo.weights import convert as convert
    from marey.zoo.weights import load as load
    from marey.zoo.weights import save as save

_HOMES = {
    "Card": "cards",
    "WeightsFile": "cards",
    "class_names": "classes",
    "read_state": "files",
    "inflate": "inflation",
    "inflate_views": "inflation",
    "build": "registry",
    "card": "registry",
    "config_of": "registry",
    "list_models": "registry",
    "spec_of": "registry",
    "join_streams": "stream_start",
    "convert": "weights",
    "load": "weights",
    "recognise": "recognition",
    "save": "weights",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'marey.zoo' has no attribute {name!r}")
    return getattr(import_module(f"marey.zoo.{_HOMES[name]}"), name)
