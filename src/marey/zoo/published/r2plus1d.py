"""R(2+1)D and its siblings as published: what each reads, costs and claims, and where weights are.

Accuracies are top-1 / top-5 of whole videos unless the protocol says one clip: the two differ by
ten points and more. Multiply-adds are the publishers' own; VMZ's for depth 34 and 152 were counted
at 128 pixels, though its table says 112.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from marey.choices import Claim
from marey.types import ClipSpec
from marey.zoo.cards import Card, Family, WeightsFile
from marey.zoo.published.r2plus1d_names import LAYOUTS
from marey.zoo.published.resnet3d import PTV, PTV_ZOO, kinetics, pair

VMZ_MODELS = "facebookresearch/VMZ c2/tutorials/models.md"
VMZ_ZOO = "facebookresearch/VMZ c2/tutorials/model_zoo.md"
VMZ_HMDB51 = "facebookresearch/VMZ c2/tutorials/hmdb51_finetune.md"
TV_DOCS = "torchvision.models.video, KINETICS400_V1"
MM_ZOO = "open-mmlab/mmaction2 configs/recognition/r2plus1d/README.md"
TEN, ONE, DENSE = (
    "10x1({}) views, 112 crop",
    "1x1({}) view, one clip",
    "dense({}) clips, 112 crop",
)
DROPBOX = "https://www.dropbox.com/s"
IG65M = "https://github.com/moabitcoin/ig65m-pytorch/releases/download/v1.0.0"
TORCH = "https://download.pytorch.org/models"
OPENMMLAB = "https://download.openmmlab.com/mmaction/v2.0/recognition/r2plus1d"

VMZ_SPEC = ClipSpec(
    frames=8,
    stride=1,
    size=112,
    test_size=112,
    short_side=128,
    jitter=(128, 160),
    mean=(0.43216, 0.394666, 0.37645),
    std=(0.22803, 0.22145, 0.216989),
    views=(10, 1),
)
FLOW: dict[str, Any] = {"mean": (0.0047, 0.0046), "std": (0.972, 0.755)}
FLOW_SPEC = replace(VMZ_SPEC, frames=32, modality="flow", **FLOW)
TV_SPEC = replace(VMZ_SPEC, frames=16, rate=15.0, jitter=(128, 128), views=(5, 1))
MM_SPEC = ClipSpec(
    frames=8, stride=8, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), views=(10, 3)
)
PTV_SPEC = ClipSpec(frames=16, stride=4)

VMZ = Card(
    spec=VMZ_SPEC,
    modalities={"flow": FLOW},
    source="facebookresearch/VMZ",
    licence="Apache-2.0",
)
FITS = "weights of any clip length fit: give frames=16 or 32 where they were trained so"


def pickled(path: str, tag: str = "k400") -> WeightsFile:
    """One of VMZ's Caffe2 files."""
    return WeightsFile(tag=tag, layout="caffe2", address=f"{DROPBOX}/{path}?dl=0")


def ported(file: str, tag: str) -> WeightsFile:
    """One of VMZ's files as rewritten for PyTorch by others."""
    return WeightsFile(tag=tag, layout="vmz", address=f"{IG65M}/{file}")


def row(
    params_m: float,
    gmacs: float,
    short: tuple[float, float, float],
    long: tuple[float, float, float],
    files: tuple[str, ...],
) -> Card:
    """A row of VMZ's tables for 8 and 16 frames: clip top-1, video top-1 and top-5."""
    claims: tuple[Claim, ...] = ()
    for frames, (clip, top1, top5) in ((8, short), (16, long)):
        claims += pair({"top1": top1, "top5": top5}, "K400", TEN.format(f"{frames}f"), VMZ_MODELS)
        claims += pair({"top1": clip}, "K400", ONE.format(f"{frames}f"), VMZ_MODELS)
    return replace(
        VMZ,
        params_m=params_m,
        gmacs=gmacs,
        at="8x112x112",
        claims=claims,
        weights=tuple(pickled(file) for file in files),
        note=FITS,
    )


