"""The house rule: imports point down only, and packages on one floor never import each other."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import marey

ROOT = Path(marey.__file__).parent
FLOORS = [
    {"types", "config", "choices"},
    {"geometry"},
    {"layers", "video"},
    {"models", "data", "metrics"},
    {"tasks", "zoo"},
    {"report"},
    {"engine", "predictor", "export"},
    {"recipe", "recipes", "serve"},
    {"verbs", "demo", "doctor", "cli", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
SAME_FLOOR = {
    ("recipes", "recipe"),
    ("demo", "verbs"),
    ("__main__", "cli"),
} | {("cli", other) for other in ("verbs", "demo", "doctor")}


def modules_imported(path: Path) -> set[str]:
    """Dotted marey modules that a file imports anywhere, also inside functions."""
    found = set()
    package = ("marey", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("marey.")}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if own == "__init__":
        assert not modules_imported(path), "the public package file imports lazily, by name"
        return
    assert own in LEVEL, f"{own} has no floor: add it to the table or move the file"
    level_0_siblings = LEVEL[own] == 0
    for name in modules_imported(path):
        other = name.split(".")[1]
        if other == own or other not in LEVEL or (level_0_siblings and LEVEL[other] == 0):
            continue
        if (own, other) in SAME_FLOOR:
            continue
        assert LEVEL[other] < LEVEL[own], f"{own} (floor {LEVEL[own]}) imports {name}"


def test_importing_marey_and_the_command_line_loads_no_torch() -> None:
    code = "import sys, marey, marey.cli; assert 'torch' not in sys.modules, 'torch was imported'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
