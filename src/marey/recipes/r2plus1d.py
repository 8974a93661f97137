"""Published results of R(2+1)D and its siblings as recipes, and a smoke run.

    .k400, .k400_16f, .k400_32f   from scratch on Kinetics-400, clips of 8, 16 and 32 frames
    .k400_sports1m                from Sports-1M weights (VMZ's figures; its settings are .k400's)
    .sports1m                     the pre-training itself; no reader here knows that data set
    .ucf101, .hmdb51              from the Kinetics-400 weights named in ``weights``

The paper counts an epoch as a million clips; here an epoch is one clip of each of Kinetics' 240
thousand videos, so its 45 epochs are 187 of ours. Video accuracy is the mean over ten clips; VMZ's
figures for depth 34 are over dense clips instead.
Two streams: run the RGB and the flow recipe, evaluate each with ``--out``, then ``marey fuse``.
Source: D. Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR
2018; the scripts and tables of facebookresearch/VMZ; torchvision's references; mmaction2's configs.
"""

from __future__ import annotations

from dataclasses import replace

from marey.choices import AugmentChoice, Claim, OptimChoice, RunChoice, ScheduleChoice
from marey.recipe import Origin, Recipe
from marey.recipes.kinetics import accuracy, named
from marey.recipes.smoke import ARROW, smoke

PAPER = "A Closer Look at Spatiotemporal Convolutions for Action Recognition, CVPR 2018"
VMZ_MODELS = "facebookresearch/VMZ c2/tutorials/models.md"
TV_DOCS = "torchvision.models.video, KINETICS400_V1"
MM_ZOO = "open-mmlab/mmaction2 configs/recognition/r2plus1d/README.md"
PASSES = 1e6 / 240_436  # of Kinetics-400 in an epoch of a million clips

TABLE_2 = Origin(paper=PAPER, table="Table 2; VMZ re-measured it", hardware="64 GPUs")
TABLE_5 = Origin(paper=PAPER, table="Table 5; VMZ re-measured it", hardware="64 GPUs", hours=59.8)
UNTOLD = Origin(paper=PAPER, table="Sports-1M", hardware="64 GPUs")
FINE = Origin(paper=PAPER, table="UCF101 and HMDB51; VMZ's scripts", hardware="8 GPUs")
TV = Origin(paper=PAPER, table=TV_DOCS, hardware="64 GPUs", hours=24.0)
MM = Origin(paper=PAPER, table=MM_ZOO, hardware="8 GPUs")

VMZ = Recipe(
    augment=AugmentChoice(crop="jitter", flip=0.5),
    optim=OptimChoice(
        kind="sgd",
        lr=0.01,
        reference_batch=32,
        momentum=0.9,
        nesterov=True,
        weight_decay=1e-4,
        norm_weight_decay=1e-4,
    ),
    schedule=ScheduleChoice(
        kind="steps",
        epochs=45 * PASSES,
        warmup_epochs=10 * PASSES,
        warmup_start=1e-3,
        steps=(20 * PASSES, 30 * PASSES, 40 * PASSES),
    ),
    run=RunChoice(batch=2048, evaluate_epochs=10),
    views=(10, 1),
)
TORCHVISION = replace(
    VMZ,
    optim=replace(VMZ.optim, reference_batch=16, nesterov=False),
    schedule=replace(
        VMZ.schedule, epochs=225.0, warmup_epochs=50.0, steps=(100.0, 150.0, 200.0)
    ),  # five clips of a video make one epoch there
    run=RunChoice(batch=1024, norm="sync", evaluate_epochs=10),
    views=(5, 1),
)
MMACTION2 = Recipe(
    augment=AugmentChoice(crop="area", flip=0.5),
    optim=OptimChoice(
        kind="sgd",
        lr=0.01,
        reference_batch=64,
        momentum=0.9,
        nesterov=False,
        weight_decay=1e-4,
        norm_weight_decay=1e-4,
        clip_norm=40.0,
    ),
    schedule=ScheduleChoice(kind="cosine", epochs=180.0),
    run=RunChoice(batch=64, norm="sync", evaluate_epochs=20),
    views=(10, 3),
)


def fine_tuned(lr: float, epoch_clips: float, videos: int) -> Recipe:
    """Eight epochs of ``epoch_clips`` clips over ``videos``, four clips on each of eight GPUs."""
    passes = epoch_clips / videos
    return replace(
        VMZ,
        clip={"frames": 32},
        optim=replace(
            VMZ.optim, lr=lr, reference_batch=4, weight_decay=0.005, norm_weight_decay=0.005
        ),
        schedule=ScheduleChoice(
            kind="steps",
            epochs=8 * passes,
            steps=(2 * passes, 4 * passes, 6 * passes),
        ),
        run=RunChoice(batch=32, evaluate_epochs=5),
    )


def video(top1: float, top5: float, frames: int) -> tuple[Claim, ...]:
    """VMZ's accuracy over ten clips."""
    return accuracy(top1, top5, VMZ_MODELS, protocol=f"10x1({frames}f) views, 112 crop")


