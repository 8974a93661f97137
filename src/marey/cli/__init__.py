"""The command line: parse, one public call, print.

Exit codes: 0 done, 1 done but something fell short, 2 bad input (one line, no traceback),
130 interrupted. Nothing here imports torch before a command really runs.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import TextIO

from marey import __version__
from marey.cli.parse import UsageError, parse
from marey.config import nearest

# word: (module, class, one line)
COMMANDS = {
    "demo": ("tour", "Demo", "draw videos, train on them, evaluate, predict, write a report"),
    "predict": ("predict", "Predict", "what happens in files, folders, a webcam or a stream"),
    "train": ("train", "Train", "train or fine-tune on your data; again to continue"),
    "evaluate": ("train", "Evaluate", "accuracy of weights on labelled data"),
    "expand": ("expand", "Expand", "grow a small network on your data to your budget"),
    "tabulate": ("budget", "Tabulate", "what each width of a MutualNet costs and reaches"),
    "fuse": ("train", "Fuse", "accuracy of networks whose scores are averaged, as two streams"),
    "flow": ("flow", "Flow", "optical flow of videos, computed and stored"),
    "extract": ("predict", "Extract", "features of videos into .npz files"),
    "export": ("weights", "Export", "a network as torch.export or ONNX, checked against eager"),
    "convert": ("weights", "Convert", "weights from any published layout to ours and back"),
    "models list": ("weights", "ModelsList", "names of all networks"),
    "models show": ("weights", "ModelsShow", "one network: cost, input, published numbers"),
    "data check": ("data", "DataCheck", "read every file and report what is wrong"),
    "data preview": ("data", "DataPreview", "contact sheets of some clips of each class"),
    "data draw": ("data", "DataDraw", "write a drawn data set with known answers"),
    "doctor": ("tour", "Doctor", "what is installed, what decodes, what to fix"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    warnings.showwarning = _one_line_warning
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except UsageError as error:
        return _refuse(str(error))
    except BrokenPipeError:  # who reads has had enough, as head has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        if os.environ.get("MAREY_TRACEBACK"):
            raise
        return _refuse(_first_line(error))
    except SystemExit as stop:
        if str(stop):
            print(f"marey: {stop}", file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if arguments[0] in ("--version", "-V"):
        print(f"marey {__version__}")
        return 0
    word, rest = arguments[0], arguments[1:]
    group = [name for name in COMMANDS if name.startswith(word + " ")]
    if group:
        if not rest or rest[0] in ("-h", "--help"):
            print(overview(word + " "))
            return 0 if rest else 2
        word, rest = f"{word} {rest[0]}", rest[1:]
    if word not in COMMANDS:
        known = sorted({*COMMANDS, *(name.split()[0] for name in COMMANDS)})
        raise UsageError(f"{word!r} is not a command{nearest(word, known)} (see 'marey --help')")
    module, kind, _ = COMMANDS[word]
    command = getattr(import_module(f"marey.cli.{module}"), kind)
    parsed = parse(command, rest, word)
    return 0 if parsed is None else int(parsed.run() or 0)


def overview(prefix: str = "") -> str:
    """The list of commands, one line each."""
    rows = [(name, text) for name, (_, _, text) in COMMANDS.items() if name.startswith(prefix)]
    lines = [f"  {name:14} {text}" for name, text in rows]
    head = f"usage: marey {prefix}COMMAND ...   (marey {prefix}COMMAND --help explains one)"
    return "\n".join([head, "", *lines])


def _refuse(line: str) -> int:
    print(f"marey: {line}", file=sys.stderr)
    return 2


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]


def _one_line_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if issubclass(category, UserWarning) and not issubclass(category, DeprecationWarning):
        print(f"marey: note: {str(message).splitlines()[0]}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