_R2D = row(
    11.45,
    1.9,
    (47.0, 60.0, 81.2),
    (47.5, 59.4, 81.3),
    ("ju4fah9dksn08s1/r2d_d18_l8.pkl",),
)
_R3D = row(
    33.37,
    20.3,
    (49.8, 62.3, 83.4),
    (52.9, 64.7, 85.0),
    ("n3ax2591imcy9ly/r3d_d18_l8.pkl", "8tqp8uhjmedflu1/r3d_d18_l16.pkl"),
)
_MC3 = row(
    11.70,
    21.7,
    (51.1, 63.3, 84.2),
    (54.1, 65.2, 85.8),
    ("3jxzhc3kduyrpik/mc3_d18_l8.pkl", "rpgbzjewagjeu2f/mc3_d18_l16.pkl"),
)

EIGHTEEN: dict[str, Card] = {
    "r2d_18": replace(_R2D, claims=_R2D.claims[:3], note="8 frames exactly; see r2d_18_16f"),
    "fr2d_18": row(
        11.38,
        13.8,
        (48.5, 60.0, 81.8),
        (50.7, 60.9, 81.9),
        ("4jexszps3564za3/r2df_d18_l8.pkl", "4yy0tdfebdy0ptr/r2df_d18_l16.pkl"),
    ),
    "r3d_18": Card(
        spec=TV_SPEC,
        params_m=33.37,
        gmacs=40.70,
        at="16x112x112",
        claims=pair({"top1": 63.20, "top5": 83.48}, "K400", "5x1(16f) views, 15 fps", TV_DOCS),
        weights=(
            WeightsFile(tag="k400", layout="torchvision", address=f"{TORCH}/r3d_18-b3b3357e.pth"),
        ),
        source="pytorch/vision torchvision/models/video/resnet.py",
        licence="BSD-3-Clause",
        note="trained on videos at 15 frames a second; other rates cost accuracy",
    ),
    "mc2_18": row(
        11.40,
        14.3,
        (50.6, 63.0, 83.8),
        (53.6, 64.8, 85.1),
        ("lkmhyjok8odtv8e/mc2_d18_l8.pkl", "xmtqk2w3p60yly0/mc2_d18_l16.pkl"),
    ),
    "mc3_18": Card(
        spec=TV_SPEC,
        params_m=11.70,
        gmacs=43.34,
        at="16x112x112",
        claims=pair({"top1": 63.96, "top5": 84.13}, "K400", "5x1(16f) views, 15 fps", TV_DOCS),
        weights=(
            WeightsFile(tag="k400", layout="torchvision", address=f"{TORCH}/mc3_18-a90a0ba3.pth"),
        ),
        source="pytorch/vision torchvision/models/video/resnet.py",
        licence="BSD-3-Clause",
        note="trained on videos at 15 frames a second; other rates cost accuracy",
    ),
    "mc4_18": row(
        12.73,
        20.0,
        (50.9, 63.0, 84.2),
        (54.3, 65.6, 85.6),
        ("vx2xee36et823gs/mc4_d18_l8.pkl", "lrjwye0ldsgi2p2/mc4_d18_l16.pkl"),
    ),
    "mc5_18": row(
        16.86,
        20.0,
        (50.7, 62.9, 84.2),
        (54.1, 65.6, 85.5),
        ("z6fxv6jr30i2lwz/mc5_d18_l8.pkl", "3qp62d3159rzwsj/mc5_d18_l16.pkl"),
    ),
    "rmc2_18": row(
        33.35,
        19.9,
        (50.2, 62.7, 83.9),
        (53.5, 65.4, 85.5),
        ("vnjpzq7li2b7tk2/rmc2_d18_l8.pkl", "70k3p0xz6rjcdtb/rmc2_d18_l16.pkl"),
    ),
    "rmc3_18": row(
        33.06,
        12.5,
        (50.2, 62.8, 83.7),
        (53.6, 65.5, 85.7),
        ("1vwjomlc45ox6u1/rmc3_d18_l8.pkl", "n8eulubwh6l3o0b/rmc3_d18_l16.pkl"),
    ),
    "rmc4_18": row(
        32.03,
        14.5,
        (50.3, 62.8, 83.3),
        (53.9, 65.6, 85.3),
        ("zots41ng2xs2ezu/rmc4_d18_l8.pkl", "di3wwadbapc61rn/rmc4_d18_l16.pkl"),
    ),
    "rmc5_18": row(
        27.90,
        15.4,
        (49.7, 61.6, 83.1),
        (52.5, 63.5, 84.2),
        ("3e56jjx6x1qot4x/rmc5_d18_l8.pkl", "lb5jaji177hid7p/rmc5_d18_l16.pkl"),
    ),
    "r2plus1d_18": row(
        33.37,
        20.7,
        (53.2, 65.3, 85.2),
        (57.3, 68.5, 87.5),
        ("wzgx4d80mrh7pnf/r2.5d_d18_l8.pkl", "94d2ruqn6tp7xno/r2.5d_d18_l16.pkl"),
    ),
}

