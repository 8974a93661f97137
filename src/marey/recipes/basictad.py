"""Published results of BasicTAD and PlusTAD as recipes, settings for one's own videos, a smoke run.

    .thumos14       from the Kinetics-400 weights of SlowOnly named in ``weights``, to be downloaded
    small_segments  one's own videos: a narrow network, minutes to hours on a processor
    tad.smoke       the same on drawn videos, in windows of eight seconds

A network that starts from nothing needs many windows: it finds where something happens within some
hundred steps, and begins to tell actions apart after about a thousand. So windows are short, ten of
each video an epoch, and turned by no angle.

Published snapshots were chosen on the test videos: epoch 300 of the anchor-based, 600 of the
anchor-free ones, of 1200.
Source: MCG-NJU/BasicTAD, configs/trainval/basictad/thumos14.
Differs: windows of one batch are not grouped by the aspect ratio of their videos.
"""

from __future__ import annotations

from dataclasses import replace

from marey.choices import (
    AugmentChoice,
    Claim,
    OptimChoice,
    RunChoice,
    ScheduleChoice,
    TaskChoice,
    WindowChoice,
)
from marey.recipe import Origin, Recipe
from marey.recipes.smoke import HARDWARE
from marey.zoo.published import basictad

THUMOS = Recipe(
    weights="SLOW_8x8_R50.pyth",
    optim=OptimChoice(
        kind="sgd",
        lr=0.01,
        reference_batch=16,
        momentum=0.9,
        nesterov=False,
        weight_decay=1e-4,
        norm_weight_decay=1e-4,
    ),
    schedule=ScheduleChoice(
        kind="cosine", epochs=1200.0, cycles=12, end=1e-4, warmup_epochs=40.0, warmup_start=1e-3
    ),
    run=RunChoice(batch=16, norm="frozen", checkpointing=True, evaluate_epochs=100),
    views=(1, 1),
)


def _thumos(model: str, head: str) -> Recipe:
    """One published detector; its claims are those of its card."""
    pairs = () if head == "anchor" else basictad.TWIN
    segments = replace(basictad.SEGMENTS[head], repeat_as=pairs)
    name = f"{model}.thumos14"
    return replace(
        THUMOS,
        name=name,
        model=model,
        task=TaskChoice(kind="temporal_detection", segments=segments),
        origin=Origin(
            paper="BasicTAD: an Astounding RGB-Only Baseline for Temporal Action Detection, 2023",
            table=basictad.README,
            hardware="8 GPUs",
            command=f"marey train THUMOS14 --recipe {name}",
        ),
        claims=basictad.CARDS[model].claims,
    )


SMALL = Recipe(
    name="small_segments",
    model="basictad_af",
    net={
        "backbone": "slow_i3d_r18_8x8",
        "backbone_net": {"width": 16, "depths": [1, 1, 1, 1]},
        "head_width": 64,
        "head_depth": 3,
    },
    clip={
        "frames": 64,
        "rate": 6.0,
        "size": 64,
        "test_size": 64,
        "short_side": 64,
        "jitter": [64, 72],
    },
    augment=AugmentChoice(flip=0.5),
    task=TaskChoice(
        kind="temporal_detection",
        windows=WindowChoice(each=10, rotation=0.0),
        segments=basictad.SEGMENTS["sigmoid"],
    ),
    optim=OptimChoice(kind="adamw", lr=3e-3, weight_decay=0.05, clip_norm=5.0),
    schedule=ScheduleChoice(epochs=60.0, warmup_epochs=2.0, warmup_start=1e-4),
    run=RunChoice(batch=8, evaluate_epochs=10),
)

DRAWN = "drawn:untrimmed?train=80&val=20&test=0&size=320x240"
SMOKE = replace(
    SMALL.changed(
        data={"path": DRAWN, "workers": 2},  # reading costs more than the network does
        clip={"frames": 40, "rate": 5.0, "jitter": [64, 76]},
        task={"windows": {"each": 5}},
        run={"evaluate_epochs": 20},
    ),
    name="tad.smoke",
    origin=Origin(
        paper="a smoke run, not a published result",
        hardware=HARDWARE,
        command=f"marey train '{DRAWN}' --recipe tad.smoke",
    ),
    claims=(
        Claim(
            dataset=DRAWN,
            metric="mAP@0.5",
            value=70.0,
            protocol="the val split, at least",
            source="78.8 seen, in 15.9 minutes on two cores, one of them for reading",
        ),
    ),
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        _thumos("basictad_ab", "anchor"),
        _thumos("basictad_af", "sigmoid"),
        _thumos("plustad_ab", "anchor"),
        _thumos("plustad_af", "softmax"),
        SMALL,
        SMOKE,
    )
}
