"""Shared by all tests: one thread a process, two processes for the whole suite, and nothing written
into the user's cache."""

import os
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """``pytest`` alone is ``pytest -n 2 --dist worksteal``, where pytest-xdist is installed."""
    inside = "PYTEST_XDIST_WORKER" in os.environ  # a worker starts no workers
    if inside or not config.pluginmanager.hasplugin("xdist") or config.option.usepdb:
        return
    if config.args_source is config.ArgsSource.TESTPATHS and config.option.numprocesses is None:
        config.option.numprocesses, config.option.dist = 2, "worksteal"


@pytest.fixture(scope="session", autouse=True)
def _quiet_machine(tmp_path_factory: pytest.TempPathFactory) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("MAREY_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the reference cases."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def filling(golden: Path) -> dict[str, Any]:
    """The functions of ``golden/filling.py`` by name: they make weights and clips of the cases."""
    return runpy.run_path(str(golden / "filling.py"))
