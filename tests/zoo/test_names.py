"""Names both ways, with nothing lost: rules, wrappers, split norms, frozen networks, time."""

import re
from typing import Any

import pytest
import torch

from marey import zoo
from marey.zoo.names import export_state, fit, import_state, published_names, shapes_match, tidy
from marey.zoo.published.resnet_names import caffe2, pyslowfast, pytorchvideo
from marey.zoo.recognition import shapes_of
from marey.zoo.registry import family_of

ROWS = [  # ours, PySlowFast's, pytorchvideo's, Caffe2's, in slowfast_nl_r101_16x8
    (
        "slow.stem.conv.weight",
        "s1.pathway0_stem.conv.weight",
        "blocks.0.multipathway_blocks.0.conv.weight",
        "conv1_w",
    ),
    (
        "fast.stem.norm.running_var",
        "s1.pathway1_stem.bn.running_var",
        "blocks.0.multipathway_blocks.1.norm.running_var",
        "t_res_conv1_bn_riv",
    ),
    (
        "slow.res4.blocks.22.b.norm.bias",
        "s4.pathway0_res22.branch2.b_bn.bias",
        "blocks.3.multipathway_blocks.0.res_blocks.22.branch2.norm_b.bias",
        "res4_22_branch2b_bn_b",
    ),
    (
        "fast.res2.blocks.0.shortcut.norm.running_mean",
        "s2.pathway1_res0.branch1_bn.running_mean",
        "blocks.1.multipathway_blocks.1.res_blocks.0.branch1_norm.running_mean",
        "t_res2_0_branch1_bn_rm",
    ),
    (
        "laterals.0.conv.weight",
        "s1_fuse.conv_f2s.weight",
        "blocks.0.multipathway_fusion.conv_fast_to_slow.weight",
        "t_pool1_subsample_w",
    ),
    (
        "laterals.3.norm.weight",
        "s4_fuse.bn.weight",
        "blocks.3.multipathway_fusion.norm.weight",
        "t_res4_22_branch2c_bn_subsample_bn_s",
    ),
    ("head.projection.bias", "head.projection.bias", "blocks.6.proj.bias", "pred_b"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_rules(row: tuple[str, ...]) -> None:
    config = zoo.config_of("slowfast_nl_r101_16x8")
    found = [rule(row[0], config) for rule in (pyslowfast, pytorchvideo, caffe2)]
    assert found == list(row[1:])


def test_rules_of_nonlocal_blocks_and_of_what_is_not_stored() -> None:
    config = zoo.config_of("i3d_nl_r50_8x8")
    name = "trunk.res4.nonlocals.5.theta.bias"
    assert pyslowfast(name, config) == "s4.pathway0_nonlocal5.conv_theta.bias"
    assert caffe2(name, config) == "nonlocal_conv4_5_theta_b"
    assert caffe2("trunk.res3.nonlocals.1.norm.running_mean", config) == "nonlocal_conv3_1_bn_rm"
    assert caffe2("trunk.stem.norm.num_batches_tracked", config) is None
    with pytest.raises(ValueError, match="no name in the pytorchvideo layout"):
        pytorchvideo(name, config)
    with pytest.raises(ValueError, match="pairwise 'gaussian' has no name in the caffe2 layout"):
        caffe2(name, zoo.config_of("i3d_nl_r50_8x8", pairwise="gaussian"))


@pytest.mark.parametrize(
    ("variant", "block", "head"),
    [("c2d_r50_8x8", 3, 6), ("slow_r50_8x8", 2, 5), ("c2d_nopool_r50_8x8", 2, 5)],
)
def test_a_time_pool_is_a_block_of_its_own_in_pytorchvideo(
    variant: str, block: int, head: int
) -> None:
    config = zoo.config_of(variant)
    name = pytorchvideo("trunk.res3.blocks.1.c.conv.weight", config)
    assert name == f"blocks.{block}.res_blocks.1.branch2.conv_c.weight"
    assert pytorchvideo("head.projection.weight", config) == f"blocks.{head}.proj.weight"


@pytest.mark.parametrize("variant", zoo.list_models())
def test_every_tensor_has_one_name_in_every_layout(variant: str) -> None:
    config, family = zoo.config_of(variant), family_of(variant)
    shapes = shapes_of(variant, config)
    for layout in family.layouts:
        try:
            names = published_names(family, layout, shapes, config)
        except ValueError:
            continue
        assert len(set(names.values())) == len(names)
        left = [name for name in shapes if name not in names]
        assert all(name.endswith("num_batches_tracked") for name in left)


def small() -> tuple[dict[str, torch.Tensor], dict[str, str], dict[str, tuple[int, ...]], Any]:
    """State in PySlowFast's names, the names, our shapes, the network."""
    network: Any = zoo.build("slow_r50_8x8", width=4, depths=(1, 1, 1, 1), num_classes=3)
    own = network.state_dict()
    names = published_names(family_of("slow_r50_8x8"), "pyslowfast", own, network.config)
    shapes = {name: tuple(value.shape) for name, value in own.items()}
    return export_state(own, names), names, shapes, network


def test_there_and_back() -> None:
    state, names, shapes, network = small()
    assert shapes_match(state, names, shapes)
    own, inflated = import_state(state, names, shapes, where="here")
    assert inflated == []
    assert all(torch.equal(own[n], v) for n, v in network.state_dict().items())


def test_what_is_missing_left_over_or_misshapen_is_named_and_counted() -> None:
    state, names, shapes, _ = small()
    del state["s1.pathway0_stem.bn.bias"], state["s2.pathway0_res0.branch1.weight"]
    state["surplus"] = torch.ones(1)
    state["head.projection.bias"] = torch.ones(4)
    assert not shapes_match(state, names, shapes)
    message = (
        "here: 2 missing (s1.pathway0_stem.bn.bias, s2.pathway0_res0.branch1.weight), "
        "1 left over (surplus), 1 misshapen (head.projection.bias (4,) for (3,)); "
        "check the model's name and fields"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        import_state(state, names, shapes, where="here")


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.model."])
def test_wrappers_are_taken_off(prefix: str) -> None:
    state, *_ = small()
    assert list(tidy({prefix + name: v for name, v in state.items()})) == list(state)


def test_split_norms_become_plain() -> None:
    state = {
        "s1.pathway0_stem.conv.weight": torch.zeros(1),
        "s1.pathway0_stem.bn.weight": torch.zeros(4),
        "s1.pathway0_stem.bn.bn.running_mean": torch.ones(4),
        "s1.pathway0_stem.bn.split_bn.running_mean": torch.zeros(8),
        "s2.pathway0_res0.branch2.a_bn.bn.num_batches_tracked": torch.tensor(3),
        "s2.pathway0_res0.branch2.a_bn.split_bn.num_batches_tracked": torch.tensor(3),
    }
    assert list(tidy(state)) == [
        "s1.pathway0_stem.conv.weight",
        "s1.pathway0_stem.bn.weight",
        "s1.pathway0_stem.bn.running_mean",
        "s2.pathway0_res0.branch2.a_bn.num_batches_tracked",
    ]


def test_kernels_without_time_are_spread_and_keep_their_sum() -> None:
    flat = torch.randn(4, 3, 7, 7)
    spread = fit(flat, (4, 3, 5, 7, 7))
    assert spread is not None
    torch.testing.assert_close(spread.sum(dim=2), flat)
    again = fit(flat.unsqueeze(2), (4, 3, 5, 7, 7))
    assert again is not None
    assert torch.equal(again, spread)
    still = fit(flat, (4, 3, 1, 7, 7))
    assert still is not None
    assert torch.equal(still[:, :, 0], flat)


def test_trailing_ones_do_not_matter_and_other_shapes_do() -> None:
    value = torch.randn(4, 8)
    fitted = fit(value, (4, 8, 1, 1, 1))
    assert fitted is not None
    assert torch.equal(fitted.flatten(1), value)
    assert fit(torch.randn(4, 8, 1, 1, 1), (4, 8)) is not None
    assert fit(torch.randn(4, 3, 3, 7, 7), (4, 3, 5, 7, 7)) is None
    assert fit(torch.randn(4, 3, 5, 7, 7), (4, 3, 1, 7, 7)) is None


def test_a_vector_may_be_stored_as_a_row() -> None:
    row = torch.arange(4.0)[None]
    assert torch.equal(fit(row, (4,)), row[0])  # type: ignore[arg-type]
    assert shapes_match({"bn.bias": row}, {"norm.bias": "bn.bias"}, {"norm.bias": (4,)})
    own, inflated = import_state(
        {"bn.bias": row}, {"norm.bias": "bn.bias"}, {"norm.bias": (4,)}, where="old copy"
    )
    assert own["norm.bias"].shape == (4,)
    assert inflated == []
