import pytest
import torch
from torch.nn import functional

from marey.data import transforms
from marey.types import ClipSpec

SPEC = ClipSpec(frames=2, size=8, test_size=8, short_side=10, jitter=(8, 12))


def frames(height: int = 9, width: int = 13, count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator).to(torch.uint8)


def test_pixels_become_floats_in_the_specs_terms() -> None:
    pixels = frames()
    clip = transforms.to_input(pixels, SPEC)
    assert clip.shape == (3, 2, 9, 13)
    expected = ((pixels.float() / 255) - 0.45) / 0.225
    assert torch.equal(clip, expected.transpose(0, 1))
    assert torch.equal(transforms.from_input(clip, SPEC), pixels)


def test_order_range_mean_and_deviation_of_caffe_weights() -> None:
    spec = ClipSpec(
        channel_order="bgr", value_range=255.0, mean=(104.0, 117.0, 123.0), std=(1.0, 2.0, 4.0)
    )
    pixels = frames()
    clip = transforms.to_input(pixels[None], spec)
    assert clip.shape == (1, 3, 2, 9, 13)
    torch.testing.assert_close(clip[0, 0], pixels[:, 2].float() - 104)
    torch.testing.assert_close(clip[0, 2], (pixels[:, 0].float() - 123) / 4)
    assert torch.equal(transforms.from_input(clip, spec), pixels[None])


def test_floats_and_missing_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="float32, not uint8"):
        transforms.to_input(frames().float(), SPEC)
    with pytest.raises(ValueError, match="1 channels but the spec has 3 means"):
        transforms.to_input(frames()[:, :1], SPEC)


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((256, 340), 256, (256, 340)),
        ((240, 320), 256, (256, 341)),  # 341.33 truncated
        ((320, 240), 256, (341, 256)),
        ((100, 100), 64, (64, 64)),
        ((144, 176), 283, (283, 345)),  # 345.9
    ],
)
def test_the_long_side_is_truncated(
    size: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    assert transforms.short_side_size(*size, side) == expected
    with pytest.raises(ValueError, match="below 1 pixel"):
        transforms.short_side_size(*size, 0)


@pytest.mark.parametrize(
    ("size", "offsets"),
    [
        ((10, 17), [(1, 0), (1, 5), (1, 9)]),  # centre ceil(9 / 2)
        ((17, 10), [(0, 1), (5, 1), (9, 1)]),
        ((8, 8), [(0, 0), (0, 0), (0, 0)]),
    ],
)
def test_crops_stand_left_centre_right_or_top_centre_bottom(
    size: tuple[int, int], offsets: list[tuple[int, int]]
) -> None:
    assert [transforms.crop_offset(*size, 8, position) for position in range(3)] == offsets


def test_a_crop_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="crop 11 does not fit into 10x17"):
        transforms.crop_offset(10, 17, 11, 0)
    with pytest.raises(ValueError, match="not 0, 1 or 2"):
        transforms.crop_offset(10, 17, 8, 3)


def test_three_views_are_the_official_resize_and_crops() -> None:
    clip = transforms.to_input(frames(9, 13), SPEC)
    views = transforms.test_views(clip, SPEC, 3)
    assert views.shape == (3, 3, 2, 8, 8)
    scaled = functional.interpolate(
        clip, size=(8, 11), mode="bilinear", align_corners=False
    )  # (C, T, 8, 11)
    for view, left in zip(views, (0, 2, 3), strict=True):
        torch.testing.assert_close(view, scaled[..., left : left + 8], rtol=0, atol=0)


def test_one_view_is_the_centre_of_the_short_side() -> None:
    clip = transforms.to_input(frames(9, 13), SPEC)
    views = transforms.test_views(clip, SPEC, 1)
    scaled = functional.interpolate(clip, size=(10, 14), mode="bilinear", align_corners=False)
    assert torch.equal(views[0], scaled[..., 1:9, 3:11])


def test_undefined_views_are_refused() -> None:
    with pytest.raises(ValueError, match="2 spatial views"):
        transforms.test_scale(SPEC, 2)
    with pytest.raises(ValueError, match="test_size 256 is above short_side 128"):
        transforms.test_scale(ClipSpec(short_side=128), 1)
    assert transforms.test_scale(ClipSpec(short_side=128), 3) == 256


def test_bytes_are_scaled_to_within_one_level_of_floats() -> None:
    pixels = frames(30, 40).contiguous(memory_format=torch.channels_last)
    small = transforms.resize(pixels, 22, 51)
    exact = functional.interpolate(
        pixels.float(), size=(22, 51), mode="bilinear", align_corners=False
    )
    assert small.dtype == torch.uint8
    assert (small.float() - exact).abs().max() <= 1.0
    assert transforms.resize(pixels, 30, 40) is pixels


def test_ten_views_are_corners_centre_and_their_mirror_images() -> None:
    clip = transforms.to_input(frames(10, 13), SPEC)
    views = transforms.test_views(clip, SPEC, 10)
    assert views.shape == (10, 3, 2, 8, 8)
    assert torch.equal(views[0], clip[..., :8, :8])
    assert torch.equal(views[3], clip[..., 2:, 5:])
    assert torch.equal(views[4], clip[..., 1:9, 2:10])
    assert torch.equal(views[5:], views[:5].flip(-1))


def test_flow_along_x_turns_round_in_a_mirror() -> None:
    spec = ClipSpec(mean=(0.5, 0.5), std=(0.226, 0.226), modality="flow")
    bytes_ = frames(4, 4)[:, :2]
    seen = transforms.mirrored(transforms.to_input(bytes_, spec), spec)
    turned = bytes_.flip(-1)
    turned[:, 0] = 255 - turned[:, 0]
    torch.testing.assert_close(seen, transforms.to_input(turned, spec))
