"""The tiny recipe of ``tiny_run.py`` as a module that test files can import, and a few videos."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine videos to train on and three to hold out, three classes, 12 frames of 16x16."""
    from marey.video.writer import write_video

    root = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 1)):
        for label in "abc":
            for number in range(count):
                folder = root / split / label
                folder.mkdir(parents=True, exist_ok=True)
                frames = rng.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
                write_video(folder / f"{number}.mp4", list(frames), 25)
    return root
