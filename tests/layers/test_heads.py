import pytest
import torch

from marey.layers.heads import ClassifierHead


def test_the_shapes_of_the_docstring() -> None:
    with torch.device("meta"):
        head = ClassifierHead([2048, 256], 400, windows=[(8, 7, 7), (32, 7, 7)])
        maps = [torch.empty(1, 2048, 8, 8, 8), torch.empty(1, 256, 32, 8, 8)]
        assert head.pooled(maps).shape == (1, 2304, 1, 2, 2)
        assert head(maps).shape == (1, 4, 400)


def test_a_window_averages_what_it_covers() -> None:
    head = ClassifierHead([1], 1, dropout=0.0, windows=[(2, 2, 2)])
    torch.nn.init.ones_(head.projection.weight)
    torch.nn.init.zeros_(head.projection.bias)
    feature = torch.arange(2 * 3 * 2, dtype=torch.float32).view(1, 1, 2, 3, 2)
    expected = [[feature[0, 0, :, y : y + 2].mean().item()] for y in range(2)]
    assert head([feature])[0].tolist() == expected


def test_a_window_larger_than_the_map_is_the_global_average() -> None:
    feature = torch.randn(2, 3, 2, 2, 3)
    window = ClassifierHead([3], 5, windows=[(8, 7, 7)])
    whole = ClassifierHead([3], 5, windows=None)
    assert window.pooled([feature]).shape == (2, 3, 1, 1, 1)
    torch.testing.assert_close(window.pooled([feature]), whole.pooled([feature]))


def test_pathways_of_different_rates_have_the_same_positions() -> None:
    head = ClassifierHead([2, 1], 3, windows=[(2, 1, 1), (8, 1, 1)], time_strides=(1, 4))
    maps = [torch.randn(1, 2, 5, 1, 1), torch.randn(1, 1, 20, 1, 1)]
    pooled = head.pooled(maps)
    assert pooled.shape == (1, 3, 4, 1, 1)
    assert pooled[0, 2, 1].item() == pytest.approx(maps[1][0, 0, 4:12].mean().item(), abs=1e-6)


def test_a_reset_head_is_fresh_and_of_the_new_size() -> None:
    head = ClassifierHead([8], 3)
    head.reset(5)
    assert head([torch.randn(2, 8, 1, 2, 2)]).shape == (2, 1, 5)
    assert head.projection.bias.eq(0).all()
    with pytest.raises(ValueError, match="num_classes is 0"):
        head.reset(0)
