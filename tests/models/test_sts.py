"""STS: rows, columns and time by hand, the switch, and where it cannot go."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey import zoo
from marey.metrics.cost import measure
from marey.models import sts
from marey.models.sts import VARIANTS, SplitDepthwise, SplitTime, split
from marey.zoo.files import write_published
from marey.zoo.weights import published_state

COSTS = {  # millions of parameters, 1e9 multiply-adds (norms counted), at
    "sts_slow_r50_8x8": (32.45, 41.92, (1, 3, 8, 224, 224)),
    "sts_ircsn_r50": (13.13, 6.62, (1, 3, 8, 128, 128)),
    "sts_slowfast_r50_4x16": (34.48, 9.08, (1, 3, 32, 128, 128)),
    "sts_x3d_s": (3.79, 2.03, (1, 3, 13, 160, 160)),
    "sts_r2plus1d_34": (63.76, 23.13, (1, 3, 8, 112, 112)),
}


def meta(name: str, **fields: Any) -> Any:
    with torch.device("meta"):
        return sts.sts(replace(VARIANTS[name], **fields))


def test_the_shapes_of_the_docstring() -> None:
    rows = []
    for line in (sts.__doc__ or "").splitlines():
        numbers = line.split()[-5:]
        if len(numbers) == 5 and all(n.isdigit() for n in numbers):
            rows.append(tuple(int(n) for n in numbers))
    network = meta("sts_slow_r50_8x8")
    clip = torch.empty(rows[0], device="meta")
    layer = network.get_submodule("trunk.res4.blocks.1.a")
    found: list[Tensor] = []
    layer.register_forward_hook(lambda module, given, out: found.append(out))
    network(clip)
    assert isinstance(layer.conv, SplitTime)
    assert tuple(found[0].shape) == rows[1]
    channels = [row[1] for row in rows[2:]]
    assert sum(channels) == rows[1][1]
    assert channels == [rows[1][1] // 4, rows[1][1] // 4, rows[1][1] // 2]


@pytest.mark.parametrize("name", COSTS)
def test_it_costs_what_the_plain_network_costs(name: str) -> None:
    params, gmacs, shape = COSTS[name]
    network, plain = meta(name), meta(name, split=False)
    cost = measure(network, shape)
    assert cost.parameters / 1e6 == pytest.approx(params, abs=0.0051)
    norms = 0.04 if "x3d" in name else 0.01  # X3D has few multiply-adds for each norm
    assert gmacs * (1 - norms) < cost.multiply_adds / 1e9 < gmacs
    assert cost == measure(plain, shape)
    shapes = {n: v.shape for n, v in network.state_dict().items()}
    assert shapes == {n: v.shape for n, v in plain.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "places"),
    [
        (
            "sts_slow_r50_8x8",
            [f"trunk.res{s}.blocks.{b}.a.conv" for s, n in ((4, 6), (5, 3)) for b in range(n)],
        ),
        (
            "sts_ircsn_r50",
            [
                f"res{s}.blocks.{b}.b.conv"
                for s, n in ((2, 3), (3, 4), (4, 6), (5, 3))
                for b in range(n)
            ],
        ),
        (
            "sts_x3d_s",
            [
                f"res{s}.blocks.{b}.b.conv"
                for s, n in ((2, 3), (3, 5), (4, 11), (5, 7))
                for b in range(n)
            ],
        ),
        (
            "sts_slowfast_r50_4x16",
            [f"slow.res{s}.blocks.{b}.a.conv" for s, n in ((4, 6), (5, 3)) for b in range(n)]
            + [
                f"fast.res{s}.blocks.{b}.a.conv"
                for s, n in ((2, 3), (3, 4), (4, 6), (5, 3))
                for b in range(n)
            ],
        ),
        (
            "sts_r2plus1d_34",
            ["stem.conv.time"]
            + [
                f"res{s}.blocks.{b}.{part}.conv.time"
                for s, n in ((2, 3), (3, 4), (4, 6), (5, 3))
                for b in range(n)
                for part in "ab"
            ],
        ),
    ],
)
def test_which_layers_are_split(name: str, places: list[str]) -> None:
    kinds = (SplitTime, SplitDepthwise)
    found = [n for n, m in meta(name).named_modules() if isinstance(m, kinds)]
    assert found == places
    assert not any(isinstance(m, kinds) for m in meta(name, split=False).modules())


def test_time_rows_and_columns_by_hand() -> None:
    torch.manual_seed(0)
    plain = nn.Conv3d(3, 8, (3, 1, 1), padding=(1, 0, 0), bias=False)
    clip = torch.randn(2, 3, 4, 3, 5)
    found = SplitTime(plain)(clip)
    taps = plain.weight[..., 0, 0]  # (8, 3, 3)
    rows = clip.permute(0, 2, 1, 3, 4).reshape(8, 3, 15)
    columns = clip.permute(0, 2, 1, 4, 3).reshape(8, 3, 15)
    expected_rows = F.conv1d(rows, taps[:2], padding=1).view(2, 4, 2, 3, 5).transpose(1, 2)
    expected_columns = F.conv1d(columns, taps[2:4], padding=1).view(2, 4, 2, 5, 3)
    torch.testing.assert_close(found[:, :2], expected_rows)
    torch.testing.assert_close(found[:, 2:4], expected_columns.permute(0, 2, 1, 4, 3))
    torch.testing.assert_close(found[:, 4:], plain(clip)[:, 4:])
    edge = torch.einsum(
        "oik,ik->o",
        taps[:2],
        torch.stack([clip[0, :, 0, 0, 3], clip[0, :, 0, 0, 4]] + [clip[0, :, 0, 1, 0]], 1),
    )
    torch.testing.assert_close(found[0, :2, 0, 0, 4], edge)  # the next row follows the last value


@pytest.mark.parametrize("stride", [1, 2])
def test_a_depthwise_kernel_by_hand(stride: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv3d(5, 5, 3, stride=(1, stride, stride), padding=1, groups=5, bias=False)
    clip = torch.randn(1, 5, 3, 4, 6)
    found = SplitDepthwise(plain)(clip)
    torch.testing.assert_close(found[:, 3:], plain(clip)[:, 3:])  # an odd one out is static
    high, wide = 4 // stride, 6 // stride
    for channel in range(3):
        before, middle, after = plain.weight[channel, 0]
        for frame in range(3):
            picture = clip[0, channel, frame]
            spatial = F.conv2d(picture[None, None], middle[None, None], stride=stride, padding=1)
            raster = F.pad(picture.flatten(), (4, 4))
            pace = stride**2
            rows = torch.stack(
                [raster[i : i + 9] @ before.flatten() for i in range(0, 24, pace)]
            ).view(high, wide)
            turned = F.pad(picture.T.flatten(), (4, 4))
            columns = torch.stack(
                [turned[i : i + 9] @ after.flatten() for i in range(0, 24, pace)]
            ).view(wide, high)
            expected = spatial[0, 0] + rows + columns.T
            torch.testing.assert_close(found[0, channel, frame], expected)


def test_aligned_rows_are_those_of_the_kept_places() -> None:
    torch.manual_seed(0)
    every = nn.Conv3d(4, 4, 3, padding=1, groups=4, bias=False)
    strided = nn.Conv3d(4, 4, 3, stride=(1, 2, 2), padding=1, groups=4, bias=False)
    strided.weight = every.weight
    clip = torch.randn(1, 4, 2, 6, 8)
    whole = SplitDepthwise(every)(clip)[..., ::2, ::2]
    torch.testing.assert_close(SplitDepthwise(strided, aligned=True)(clip), whole)
    gap = (SplitDepthwise(strided)(clip) - whole)[:, :2].abs().max()
    assert gap > 0.1  # the published ones are somewhere else


def test_a_static_half_does_not_see_other_frames() -> None:
    plain = nn.Conv3d(3, 8, (3, 1, 1), padding=(1, 0, 0), bias=False)
    layer = SplitTime(plain)
    clip = torch.randn(1, 3, 5, 4, 4)
    other = clip.clone()
    other[:, :, 0] += 1
    same = (layer(clip) == layer(other)).flatten(3).all(3)[0]  # (8, 5)
    assert same[:4, 1:].all()
    assert not same[4:, 1].any()


def test_split_goes_into_other_networks_and_keeps_their_weights() -> None:
    network: Any = zoo.build("i3d_r50_8x8", width=8, depths=(1, 1, 1, 1), num_classes=3)
    weights = {n: v.clone() for n, v in network.state_dict().items()}
    names = split(network)
    assert names == ("trunk.res2.blocks.0.a.conv", "trunk.res3.blocks.0.a.conv",
                     "trunk.res4.blocks.0.a.conv")  # fmt: skip
    assert all(torch.equal(v, weights[n]) for n, v in network.state_dict().items())
    assert network(torch.randn(1, 3, 8, 64, 64)).shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("r2plus1d_18", "res3.blocks.0.a.conv.time: .* strides in time"),
        ("ircsn_r50", "res3.blocks.0.b.conv: .* strides in time"),
        ("c2d_r50_8x8", "has no convolution over time alone"),
    ],
)
def test_networks_that_cannot_be_split_are_refused(name: str, message: str) -> None:
    with torch.device("meta"):
        network = zoo.build(name)
    with pytest.raises(ValueError, match=message):
        split(network)


def test_layers_that_cannot_be_split_are_refused() -> None:
    with pytest.raises(ValueError, match="no rows and columns"):
        SplitTime(nn.Conv3d(3, 8, 3, padding=1, bias=False))
    with pytest.raises(ValueError, match="has a bias"):
        SplitTime(nn.Conv3d(3, 8, (3, 1, 1), padding=(1, 0, 0)))
    with pytest.raises(ValueError, match="not a 3x3x3 within each channel"):
        SplitDepthwise(nn.Conv3d(4, 4, 3, padding=1, bias=False))


def test_sizes_that_do_not_divide_are_refused_with_the_cure() -> None:
    with pytest.raises(ValueError, match="a map of 25x25 does not divide into 2x2.* of 32"):
        meta("sts_ircsn_r50")(torch.empty(1, 3, 8, 100, 100, device="meta"))
    assert meta("sts_ircsn_r50")(torch.empty(1, 3, 8, 96, 160, device="meta")).shape == (1, 400)


def test_mmaction2_slowfast_differs_where_it_says() -> None:
    fields = {"width": 16, "depths": (1, 1, 1, 1), "num_classes": 4, "crop": 64}
    network: Any = zoo.build("slowfast_r50_4x16_mm", **fields).eval()
    clip = torch.randn(1, 3, 32, 64, 64)
    assert torch.equal(network.pathways(clip)[0], clip[:, :, [0, 8, 16, 24]])
    assert [m.shape[1] for m in network.features(clip)] == list(network.widths) == [64, 512]
    lateral = network.lateral(0, torch.randn(1, 2, 8, 4, 4))
    assert (lateral < 0).any()
    assert not any("norm" in n for n in network.state_dict() if n.startswith("laterals"))
    with pytest.raises(ValueError, match="averages the whole map"):
        meta("slowfast_r50_4x16_mm", pool="window")


def image_resnet50(**options: Any) -> nn.Module:
    torchvision = pytest.importorskip("torchvision")
    return torchvision.models.resnet50(**options)


@pytest.mark.parametrize(
    ("taps", "shares"),
    [
        ("mean", (1 / 3, 1 / 3, 1 / 3)),
        ("middle", (0.0, 1.0, 0.0)),
        ("thirds", (1 / 9, 1 / 3, 1 / 9)),
    ],
)
def test_image_weights_start_a_split_network(taps: Any, shares: tuple[float, ...]) -> None:
    torch.manual_seed(0)
    image = image_resnet50().state_dict()
    network: Any = zoo.build("sts_slow_r50_8x8", num_classes=5)
    told = zoo.inflate(network, image, taps=taps)
    assert set(told.left) == {"head.projection.weight", "head.projection.bias"}
    kernel = network.get_submodule("trunk.res5.blocks.1.a.conv").weight.detach()[..., 0, 0]
    flat = image["layer4.1.conv1.weight"][..., 0, 0]
    for at, share in enumerate(shares):
        torch.testing.assert_close(kernel[:, :, at], flat * share)
    with pytest.raises(ValueError, match="taps is 'half'; choose one of mean, middle, thirds"):
        zoo.inflate(network, image, taps="half")  # type: ignore[arg-type]


def test_a_network_trained_on_images_starts_itself() -> None:
    torch.manual_seed(0)
    fields = {"width": 8, "depths": (1, 1, 1, 1)}
    trained: Any = zoo.build("sts_ircsn_r50", num_classes=1000, **fields)
    names = (("backbone.", "get_feature."), ("cls_head.fc_cls.", "classifier."))
    file = {}
    for name, value in published_state(trained, "mmaction2").items():
        for ours, theirs in names:
            name = theirs + name.removeprefix(ours) if name.startswith(ours) else name
        file[name] = value
    with pytest.warns(UserWarning, match="its classifier for 1000 classes was dropped"):
        loaded: Any = zoo.load("sts_ircsn_r50", file, num_classes=7, **fields)
    place = "res3.blocks.0.b.conv"
    kernel = trained.get_submodule(place).weight
    assert torch.equal(loaded.get_submodule(place).weight, kernel)
    fresh: Any = zoo.build("sts_ircsn_r50", num_classes=7, **fields)
    zoo.inflate(fresh, file, taps="thirds")
    thirds = fresh.get_submodule(place).weight
    for at, share in enumerate((1 / 9, 1 / 3, 1 / 9)):
        torch.testing.assert_close(thirds[:, :, at], kernel[:, :, 1] * share)
    stem = trained.stem.conv.weight[:, :, 1] / 3
    torch.testing.assert_close(fresh.stem.conv.weight[:, :, 1], stem)


def test_a_file_without_a_name_is_taken_for_the_plain_network(tmp_path: Path) -> None:
    file = write_published(
        tmp_path / "net.pth", published_state(zoo.build("sts_ircsn_r50"), "mmaction2"), "mmaction2"
    )
    with pytest.warns(UserWarning, match="of ircsn_r50 and of sts_ircsn_r50: taken for ircsn_r50"):
        assert zoo.load(file).variant == "ircsn_r50"
    assert zoo.load("sts_ircsn_r50", file).variant == "sts_ircsn_r50"
