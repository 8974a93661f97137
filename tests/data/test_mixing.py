import numpy as np
import pytest
import torch

from marey.choices import AugmentChoice
from marey.data.mixing import Mix, cut_box
from marey.types import Batch


def batch(size: int = 4) -> Batch:
    level = torch.arange(size, dtype=torch.float32).view(size, 1, 1, 1, 1, 1)
    return Batch(
        rgb=level.expand(size, 2, 3, 4, 10, 12).clone(),
        flow=None,
        target=torch.eye(size),
        keys=tuple(map(str, range(size))),
        times=torch.zeros(size, 2, 4),
        index=torch.arange(size),
    )


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_mixup_blends_clips_and_labels_by_one_share() -> None:
    given = batch()
    mixed = Mix(AugmentChoice(mixup=0.8))(given, generator(0))
    share = mixed.target[0, 0].item()
    assert 0 < share < 1
    torch.testing.assert_close(mixed.target[0], torch.tensor([share, 0, 0, 1 - share]))
    torch.testing.assert_close(mixed.rgb[0], torch.full((2, 3, 4, 10, 12), 3 * (1 - share)))
    torch.testing.assert_close(mixed.target.sum(1), torch.ones(4))
    assert torch.equal(given.target, torch.eye(4))


def test_cutmix_pastes_one_box_and_labels_by_its_area() -> None:
    for seed in range(20):
        mixed = Mix(AugmentChoice(cutmix=1.0))(batch(), generator(seed))
        pasted = (mixed.rgb[0] == 3).float()
        assert torch.equal(pasted, pasted[:1, :1, :1].expand_as(pasted))  # same box everywhere
        torch.testing.assert_close(mixed.target[0, 3], pasted[0, 0, 0].mean())
        torch.testing.assert_close(mixed.target[0, 0], 1 - pasted[0, 0, 0].mean())


def test_both_alternate_evenly() -> None:
    mix = Mix(AugmentChoice(mixup=0.8, cutmix=1.0))
    blended = sum(bool(((mix(batch(), generator(s)).rgb[0] % 1) > 0).any()) for s in range(200))
    assert 70 < blended < 130


def test_a_seed_fixes_the_draw_and_nothing_mixes_alone() -> None:
    mix = Mix(AugmentChoice(mixup=0.8, cutmix=1.0))
    assert torch.equal(mix(batch(), generator(5)).rgb, mix(batch(), generator(5)).rgb)
    single = batch(1)
    assert mix(single, generator(5)) is single
    assert not Mix(AugmentChoice()).active
    with pytest.raises(ValueError, match="mixup is -1"):
        Mix(AugmentChoice(mixup=-1.0))


def test_a_box_has_its_share_and_stops_at_the_border() -> None:
    draw = np.random.RandomState(0)
    boxes = [cut_box(100, 200, 0.75, draw) for _ in range(200)]
    areas = [(b - t) * (r - left) for t, b, left, r in boxes]
    assert max(areas) == 50 * 100
    assert min(areas) < 50 * 100
    assert all(0 <= t <= b <= 100 and 0 <= left <= r <= 200 for t, b, left, r in boxes)
