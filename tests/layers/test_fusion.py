"""Joining two streams: the equations' own numbers, the start of the kernels, what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from marey.layers.frames import fold, unfold
from marey.layers.fusion import Fusion, aligned, bilinear, fusion_kernel, signed_root


def test_the_equations(filling: dict[str, Any], golden: Path) -> None:
    case = filling["read"](golden, "twostream_fusion_ops")
    spatial, temporal = (torch.from_numpy(clip) for clip in filling["clips"](case))
    frames = spatial.shape[2]
    first, second = fold(spatial), fold(temporal)

    def fused(kind: Any) -> torch.Tensor:
        return unfold(Fusion(kind, (8, 8))(first, second, frames), frames)

    joined = torch.cat([spatial, temporal], dim=1)
    volume, plain = Fusion("conv3d", (8, 8)), Fusion("conv", (8, 8))
    products = bilinear(first, second)
    with torch.no_grad():
        found = {
            "sum": fused("sum"),
            "max": fused("max"),
            "cat": fused("concat"),
            "conv1x1_init_out": unfold(plain.conv(torch.cat([first, second], 1)), frames),
            "conv3d_init_kernel": volume.conv.weight,
            "conv3d_init_out": volume.conv(joined),
            "conv3d_relu_out": fused("conv3d"),
            "pool3d_out": F.max_pool3d(fused("conv3d"), (5, 2, 2), 2),
            "bilinear_per_frame": products.unflatten(0, (-1, frames)),
            "bilinear_signed_sqrt_l2": signed_root(products).unflatten(0, (-1, frames)),
        }
    stated = set(case["expected"]) - {"fp64_max_abs_diff"}
    assert stated == set(found)
    gaps = {
        n: filling["gap"](found[n].detach().numpy(), case["expected"][n]) for n in sorted(stated)
    }
    assert max(gaps.values()) < 1, gaps


def test_a_kernel_spreads_its_shares_as_a_gaussian() -> None:
    kernel = fusion_kernel(3, (3, 3, 3), shares=(0.25, 0.75))
    assert kernel.shape == (3, 6, 3, 3, 3)
    torch.testing.assert_close(kernel[1, 1].sum().item(), 0.25)
    torch.testing.assert_close(kernel[1, 4].sum().item(), 0.75)
    assert not kernel[1, [0, 2, 3, 5]].any()
    shares = {(1, 1, 1): 0.0923, (0, 1, 1): 0.0560, (0, 0, 1): 0.0339, (0, 0, 0): 0.0206}
    for place, share in shares.items():  # centre, face, edge, corner
        assert kernel[0, 0][place].item() / 0.25 == pytest.approx(share, abs=5e-5)
    wide = fusion_kernel(1, (1, 5), sigma=2.0)
    assert wide[0, 0, 0, 0] / wide[0, 0, 0, 2] == pytest.approx(torch.exp(torch.tensor(-0.5)))


def test_maps_a_row_apart_are_filled_up_with_zeros() -> None:
    small, large = torch.ones(1, 2, 13, 13), torch.ones(1, 2, 14, 14)
    first, second = aligned(small, large)
    assert first.shape == second.shape == large.shape
    assert first.sum() == small.sum()
    assert not first[..., -1].any()
    with pytest.raises(ValueError, match="maps of 12x12 and 14x14 show no common places"):
        aligned(small[..., :12, :12], large)


def test_bilinear_of_nothing_has_a_slope() -> None:
    zero = torch.zeros(2, 9, requires_grad=True)
    signed_root(zero).sum().backward()
    assert zero.grad is not None
    assert zero.grad.isfinite().all()
    row = signed_root(torch.tensor([[4.0, -9.0]]))
    torch.testing.assert_close(row, torch.tensor([[2.0, -3.0]]) / 13**0.5)


def test_what_cannot_be_joined_is_refused() -> None:
    with pytest.raises(ValueError, match=r"fusion is 'sums'; choose .* did you mean 'sum'"):
        Fusion("sums", (4, 4))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="as many channels, not 4 and 6"):
        Fusion("conv", (4, 6))
    assert Fusion("concat", (4, 6)).width == 10
    assert Fusion("bilinear", (4, 6)).width == 24