def dense(top1: float, top5: float) -> tuple[Claim, ...]:
    """VMZ's accuracy over every clip of 32 frames."""
    return accuracy(top1, top5, VMZ_MODELS, protocol="dense(32f) clips, 112 crop")


def clips(frames: int) -> Recipe:
    """From scratch with clips of this length."""
    return replace(VMZ, clip={"frames": frames})


TABLE = (  # variant, top-1 and top-5 of videos with 8 and with 16 frames
    ("fr2d_18", (60.0, 81.8), (60.9, 81.9)),
    ("r3d_18_vmz", (62.3, 83.4), (64.7, 85.0)),
    ("mc2_18", (63.0, 83.8), (64.8, 85.1)),
    ("mc3_18_vmz", (63.3, 84.2), (65.2, 85.8)),
    ("mc4_18", (63.0, 84.2), (65.6, 85.6)),
    ("mc5_18", (62.9, 84.2), (65.6, 85.5)),
    ("rmc2_18", (62.7, 83.9), (65.4, 85.5)),
    ("rmc3_18", (62.8, 83.7), (65.5, 85.7)),
    ("rmc4_18", (62.8, 83.3), (65.6, 85.3)),
    ("rmc5_18", (61.6, 83.1), (63.5, 84.2)),
    ("r2plus1d_18", (65.3, 85.2), (68.5, 87.5)),
)
K400 = (
    named(VMZ, "r2d_18.k400", TABLE_2, *video(60.0, 81.2, 8)),
    named(VMZ, "r2d_18_16f.k400", TABLE_2, *video(59.4, 81.3, 16)),
    *(named(VMZ, f"{model}.k400", TABLE_2, *video(*short, 8)) for model, short, _ in TABLE),
    *(
        named(clips(16), f"{model}.k400_16f", TABLE_2, *video(*long, 16))
        for model, _, long in TABLE
    ),
    named(clips(32), "r2plus1d_34.k400_32f", TABLE_5, *dense(72.4, 90.6)),
    named(
        clips(32),
        "r2plus1d_34.k400_sports1m",
        TABLE_5,
        *dense(74.2, 92.1),
        weights="r2plus1d_34.sports1m.safetensors",
    ),
    named(
        VMZ,
        "r2plus1d_34_flow.k400_sports1m",
        TABLE_5,
        *dense(68.2, 88.0),
        weights="r2plus1d_34_flow.sports1m.safetensors",
    ),
    *(
        named(
            TORCHVISION,
            f"{model}.k400",
            TV,
            *accuracy(top1, top5, TV_DOCS, protocol="5x1(16f) views, 112 crop, 15 fps"),
        )
        for model, top1, top5 in (
            ("r3d_18", 63.20, 83.48),
            ("mc3_18", 63.96, 84.13),
            ("r2plus1d_18_tv", 67.46, 86.18),
        )
    ),
    named(
        MMACTION2,
        "r2plus1d_34_mm.k400",
        MM,
        *accuracy(69.76, 88.41, MM_ZOO, protocol="10x3(8x8) views, 256 crop"),
    ),
    named(
        replace(MMACTION2, clip={"frames": 32, "stride": 2}),
        "r2plus1d_34_mm.k400_32x2",
        MM,
        *accuracy(75.46, 92.28, MM_ZOO, protocol="10x3(32x2) views, 256 crop"),
    ),
)

UNCHECKED = "the paper's figure was not checked and is left empty"
SPORTS1M = tuple(
    named(recipe, name, UNTOLD, *accuracy(None, None, UNCHECKED, dataset="Sports-1M"))
    for recipe, name in (
        (VMZ, "r2plus1d_34.sports1m"),
        (clips(32), "r2plus1d_34.sports1m_32f"),
        (VMZ, "r2plus1d_34_flow.sports1m"),
    )
)

SMALL_SETS = (
    named(
        fine_tuned(1e-4, 100_000, 9_537),
        "r2plus1d_34.ucf101",
        FINE,
        *accuracy(None, None, UNCHECKED, dataset="UCF101"),
        weights="r2.5d_d34_l32.pkl",
    ),
    named(
        fine_tuned(2e-4, 40_000, 3_570),
        "r2plus1d_34.hmdb51",
        FINE,
        Claim(
            dataset="HMDB51",
            metric="top1",
            value=66.1,
            protocol="1x1(32f) view, one clip, split 1",
            source="facebookresearch/VMZ c2/tutorials/hmdb51_finetune.md",
        ),
        weights="r2.5d_d34_l32.pkl",
    ),
)

SMOKE = (
    smoke(
        "r2plus1d.smoke",
        "r2plus1d_18",
        ARROW,
        reached=90.0,
        net={"stem_mid": 24},
        clip={"size": 48, "test_size": 48, "short_side": 48, "jitter": [48, 54]},
    ),
)

RECIPES = {recipe.name: recipe for recipe in (*K400, *SPORTS1M, *SMALL_SETS, *SMOKE)}
