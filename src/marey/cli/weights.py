"""``marey models list|show``, ``marey convert`` and ``marey export``."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from marey.cli.budget import keep_to
from marey.cli.parse import NetFields, UsageError, echo
from marey.config import to_plain


@dataclass(frozen=True, kw_only=True)
class ModelsList:
    """Names of the networks marey can build, optionally only those matching a pattern."""

    pattern: Annotated[
        Positional[str], tyro.conf.arg(metavar="PATTERN", help="part of a name, or a shell pattern")
    ] = "*"
    json: bool = False
    """print one line of JSON"""

    def run(self) -> int:
        """Print the names, or refuse a pattern that matches none."""
        from marey import zoo

        pattern = self.pattern if any(c in self.pattern for c in "*?[") else f"*{self.pattern}*"
        names = zoo.list_models(pattern)
        if not names:
            raise ValueError(f"no network's name matches {self.pattern!r}: see 'marey models list'")
        print(json.dumps(names) if self.json else "\n".join(names))
        return 0


@dataclass(frozen=True, kw_only=True)
class ModelsShow:
    """One network: parameters, multiply-adds, input, its fields, published numbers and weights."""

    name: Annotated[
        Positional[str], tyro.conf.arg(metavar="NAME", help="a name from marey models list")
    ]
    json: bool = False
    """print one line of JSON"""

    def run(self) -> int:
        """Print measured cost beside the published one, then what is known of the network."""
        table = describe(self.name)
        if self.json:
            print(json.dumps(table))
            return 0
        for heading, value in table.items():
            if isinstance(value, dict):
                print(f"{heading}:")
                for name, entry in value.items():
                    print(f"  {name:18} {entry}")
            elif isinstance(value, list):
                print(f"{heading}:" if value else f"{heading}: none known")
                for row in value:
                    print("  " + "  ".join(str(v) for v in row.values() if v not in (None, "")))
            else:
                print(f"{heading:20} {value}")
        return 0


def describe(name: str) -> dict[str, Any]:
    """What is known of one variant, as plain data; cost is measured on the meta device."""
    import torch

    from marey import zoo
    from marey.metrics.cost import measure

    card, config, spec = zoo.card(name), zoo.config_of(name), zoo.spec_of(name)
    with torch.device("meta"):
        model = zoo.build(name)
    shape = (1, spec.channels, spec.length, spec.test_size, spec.test_size)
    cost = measure(model, shape)
    return {
        "name": name,
        "parameters": cost.parameters,
        "multiply-adds (G)": round(cost.multiply_adds / 1e9, 3),
        "measured at": "x".join(str(n) for n in shape),
        "input": to_plain(spec),
        "fields": to_plain(config),
        "published": to_plain(card.claims),
        "weights": [to_plain(w) for w in card.weights],
        "source": card.source,
        "licence": card.licence,
    }


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Rewrite weights: any published layout to ours (.safetensors), or back with --to LAYOUT."""

    source: Annotated[
        Positional[str], tyro.conf.arg(metavar="SRC", help="weight file or run folder")
    ]
    target: Annotated[Positional[str], tyro.conf.arg(metavar="DST", help="file to write")]
    model: str = ""
    """variant, where the tensors do not tell"""
    to: str = "marey"
    """layout to write: marey, pyslowfast, pytorchvideo, caffe2"""

    def run(self) -> int:
        """Convert and say what was read and written."""
        from marey import zoo

        written = zoo.convert(self.source, self.target, model=self.model or None, to=self.to)
        echo(f"wrote {written}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Export(NetFields):
    """Write a network for other runtimes, and check its output against the eager network."""

    target: Annotated[Positional[str], tyro.conf.arg(metavar="DST", help="file.pt2 or file.onnx")]
    model: str = ""
    """variant, where the weights do not tell"""
    weights: str = ""
    """run folder or weight file"""
    format: Literal["auto", "torch", "onnx"] = "auto"
    """auto: by the ending of DST (.pt2 or .onnx)"""
    budget: str = ""
    """of a MutualNet: only the part of it that keeps to 4G, 20ms or 5M, as a network of its own"""
    random_weights: bool = False
    """export the network with its initial weights"""
    net_fields: tyro.conf.Suppress[str] = "{}"

    def run(self) -> int:
        """Export and print the largest difference seen."""
        from marey import export

        kind = self.format
        if kind == "auto":
            endings: dict[str, Literal["torch", "onnx"]] = {".pt2": "torch", ".onnx": "onnx"}
            ending = Path(self.target).suffix
            if ending not in endings:
                raise UsageError(f"{self.target} ends in neither .pt2 nor .onnx: say --format")
            kind = endings[ending]
        model = model_for(self.model, self.weights, self.random_weights, self.net)
        if self.budget:
            model = keep_to(model, self.budget)
            model = model.narrowed(model.width)
        told = export.export(model, self.target, format=kind)
        print(json.dumps(dataclasses.asdict(told), default=str))
        return 0


def model_for(name: str, weights: str, random_weights: bool, fields: dict[str, Any]) -> Any:
    """The network the words name; without weights only when random ones were asked for."""
    from marey import zoo

    if weights:
        return zoo.load(name or weights, weights=weights if name else None, **fields)
    if not name:
        raise UsageError(
            "name the network: --weights FILE or RUN, or --model NAME --random-weights"
        )
    if not random_weights:
        raise UsageError(
            f"--model {name} without --weights would guess at random: give --weights FILE, "
            "or --random-weights if that is meant"
        )
    return zoo.build(name, **fields)
