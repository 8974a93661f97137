"""MTV: views and their notation, alignment, fusion, tables that follow the input, refusals."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marey import zoo
from marey.models import mtv
from marey.models.mtv import MTV, VARIANTS, MTVConfig, View, resized, views_of

SMALL = MTVConfig(
    num_classes=5,
    frames=8,
    crop=32,
    views=(
        View(width=12, heads=3, hidden=24, depth=2, tubelet=(4, 8, 8)),
        View(width=16, heads=2, hidden=32, depth=3, tubelet=(2, 8, 8)),
    ),
    fusion_layers=(1, 2),
    encoder=View(width=20, heads=4, hidden=24, depth=1),
    drop_path=0.0,
)


def alive(config: MTVConfig) -> MTV:
    """A network in which nothing is zero."""
    torch.manual_seed(0)
    network = MTV(config).eval()
    for value in network.parameters():
        torch.nn.init.normal_(value, std=0.2)
    return network


def test_the_shapes_of_the_docstring() -> None:
    rows = {}
    for line in (mtv.__doc__ or "").splitlines():
        name, *numbers = line.split() or [""]
        if numbers and all(n.isdigit() for n in numbers):
            rows[name] = tuple(int(n) for n in numbers)
    with torch.device("meta"):
        network = MTV(VARIANTS["mtv_b2_s4_ti8"])
        clip = torch.empty(rows["input"])
        views = [start(clip) for start in network.tubelets]
        aligned = network.encoded(clip)
        tokens = [x[:, :, 0] for x in network.unfolded(aligned)]
        found = {f"view{i}": x.shape for i, x in enumerate(views)}
        found |= {f"aligned{i}": x.shape for i, x in enumerate(aligned)}
        found |= {"input": clip.shape, "moments": network.encoder.merged(tokens).shape}
        found |= {"token": network.pooled(clip).shape, "logits": network(clip).shape}
    assert {n: tuple(s) for n, s in found.items()} == rows


def test_the_notation_of_views() -> None:
    long, short = views_of("Ti/8+B/14x2")
    assert (long.width, long.depth, long.tubelet) == (192, 12, (8, 16, 16))
    assert (short.heads, short.tubelet) == (12, (2, 14, 14))
    assert views_of("H/2")[0].tubelet == (2, 14, 14)
    assert views_of("S/8x16x4")[0].tubelet == (4, 8, 16)
    with pytest.raises(ValueError, match="'X/2' of 'X/2' is not SIZE/T"):
        views_of("X/2")


def test_size_of_the_large_network() -> None:
    with torch.device("meta"):
        network = MTV(VARIANTS["mtv_l2_b4_s8_ti16"])
    assert network.encoder.width == 2368
    assert len(network.layers) == 24
    assert [len(layer.views) for layer in network.layers] == [4] * 12 + [1] * 12


def test_views_start_as_separate_networks() -> None:
    """Cross attention adds nothing at the start, and lets a neighbour through once it does."""
    torch.manual_seed(0)
    network = MTV(SMALL).eval()
    clip = torch.randn(1, 3, 8, 32, 32)
    apart = MTV(replace(SMALL, fusion="none")).eval()
    own = network.state_dict()
    apart.load_state_dict({name: own[name] for name in apart.state_dict()})
    with torch.no_grad():
        for found, wanted in zip(network.encoded(clip), apart.encoded(clip), strict=True):
            torch.testing.assert_close(found, wanted)
        network.layers[1].cross["0_1"].out.weight.fill_(0.1)  # type: ignore[index,union-attr]
        assert not torch.allclose(network.encoded(clip)[0], apart.encoded(clip)[0])
        torch.testing.assert_close(network.encoded(clip)[1], apart.encoded(clip)[1])


@pytest.mark.parametrize("fusion", ["attention", "bottleneck", "mlp"])
@pytest.mark.parametrize("descending", [True, False])
def test_what_flows_between_views_flows_one_way(fusion: Any, descending: bool) -> None:
    """Only at the first fusion layer: the one that is asked does not change with the one asking."""
    config = replace(SMALL, fusion=fusion, descending=descending, fusion_layers=(1,))
    network = alive(config)
    told, asks = (1, 0) if descending else (0, 1)
    clip = torch.randn(1, 3, 8, 32, 32)
    before = network.encoded(clip)
    network.tubelets[asks].positions.data[..., 0] += 1.0
    after = network.encoded(clip)
    if fusion != "bottleneck":  # the first in turn reads only tokens of its own and the start
        assert torch.equal(before[told], after[told])
    network.tubelets[told].positions.data[..., 0] += 1.0
    assert not torch.allclose(after[asks], network.encoded(clip)[asks])


@pytest.mark.parametrize("merge", ["channel", "time"])
@pytest.mark.parametrize("classifier", ["token", "mean", "max", "sum"])
def test_every_merge_and_classifier(merge: Any, classifier: Any) -> None:
    network = alive(replace(SMALL, merge=merge, classifier=classifier))
    logits = network(torch.randn(2, 3, 8, 32, 32))
    assert logits.shape == (2, 5)
    assert not torch.allclose(logits[0], logits[1])


def test_shorter_sequences_are_repeated_whole() -> None:
    network = alive(SMALL)
    short, long = torch.arange(2.0).view(1, 2, 1), torch.arange(4.0).view(1, 4, 1)
    merged = network.encoder.merged([short, long])
    assert merged[0].tolist() == [[0, 0], [1, 1], [0, 2], [1, 3]]


def test_features_are_maps_of_each_view() -> None:
    network = alive(SMALL)
    maps = network.features(torch.randn(1, 3, 8, 32, 32))
    assert [tuple(m.shape) for m in maps] == [(1, 12, 2, 4, 4), (1, 16, 4, 4, 4)]
    assert network.widths == (12, 16)


def test_tables_follow_frames_and_crop() -> None:
    rows = torch.tensor([0.0, 1.0, 2.0]).view(1, 3, 1, 1)
    stretched = resized("tubelets.0.class_token", rows, (1, 5, 1, 1), SMALL)
    assert stretched is not None
    assert stretched.flatten().tolist() == [0, 0.5, 1, 1.5, 2]
    table = torch.tensor([9.0, 0, 1, 2, 3]).view(1, 5, 1)
    grown = resized("tubelets.0.positions", table, (1, 10, 1), SMALL)
    assert grown is not None
    assert grown.flatten().tolist() == [9, 0, 0.5, 1, 1, 1.5, 2, 2, 2.5, 3]
    mean = replace(SMALL, classifier="mean")  # without class token
    bare = resized("tubelets.0.positions", table[:, 1:], (1, 9, 1), mean)
    assert bare is not None
    assert bare.flatten().tolist() == [0, 0.5, 1, 1, 1.5, 2, 2, 2.5, 3]
    assert resized("tubelets.0.positions", table, (1, 9, 1), mean) is None  # not a square
    assert resized("tubelets.0.positions", table, (1, 9, 1), SMALL) is None
    assert resized("encoder.norm.weight", torch.ones(4), (5,), SMALL) is None


@pytest.mark.parametrize("merge", ["channel", "time"])
@pytest.mark.parametrize("classifier", ["token", "mean"])
def test_global_positions_follow_the_frames_of_each_view(merge: Any, classifier: Any) -> None:
    """Two and four moments of eight frames become four and eight, without mixing views."""
    fields = {"merge": merge, "classifier": classifier}
    config = replace(SMALL, **fields, frames=16)
    first = [9.0] if classifier == "token" else []
    table = [*first, *([5.0, 7.0] if merge == "time" else []), 0.0, 3.0, 6.0, 9.0]
    four, eight = torch.linspace(5, 7, 4), torch.linspace(0, 9, 8)
    wanted = torch.cat([torch.tensor(first), *([four] if merge == "time" else []), eight])
    value = torch.tensor(table).view(1, -1, 1)
    found = resized("encoder.positions", value, (1, len(wanted), 1), config)
    assert found is not None
    torch.testing.assert_close(found.flatten(), wanted)
    short = resized("encoder.positions", value[:, : len(first)], (1, len(wanted), 1), config)
    assert short is None


@pytest.mark.parametrize("merge", ["channel", "time"])
@pytest.mark.parametrize("classifier", ["token", "mean"])
def test_weights_are_loaded_for_other_frames(merge: Any, classifier: Any, tmp_path: Path) -> None:
    fields: Any = {"views": SMALL.views, "encoder": SMALL.encoder, "crop": 32, "num_classes": 5}
    fields |= {"merge": merge, "classifier": classifier}
    short: Any = zoo.build("mtv_b2_s4_ti8", **fields, frames=8)
    path = zoo.save(short, tmp_path / "short.safetensors")
    with pytest.warns(UserWarning, match="tables were resized"):
        longer: Any = zoo.load("mtv_b2_s4_ti8", weights=path, **fields, frames=16)
    first = int(classifier == "token")
    one, two = (network.encoder.positions[0, first:] for network in (short, longer))
    kept = {0: 0, -1: -1} if merge == "channel" else {0: 0, 1: 3, 2: 4, -1: -1}  # ends of views
    for before, after in kept.items():
        torch.testing.assert_close(two[after], one[before])
    assert longer.eval()(torch.randn(1, 3, 16, 32, 32)).shape == (1, 5)


def test_views_start_from_images() -> None:
    """A still clip gives each view, before views meet, what the image network makes of it."""
    sizes = {"views": SMALL.views, "encoder": SMALL.encoder, "merge": "time"}
    network: Any = zoo.build("mtv_b2_s4_ti8", **sizes, frames=8, crop=32, num_classes=5)
    rng = np.random.RandomState(0)
    images = []
    for view in SMALL.views:
        state = {"embedding/kernel": (8, 8, 3, view.width), "embedding/bias": (view.width,)}
        state |= {"cls": (1, 1, view.width)}
        state |= {"Transformer/posembed_input/pos_embedding": (1, 17, view.width)}
        for layer in range(view.depth):
            block, split = f"Transformer/encoderblock_{layer}/", view.width // view.heads
            for norm in ("LayerNorm_0", "LayerNorm_1"):
                state |= {f"{block}{norm}/{leaf}": (view.width,) for leaf in ("scale", "bias")}
            place = f"{block}MultiHeadDotProductAttention_0/"
            for part in ("query", "key", "value"):
                state[f"{place}{part}/kernel"] = (view.width, view.heads, split)
                state[f"{place}{part}/bias"] = (view.heads, split)
            state[f"{place}out/kernel"] = (view.heads, split, view.width)
            state[f"{place}out/bias"] = (view.width,)
            state[f"{block}MlpBlock_0/Dense_0/kernel"] = (view.width, view.hidden)
            state[f"{block}MlpBlock_0/Dense_0/bias"] = (view.hidden,)
            state[f"{block}MlpBlock_0/Dense_1/kernel"] = (view.hidden, view.width)
            state[f"{block}MlpBlock_0/Dense_1/bias"] = (view.width,)
        images.append({n: rng.standard_normal(s).astype(np.float32) for n, s in state.items()})
    told = zoo.inflate_views(network, images)
    assert told.unused == ()
    assert {name.split(".")[0] for name in told.left} == {"encoder", "head"}
    picture = torch.randn(3, 8, 8)
    still = picture[None, :, None].expand(1, 3, 4, 8, 8)
    kernel = torch.from_numpy(images[0]["embedding/kernel"])  # H W in out
    wanted = torch.einsum("chw,hwco->o", picture, kernel) + images[0]["embedding/bias"]
    found = network.tubelets[0].project(still).flatten()
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="1 images for 2 views"):
        zoo.inflate_views(network, images[:1])
    with pytest.raises(ValueError, match="take the size that view 0 has"):
        zoo.inflate_views(network, [images[1], images[1]])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frames": 6}, "6 frames at 32 pixels does not divide into tubelets of 4 x 8 x 8"),
        ({"crop": 20}, "does not divide"),
        ({"views": ()}, "views is empty"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"frames": 0}, "frames is 0"),
        ({"crop": -8}, "crop is -8"),
        ({"views": (replace(SMALL.views[0], tubelet=(0, 8, 8)),)}, "a number below 1"),
        ({"encoder": replace(SMALL.encoder, heads=0)}, "a number below 1"),
        ({"drop_path": 1.5}, r"drop_path is 1.5; it must be in \[0, 1\)"),
        (
            {"frames": 12, "views": (*SMALL.views[:1], replace(SMALL.views[1], tubelet=(6, 8, 8)))},
            "do not align",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MTV(replace(SMALL, **fields))


def test_a_clip_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"built for clips \(B, 3, 8, 32, 32\) but got"):
        MTV(SMALL)(torch.zeros(1, 3, 8, 40, 40))
