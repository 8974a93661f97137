"""Patches that end with the frames they stand for."""

from typing import Any

import pytest
import torch

from marey.layers.multiscale import Stem


def stems(kernel: Any, stride: Any) -> tuple[Stem, Stem]:
    torch.manual_seed(0)
    plain, causal = (Stem(3, 4, kernel, stride, causal=causal) for causal in (False, True))
    causal.load_state_dict(plain.state_dict())
    return plain, causal


def test_the_published_stem_is_causal_as_it_is() -> None:
    plain, causal = stems((3, 7, 7), (2, 4, 4))
    for frames in (1, 2, 7, 8):
        clip = torch.randn(1, 3, frames, 16, 16)
        torch.testing.assert_close(causal(clip), plain(clip), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_no_patch_reads_past_its_frames(kernel: int, stride: int) -> None:
    _, causal = stems((kernel, 4, 4), (stride, 4, 4))
    clip = torch.randn(1, 3, 12, 8, 8)
    found = causal(clip)
    assert found.shape[2] == 12 // stride
    for step in range(12 // stride - 1):
        other = clip.clone()
        other[:, :, (step + 1) * stride :] = 0
        changed = (causal(other) - found).abs().amax((0, 1, 3, 4))
        assert changed[: step + 1].max() == 0
        assert changed[step + 1] > 0
