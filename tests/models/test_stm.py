"""STM: motion by hand, how it starts, and sizes that do not halve evenly."""

from dataclasses import replace

import torch
from torch import nn

from marey.models.stm import STM, VARIANTS, Motion, StmBlock, forward_difference


def test_motion_is_the_filtered_next_frame_less_this_one() -> None:
    x = torch.randn(6, 4, 5, 5)  # two clips of three frames
    double = nn.Conv2d(4, 4, 1, groups=4, bias=False)
    nn.init.constant_(double.weight, 2.0)
    found = forward_difference(x, double, 3)
    torch.testing.assert_close(found[0], 2 * x[1] - x[0])
    torch.testing.assert_close(found[4], 2 * x[5] - x[4])
    assert not found[2].any()  # the last frame of each clip
    assert not found[5].any()


def test_a_still_clip_moves_by_nothing_under_an_identity_filter() -> None:
    motion = Motion(32).eval()
    nn.init.dirac_(motion.filter.weight, groups=2)
    still = torch.randn(1, 32, 6, 6).expand(3, -1, -1, -1)
    assert motion(still, 3).abs().max() < 1e-6
    assert motion.reduce.conv.weight.shape == (2, 32, 1, 1)  # a sixteenth


def test_time_starts_as_a_partial_shift() -> None:
    block = next(
        m for m in STM(replace(VARIANTS["stm_r50_8f"], width=8)).modules() if type(m) is StmBlock
    )
    rows = block.time.weight.squeeze(1).tolist()
    assert rows == [[1, 0, 0]] * 2 + [[0, 1, 0]] * 4 + [[0, 0, 1]] * 2


def test_odd_sizes_meet_in_every_block() -> None:
    config = replace(VARIANTS["stm_r50_8f"], width=8, depths=(1, 1, 1, 1), num_classes=5, frames=2)
    assert STM(config)(torch.randn(1, 3, 2, 50, 71)).shape == (1, 5)
