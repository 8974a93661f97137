"""``marey tabulate``, and ``--budget`` of the commands that run a network."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional

from marey.cli.parse import UsageError, echo
from marey.config import to_plain

UNITS = {"g": ("gflops", 1.0), "ms": ("latency_ms", 1.0), "m": ("params_m", 1.0)}
UNITS |= {"mflops": ("gflops", 1e-3), "s": ("latency_ms", 1e3)}


def budget_of(text: str) -> dict[str, float]:
    """``4G`` multiply-adds, ``20ms`` a clip, ``5M`` parameters, or several joined by commas.

    Raises UsageError for anything else.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(G|ms|s|M|MFLOPS)\s*", part, re.IGNORECASE)
        if not match:
            raise UsageError(
                f"--budget {text!r} is none: give multiply-adds as 4G, time as 20ms, parameters "
                "as 5M, or several as 4G,20ms"
            )
        name, scale = UNITS[match.group(2).lower()]
        found[name] = float(match.group(1)) * scale
    return found


def keep_to(model: Any, budget: str) -> Any:
    """The network set to the best setting within a budget, which is told on stderr.

    Raises ValueError for a network of one width, or a budget below its narrowest.
    """
    if not hasattr(model, "select"):
        raise ValueError(
            f"{getattr(model, 'variant', 'the network')} has one width, so --budget means nothing "
            "to it: give a mutualnet_* network, or leave --budget out"
        )
    model.width = setting = model.select(**budget_of(budget))
    row = next((r for r in model.config.table if r.setting.key == setting.key), None)
    told = in_words(row or model.row(setting))
    echo(f"within {budget}: {told}")
    return model


def in_words(row: Any) -> str:
    """One row of a query table."""
    parts = [f"width {row.width:g}", f"{row.frames} frames", f"{row.size} px"]
    parts.append(f"{row.gflops:.4g} GMACs")
    if row.params_m is not None:
        parts.append(f"{row.params_m:.4g} M parameters")
    if row.latency_ms is not None:
        parts.append(f"{row.latency_ms:.4g} ms")
    if row.accuracy is not None:
        parts.append(f"{100 * row.accuracy:.1f} %")
    return ", ".join(parts)


def setting_of(text: str) -> Any:
    """``0.5``, ``0.5x96`` or ``0.5x4x96``: width, frames, short side. Raises UsageError."""
    from marey.layers.switch import Setting, key_of

    match = re.fullmatch(r"(\d*\.?\d+)(?:x(\d+))??(?:x(\d+))?", text)
    if not match:
        raise UsageError(
            f"--settings {text!r} is no setting: give WIDTH, WIDTHxSIZE or WIDTHxFRAMESxSIZE"
        )
    width, frames, size = (float(match.group(1)), *(int(g or 0) for g in match.groups()[1:]))
    key_of(width)
    return Setting(width, frames=int(frames), size=int(size))


@dataclass(frozen=True, kw_only=True)
class Tabulate:
    """Measure what each width of a MutualNet costs and reaches, and store it with its weights.

    The table is printed, one setting a line, without those that another beats in every column.
    """

    weights: Annotated[
        Positional[str], tyro.conf.arg(metavar="WEIGHTS", help="run folder or weight file")
    ]
    data: str = ""
    """labelled videos; default those the weights were trained on"""
    model: str = ""
    """variant, where the weights do not tell"""
    settings: tuple[str, ...] = ()
    """WIDTH, WIDTHxSIZE or WIDTHxFRAMESxSIZE; default all of the network's"""
    out: str = ""
    """file to write; default over the run's weights"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    json: bool = False
    """print the table as one line of JSON"""

    def run(self) -> int:
        """Measure, print and store."""
        from marey import verbs

        rows = verbs.tabulate(
            self.weights,
            data=self.data,
            model=self.model,
            settings=[setting_of(text) for text in self.settings],
            out=self.out or None,
            device=self.device,
        )
        if self.json:
            print(json.dumps(to_plain(rows)))
        else:
            print("\n".join(in_words(row) for row in rows))
        echo(f"wrote {self.out or Path(self.weights) / 'weights.safetensors'}")
        return 0
