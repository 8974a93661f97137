"""STM as published: what each row reads, costs and claims. No weights were ever released.

Claims are top-1 / top-5 with 10 clips of 3 crops, each 256 pixels resized to 224; only figures that
a public listing confirms are given.
"""

from __future__ import annotations

from dataclasses import replace

from marey.choices import Claim
from marey.zoo.cards import Card, Family
from marey.zoo.published.frame_names import stm_original
from marey.zoo.published.tsn import FRAME

PAPER = "B. Jiang et al., ICCV 2019"
VIEWS = "10x3 views, 256 crop resized to 224"
EIGHT = replace(FRAME, frames=8, test_frames=0, views=(10, 3))


def figure(dataset: str, value: float | None, metric: str = "top1") -> Claim:
    """One figure of the paper; None where no public listing confirms it."""
    return Claim(dataset=dataset, metric=metric, value=value, protocol=VIEWS, source=PAPER)


_R50 = Card(
    spec=EIGHT,
    params_m=24.04,
    gmacs=33.08,
    at="8x224x224",
    classes="",
    claims=(figure("SSv1", None), figure("SSv2", None)),
    source=PAPER,
    licence="not stated",
    note="no published weights; ours takes crops of 224 pixels at once",
)
_DEEP = replace(
    _R50, params_m=None, gmacs=None, at="", claims=(), note="no published weights or numbers"
)

CARDS: dict[str, Card] = {
    "stm_r50_8f": _R50,
    "stm_r50_16f": replace(
        _R50,
        twin="stm_r50_8f",
        spec=replace(EIGHT, frames=16),
        gmacs=66.16,
        at="16x224x224",
        claims=(
            figure("SSv1", 50.7),
            figure("SSv2", 64.2),
            figure("SSv2", 89.8, "top5"),
            figure("Jester", 96.7),
            figure("K400", 73.7),
            figure("UCF101", 96.2),
            figure("HMDB51", 72.2),
        ),
    ),
    "stm_r101_8f": _DEEP,
    "stm_r101_16f": replace(_DEEP, twin="stm_r101_8f", spec=replace(EIGHT, frames=16)),
    "stm_r152_8f": _DEEP,
    "stm_r152_16f": replace(_DEEP, twin="stm_r152_8f", spec=replace(EIGHT, frames=16)),
}

FAMILY = Family(
    name="stm",
    module="marey.models.stm",
    network="STM",
    cards=CARDS,
    layouts={"original": stm_original},
    shapeless=("num_classes", "dropout", "frames", "crop"),
    marks=("layer1.0.shift.weight",),
)
