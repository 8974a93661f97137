"""Which network a state belongs to, from names and shapes alone."""

import json
from pathlib import Path

import pytest
import torch

from marey import zoo
from marey.zoo.names import published_names, write_form
from marey.zoo.recognition import only_variant, own_layouts, shapes_of
from marey.zoo.registry import family_of


def blank(variant: str, layout: str, num_classes: int | None = None) -> dict[str, torch.Tensor]:
    """A published state without numbers."""
    fields = {} if num_classes is None else {"num_classes": num_classes}
    config = zoo.config_of(variant, **fields)
    shapes = shapes_of(variant, config)
    names = published_names(family_of(variant), layout, shapes, config)
    state = {names[n]: torch.empty(shapes[n], device="meta") for n in names}
    return write_form(family_of(variant), layout, state, config)


@pytest.mark.parametrize(
    ("variant", "layout", "others"),
    [
        ("slowfast_r50_8x8", "pyslowfast", []),
        ("slowfast_r101_full_8x8", "pytorchvideo", []),
        ("slow_r50_32x8", "pyslowfast", []),
        ("c2d_r50_8x8", "pytorchvideo", []),
        ("slow_r50_8x8", "pytorchvideo", ["slow_r50_4x16"]),
        ("c2d_r50_8x8", "pyslowfast", ["c2d_nopool_r50_8x8"]),
        ("slowfast_nl_r50_8x8", "caffe2", ["slowfast_nl_r50_4x16"]),
    ],
)
def test_exact_names_and_shapes(variant: str, layout: str, others: list[str]) -> None:
    found = zoo.recognise(blank(variant, layout))
    if layout == "caffe2":
        found = [row for row in found if not row[0].endswith("_caffe2")]
    assert set(found) == {(name, layout) for name in [variant, *others]}


def test_every_variant_recognises_its_own() -> None:
    for variant in zoo.list_models():
        layout = first_layout(variant)
        assert (variant, layout) in zoo.recognise(blank(variant, layout))


def first_layout(variant: str) -> str:
    """The first of a variant's own layouts that can hold it."""
    shapes = shapes_of(variant, zoo.config_of(variant))
    for layout in own_layouts(variant):
        try:
            published_names(family_of(variant), layout, shapes, zoo.config_of(variant))
        except ValueError:
            continue
        return layout
    raise AssertionError(variant)


def test_borrowed_layouts_mean_the_plain_network_unless_another_is_named() -> None:
    state = blank("mutualnet_slow_r50_8x8", "pyslowfast")
    assert {name for name, _ in zoo.recognise(state)} == {"slow_r50_4x16", "slow_r50_8x8"}


@pytest.mark.parametrize(
    "case", ["ptv_slowfast_8x8_r50", "slowfast_8x8_r50", "maclr_slow_r50_32x8_ucf101"]
)
def test_published_checkpoints_are_recognised(golden: Path, case: str) -> None:
    shapes = json.loads((golden / f"{case}.json").read_text())["state"]
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    names = {"maclr_slow_r50_32x8_ucf101": "slow_r50_32x8"}
    assert only_variant(state, {}, "the file") == names.get(case, "slowfast_r50_8x8")


def test_another_class_count_fits_every_row_of_that_shape() -> None:
    found = {variant for variant, _ in zoo.recognise(blank("slowfast_r50_8x8", "pyslowfast", 31))}
    assert found == {"slowfast_r50_8x8", "slowfast_r50_16x8"}
    ssv2 = zoo.recognise(blank("slowfast_r50_8x8", "pyslowfast", 174))
    assert ssv2 == [("slowfast_r50_16x8", "pyslowfast")], "published with 174 classes"


