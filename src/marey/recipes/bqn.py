"""Published results of BQN as recipes.

    .k400    from two ImageNet ResNets or a Kinetics X3D on Kinetics-400
    .ssv1    from ImageNet on Something-Something v1; its figures are not checked and left empty

Start them with ``--weights`` and an image ResNet-50 in torchvision's layout, which fills both
pathways.
Source: G. Huang, A. Bors, WACV 2022, and guoxih/busy-quiet-net.
Differs: their rates of single layers (five times for the first convolutions and the classifier,
more for biases) are not set here.
"""

from __future__ import annotations

from dataclasses import replace

from marey.choices import AugmentChoice, Claim, OptimChoice, RunChoice, ScheduleChoice, TaskChoice
from marey.recipe import Origin, Recipe
from marey.recipes.kinetics import named
from marey.recipes.smoke import ARROW, smoke
from marey.recipes.smoke import SMOKE as SMOKE_BASE

PAPER = "Busy-Quiet Video Disentangling for Video Classification, WACV 2022"
LISTED = "public listing of the paper's results (not re-checked)"
UNCHECKED = "the figure was not checked and is left empty"
THIRTY, SIX = "10x3 views, 256 crop", "2x3 views, 256 crop"
K400 = Origin(paper=PAPER, table="Kinetics-400", hardware="4 GPUs on each of 16 machines")
SOMETHING = Origin(
    paper=PAPER, table="Something-Something", hardware="4 GPUs on each of 4 machines"
)

RESNET = Recipe(
    augment=AugmentChoice(crop="corners"),
    task=TaskChoice(smoothing=0.1, combine="logits"),
    optim=OptimChoice(
        lr=0.08,
        reference_batch=512,
        momentum=0.9,
        nesterov=False,
        weight_decay=2e-4,
        head_lr_factor=5.0,
        clip_norm=20.0,
    ),
    schedule=ScheduleChoice(
        kind="cosine",
        epochs=100.0,
        warmup_epochs=7.0,
        warmup_start=0.008,
        cosine_after_warmup=True,
    ),
    run=RunChoice(batch=512, precision="fp16", evaluate_epochs=10),
    views=(10, 3),
)
X3D = replace(
    RESNET,
    optim=replace(RESNET.optim, lr=0.4, reference_batch=256, weight_decay=5e-5),
    schedule=replace(RESNET.schedule, epochs=256.0, warmup_start=0.04),
    run=replace(RESNET.run, batch=256),
)
SSV1 = replace(
    RESNET,
    augment=replace(RESNET.augment, flip=0.0),
    net={"dropout": 0.8},
    optim=replace(RESNET.optim, lr=0.12, reference_batch=256, weight_decay=8e-4),
    schedule=replace(RESNET.schedule, epochs=50.0, warmup_start=0.012),
    run=replace(RESNET.run, batch=256),
    views=(2, 3),
)


LARGER = {"size": 80, "test_size": 80, "short_side": 80, "jitter": [80, 90]}  # for its filters


def figures(
    dataset: str, top1: float | None, top5: float | None, protocol: str
) -> tuple[Claim, ...]:
    """Top-1 and top-5 in per cent; None where no figure could be checked."""
    source = UNCHECKED if top1 is None else LISTED
    return tuple(
        Claim(dataset=dataset, metric=metric, value=value, protocol=protocol, source=source)
        for metric, value in (("top1", top1), ("top5", top5))
    )


PUBLISHED = (
    named(RESNET, "bqn_r50_16x3.k400", K400, *figures("K400", 77.3, 93.2, THIRTY)),
    named(X3D, "bqn_x3d_m_16x3.k400", K400, *figures("K400", None, None, THIRTY)),
    named(SSV1, "bqn_r50_8x3.ssv1", SOMETHING, *figures("SSv1", None, None, SIX)),
)

SMOKE = (
    smoke(
        "bqn.smoke",
        "bqn_r50_8x3",
        ARROW,
        reached=95.0,
        net={"pool": None, "width": 12},
        clip={"frames": 4, "stride": None, "rate": None, **LARGER},
        schedule=replace(SMOKE_BASE.schedule, epochs=12.0),
    ),
)

RECIPES = {recipe.name: recipe for recipe in (*PUBLISHED, *SMOKE)}
