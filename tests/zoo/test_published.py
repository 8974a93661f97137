"""Claims against what the networks are: every variant has a card, and costs what it says."""

import subprocess
import sys
from importlib import import_module

import pytest
import torch

from marey import zoo
from marey.metrics.cost import measure
from marey.zoo.cards import TAGS
from marey.zoo.registry import FAMILIES

SHEET = {  # millions of parameters and 1e9 multiply-adds at the 256-pixel test crop
    "c2d_nopool_r50_8x8": (24.33, 42.7),
    "c2d_r50_8x8": (24.33, 25.5),
    "c2d_nl_r50_8x8": (31.69, 37.3),
    "i3d_r50_8x8": (28.04, 37.1),
    "i3d_nl_r50_8x8": (35.40, 48.9),
    "i3d_r101_8x8": (51.75, 61.3),
    "i3d_nl_r101_8x8": (59.11, 73.1),
    "slow_r50_4x16": (32.45, 27.3),
    "slow_r50_8x8": (32.45, 54.5),
    "slow_nl_r50_4x16": (39.81, 39.1),
    "slow_nl_r50_8x8": (39.81, 88.3),
    "slowfast_r50_4x16": (34.48, 36.1),
    "slowfast_r50_8x8": (34.57, 65.7),
    "slowfast_nl_r50_4x16": (41.84, 47.9),
    "slowfast_nl_r50_8x8": (41.84, 99.1),
    "slowfast_r50_16x8": (34.05, 131.4),
    "slowfast_r101_8x8": (53.78, 106.5),
    "slowfast_r101_50_101_8x8": (53.91, 107.7),
    "slowfast_r101_full_8x8": (62.83, 125.9),
    "slowfast_r101_16x8": (53.78, 213.0),
    "slowfast_nl_r101_16x8": (60.08, 242.0),
    "slowfast_nl_r101_16x8_paper": (60.08, 234.0),
}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_cards_and_variants_are_the_same_rows(family) -> None:  # type: ignore[no-untyped-def]
    assert list(family.cards) == list(import_module(family.module).VARIANTS)


@pytest.mark.parametrize("name", SHEET)
def test_cost_of_the_published_rows(name: str) -> None:
    params_m, gmacs = SHEET[name]
    card = zoo.card(name)
    with torch.device("meta"):
        network = zoo.build(name)
    cost = measure(network, (1, 3, zoo.spec_of(name).frames, 256, 256))
    assert cost.parameters / 1e6 == pytest.approx(params_m, abs=0.006)
    assert cost.multiply_adds / 1e9 == pytest.approx(gmacs, rel=0.005)
    assert card.params_m == pytest.approx(params_m, abs=0.011)
    assert card.gmacs == gmacs


def test_claims_stand_with_their_source() -> None:
    claims = {(c.metric, c.value) for c in zoo.card("slowfast_r50_8x8").claims}
    assert {("top1", 77.0), ("top5", 92.6), ("top1", 76.94)} <= claims
    for name in zoo.list_models():
        card = zoo.card(name)
        assert all(claim.source for claim in card.claims), name
        assert all(f.tag in TAGS and f.layout in dict(layouts(name)) for f in card.weights), name
        assert card.licence, name


def layouts(name: str) -> list[tuple[str, object]]:
    return list(zoo.registry.family_of(name).layouts.items())


def test_a_card_says_no_more_than_its_network_costs() -> None:
    for name in zoo.list_models():
        card = zoo.card(name)
        if card.params_m is not None:
            with torch.device("meta"):
                network = zoo.build(name)
            count = sum(p.numel() for p in network.parameters()) / 1e6
            assert count == pytest.approx(card.params_m, abs=0.011), name


def test_listing_models_loads_no_torch() -> None:
    code = (
        "import sys; from marey.zoo import card, list_models, class_names;"
        "assert len(list_models()) > 40 and card('slow_r50_8x8').params_m;"
        "assert class_names('k400')[0] == 'abseiling';"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
