import pytest
import torch

from marey import zoo
from marey.zoo.registry import FAMILIES, _merge

TINY = {"width": 8, "depths": (1, 1, 1, 1), "num_classes": 4}


def test_a_built_network_carries_what_others_read() -> None:
    network = zoo.build("slow_r50_8x8", **TINY, crop=112)
    assert network.variant == "slow_r50_8x8"
    assert network.config.num_classes == 4
    assert (network.spec.size, network.spec.test_size, network.spec.jitter) == (
        112,
        128,
        (128, 160),
    )
    assert network.classes is None
    assert network.provenance == "random weights"
    assert network(torch.randn(1, 3, 8, 64, 64)).shape == (1, 4)


def test_a_network_without_memory() -> None:
    with torch.device("meta"):
        network = zoo.build("slowfast_nl_r101_16x8")
    assert all(p.is_meta for p in network.parameters())


def test_names_by_pattern() -> None:
    assert zoo.list_models("slowfast_r50_*x*") == [
        "slowfast_r50_4x16",
        "slowfast_r50_8x8",
        "slowfast_r50_16x8",
        "slowfast_r50_4x16_mm",
        "slowfast_r50_8x8_mm",
    ]
    assert zoo.list_models("nothing*") == []
    required = {
        f"{system}_{depth}_8x8"
        for system in ("c2d", "c2d_nopool", "i3d", "slow")
        for depth in ("r18", "r50", "r101")
    }
    assert required <= set(zoo.list_models())


def test_specs_follow_the_variant_the_data_set_and_the_configuration() -> None:
    spec = zoo.spec_of("slowfast_r50_8x8")
    assert (spec.frames, spec.stride, spec.size, spec.test_size, spec.views) == (
        32,
        2,
        224,
        256,
        (10, 3),
    )
    assert zoo.spec_of("slow_r50_4x16").stride == 16
    assert zoo.spec_of("slow_r50_8x8.ssv2").sampling == "segment"
    assert zoo.spec_of("slow_r50_8x8.charades").sampling == "stride"
    assert zoo.spec_of("slow_r50_8x8", zoo.config_of("slow_r50_8x8", frames=16)).frames == 16


def test_a_data_set_in_the_name_sets_the_class_count() -> None:
    assert zoo.config_of("slow_r50_8x8.ssv2").num_classes == 174
    assert zoo.config_of("slow_r50_8x8.ssv2", num_classes=3).num_classes == 3
    assert zoo.card("slow_r50_8x8.k600").classes == "kinetics600"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: zoo.build("slow_r50_8"),
            "'slow_r50_8' is not a model; did you mean 'slow_r50_8x8'",
        ),
        (lambda: zoo.build("slow_r50_8x8.k40"), "data set 'k40'; did you mean 'k400'"),
        (
            lambda: zoo.build("slow_r50_8x8", widht=3),
            "widht is not a field .* did you mean 'width'",
        ),
        (lambda: zoo.build("slow_r50_8x8", width="8"), "width is '8', not int"),
        (lambda: zoo.build("slow_r50_8x8", pool="mean"), "pool is 'mean'; choose one of"),
        (lambda: zoo.card("nope"), "is not a model"),
    ],
)
def test_refusals(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_name_in_two_families_is_refused() -> None:
    with pytest.raises(ValueError, match="is in both resnet3d and resnet3d"):
        _merge((FAMILIES[0], FAMILIES[0]))
