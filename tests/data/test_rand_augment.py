import pytest
import torch

from marey.data import rand_augment

GREY = torch.arange(0, 256, 4, dtype=torch.uint8).view(1, 1, 8, 8).expand(2, 3, 8, 8).contiguous()


def run(name: str, level: float, sign: int = 1) -> torch.Tensor:
    return rand_augment.OPERATIONS[name](GREY, level, sign)


@pytest.mark.parametrize("name", list(rand_augment.OPERATIONS))
def test_every_operation_keeps_shape_and_type_and_treats_frames_alike(name: str) -> None:
    out = run(name, 0.7, -1)
    assert out.shape == GREY.shape
    assert out.dtype == torch.uint8
    assert torch.equal(out[0], out[1])


def test_point_operations_have_the_named_values() -> None:
    levels = GREY[0, 0].flatten().int()

    def values(name: str, level: float, sign: int = 1) -> torch.Tensor:
        return run(name, level, sign)[0, 0].flatten().int()

    assert torch.equal(values("invert", 0.3), 255 - levels)
    assert torch.equal(values("posterize", 0.5), levels & 0b11000000)  # 4 - 2 bits
    assert torch.equal(values("solarize", 0.5), torch.where(levels >= 128, 255 - levels, levels))
    assert torch.equal(values("solarize", 0.0), levels)
    assert torch.equal(values("solarize_add", 1.0), torch.where(levels < 128, levels + 110, levels))
    assert torch.equal(values("brightness", 0.0), levels)
    assert (values("brightness", 1.0, -1) - levels * 0.1).abs().max() <= 1
    assert torch.equal(values("colour", 0.9), levels)  # grey has no colour


def test_geometry_moves_by_shares_of_the_frame() -> None:
    right = run("shift_x", 0.5556, 1)  # 0.25 of 8 columns
    assert torch.equal(right[..., 2:], GREY[..., :-2])
    assert (right[..., :1] == 128).all()
    down = run("shift_y", 0.5556, 1)
    assert torch.equal(down[..., 2:, :], GREY[..., :-2, :])
    assert torch.equal(run("rotate", 0.0), GREY)
    assert torch.equal(run("shear_x", 0.0), GREY)


def test_layers_follow_the_generator_and_leave_the_global_one_alone() -> None:
    def drawn(seed: int) -> torch.Tensor:
        return rand_augment.apply(GREY, 4, 9, torch.Generator().manual_seed(seed))

    before = torch.get_rng_state()
    outcomes = [drawn(seed) for seed in range(20)]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, drawn(seed)) for seed, a in enumerate(outcomes))
    assert sum(torch.equal(a, GREY) for a in outcomes) <= 6  # each layer acts half the time
    assert torch.equal(rand_augment.apply(GREY, 0, 9, torch.Generator()), GREY)


def test_colour_jitter_stays_in_its_range() -> None:
    flat = torch.full((2, 3, 4, 4), 100, dtype=torch.uint8)
    seen = set()
    for seed in range(60):
        out = rand_augment.colour_jitter(flat, 0.4, torch.Generator().manual_seed(seed))
        assert torch.equal(out[0], out[1])
        seen.add(int(out[0, 0, 0, 0]))
    assert min(seen) >= 59
    assert max(seen) <= 140
    assert len(seen) > 30
