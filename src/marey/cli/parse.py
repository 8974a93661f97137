"""Words into command dataclasses, through tyro; its boxes of complaint become our one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeVar

import yaml

from marey.config import nearest

T = TypeVar("T")


class UsageError(ValueError):
    """Words on the command line that cannot be taken."""


def parse(command: type[T], words: Sequence[str], name: str, default: T | None = None) -> T | None:
    """The command dataclass that ``words`` describe; None after ``--help`` was printed.

    Raises UsageError with one line naming the word and the cure.
    """
    import tyro

    prepare = getattr(command, "prepare", None)
    if prepare is not None and default is None:
        words, default = prepare(list(words))
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                command,
                args=list(words),
                prog=f"marey {name}",
                default=default,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as stop:
        if not stop.code:
            return None
    raise UsageError(f"{_sentence(complaint.getvalue())} (see 'marey {name} --help')")


def _sentence(box: str) -> str:
    """The first paragraph inside a drawn box, as one line, with the nearest option named."""
    rows = [re.sub(r"^[\u2502|]\s?|\s*[\u2502|]$", "", row).strip() for row in box.splitlines()]
    rows = [row for row in rows if row and not row.startswith(("\u256d", "\u2570"))]
    paragraph: list[str] = []
    for row in rows:
        if set(row) == {"\u2500"}:
            break
        paragraph.append(row)
    text = " ".join(paragraph) or "the command line could not be read"
    unknown = re.match(r"Unrecognized options: (--[\w.-]+)", text)
    if unknown:
        options = re.findall(r"(--[\w.-]+)", " ".join(rows[len(paragraph) :]))
        text = f"{unknown.group(1)} is not an option{nearest(unknown.group(1), options)}"
    return text[0].lower() + text[1:] if text.startswith(("Missing", "Error", "Unrec")) else text


def take_prefixed(words: list[str], prefix: str) -> tuple[list[str], dict[str, Any]]:
    """Split ``--PREFIX.field VALUE...`` out of the words; values are read as YAML, never executed.

    Several values, or one with commas, make a list. Returns the other words and the fields.
    """
    rest: list[str] = []
    fields: dict[str, Any] = {}
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if not word.startswith(f"--{prefix}."):
            rest.append(word)
            continue
        name, _, value = word.removeprefix(f"--{prefix}.").partition("=")
        values = [value] if value else []
        while not value and position < len(words) and not words[position].startswith("--"):
            values.append(words[position])
            position += 1
        if not name or not values:
            raise UsageError(f"{word} needs a value, as in {word} 2")
        if len(values) == 1 and re.fullmatch(r"[^\[\]{},]+(,[^\[\]{},]+)+", values[0]):
            values = values[0].split(",")
        read = [yaml.safe_load(v) for v in values]
        fields[name.replace("-", "_")] = read[0] if len(read) == 1 else read
    return rest, fields


def nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """``{"a.b": 1}`` as ``{"a": {"b": 1}}``."""
    tree: dict[str, Any] = {}
    for name, value in fields.items():
        *path, leaf = name.split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
        place[leaf] = value
    return tree


class NetFields:
    """A command that also takes ``--net.FIELD VALUE``, kept as JSON in its ``net_fields``."""

    net_fields: str

    @classmethod
    def prepare(cls, words: list[str]) -> tuple[list[str], Self]:
        """The other words, and the command so far, its required words still missing."""
        import tyro

        rest, net = take_prefixed(words, "net")
        given: dict[str, Any] = {"net_fields": json.dumps(net)}
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]
            if field.default is dataclasses.MISSING:
                given[field.name] = tyro.MISSING
        return rest, cls(**given)

    @property
    def net(self) -> dict[str, Any]:
        """Fields of the network's configuration that the words set."""
        fields: dict[str, Any] = json.loads(self.net_fields)
        return fields


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """``column=value`` words as a dict. Raises UsageError for a word without ``=``."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(
                f"{option} {text!r} is not NAME=VALUE, as in {option} task=grid_command"
            )
        found[name] = value
    return found


def views(text: str) -> tuple[int, int] | None:
    """``10x3`` as (10, 3); empty is None. Raises UsageError for anything else."""
    if not text:
        return None
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match:
        raise UsageError(f"--views {text!r} is not TIMExSPACE, as in --views 10x3")
    time, space = int(match.group(1)), int(match.group(2))
    if space not in (1, 3, 10):
        raise UsageError(
            f"--views {text!r}: space is 1 (centre), 3 (left, centre, right) or 10 (corners, "
            f"centre, mirrored)"
        )
    return time, space


def find_word(words: Sequence[str], option: str) -> str:
    """The value of ``--option`` in unparsed words, or an empty string."""
    for position, word in enumerate(words):
        if word == option and position + 1 < len(words):
            return words[position + 1]
        if word.startswith(option + "="):
            return word.removeprefix(option + "=")
    return ""


def echo(text: str) -> None:
    """A line for people, on stderr, so that stdout stays for results."""
    print(text, file=sys.stderr, flush=True)


def flat(values: Mapping[str, Any]) -> str:
    """``a 1, b 2`` for a short table of numbers."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )
