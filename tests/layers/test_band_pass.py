"""The motion band-pass: initial kernels and arithmetic of the original, and what it does."""

from pathlib import Path
from typing import Any

import pytest
import torch

from marey.layers.band_pass import BandPass, band_kernel


def test_the_original(filling: dict[str, Any], golden: Path) -> None:
    case = filling["read"](golden, "bqn_mbpm_init")
    frames, features = (torch.from_numpy(clip) for clip in filling["clips"](case))
    stem = BandPass(3, sigma=1.1, size=9, triples=True)
    seven, three = (BandPass(5, sigma=0.9, size=size) for size in (7, 3))
    assert sum(p.numel() for p in stem.parameters()) == case["params"]
    with torch.no_grad():
        found = {
            "logits": stem(frames.flatten(0, 2)),
            "lateral7": seven(features, 4),
            "lateral3": three(features, 4),
            "conv_s_stem": stem.space.weight[0, 0],
            "conv_s_lateral7": seven.space.weight[0, 0],
            "conv_s_lateral3": three.space.weight[0, 0],
            "conv_t": stem.time[0, 0],
        }
    stated = set(case["expected"]) - {"fp64_max_abs_diff"}
    assert set(found) == stated
    gaps = {n: filling["gap"](found[n].detach().numpy(), case["expected"][n]) for n in stated}
    assert max(gaps.values()) < 1, gaps


def test_a_still_picture_is_silent_and_a_flash_is_not() -> None:
    band = BandPass(2, sigma=0.9, size=3)
    still = torch.rand(1, 2, 8, 8).expand(4, 2, 8, 8)
    assert band(still, 4).abs().max() < 1e-5
    flash = still.clone()
    flash[1] += 1
    reply = band(flash, 4).mean((1, 2, 3))
    torch.testing.assert_close(reply, torch.tensor([-1.0, 2.0, -1.0, 0.0]) / 3, atol=1e-4, rtol=0)


def test_clips_do_not_mix() -> None:
    band = BandPass(1, sigma=0.9, size=3)
    a, b = torch.rand(3, 1, 6, 6), torch.rand(3, 1, 6, 6)
    torch.testing.assert_close(band(torch.cat([a, b]), 3), torch.cat([band(a, 3), band(b, 3)]))


def test_gradients_reach_both_kernels() -> None:
    for triples in (False, True):
        band = BandPass(2, sigma=0.9, size=3, triples=triples)
        band(torch.rand(6, 2, 8, 8), 3).square().sum().backward()
        assert band.time.grad is not None
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in band.parameters())


def test_half_precision_goes_through_and_cancels_as_well() -> None:
    band = BandPass(2, sigma=0.9, size=3)
    still = 100 + torch.rand(1, 2, 8, 8).expand(4, 2, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = band(still, 4)
    assert found.dtype == torch.bfloat16
    assert found.abs().max() < 1e-4


def test_the_kernel_adds_up_to_one_and_amplifies() -> None:
    kernel = band_kernel(1.1, 9)
    assert kernel.sum().item() == pytest.approx(1, abs=1e-3)
    assert kernel[4, 4].item() == pytest.approx(278.384, abs=1e-2)


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="size is 4, sigma 1: give an odd size"):
        BandPass(3, sigma=1, size=4)
