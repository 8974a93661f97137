"""Recipes and zoo agree: networks, fields, weight files and figures."""

import pytest

from marey import recipes, zoo
from marey.config import override
from marey.zoo.cards import TAGS

WITH_MODEL = [name for name in recipes.names() if recipes.find(name).model]
PUBLISHED = [name for name in WITH_MODEL if "." in name and not name.endswith(".smoke")]
IMAGE_FILES = (  # ImageNet weights of torchvision, of TSN's authors and of Res2Net's
    "resnet50-0676ba61.pth",
    "resnet101-63fe2227.pth",
    "bn_inception-9f5701afb96c8044.pth",
    "res2net50_26w_4s-06e79181.pth",
    "vgg16-397923af.pth",
)
ELSEWHERE = "affine_model_400k.pkl"  # inside an archive


@pytest.mark.parametrize("name", WITH_MODEL)
def test_the_network_and_its_changed_fields_exist(name: str) -> None:
    recipe = recipes.find(name)
    assert recipe.model in zoo.list_models()
    config = zoo.config_of(recipe.model, **recipe.net)
    assert override(zoo.spec_of(recipe.model, config), recipe.clip).frames >= 1


@pytest.mark.parametrize("name", PUBLISHED)
def test_claimed_figures_are_those_of_the_card(name: str) -> None:
    recipe = recipes.find(name)
    told = {(claim.dataset, claim.value) for claim in zoo.card(recipe.model).claims}
    for claim in recipe.claims:
        if claim.value is not None and not name.startswith("i3d_r50_8x8_caffe2.k400_"):
            assert (claim.dataset, claim.value) in told


@pytest.mark.parametrize("name", [name for name in PUBLISHED if recipes.find(name).weights])
def test_weights_are_named_as_their_publisher_names_them(name: str) -> None:
    known = {
        file.address.rsplit("/", 1)[-1].split("?")[0]
        for model in zoo.list_models()
        for file in zoo.card(model).weights
    }
    made = {
        f"{recipes.find(name).model}.{tag}.safetensors"
        for tag in ("in1k", "in21k", "sports1m", "k400", "k600", "k700", "streams")
    }
    made |= {ELSEWHERE, *IMAGE_FILES}  # as docs/recipes.md shows
    assert recipes.find(name).weights in known | made


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_data_set_of_a_name_is_known(name: str) -> None:
    tag = name.split(".")[1].split("_")[0]
    assert tag in TAGS
    sampling = TAGS[tag].changes.get("sampling")
    if sampling and "16x8" in name:
        assert recipes.find(name).clip["sampling"] == sampling


@pytest.mark.parametrize("name", ["small", *recipes.names("*.smoke")])
def test_small_networks_are_small(name: str) -> None:
    recipe = recipes.find(name)
    model = zoo.build(recipe.model, num_classes=4, **recipe.net)
    assert sum(value.numel() for value in model.parameters()) < 1_000_000
