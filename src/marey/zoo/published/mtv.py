"""MTV as published: what each row reads, costs and claims.

Addresses of weight files are not listed: the repository's page links them from a store of its own.
"""

from __future__ import annotations

from marey.choices import Claim
from marey.types import ClipSpec
from marey.zoo.cards import Card, Family, Form
from marey.zoo.published import mtv_names

README = "google-research/scenic projects/mtv/README.md"
SPEC = ClipSpec(
    frames=32,
    stride=2,
    test_size=224,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    views=(4, 3),
)


def claim(
    dataset: str, value: float, protocol: str = "4x3 views, 224 crop", metric: str = "top1"
) -> Claim:
    return Claim(dataset=dataset, metric=metric, value=value, protocol=protocol, source=README)


CARDS: dict[str, Card] = {
    "mtv_b2_s4_ti8": Card(
        spec=SPEC,
        params_m=304.27,
        gmacs=374.6,
        at="32x224x224",
        claims=(
            claim("K400", 81.8),
            claim("K600", 83.8),
            claim("K700", 73.5),
            claim("EPIC-Kitchens-100", 46.7, "4x1 views, from K400", "action_top1"),
            claim("EPIC-Kitchens-100", 48.0, "4x1 views, from K700", "action_top1"),
        ),
        source="google-research/scenic projects/mtv/configs/kinetics/k400_mtv_b2_cva.py",
        licence="Apache-2.0",
        note="MTV-B; multiply-adds counted by hand on the authors' network, attention included",
    ),
    "mtv_l2_b4_s8_ti16": Card(
        spec=SPEC,
        classes="kinetics600",
        claims=(
            claim("K600", 84.4),
            claim("K700", 75.2),
            claim("MiT", 42.5, "1x3 views, 224 crop"),
        ),
        source=README,
        licence="Apache-2.0",
        note="MTV-L; published for Kinetics-600, -700 and Moments in Time",
    ),
}

FAMILY = Family(
    name="mtv",
    module="marey.models.mtv",
    network="MTV",
    cards=CARDS,
    layouts={"flax": mtv_names.flax},
    forms={"flax": Form(read=mtv_names.read, write=mtv_names.write)},
    resize="marey.models.mtv.resized",
    shapeless=("num_classes", "dropout", "drop_path"),
)
