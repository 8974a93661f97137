import pytest
import torch

from marey.choices import AugmentChoice
from marey.data.augment import (
    Draw,
    TrainAugment,
    cut,
    draw_area,
    draw_borders,
    draw_corners,
    draw_jitter,
    erase,
)
from marey.types import ClipSpec

SPEC = ClipSpec(frames=4, size=24, jitter=(24, 40))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clip(height: int = 30, width: int = 40) -> torch.Tensor:
    noise = torch.randint(0, 256, (4, 3, height, width), generator=generator(9))
    return noise.to(torch.uint8)


def test_jitter_covers_its_range_and_its_crop_leaves_out_the_last_offset() -> None:
    sides, tops, lefts = set(), set(), set()
    for seed in range(400):
        scaled, (top, left, height, width) = draw_jitter(
            30, 40, SPEC, AugmentChoice(), generator(seed)
        )
        assert scaled == (scaled[0], int(scaled[0] * 40 / 30))
        assert (height, width) == (24, 24)
        assert 0 <= top <= max(0, scaled[0] - 25)
        assert 0 <= left <= scaled[1] - 25
        sides.add(scaled[0])
        tops.add(top)
        lefts.add(left)
    assert sides == set(range(24, 41))
    assert max(tops) in (13, 14, 15)
    assert min(lefts) == 0


def test_inverse_uniform_prefers_small_sides() -> None:
    def mean(choice: AugmentChoice) -> float:
        spec = ClipSpec(size=24, jitter=(24, 96))
        drawn = [draw_jitter(30, 40, spec, choice, generator(s))[0][0] for s in range(500)]
        return sum(drawn) / len(drawn)

    assert mean(AugmentChoice()) == pytest.approx(60, abs=3)
    # the mean of 1/u, u uniform in [1/96, 1/24]: ln(4) / (1/24 - 1/96) = 44.4
    assert mean(AugmentChoice(inverse_uniform=True)) == pytest.approx(44.4, abs=3)


def test_area_crops_have_area_and_aspect_in_range() -> None:
    choice = AugmentChoice(crop="area", area=(0.2, 0.6))
    for seed in range(200):
        scaled, (top, left, height, width) = draw_area(300, 400, SPEC, choice, generator(seed))
        assert scaled == (300, 400)
        assert 0 <= top <= 300 - height
        assert 0 <= left <= 400 - width
        assert 0.19 <= height * width / 120_000 <= 0.61
        assert 0.74 <= width / height <= 1.35
    # no box of this aspect fits: the central one of the nearest allowed aspect
    _, box = draw_area(10, 100, SPEC, AugmentChoice(crop="area", area=(0.9, 1.0)), generator())
    assert box == (0, 43, 10, 13)


def test_a_draw_is_carried_out_exactly() -> None:
    frames = clip(24, 30)
    plain = AugmentChoice(flip=0.0)
    drawn = Draw((24, 30), (0, 4, 24, 24), 24, flip=True)
    out = TrainAugment(SPEC, plain).apply(frames, drawn, generator())
    expected = (frames[..., 4:28].flip(-1).float() / 255 - 0.45) / 0.225
    assert torch.equal(out, expected.transpose(0, 1))
    assert torch.equal(cut(frames, Draw((24, 30), (0, 4, 24, 24), 24, False)), frames[..., 4:28])


def test_one_draw_for_all_frames_from_the_generator_alone() -> None:
    choice = AugmentChoice(rand_layers=3, colour=0.4, erasing=1.0)
    augment = TrainAugment(SPEC, choice)
    still = clip()[:1].expand(4, -1, -1, -1)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, flipped = augment(still, generator(3))
    assert torch.equal(torch.get_rng_state(), before)
    again, flipped_again = augment(still, generator(3))
    assert torch.equal(first, again)
    assert flipped == flipped_again
    assert first.shape == (3, 4, 24, 24)
    no_noise, _ = TrainAugment(SPEC, AugmentChoice(rand_layers=3, colour=0.4))(still, generator(3))
    assert all(torch.equal(no_noise[:, 0], no_noise[:, t]) for t in range(4))


