"""What a run starts from when no published recipe is named: the user's own, usually small, data.

small      nothing named: a narrow 3-D ResNet, minutes on a laptop's processor
scratch    a published network named, no weights: a short schedule for hundreds to
           thousands of clips, not the published 196 epochs on Kinetics
finetune   weights named: a few epochs, a fresh head ten times faster than the rest
"""

from __future__ import annotations

from marey.choices import AugmentChoice, OptimChoice, RunChoice, ScheduleChoice
from marey.recipe import Recipe

SMALL = Recipe(
    name="small",
    model="slow_i3d_r18_8x8",
    net={"width": 16, "depths": [1, 1, 1, 1], "dropout": 0.1, "pool": "global"},
    clip={
        "frames": 12,
        "sampling": "segment",
        "size": 96,
        "test_size": 96,
        "short_side": 96,
        "jitter": [96, 112],
        "views": [1, 3],
    },
    optim=OptimChoice(kind="adamw", lr=4e-3, weight_decay=0.05),
    schedule=ScheduleChoice(epochs=30.0, warmup_epochs=2.0, warmup_start=1e-4),
    run=RunChoice(batch=8),
)

SCRATCH = Recipe(
    name="scratch",
    augment=AugmentChoice(),
    optim=OptimChoice(kind="adamw", lr=1e-3, weight_decay=0.05, clip_norm=1.0),
    schedule=ScheduleChoice(epochs=60.0, warmup_epochs=5.0, warmup_start=1e-5),
    run=RunChoice(batch=8),
)

FINETUNE = Recipe(
    name="finetune",
    optim=OptimChoice(kind="adamw", lr=1e-4, weight_decay=0.01, head_lr_factor=10.0, clip_norm=1.0),
    schedule=ScheduleChoice(epochs=12.0, warmup_epochs=1.0, warmup_start=1e-6),
    run=RunChoice(batch=8, norm="batch", precise_bn=0),
)

RECIPES = {recipe.name: recipe for recipe in (SMALL, SCRATCH, FINETUNE)}
