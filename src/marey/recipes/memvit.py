"""MeMViT: what its Kinetics starts were made from, long videos of one's own, and a smoke run.

    .k400, .k600, .k700   networks without memory; no accuracy was published, the settings are
                          MViTv2's
    long_videos           one's own videos with segments, from a Kinetics start, with memory
    .epic                 actions of EPIC-Kitchens-100, verbs and nouns, remembering earlier ones
    .epic_ahead           the same a second before they start, told at every frame, causal
    memvit.smoke          a prop is taken, and later used out of sight

The published AVA rows answer for boxes. EPIC-Kitchens-100 figures are the paper's, its recipes were
not released: those here take the settings of ``long_videos``.
Source: C.-Y. Wu et al., "MeMViT: Memory-Augmented Multiscale Vision Transformer for Efficient
Long-Term Video Recognition", CVPR 2022; facebookresearch/MeMViT, configs/AVA (the optimiser and
the schedule of ``long_videos``) and defaults.py (anticipation is causal, and told at every frame).
Differs: the newest clip looked at is the one just compressed, so that the compression learns; the
published settings leave it as it started.
"""

from __future__ import annotations

from marey.choices import (
    AugmentChoice,
    Claim,
    OptimChoice,
    RunChoice,
    ScheduleChoice,
    StreamChoice,
    TaskChoice,
)
from marey.recipe import Origin, Recipe
from marey.recipes.kinetics import accuracy, named
from marey.recipes.mvit import KINETICS
from marey.recipes.smoke import smoke

PAPER = Origin(paper="MeMViT, CVPR 2022", table="Section 5, pre-training")
README = "facebookresearch/MeMViT README.md names the weights and no accuracy"


def _start(name: str, dataset: str) -> Recipe:
    """A network to start from, without memory."""
    empty = accuracy(None, None, README, dataset=dataset, protocol="5x1 views, 224 crop")
    return named(KINETICS, name, PAPER, *empty)


LONG = Recipe(
    name="long_videos",
    model="memvit_16x4",
    weights="memvit_16x4.k400.safetensors",
    net={"memory": [[2, 4], []], "uncompressed": 2, "drop_path": 0.4},
    augment=AugmentChoice(flip=0.5),
    task=TaskChoice(kind="long_video", streams=StreamChoice(step_s=1.0, perturb=True)),
    optim=OptimChoice(kind="sgd", lr=0.075, reference_batch=16, weight_decay=1e-8),
    schedule=ScheduleChoice(
        epochs=30.0,
        warmup_epochs=5.0,
        warmup_start=1e-6,
        end=1e-6,
        cosine_after_warmup=True,
    ),
    run=RunChoice(batch=16, evaluate_epochs=5),
    views=(1, 1),
)

PUBLIC = "the challenge's public leaderboard; the paper"
EPIC_PAPER = Origin(paper="MeMViT, CVPR 2022", table="EPIC-Kitchens-100, recognition, anticipation")


def _epic(model: str, start: str, metric: str, value: float, ahead: str = "") -> Recipe:
    """Clips of actions or, with a clip's seconds in ``ahead``, of what is seen up to one second
    before them."""
    where = {"label": "verb+noun", **({"ahead_s": "1", "observed_s": ahead} if ahead else {})}
    of_frames = {"causal": True, "frame_level": True} if ahead else {}
    base = LONG.changed(
        data={"where": where},
        net={"drop_path": 0.4, **of_frames},
        task={"streams": {"step_s": 0.0}},
    )
    claim = Claim(
        dataset="EPIC-Kitchens-100",
        metric=metric,
        value=value,
        protocol="one clip, with memory",
        source=PUBLIC,
    )
    weights = f"{model}.{start}.safetensors"
    name = f"{model}.epic_ahead" if ahead else f"{model}.epic"
    return named(base, name, EPIC_PAPER, claim, weights=weights)


DRAWN = "drawn:recall?train=96&val=16&test=24&difficulty=0&size=96x72&fps=2&distance_s=2-12"
SMOKE = smoke(
    "memvit.smoke",
    "memvit_16x4",
    DRAWN,
    reached=80.0,
    metric="mAP",
    net={
        "width": 32,
        "depths": [1, 2],
        "strides": [1, 2],
        "patch_kernel": [3, 15, 15],
        "patch_stride": [2, 8, 8],
        "kv_stride": 2,
        "dropout": 0.0,
        "drop_path": 0.0,
        "pool": None,
        "memory": [[], [], [1, 2, 3, 4, 5, 6]],  # what the last layer recalls is told by two
        "compress_kernel": [1, 1, 1],  # few tokens as it is
        "compress_stride": [1, 1, 1],
    },
    clip={"frames": 2, "stride": 2, "rate": 2.0},
    augment=AugmentChoice(flip=0.5),
    task=TaskChoice(kind="long_video"),
    optim=OptimChoice(kind="adamw", lr=1e-3, weight_decay=0.05, clip_norm=1.0),
    schedule=ScheduleChoice(epochs=20.0, warmup_epochs=1.0, warmup_start=1e-4),
    run=RunChoice(batch=16, evaluate_epochs=20),
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        _start("memvit_16x4.k400", "K400"),
        _start("memvit_32x3.k600", "K600"),
        _start("memvit_32x3.k700", "K700"),
        LONG,
        _epic("memvit_16x4", "k400", "verb_top1", 70.6),
        _epic("memvit_32x3", "k600", "verb_top1", 71.4),
        _epic("memvit_16x4", "k400", "verb_recall5", 32.8, ahead="2.1334"),
        _epic("memvit_32x3", "k600", "action_recall5", 17.7, ahead="3.2"),
        SMOKE,
    )
}
