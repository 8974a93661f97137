"""Loading and saving: own files, published layouts, other class counts, and what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from marey import zoo
from marey.zoo.files import write_published
from marey.zoo.weights import published_state

TINY: dict[str, Any] = {"width": 8, "depths": (1, 1, 1, 1)}
CLIP = torch.randn(1, 3, 8, 32, 32, generator=torch.Generator().manual_seed(0))


def network(name: str = "slow_r50_8x8", **fields: Any) -> Any:
    """A narrow network with weights of its own."""
    torch.manual_seed(3)
    made: Any = zoo.build(name, **{**TINY, "num_classes": 5, **fields})
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.0)
    return made.eval()


def same(first: Any, second: Any) -> bool:
    mine, other = first.state_dict(), second.state_dict()
    return list(mine) == list(other) and all(torch.equal(mine[n], other[n]) for n in mine)


def test_own_files_bring_everything_back(tmp_path: Path) -> None:
    made = network(crop=112, num_classes=2)
    made.classes = ("left", "rechts: größer")
    path = zoo.save(made, tmp_path / "w.safetensors", recipe={"epochs": 3}, extra={"note": "x"})
    found: Any = zoo.load(path)
    assert same(made, found)
    assert (found.variant, found.config, found.spec) == (made.variant, made.config, made.spec)
    assert found.classes == made.classes
    header = zoo.read_state(path)[1]
    assert (header["recipe"], header["extra"]) == ({"epochs": 3}, {"note": "x"})
    assert all(p.requires_grad for p in found.parameters())


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("slow_r50_8x8", "pyslowfast"),
        ("slow_r50_8x8", "caffe2"),
        ("c2d_r50_8x8", "pytorchvideo"),
        ("slowfast_r50_8x8", "pytorchvideo"),
        ("slowfast_nl_r50_8x8", "caffe2"),
        ("i3d_nl_r50_8x8_caffe2", "caffe2"),
    ],
)
def test_each_layout_there_and_back_through_a_file(tmp_path: Path, name: str, layout: str) -> None:
    fields = {"nonlocals": ((), (0,), (0,), ())} if "_nl_" in name else {}
    made = network(name, **fields)
    own = zoo.save(made, tmp_path / "own.safetensors")
    path = zoo.convert(own, tmp_path / "theirs", to=layout)
    found: Any = zoo.load(name, path, **TINY, **fields)
    assert same(made, found)
    assert found.provenance == f"{path} ({layout})"


def test_wrapped_and_half_precision_weights_load(tmp_path: Path) -> None:
    made = network()
    wrapped = {f"module.{n}": v.half() for n, v in published_state(made, "pyslowfast").items()}
    found: Any = zoo.load("slow_r50_8x8", wrapped, **TINY)
    assert {p.dtype for p in found.parameters()} == {torch.float32}
    torch.testing.assert_close(found.eval()(CLIP), made(CLIP), rtol=0.05, atol=0.01)


def test_weights_given_as_tensors_are_copied() -> None:
    state = published_state(network(), "pyslowfast")
    found: Any = zoo.load("slow_r50_8x8", state, **TINY)
    before = state["s1.pathway0_stem.conv.weight"].clone()
    with torch.no_grad():
        found.trunk.stem.conv.weight.zero_()
    assert torch.equal(state["s1.pathway0_stem.conv.weight"], before)


def test_another_class_count_drops_the_classifier_loudly(tmp_path: Path) -> None:
    made = network()
    made.classes = tuple("abcde")
    path = zoo.save(made, tmp_path / "w.safetensors")
    theirs = write_published(tmp_path / "w.pyth", published_state(made, "pyslowfast"), "pyslowfast")
    for arguments in ((path,), ("slow_r50_8x8", theirs)):
        fields = {} if len(arguments) == 1 else TINY
        with pytest.warns(UserWarning, match="classifier for 5 classes was dropped.* for 7 starts"):
            found: Any = zoo.load(*arguments, num_classes=7, **fields)
        assert found.config.num_classes == 7
        assert found.classes is None
        assert found.eval()(CLIP).shape == (1, 7)
        assert torch.equal(
            found.trunk.res5.blocks[0].a.conv.weight, made.trunk.res5.blocks[0].a.conv.weight
        )


def test_the_same_class_count_keeps_the_classifier(recwarn: pytest.WarningsRecorder) -> None:
    made = network()
    found: Any = zoo.load("slow_r50_8x8", published_state(made, "caffe2"), num_classes=5, **TINY)
    assert same(made, found)
    assert not [w for w in recwarn if "classifier" in str(w.message)]


def test_a_backbone_without_classifier_loads_for_a_class_count() -> None:
    state = published_state(network(), "pyslowfast")
    bare = {n: v for n, v in state.items() if not n.startswith("head.")}
    with pytest.warns(UserWarning, match="classifier for no classes"):
        found: Any = zoo.load("slow_r50_8x8", bare, num_classes=3, **TINY)
    assert found.eval()(CLIP).shape == (1, 3)


def test_published_class_lists_come_where_the_count_matches() -> None:
    made = network(num_classes=400)
    found: Any = zoo.load("slow_r50_8x8", published_state(made, "pyslowfast"), **TINY)
    assert found.classes == zoo.class_names("kinetics400")
    six = network(num_classes=600)
    found = zoo.load("slow_r50_8x8", published_state(six, "pyslowfast"), **TINY)
    assert found.classes == zoo.class_names("kinetics600")
    found = zoo.load(
        "slow_r50_8x8.ssv2", published_state(network(num_classes=174), "caffe2"), **TINY
    )
    assert found.classes is None, "the order of these outputs is not known"
    assert found.spec.sampling == "segment"


def test_frozen_caffe2_networks_have_identity_statistics() -> None:
    """Scale and bias only; non-local blocks without any norm."""
    places = ((), (0,), (0,), ())
    made = network("i3d_nl_r50_32x4_caffe2", nonlocals=places)
    state = published_state(made, "caffe2")
    frozen = {
        name: value
        for name, value in state.items()
        if not name.endswith(("_rm", "_riv")) and not re.match(r"nonlocal_.*_bn_", name)
    }
    found: Any = zoo.load("i3d_nl_r50_32x4_caffe2", frozen, **TINY, nonlocals=places)
    norm = found.trunk.stem.norm.eval()
    x = torch.randn(1, 8, 2, 4, 4)
    expected = x * norm.weight.view(-1, 1, 1, 1) + norm.bias.view(-1, 1, 1, 1)
    torch.testing.assert_close(norm(x), expected)
    block = found.trunk.res3.nonlocals["0"].norm.eval()
    torch.testing.assert_close(block(torch.ones(1, 64, 1, 1, 1)), torch.ones(1, 64, 1, 1, 1))
    del frozen["res2_0_branch2a_bn_s"]
    with pytest.raises(ValueError, match=r"1 missing \(res2_0_branch2a_bn_s\)"):
        zoo.load("i3d_nl_r50_32x4_caffe2", frozen, **TINY, nonlocals=places)


def test_kernels_of_caffe2_may_lack_trailing_ones() -> None:
    made = network()
    state = published_state(made, "caffe2")
    state["pred_w"] = state["pred_w"].reshape(5, 256, 1, 1, 1)
    state["res2_0_branch2a_w"] = state["res2_0_branch2a_w"].flatten(1)
    assert same(made, zoo.load("slow_r50_8x8", state, **TINY))


def test_flat_networks_are_spread_over_time_with_a_warning() -> None:
    flat = network("c2d_nopool_r50_8x8")
    with pytest.warns(UserWarning, match="kernels without time were spread"):
        deep: Any = zoo.load("slow_r50_8x8", published_state(flat, "pyslowfast"), **TINY)
    deep.eval()
    still = CLIP[:, :, :1].expand(-1, -1, 8, -1, -1)
    found, expected = deep.stages(still)[3][:, :, 4], flat.stages(still)[3][:, :, 4]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_refusals(tmp_path: Path) -> None:
    made = network()
    own = zoo.save(made, tmp_path / "own.safetensors")
    state = published_state(made, "pyslowfast")
    cases = [
        (lambda: zoo.load("slow_r50_8x8"), "names a model but no weights: give weights=FILE"),
        (lambda: zoo.load("slow_r50"), "'slow_r50' is neither a model.* nor a file"),
        (lambda: zoo.load("i3d_r50_8x8", own), "holds slow_r50_8x8, not i3d_r50_8x8"),
        (lambda: zoo.load("slow_r18_8x8", state, width=8), "does not fit slow_r18_8x8 .* missing"),
        (lambda: zoo.load("slow_r50_8x8", {"x": torch.ones(1)}), "has no tensor of slow_r50_8x8"),
        (lambda: zoo.load("slow_r50_8x8", {**state, "y": CLIP}, **TINY), r"1 left over \(y\)"),
        (lambda: zoo.load("slow_r50_8x8", state, **TINY, num_classes=0), "num_classes"),
        (lambda: zoo.load("slow_r50_8x8", own, widht=3), "widht is not a field"),
        (
            lambda: zoo.convert(own, tmp_path / "x", to="caffe"),
            "'caffe' is not a layout .* 'caffe2'",
        ),
        (lambda: zoo.save(torch.nn.Linear(1, 1), tmp_path / "x"), "Linear carries no variant"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "x").exists()


def test_an_own_file_of_an_unknown_variant_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "w.safetensors"
    header = {"marey": json.dumps({"variant": "later_model"})}
    save_file({"a": torch.ones(1)}, path, metadata=header)
    with pytest.raises(ValueError, match="holds 'later_model', which this version does not know"):
        zoo.load(path)


def test_a_layout_that_cannot_hold_the_network_is_refused(tmp_path: Path) -> None:
    made = network("i3d_nl_r50_8x8", nonlocals=((), (0,), (), ()))
    own = zoo.save(made, tmp_path / "own.safetensors")
    with pytest.raises(ValueError, match="no name in the pytorchvideo layout"):
        zoo.convert(own, tmp_path / "theirs.pyth", to="pytorchvideo")
    assert not (tmp_path / "theirs.pyth").exists()
