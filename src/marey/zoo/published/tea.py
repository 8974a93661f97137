"""TEA as published: what each row reads, costs and claims. No weights were ever released.

The paper's figures were not checked and are left empty; a user of the authors' code reports 48.82
top-1 on Something-Something V1 with eight frames (issue 2 of the repository).
"""

from __future__ import annotations

from dataclasses import replace

from marey.choices import Claim
from marey.zoo.cards import Card, Family
from marey.zoo.published.frame_names import tea_original
from marey.zoo.published.tsn import FRAME

CODE = "Phoenix1327/tea-action-recognition"
EIGHT = replace(FRAME, frames=8, test_frames=0, test_size=256, views=(10, 3))


def figure(dataset: str, value: float | None, protocol: str, source: str) -> Claim:
    return Claim(dataset=dataset, metric="top1", value=value, protocol=protocol, source=source)


_R50 = Card(
    spec=EIGHT,
    params_m=24.46,
    gmacs=34.54,
    at="8x224x224",
    classes="",
    claims=(
        figure("SSv1", 48.82, "1x1 view, 224 crop", f"{CODE} issue 2, a user's run"),
        figure("SSv1", None, "10x3 views, 256 crop", "Y. Li et al., CVPR 2020"),
    ),
    source=CODE,
    licence="not stated",
    note="no published weights",
)

CARDS: dict[str, Card] = {
    "tea_r50_8f": _R50,
    "tea_r50_16f": replace(
        _R50,
        twin="tea_r50_8f",
        spec=replace(EIGHT, frames=16),
        gmacs=69.08,
        at="16x224x224",
        claims=(figure("SSv1", None, "10x3 views, 256 crop", "Y. Li et al., CVPR 2020"),),
    ),
    "tea_r101_8f": replace(
        _R50, params_m=None, gmacs=None, at="", claims=(), note="no published weights or numbers"
    ),
}

FAMILY = Family(
    name="tea",
    module="marey.models.tea",
    network="TEA",
    cards=CARDS,
    layouts={"original": tea_original},
    shapeless=("num_classes", "dropout", "frames", "crop", "gate"),
)