_34 = replace(VMZ, note="no published weights or numbers at this depth")
_152 = replace(_34, spec=replace(VMZ_SPEC, frames=32))
_UNPUBLISHED = {
    **{name.replace("_18", "_34"): _34 for name in EIGHTEEN},
    **{name.replace("_18", "_152"): _152 for name in EIGHTEEN},
}

CARDS: dict[str, Card] = {
    **EIGHTEEN,
    **_UNPUBLISHED,
    "r2plus1d_34": replace(
        VMZ,
        params_m=63.70,
        gmacs=49.8,
        at="8x128x128",
        claims=pair({"top1": 74.9, "top5": 91.8}, "K400", TEN.format("8f,IG-65M"), VMZ_ZOO)
        + pair({"top1": 80.0, "top5": 94.2}, "K400", TEN.format("32f,IG-65M"), VMZ_ZOO)
        + pair({"top1": 66.1}, "HMDB51", "1x1(32f) view, one clip, split 1", VMZ_HMDB51)
        + pair({"top1": 72.4, "top5": 90.6}, "K400", DENSE.format("32f"), VMZ_MODELS)
        + pair({"top1": 74.2, "top5": 92.1}, "K400", DENSE.format("32f,Sports-1M"), VMZ_MODELS),
        weights=(
            pickled("p81twy88kwrrcop/r2plus1d_34_clip8_ft_kinetics_from_ig65m_%20f128022400.pkl"),
            pickled("z41ff7vs0bzf6b8/r2plus1d_34_clip32_ft_kinetics_from_ig65m_%20f106169681.pkl"),
            pickled("6xwyu1az6oy4ts7/r2plus1d_34_clip8_ig65m_from_scratch_f79708462.pkl", "ig65m"),
            pickled(
                "eimo232tqw8mwi9/r2plus1d_34_clip32_ig65m_from_scratch_f102649996.pkl", "ig65m"
            ),
            pickled("y6c6jf7myv2w6iq/r2.5d_d34_l32.pkl"),
            pickled("odd9smqn2t54run/r2.5d_d34_l32_ft_sports1m.pkl"),
            ported("r2plus1d_34_clip8_ft_kinetics_from_ig65m-0aa0550b.pth", "k400"),
            ported("r2plus1d_34_clip32_ft_kinetics_from_ig65m-ade133f1.pth", "k400"),
            ported("r2plus1d_34_clip8_ig65m_from_scratch-9bae36ae.pth", "ig65m"),
            ported("r2plus1d_34_clip32_ig65m_from_scratch-449a7af9.pth", "ig65m"),
        ),
        note=FITS,
    ),
    "r2plus1d_152": replace(
        _152,
        params_m=118.23,
        gmacs=329.1,
        at="32x128x128",
        claims=pair({"top1": 77.3, "top5": 92.5}, "K400", TEN.format("32f"), VMZ_ZOO)
        + pair({"top1": 79.5, "top5": 94.0}, "K400", TEN.format("32f,Sports-1M"), VMZ_ZOO)
        + pair({"top1": 81.6, "top5": 95.3}, "K400", TEN.format("32f,IG-65M"), VMZ_ZOO),
        weights=(
            pickled("9770y063u3z5bmb/r2plus1d_152_kinetics_from_scratch_f127858918.pkl"),
            pickled("twvcpe30rxuaf45/r2plus1d_152_ft_kinetics_from_sports1m_f128957437.pkl"),
            pickled("tmxuae8ubo5gipy/r2plus1d_152_ft_kinetics_from_ig65m_f107107466.pkl"),
            pickled(
                "w5cdqeyqukuaqt7/r2plus1d_152_sports1m_from_scratch_f127111290.pkl", "sports1m"
            ),
            pickled("oqdg176p7nqc84v/r2plus1d_152_ig65m_from_scratch_f106380637.pkl", "ig65m"),
        ),
        note="VMZ's PyTorch code adds a pool after the stem by default; these weights have none",
    ),
    "r3d_18_vmz": replace(_R3D, twin="r3d_18"),
    "mc3_18_vmz": replace(_MC3, twin="mc3_18"),
    "r2d_18_16f": replace(
        _R2D,
        spec=replace(VMZ_SPEC, frames=16),
        params_m=11.52,
        gmacs=2.2,
        at="16x112x112",
        claims=_R2D.claims[3:],
        weights=(pickled("hyw8ltzvhadxgia/r2d_d18_l16.pkl"),),
        note="16 frames exactly; see r2d_18",
    ),
    "r2plus1d_34_flow": replace(
        VMZ,
        spec=FLOW_SPEC,
        claims=pair(
            {"top1": 68.2, "top5": 88.0}, "K400", DENSE.format("32f,Sports-1M"), VMZ_MODELS
        ),
        weights=(pickled("30zj1t9xte5vy64/r2.5d_d34_l32_ft_sports1m_optical_flow.pkl"),),
        note="two-channel Farneback flow of 33 frames, in pixels, not 8-bit images",
    ),
    "r2plus1d_18_tv": Card(
        spec=TV_SPEC,
        params_m=31.51,
        gmacs=40.52,
        at="16x112x112",
        claims=pair({"top1": 67.46, "top5": 86.18}, "K400", "5x1(16f) views, 15 fps", TV_DOCS),
        weights=(
            WeightsFile(
                tag="k400", layout="torchvision", address=f"{TORCH}/r2plus1d_18-91a641e6.pth"
            ),
        ),
        source="pytorch/vision torchvision/models/video/resnet.py",
        licence="BSD-3-Clause",
        note="trained on videos at 15 frames a second; other rates cost accuracy",
    ),
    "r2plus1d_34_mm": Card(
        spec=MM_SPEC,
        params_m=63.76,
        gmacs=53.2,
        at="8x256x256",
        claims=pair({"top1": 69.76, "top5": 88.41}, "K400", "10x3(8x8) views, 256 crop", MM_ZOO)
        + pair({"top1": 75.46, "top5": 92.28}, "K400", "10x3(32x2) views, 256 crop", MM_ZOO),
        weights=tuple(
            WeightsFile(
                tag="k400",
                layout="mmaction2",
                address=f"{OPENMMLAB}/r2plus1d_r34_{name}/r2plus1d_r34_{name}_{date}.pth",
            )
            for name, date in (
                ("8x8x1_180e_8xb8_kinetics400_rgb", "20220812-47cfe041"),
                ("32x2x1_180e_8xb8_kinetics400_rgb", "20220812-4270588c"),
            )
        ),
        source="open-mmlab/mmaction2 configs/_base_/models/r2plus1d_r34.py",
        licence="Apache-2.0",
        note="for the 32x2 weights give frames=32",
    ),
    "r2plus1d_r50_ptv": Card(
        spec=PTV_SPEC,
        params_m=28.11,
        gmacs=76.45,
        at="16x256x256",
        claims=kinetics(76.01, 92.23, PTV_ZOO),
        weights=(
            WeightsFile(
                tag="k400",
                layout="pytorchvideo",
                address=f"{PTV}/kinetics/R2PLUS1D_16x4_R50.pyth",
            ),
        ),
        source="facebookresearch/pytorchvideo pytorchvideo/models/r2plus1d.py",
        licence="Apache-2.0",
    ),
}

FAMILY = Family(
    name="r2plus1d",
    module="marey.models.r2plus1d",
    network="R2Plus1d",
    cards=CARDS,
    layouts=LAYOUTS,
    shapeless=("num_classes", "dropout", "crop", "pool", "eps"),
)
