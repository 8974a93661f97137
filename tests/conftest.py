"""Shared by all tests: one thread a process, and nothing written into the user's cache."""

import os
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _quiet_machine(tmp_path_factory: pytest.TempPathFactory) -> None:
    torch.set_num_threads(2)
    os.environ.setdefault("MAREY_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the reference cases."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def filling(golden: Path) -> dict[str, Any]:
    """The functions of ``golden/filling.py`` by name: they make weights and clips of the cases."""
    return runpy.run_path(str(golden / "filling.py"))
