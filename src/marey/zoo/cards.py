"""What a published variant claims, and the data sets it was trained for. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from marey.choices import Claim
from marey.types import ClipSpec

NameRule = Callable[[str, Any], str | None]
Tensors = Mapping[str, Any]  # by published name
Rows = tuple[int, int]  # of a classifier: for each class, and beside the classes


def row_a_class(config: Any) -> Rows:
    """The classifier of most networks."""
    return 1, 0


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """Where weights are published: the data set (a tag), the layout of names, the address."""

    tag: str
    layout: str
    address: str
    licence: str = ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """One published network. ``params_m`` in millions, ``gmacs`` in 1e9 multiply-adds of ``at``."""

    spec: ClipSpec
    params_m: float | None = None
    gmacs: float | None = None
    at: str = ""  # the input that gmacs counts, T x H x W
    classes: str = "kinetics400"  # data set of the default class count
    claims: tuple[Claim, ...] = ()
    weights: tuple[WeightsFile, ...] = ()
    source: str = ""
    licence: str = ""
    note: str = ""
    twin: str = ""  # the variant of the same tensors that a file without a name is taken for
    name: str = ""
    modalities: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # fields of the spec


@dataclass(frozen=True)
class Form:
    """Where a layout stores our tensors in other shapes or pieces, by its own names.

    ``read`` gives them in our shapes, or nothing where the tensors are not of this form; ``write``
    takes the configuration too and is the inverse.
    """

    read: Callable[[Tensors], dict[str, Any]]
    write: Callable[[Tensors, Any], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One model page: where its network, configuration and variants are, and how others name it.

    ``layouts`` holds, for each published layout, the rule from one of our tensor names and the
    configuration to theirs, or None for a tensor they do not store; a rule raises ValueError where
    the layout cannot hold the network. ``infer`` gives the fields that a read state tells about
    its network; ``resize`` names a function from a tensor's name, value and wanted shape, and the
    configuration, to the resized tensor, or None. ``start`` is a module whose
    ``starts(state, config)`` tells weights of a related network, with which its
    ``inflate(network, state)`` begins one.
    """

    name: str
    module: str
    network: str
    cards: Mapping[str, Card]
    layouts: Mapping[str, NameRule]
    shapeless: tuple[str, ...] = ()  # fields of the configuration that change no tensor's shape
    told: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None  # fields a state tells
    borrowed: tuple[str, ...] = ()  # layouts of another family, which is meant if none is named
    forms: Mapping[str, Form] = field(default_factory=dict)
    infer: Callable[[Tensors, Any], dict[str, Any]] | None = None
    resize: str = ""
    start: str = ""
    marks: tuple[str, ...] = ()  # published tensors that the image network it grew from has not
    aside: tuple[str, ...] = ()  # prefixes of tensors in published files for parts not built here
    reads: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # layout: fields of spec
    rows: Callable[[Any], Rows] = row_a_class


@dataclass(frozen=True)
class Tag:
    """A data set as a suffix of a variant's name: its class count, list, and way of sampling."""

    num_classes: int
    classes: str = ""  # file in zoo/classes; empty where the order of outputs is not known
    changes: Mapping[str, Any] = field(default_factory=dict)  # fields of the spec

    def applied(self, spec: ClipSpec) -> ClipSpec:
        """The spec for this data set; a network that reads snippets keeps its own way of it."""
        own = {"sampling": spec.sampling} if spec.sampling == "snippet" else {}
        return replace(spec, **{**self.changes, **own})


TAGS: dict[str, Tag] = {
    "k400": Tag(400, "kinetics400"),
    "k600": Tag(600, "kinetics600"),
    "k700": Tag(700, "kinetics700"),
    "ssv2": Tag(174, "", {"sampling": "segment", "views": (1, 3)}),
    "ssv1": Tag(174, "", {"sampling": "segment", "views": (1, 3)}),
    "jester": Tag(27, "", {"sampling": "segment", "views": (1, 3)}),
    "charades": Tag(157, "", {"sampling": "stride", "jitter": (256, 340)}),
    "ucf101": Tag(101, "ucf101"),
    "hmdb51": Tag(51, "hmdb51"),
    "sports1m": Tag(487),
    "ig65m": Tag(359),
    "in1k": Tag(1000),
    "thumos14": Tag(20, "thumos14"),
    "epic": Tag(397),  # 97 verbs, then 300 nouns
    "in21k": Tag(19168),
    "howto100m": Tag(512),  # an embedding, no classes
}
