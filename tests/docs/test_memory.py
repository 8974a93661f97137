"""The table of docs/memory.md, counted again; its lines of Python run."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from marey.models.memvit import VARIANTS, MeMViT
from marey.zoo.published.memvit import CARDS

PAGE = (Path(__file__).parents[2] / "docs/memory.md").read_text()
LOOKS = {
    "none": (),
    "second and fourth clip, every other layer (as released)": ((2, 4), ()),
    "second and fourth clip, every layer": ((2, 4),),
    "second, fourth, sixth and eighth, every other layer": ((2, 4, 6, 8), ()),
    "third and sixth clip, every other layer (as released)": ((3, 6), ()),
}
ROWS = [
    [cell.strip(" `") for cell in line.strip("| ").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| `memvit_")
]


def counted(name: str, memory: Any) -> tuple[int, float, float, float]:
    """Parameters; multiply-adds of a step, in billions; seconds that matter, and in clips."""
    config = replace(VARIANTS[name], memory=memory, attention="plain")
    with torch.device("meta"), torch.no_grad():
        network = MeMViT(config).eval()
        clip = torch.empty(1, 3, config.frames, 224, 224)
        state = network.init_state() if memory else None
        with FlopCounterMode(display=False) as counter:
            network(clip, state)
    spec = CARDS[name].spec
    clip_s = spec.frames * spec.stride / 30
    reach_s = config.support * 1.0 + clip_s
    parameters = sum(p.numel() for p in network.parameters())
    return parameters, counter.get_total_flops() / 2e9, reach_s, reach_s / clip_s


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[1]}")
def test_the_table_is_what_is_counted(row: list[str]) -> None:
    parameters, macs, reach_s, clips = counted(row[0], LOOKS[row[1]])
    assert int(row[2].replace(",", "")) == parameters
    assert float(row[3]) == pytest.approx(macs, abs=0.006 if macs < 100 else 0.06)
    assert float(row[4]) == pytest.approx(reach_s, abs=0.06)
    assert float(row[5]) == pytest.approx(clips, abs=0.06)


def test_thirty_times_the_support_for_five_per_cent() -> None:
    """Memory in every layer, as the paper counts: the abstract says 30x and 4.5 %."""
    assert len(ROWS) == 6
    _, plain, clip_s, _ = counted("memvit_16x4", ())
    for memory, least, most in ((((2, 4),), 30, 0.05), (((2, 4), ()), 15, 0.025)):
        _, macs, reach_s, _ = counted("memvit_16x4", memory)
        assert reach_s / clip_s > least
        assert macs / plain - 1 < most


def test_the_lines_run() -> None:
    text, of_frames = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(text.replace("224, 224", "32, 32"), "memory.md", "exec"), names)
    assert names["logits"].shape == (1, 400)
    assert len(names["state"].tokens()) == 3
    assert names["model"].config.support == 8 * 4
    exec(compile(of_frames.replace("224, 224", "32, 32"), "memory.md", "exec"), names)
    assert names["logits"].shape == (1, 8, 400)
