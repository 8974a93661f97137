"""MeMViT as published: what each row reads, costs and claims, and how its authors name tensors.

The AVA weights were trained with the clips before in memory, without masks; their licence, as that
of the Kinetics weights, forbids commercial use. Parameters and multiply-adds are counted on the
authors' code: of clip networks without memory, of ``_ava`` the parameters with the box block.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from marey.choices import Claim
from marey.zoo.cards import Card, Family
from marey.zoo.published.mvit import AT_16, AT_32, CLIP_16, CLIP_32
from marey.zoo.published.mvit_names import pyslowfast

README = "facebookresearch/MeMViT README.md"
CODE = "facebookresearch/MeMViT configs"
LICENCE = "CC-BY-NC-4.0"
GAPS = {16: 2, 24: 3}  # clips between memories, of the published depths


def ava(value: float, pretrained: str) -> Claim:
    """Mean average precision on AVA v2.2."""
    protocol = f"from {pretrained}, short side 224, whole frames"
    return Claim(dataset="AVA 2.2", metric="mAP", value=value, protocol=protocol, source=README)


def epic(metric: str, value: float) -> Claim:
    """A figure of the paper on EPIC-Kitchens-100 that its public leaderboard has too."""
    protocol = "one clip, with memory"
    source = "the challenge's public leaderboard; the paper"
    return Claim(
        dataset="EPIC-Kitchens-100", metric=metric, value=value, protocol=protocol, source=source
    )


def _card(spec: Any, params: float, gmacs: float | None, at: str, config: str) -> Card:
    source = f"{CODE}/{config}"
    return Card(spec=spec, params_m=params, gmacs=gmacs, at=at, source=source, licence=LICENCE)


WIDE_16 = replace(AT_16, short_side=224, test_size=224, jitter=(256, 320), views=(1, 1))
WIDE_32 = replace(WIDE_16, frames=32, stride=3)

CARDS: dict[str, Card] = {
    "memvit_16x4": replace(
        _card(AT_16, 34.53, 57.4, CLIP_16, "AVA/MeMViT_16_K400.yaml without memory"),
        claims=(epic("verb_top1", 70.6), epic("verb_recall5", 32.8)),
    ),
    "memvit_32x3": replace(
        _card(AT_32, 51.22, 205.8, CLIP_32, "AVA/MeMViT_24_K600.yaml without memory"),
        claims=(epic("verb_top1", 71.4), epic("action_recall5", 17.7)),
    ),
    "memvit_16x4_ava": replace(
        _card(WIDE_16, 42.23, None, "", "AVA/MeMViT_16_K400.yaml"),
        classes="",
        claims=(ava(29.3, "K400"),),
        note="needs boxes; one clip a second, in order",
    ),
    "memvit_32x3_ava": replace(
        _card(WIDE_32, 59.44, None, "", "AVA/MeMViT_24_K600.yaml"),
        classes="",
        claims=(ava(32.3, "K600"), ava(34.4, "K700")),
        note="needs boxes; one clip a second, in order",
    ),
}


def original(name: str, config: Any) -> str:
    """Names of the authors' ``model_state``."""
    name = re.sub(r"attn\.compress_(.)\.norm\.", r"attn.norm_compress_\1.", name)
    return pyslowfast(name, config)


def infer(state: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """Fields that published names and shapes give away. Gaps between memories are not visible:
    they are those of the published network of this depth."""
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    rows = {n: shapes.get(f"blocks.0.attn.rel_pos_{n}", (0,))[0] for n in ("h", "t", "mem_t")}
    widths: list[int] = []
    while shape := shapes.get(f"blocks.{len(widths)}.attn.q.weight"):
        widths.append(shape[0])
    if not widths or not rows["h"]:
        return {}
    step_t, step = config.patch_stride[:2]
    time = (rows["t"] + 1) // 2
    fields: dict[str, Any] = {
        "width": widths[0],
        "depths": tuple(widths.count(w) for w in dict.fromkeys(widths)),
        "crop": (rows["h"] + 1) // 2 * step,
        "frames": time * step_t,
        "boxes": "box_blocks.0.norm1.weight" in shapes,
    }
    if fields["boxes"] and not config.boxes:
        fields["box_padding"] = "zeros"
    clips = (rows["mem_t"] + 1) // time - 1 if rows["mem_t"] else 0
    if clips != max((len(ages) for ages in config.memory), default=0):
        gap = GAPS.get(len(widths), 1)
        fields["memory"] = (tuple(gap * (i + 1) for i in range(clips)), ()) if clips else ()
    return fields


FAMILY = Family(
    name="memvit",
    module="marey.models.memvit",
    network="MeMViT",
    cards=CARDS,
    layouts={"original": original},
    shapeless=(
        *("num_classes", "dropout", "rule", "drop_path", "head_scale", "attention"),
        *("uncompressed", "masked", "oblong", "box_heads", "box_slots", "box_padding"),
        *("causal", "frame_level"),
    ),
    infer=infer,
    resize="marey.layers.positions.resized",
    start="marey.zoo.memory_start",
)