def test_several_are_listed_and_settings_in_the_file_decide() -> None:
    state = blank("slow_r50_8x8", "pyslowfast")
    with pytest.raises(ValueError, match="file fits slow_r50_4x16, slow_r50_8x8: say which"):
        only_variant(state, {}, "file")
    settings = "DATA: {NUM_FRAMES: 4, SAMPLING_RATE: 16}\nMODEL: {ARCH: slow}"
    assert only_variant(state, {"cfg": settings}, "file") == "slow_r50_4x16"
    flat = blank("c2d_r50_8x8", "pyslowfast")
    settings = "DATA: {NUM_FRAMES: 8, SAMPLING_RATE: 8}\nMODEL: {ARCH: slow_c2d}"
    assert only_variant(flat, {"cfg": settings}, "file") == "c2d_nopool_r50_8x8"
    with pytest.raises(ValueError, match="say which"):
        only_variant(state, {"cfg": "not: settings"}, "file")


def test_none_names_the_nearest_and_what_is_missing() -> None:
    state = blank("slow_r50_8x8", "pyslowfast")
    del state["s3.pathway0_res1.branch2.a.weight"]
    message = r"fits no model exactly; nearest is .* 1 missing \(s3.pathway0_res1.branch2.a.weight"
    with pytest.raises(ValueError, match=message):
        only_variant(state, {}, "file")
    with pytest.raises(ValueError, match="its first tensor is 'encoder.x', of no known layout"):
        only_variant({"encoder.x": torch.ones(1)}, {}, "file")
    wide = blank("slow_r50_8x8", "pyslowfast")
    wide["s1.pathway0_stem.conv.weight"] = torch.empty(32, 3, 1, 7, 7, device="meta")
    with pytest.raises(ValueError, match="same names, other shapes"):
        only_variant(wide, {}, "file")


@pytest.mark.parametrize(
    ("variant", "layout", "num_classes"),
    [
        ("r3d_18", "torchvision", None),
        ("mc3_18", "torchvision", None),
        ("r2plus1d_18_tv", "torchvision", None),
        ("r3d_18_vmz", "caffe2", None),
        ("r2plus1d_34", "caffe2", 487),
        ("r2plus1d_34", "vmz", None),
        ("r2plus1d_34_flow", "caffe2", None),
        ("ircsn_r50", "caffe2", 359),
        ("ircsn_r152", "vmz", None),
        ("ipcsn_r152", "mmaction2", None),
        ("r2plus1d_152", "caffe2", 359),
        ("r2plus1d_r50_ptv", "pytorchvideo", None),
        ("r2d_18_16f", "caffe2", None),
    ],
)
def test_each_realisation_is_told_by_its_tensors(
    variant: str, layout: str, num_classes: int | None
) -> None:
    assert only_variant(blank(variant, layout, num_classes), {}, "file") == variant


@pytest.mark.parametrize(
    ("of", "layout", "asked"),
    [
        ("r2plus1d_34_mm", "mmaction2", "r2plus1d_34"),
        ("r2plus1d_18_tv", "torchvision", "r2plus1d_18"),
        ("r2plus1d_18", "vmz", "r2plus1d_18_tv"),
        ("r2plus1d_r50_ptv", "pytorchvideo", "r2plus1d_34"),
        ("r2d_18_16f", "vmz", "r2d_18"),
        ("r2plus1d_34_flow", "caffe2", "r2plus1d_34"),
    ],
)
def test_weights_of_another_realisation_are_named(of: str, layout: str, asked: str) -> None:
    with pytest.raises(ValueError, match=rf"these are the tensors of {of}( or \w+)?, not {asked}$"):
        zoo.load(asked, blank(of, layout))


@pytest.mark.parametrize(("channels", "modality"), [(3, "rgb"), (10, "flow")])
def test_a_flow_network_is_told_by_its_first_kernel(channels: int, modality: str) -> None:
    config = zoo.config_of("tsm_r50_8f", modality=modality)
    shapes = shapes_of("tsm_r50_8f", config)
    names = published_names(family_of("tsm_r50_8f"), "original", shapes, config)
    state = {names[n]: torch.zeros(shapes[n]) for n in names}
    assert state["base_model.conv1.weight"].shape[1] == channels
    with pytest.warns(UserWarning, match="taken for tsm_r50_8f"):
        assert only_variant(state, {}, "file") == "tsm_r50_8f"
    network = zoo.load("tsm_r50_8f", state)
    assert network.spec.modality == modality  # type: ignore[union-attr]
