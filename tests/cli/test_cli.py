"""The face: exit codes, one line for bad input, and help that loads no torch."""

import os
import subprocess
import sys

import pytest

from marey.cli import COMMANDS, main, overview


@pytest.mark.parametrize("command", COMMANDS)
def test_help_answers_without_torch(command: str) -> None:
    code = (
        "import sys; from marey.cli import main; "
        f"code = main({[*command.split(), '--help']!r}); "
        "assert 'torch' not in sys.modules, 'torch was imported'; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"marey {command}" in done.stdout


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code = "import sys; from marey.cli import main; sys.exit(main(['models', 'list']))"
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in COMMANDS)
    assert "models list" not in overview("data ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["predikt"], "did you mean 'predict'"),
        (["models", "shew", "x"], "did you mean 'models show'"),
        (["predict"], "SOURCE is missing"),
        (["predict", "x.mp4"], "--weights"),
        (["predict", "x.mp4", "--model", "slow_r50_8x8"], "--random-weights"),
        (["predict", "x.mp4", "--model", "slow_r50_8x9", "--random-weights"], "slow_r50_8x8"),
        (["predict", "none.mp4", "--weights", "none.safetensors"], "none.safetensors"),
        (["evaluate", "x"], "--weights"),
        (["evaluate", "no/such/folder", "--weights", "none.pyth"], "none.pyth"),
        (["train", "no/such/folder", "--model", "slow_r50_8x8"], "no/such/folder"),
        (["train", "x", "--recipe", "smal"], "small"),
        (["models", "show", "slowfast_r50_8x9"], "slowfast_r50_8x8"),
        (["models", "list", "zzz"], "zzz"),
        (["export", "x.bin", "--model", "slow_r50_8x8", "--random-weights"], ".pt2"),
        (["convert", "none.pyth", "out.safetensors"], "none.pyth"),
        (["data", "check", "no/such/list.csv"], "no/such/list.csv"),
        (["data", "draw", "direktion"], "direction"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    output = capsys.readouterr()
    assert output.out == ""
    lines = output.err.strip().splitlines()
    assert len(lines) == 1, output.err
    assert lines[0].startswith("marey: ")
    assert told in lines[0]
