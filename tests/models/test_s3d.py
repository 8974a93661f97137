"""S3D and relatives: shapes of the page, where time is convolved, cost of the tables, refusals."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from marey import zoo
from marey.layers.inception import Gate, Separable
from marey.metrics.cost import measure
from marey.models import s3d
from marey.models.s3d import MIXED, UNITS, VARIANTS, S3d, S3dConfig
from marey.zoo.registry import family_of
from marey.zoo.weights import published_state

GMACS = {  # 64 x 224 x 224, counted on builds of the tables; and millions of parameters
    "i2d_inception": (37.1, 6.01),
    "i3d_inception": (111.3, 12.70),
    "i3d_top10_inception": (88.7, None),
    "i3d_top9_inception": (66.5, None),
    "i3d_top8_inception": (60.7, None),
    "i3d_top7_inception": (48.2, None),
    "i3d_top6_inception": (47.0, None),
    "i3d_top5_inception": (45.5, None),
    "i3d_top4_inception": (43.6, None),
    "i3d_top3_inception": (41.1, None),
    "i3d_top2_inception": (38.0, None),
    "i3d_top1_inception": (37.6, None),
    "s3d": (72.3, 8.32),
    "s3d_stem7": (79.5, 8.35),
    "s3d_stem3": (64.4, 8.31),
    "s3dg": (72.3, 9.54),
    "fast_s3d": (37.4, 6.86),
}


def tiny(name: str, **fields: object) -> S3d:
    torch.manual_seed(0)
    plain = {"width": 8, "num_classes": 5, "dropout": 0.0}
    return S3d(replace(VARIANTS[name], **{**plain, **fields}))


def test_the_shapes_of_the_docstring() -> None:
    lines = [line.split() for line in (s3d.__doc__ or "").splitlines()]
    rows = {line[0]: tuple(map(int, line[1:])) for line in lines if line[1:2] == ["1"]}
    with torch.device("meta"):
        network = S3d(VARIANTS["s3d"])
        clip = torch.empty(rows["input"])
        names = ("stem", "conv2c", "mixed3c", "mixed4f", "mixed5c")
        found = dict(zip(names, network.stages(clip), strict=True))
        found |= {"positions": network.forward_positions(clip), "logits": network(clip)}
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        name: shape for name, shape in rows.items() if name != "input"
    }
    assert network.widths == (1024,)


@pytest.mark.parametrize("name", GMACS)
def test_cost_of_the_tables(name: str) -> None:
    gmacs, params_m = GMACS[name]
    with torch.device("meta"):
        network = S3d(VARIANTS[name])
    cost = measure(network, (1, 3, 64, 224, 224))
    assert cost.multiply_adds / 1e9 == pytest.approx(gmacs, rel=0.01)
    if params_m is not None:
        assert cost.parameters / 1e6 == pytest.approx(params_m, abs=0.006)


def spans(network: S3d) -> list[int]:
    """Frames that the stem and each unit look at."""
    found = [_frames(network.stem), _frames(network.conv2c)]
    return found + [_frames(network.get_submodule(f"mixed{name}.b1")) for name in MIXED]


def _frames(part: nn.Module) -> int:
    return max(m.kernel_size[0] for m in part.modules() if isinstance(m, nn.Conv3d))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("i2d_inception", [1] * 11),
        ("i3d_inception", [7] + [3] * 10),
        ("i3d_top2_inception", [1] * 9 + [3] * 2),
        ("i3d_top10_inception", [1] + [3] * 10),
        ("i3d_bottom1_inception", [7] + [1] * 10),
        ("i3d_bottom4_inception", [7] + [3] * 3 + [1] * 7),
        ("s3d", [7] + [3] * 10),
        ("fast_s3d", [1] * 9 + [3] * 2),
        ("s3dg_tf", [3] + [3] * 10),
    ],
)
def test_where_time_is_convolved(name: str, expected: list[int]) -> None:
    with torch.device("meta"):
        network = S3d(VARIANTS[name])
    assert spans(network) == expected
    split = sum(isinstance(m, Separable) for m in network.modules())
    counted = {"s3d": 20, "fast_s3d": 4, "s3dg_tf": 19}
    assert split == counted.get(name, 0)
    assert len(UNITS) == 10


def test_gates_scale_channels_by_the_whole_clip() -> None:
    gate = Gate(2, bias=False)
    with torch.no_grad():
        gate.mix.weight.copy_(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]))
    x = torch.stack([torch.full((2, 3, 3), 2.0), torch.arange(18.0).view(2, 3, 3)])[None]
    y = gate(x)
    scale = torch.sigmoid(torch.tensor([8.5, -2.0]))  # means are 2 and 8.5
    torch.testing.assert_close(y[0, 0], x[0, 0] * scale[0])
    torch.testing.assert_close(y[0, 1], x[0, 1] * scale[1])
    with torch.device("meta"):
        for name, bias in (("s3dg", False), ("s3dg_tf", False), ("s3dg_milnce", True)):
            gates = [m for m in S3d(VARIANTS[name]).modules() if isinstance(m, Gate)]
            assert len(gates) == 1 + 4 * len(MIXED)
            assert all((g.mix.bias is not None) == bias for g in gates)


def test_the_released_form_starts_as_if_time_were_not_convolved() -> None:
    network = tiny("s3d_tf").eval()
    part = network.get_submodule("mixed3b.b1")
    assert isinstance(part, Separable)
    x = torch.rand(1, part.space.conv.in_channels, 4, 5, 5)
    torch.testing.assert_close(part(x), part.space(x))


@pytest.mark.parametrize(
    ("name", "shape", "last"),
    [
        ("s3d", (5, 17, 17), (1, 1, 1)),
        ("s3d", (14, 224, 224), (2, 7, 7)),
        ("s3d", (250, 40, 72), (31, 1, 2)),
        ("i3d_inception", (9, 33, 47), (2, 2, 2)),
        ("s3dg_milnce", (18, 46, 38), (3, 2, 2)),
    ],
)
def test_clips_of_any_size_that_leaves_a_place(name: str, shape: tuple, last: tuple) -> None:
    with torch.device("meta"):
        network = S3d(VARIANTS[name]).eval()
        clip = torch.empty(1, 3, *shape)
        assert network.features(clip)[0].shape == (1, 1024, *last)
        assert network(clip).shape == (1, network.config.num_classes)


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("s3d", (1, 3, 4, 64, 64), "4 frames of 64x64 pixels .* at least 5 frames of 17x17"),
        ("s3d", (1, 3, 16, 64, 16), "64x16 pixels .* at least 5 frames of 17x17"),
        ("s3d_flow", (1, 3, 16, 64, 64), r"flow clip \(B, 2, T, H, W\)"),
        ("s3d", (3, 16, 64, 64), r"rgb clip \(B, 3, T, H, W\)"),
        ("s3dg_milnce", (1, 3, 15, 64, 64), "15 frames .* must be even"),
    ],
)
def test_sizes_that_cannot_work_are_refused(name: str, shape: tuple, said: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=said):
        S3d(VARIANTS[name])(torch.empty(shape))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"time": (3, 2)}, "from .0, 0., none, to .0, 10., all"),
        ({"stem_kernel": 4}, "choose 1, 3, 5 or 7"),
        ({"modality": "warped"}, "choose one of rgb, flow"),
        ({"width": 0}, "width is 0"),
    ],
)
def test_a_configuration_that_makes_no_network_is_refused(fields: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        S3d(replace(S3dConfig(), **fields))


@pytest.mark.parametrize(
    ("variant", "layout", "name", "theirs"),
    [
        ("s3d", "torchvision", "stem.time.conv.weight", "features.0.1.0.weight"),
        ("s3d", "kylemin", "stem.time.norm.bias", "base.0.bn_t.bias"),
        ("s3d", "kylemin", "mixed3b.b0.conv.weight", "base.5.branch0.0.conv.weight"),
        ("s3d", "kylemin", "mixed5c.b1.space.conv.weight", "base.15.branch1.1.conv_s.weight"),
        ("s3d", "kylemin", "mixed4b.b3.norm.weight", "base.8.branch3.1.bn.weight"),
        ("i3d_inception", "pytorch_i3d", "stem.conv.weight", "Conv3d_1a_7x7.conv3d.weight"),
        ("i3d_inception", "pytorch_i3d", "mixed4f.b2_in.norm.bias", "Mixed_4f.b2a.bn.bias"),
        ("i3d_inception", "pytorch_i3d", "head.projection.bias", "logits.conv3d.bias"),
    ],
)
def test_names_of_the_published_layouts(variant: str, layout: str, name: str, theirs: str) -> None:
    rule = family_of(variant).layouts[layout]
    assert rule(name, zoo.config_of(variant)) == theirs


@pytest.mark.parametrize(
    ("variant", "layout"),
    [("s3d", "kylemin"), ("i3d_inception", "pytorch_i3d"), ("i3d_flow_inception", "pytorch_i3d")],
)
def test_each_layout_is_recognised_and_read_back(variant: str, layout: str) -> None:
    torch.manual_seed(0)
    network = zoo.build(variant)
    state = published_state(network, layout)
    assert len(set(state)) == len(network.state_dict())
    again = zoo.load(variant, state)
    assert again.provenance == f"the weights given ({layout})"
    assert zoo.recognise(state) == [(variant, layout)]
    assert again.spec.mean[0] == pytest.approx(0.5, abs=0.002)
    own = network.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in again.state_dict().items())


def test_the_text_tower_of_the_release_is_left_out_and_told() -> None:
    network = zoo.build("s3dg_milnce")
    state = published_state(network, "original")
    state["text_module.fc1.weight"] = torch.zeros(3, 3)
    with pytest.warns(UserWarning, match=r"1 tensors of a part .* \(text_module.fc1.weight first"):
        again = zoo.load("s3dg_milnce", state)
    assert torch.equal(again.state_dict()["stem.fold.conv.weight"], state["conv1.conv1.weight"])


def test_a_layout_refuses_what_it_cannot_hold() -> None:
    for variant in ("s3dg", "fast_s3d", "s3d_tf", "i3d_inception"):
        with torch.device("meta"):
            network = zoo.build(variant)
        with pytest.raises(ValueError, match="no name in the torchvision layout"):
            published_state(network, "torchvision")