def test_flips_have_a_switch_and_an_exception() -> None:
    draws = [
        TrainAugment(SPEC, AugmentChoice()).draw(30, 40, generator(s)).flip for s in range(300)
    ]
    assert 110 < sum(draws) < 190
    kept = [
        TrainAugment(SPEC, AugmentChoice()).draw(30, 40, generator(s), may_flip=False)
        for s in range(20)
    ]
    assert not any(d.flip for d in kept)
    off = TrainAugment(SPEC, AugmentChoice(flip=0.0))
    assert not any(off.draw(30, 40, generator(s)).flip for s in range(50))
    # a class that is not mirrored draws the same crops as one that is
    free = TrainAugment(SPEC, AugmentChoice()).draw(30, 40, generator(0))
    assert (free.scaled, free.box) == (kept[0].scaled, kept[0].box)


def test_erasing_is_one_box_of_noise_in_every_frame() -> None:
    blank = torch.full((3, 4, 40, 40), 7.0)
    out = erase(blank.clone(), 1.0, generator(2))
    changed = (out != 7.0).all(dim=0)  # (T, H, W)
    assert all(torch.equal(changed[0], changed[t]) for t in range(4))
    share = changed[0].float().mean().item()
    assert 0.02 <= share <= 0.34
    assert abs(out[out != 7.0].mean().item()) < 0.2
    assert torch.equal(erase(blank.clone(), 0.0, generator(2)), blank)


@pytest.mark.parametrize(
    ("spec", "choice", "message"),
    [
        (ClipSpec(size=64, jitter=(48, 80)), AugmentChoice(), "jitter 48-80 .* crop of 64"),
        (ClipSpec(size=24, jitter=(40, 30)), AugmentChoice(), "jitter 40-30"),
        (SPEC, AugmentChoice(flip=1.5), "flip is 1.5"),
        (SPEC, AugmentChoice(erasing=-1), "erasing is -1"),
        (SPEC, AugmentChoice(crop="area", area=(0.5, 0.2)), "area"),
        (SPEC, AugmentChoice(rand_layers=2, rand_magnitude=11), "rand_magnitude 11"),
    ],
)
def test_impossible_choices_are_refused(
    spec: ClipSpec, choice: AugmentChoice, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TrainAugment(spec, choice)


def test_corner_crops_stand_in_thirteen_places_at_a_few_scales() -> None:
    spec, choice = ClipSpec(size=224), AugmentChoice(crop="corners")
    drawn = [draw_corners(240, 320, spec, choice, generator(seed)) for seed in range(2000)]
    assert {scaled for scaled, _ in drawn} == {(256, 341)}
    sizes = {(box[2], box[3]) for _, box in drawn}
    sides = [256, 224, 192, 168]  # 256 times 1, 0.875, 0.75, 0.66
    assert sizes == {
        (a, b) for i, a in enumerate(sides) for k, b in enumerate(sides) if abs(i - k) <= 1
    }
    square = {(box[0], box[1]) for _, box in drawn if box[2:] == (224, 224)}
    assert len(square) == 13
    assert {(0, 0), (0, 116), (32, 0), (32, 116), (16, 58), (8, 29), (24, 87)} <= square


def test_a_side_near_the_crop_is_the_crop() -> None:
    spec = ClipSpec(size=192, short_side=256)
    choice = AugmentChoice(crop="corners", scales=(0.76,))  # 194 pixels
    assert draw_corners(256, 256, spec, choice, generator())[1][2:] == (192, 192)
    with pytest.raises(ValueError, match="shares of the short side"):
        TrainAugment(spec, AugmentChoice(crop="corners", scales=(1.2,)))


def test_border_crops_keep_to_the_outer_quarters_with_free_sides() -> None:
    spec, choice = ClipSpec(size=40, short_side=60), AugmentChoice(crop="borders")
    sides, far, stretched = set(), set(), False
    for seed in range(400):
        scaled, box = draw_borders(120, 160, spec, choice, generator(seed))
        assert scaled == (60, 80)
        for start, side, whole in ((box[0], box[2], 60), (box[1], box[3], 80)):
            share, step = start / (whole - side), 0.5 / (whole - side)  # starts are rounded
            assert share <= 0.25 + step or share >= 0.75 - step
            far.add(share > 0.5)
        sides |= set(box[2:])
        stretched |= abs(box[2] - box[3]) > 15
    assert (min(sides), max(sides)) == (30, 50)
    assert far == {True, False}
    assert stretched
    _, small = draw_borders(30, 30, ClipSpec(size=40, short_side=42), choice, generator(3))
    assert max(small[2:]) <= 42
