"""The pages under docs: generated tables are current, links lead somewhere, commands are real."""

import importlib.util
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

import marey
from marey import recipes
from marey.cli import COMMANDS, main
from marey.cli.parse import parse
from marey.config import write_json
from marey.data import synthetic
from marey.data.sources import FORMATS, open_data
from marey.video.writer import write_video

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), DOCS.parent / "README.md"]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of one language, indentation taken off."""
    return [
        re.sub(f"^{indent}", "", text, flags=re.MULTILINE)
        for indent, kind, text in FENCE.findall(page.read_text())
        if kind == language
    ]


def commands() -> list[tuple[str, str]]:
    """(page, command line) of every line of a plain block that begins with marey."""
    found = []
    for page in PAGES:
        for text in blocks(page, ""):
            lines = text.replace("\\\n", " ").splitlines()
            found += [(page.name, line) for line in lines if line.startswith("marey ")]
    return found


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A folder with a short drawn video called clip.mp4."""
    drawn = synthetic.draw("direction", "train", 0, size=(48, 64))
    write_video(tmp_path / "clip.mp4", drawn.frames, 25.0)
    return tmp_path


def test_the_cards_are_what_the_generator_prints() -> None:
    spec = importlib.util.spec_from_file_location("make_cards", DOCS / "make_cards.py")
    assert spec is not None
    assert spec.loader is not None
    cards = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["make_cards"] = cards
    spec.loader.exec_module(cards)
    assert (DOCS / "models.md").read_text() == cards.page(), "run python docs/make_cards.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_of_the_code_exist(page: Path) -> None:
    for name in re.findall(r"`((?:src|tests|docs|studies)/[\w./]+)`", page.read_text()):
        if "NAME" not in name:
            assert (DOCS.parent / name).exists(), name


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_command_of_the_pages_can_be_parsed(
    page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for text in blocks(DOCS / "recipes.md", "yaml"):
        (tmp_path / "mine.yaml").write_text(text)
    write_json(tmp_path / "runs" / "clips-x2d-expand" / "expanded.json", recipes.find("small"))
    words = shlex.split(line, comments=True)[1:]
    name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
    module, kind, _ = COMMANDS[name]
    rest = words[len(name.split()) :]
    command = getattr(import_module(f"marey.cli.{module}"), kind)
    assert parse(command, rest, name) is not None


def test_the_recipe_file_of_the_page_is_read(tmp_path: Path) -> None:
    from marey import recipes, zoo

    (text,) = blocks(DOCS / "recipes.md", "yaml")
    (tmp_path / "mine.yaml").write_text(text)
    recipe = recipes.find(str(tmp_path / "mine.yaml"))
    assert recipe.augment.swap_labels == (("turn left", "turn right"),)
    assert recipe.model in zoo.list_models()


def test_the_recipe_lines_run(capsys: pytest.CaptureFixture[str]) -> None:
    text, *_ = blocks(DOCS / "recipes.md", "python")
    exec(compile(text, "recipes.md", "exec"), {})
    assert "slowfast_r50_8x8.k400 [('top1', 77.0)" in capsys.readouterr().out


def test_the_reader_lines_run(
    clip: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clip)
    (text,) = blocks(DOCS / "video.md", "python")
    names: dict[str, object] = {}
    exec(compile(text, "video.md", "exec"), names)
    assert names["clip"].frames.shape == (3, 3, 112, 112)  # type: ignore[attr-defined]
    assert capsys.readouterr().out.startswith("32 25.0 64 48")


def test_other_python_blocks_are_python() -> None:
    for page in PAGES:
        for number, text in enumerate(blocks(page, "python")):
            compile(text, f"{page.name} block {number}", "exec")


def test_drawing_and_checking_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = next(text for _, text in commands() if text.startswith("marey data draw"))
    small = ["--width", "64", "--height", "48", "--test", "1"]
    words = re.sub(r"--(train|val) \d+", r"--\1 4", line).split()[1:]
    assert main([*words, *small]) == 0
    assert main(["data", "check", "drawn/direction", "--workers", "1"]) in (0, 1)
    out = capsys.readouterr().out
    assert "drawn/direction" in out


@pytest.mark.parametrize("form", ["folders", "header", "lines"])
def test_the_layouts_of_the_page_are_recognised(form: str, clip: Path) -> None:
    source = clip / "clip.mp4"
    (listed,) = [text for text in blocks(DOCS / "data.md", "") if text.startswith("path,label")]
    (lines,) = [text for text in blocks(DOCS / "data.md", "") if text.endswith("c.mp4 1\n")]
    names = {
        "folders": ["wave/01.mp4", "clap/01.mp4"],
        "header": ["videos/a b.mp4", "videos/long.mp4"],
        "lines": ["videos/a b.mp4", "videos/c.mp4"],
    }[form]
    root = clip / "set"
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(source.read_bytes())
    address = root
    if form != "folders":
        address = root / "list.csv"
        address.write_text(listed if form == "header" else lines)
    data = open_data(address)
    counts = {split: len(items) for split, items in data.splits.items()}
    assert counts == ({"train": 2, "val": 1} if form == "header" else {"": 2})
    assert len(data.classes) == 2


def test_the_page_names_what_python_offers() -> None:
    for name in re.findall(r"`marey\.(\w+)`", (DOCS / "design.md").read_text()):
        assert hasattr(marey, name), name


def test_every_layout_is_named() -> None:
    text = (DOCS / "data.md").read_text()
    assert [name for name in FORMATS if f"`{name}`" not in text] == []
