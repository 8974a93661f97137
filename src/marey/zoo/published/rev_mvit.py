"""Reversible MViT and ViT as published: what each row reads, costs and claims."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from marey.zoo.cards import Card, Family
from marey.zoo.published.mvit import AT_16, CLIP_16, SF, ZOO, clips, imagenet, images, scores
from marey.zoo.published.mvit_names import FORMS
from marey.zoo.published.mvit_names import pyslowfast as plain

CARDS: dict[str, Card] = {
    "rev_mvit_b_16x4": replace(
        clips(AT_16, 34.96, 63.85, CLIP_16, f"{SF}/Kinetics/REV_MVIT_B_16x4_CONV.yaml"),
        claims=scores("K400", 78.4, 93.4, "5x1", ZOO),
    ),
    "rev_mvit_b_16": replace(
        images(39.69, 8.67, f"{SF}/ImageNet/REV_MVIT_B_16_CONV.yaml"),
        claims=(imagenet(82.9, ZOO),),
    ),
    "rev_vit_s": replace(
        images(22.43, 4.58, f"{SF}/ImageNet/REV_VIT_S.yaml"), claims=(imagenet(79.9, ZOO),)
    ),
    "rev_vit_b": replace(
        images(87.34, 17.49, f"{SF}/ImageNet/REV_VIT_B.yaml"), claims=(imagenet(81.8, ZOO),)
    ),
}


def pyslowfast(name: str, config: Any) -> str:
    """Names of PySlowFast's ``model_state``."""
    name = plain(name, config)
    for pattern, theirs in {
        r"^blocks\.": "rev_backbone.layers.",
        r"\.f\.": ".F.",
        r"\.g\.": ".G.",
        r"\.fuse\.": ".pre_q_fuse.fuse_fn.",
        r"\.widen\.": ".res_proj.",
    }.items():
        name = re.sub(pattern, theirs, name)
    return name


FAMILY = Family(
    name="rev_mvit",
    module="marey.models.rev_mvit",
    network="RevMViT",
    cards=CARDS,
    layouts={"pyslowfast": pyslowfast},
    shapeless=(
        *("num_classes", "dropout", "shortcut", "separate_qkv", "drop_path"),
        *("drop_whole", "reversible", "attention"),
    ),
    forms={"pyslowfast": FORMS["pyslowfast"]},
    resize="marey.layers.positions.resized",
)
