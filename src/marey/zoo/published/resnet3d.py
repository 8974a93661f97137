"""C2D, I3D and Slow as published: what each reads, costs and claims, and where its weights are.

Parameters and multiply-adds (at the 256-pixel test crop) are those of the authors' code; accuracies
are top-1 / top-5 with 10 x 3 views unless the claim says otherwise.
"""

from __future__ import annotations

from dataclasses import replace

from marey.choices import Claim
from marey.types import ClipSpec
from marey.zoo.cards import Card, Family, WeightsFile
from marey.zoo.published.resnet_names import LAYOUTS, mmaction2

SLOWFAST_ZOO = "facebookresearch/SlowFast MODEL_ZOO.md"
PTV_ZOO = "facebookresearch/pytorchvideo docs/source/model_zoo.md"
NONLOCAL_ZOO = "facebookresearch/video-nonlocal-net README.md"
PYSLOWFAST = "https://dl.fbaipublicfiles.com/pyslowfast"
PTV = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo"
NONLOCAL = "https://dl.fbaipublicfiles.com/video-nonlocal"
VIEWS = "10x3 views, 256 crop"

AT_8 = ClipSpec(frames=8, stride=8)
AT_4 = ClipSpec(frames=4, stride=16)
IMAGE = ClipSpec(
    frames=1,
    stride=1,
    test_size=224,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    views=(1, 1),
)


def kinetics(
    top1: float | None, top5: float | None, source: str, dataset: str = "K400"
) -> tuple[Claim, ...]:
    """The two claims of one Kinetics row; None where the figure was not checked."""
    return tuple(
        Claim(dataset=dataset, metric=metric, value=value, protocol=VIEWS, source=source)
        for metric, value in (("top1", top1), ("top5", top5))
    )


def pair(metrics: dict[str, float], dataset: str, protocol: str, source: str) -> tuple[Claim, ...]:
    """Claims of one row of another data set."""
    return tuple(
        Claim(dataset=dataset, metric=name, value=value, protocol=protocol, source=source)
        for name, value in metrics.items()
    )


def pickled(file: str, tag: str = "k400") -> WeightsFile:
    address = f"{PYSLOWFAST}/model_zoo/kinetics400/{file}"
    return WeightsFile(tag=tag, layout="caffe2", address=address)


def blocks(file: str, tag: str = "k400") -> WeightsFile:
    folder = {"k400": "kinetics"}.get(tag, tag)
    return WeightsFile(tag=tag, layout="pytorchvideo", address=f"{PTV}/{folder}/{file}")


def original(
    top1: float | None, top5: float | None, frames: int, stride: int, file: str, **cost: float
) -> Card:
    """A row of the 2018 repository."""
    claims = () if top1 is None or top5 is None else kinetics(top1, top5, NONLOCAL_ZOO)
    address = f"{NONLOCAL}/{file}"
    stored = (WeightsFile(tag="k400", layout="caffe2", address=address),) if file else ()
    return Card(
        spec=ClipSpec(frames=frames, stride=stride),
        params_m=cost["params_m"],
        claims=claims,
        weights=stored,
        source="facebookresearch/video-nonlocal-net",
        licence="CC BY-NC 4.0",
        note="no padding in the first pool: 224 pixels give a 55x55 map, not 56x56",
    )


def row(spec: ClipSpec, params_m: float | None, gmacs: float | None, at: str, config: str) -> Card:
    source = f"facebookresearch/SlowFast configs/{config}" if config else ""
    return Card(
        spec=spec, params_m=params_m, gmacs=gmacs, at=at, source=source, licence="Apache-2.0"
    )


_PLAIN = Card(spec=AT_8, licence="Apache-2.0", note="no published weights or numbers")
_C2D = row(AT_8, 24.33, 25.5, "8x256x256", "Kinetics/C2D_8x8_R50.yaml")
_NOPOOL = row(AT_8, 24.33, 42.7, "8x256x256", "Kinetics/c2/C2D_NOPOOL_8x8_R50.yaml")
_I3D = row(AT_8, 28.04, 37.1, "8x256x256", "Kinetics/c2/I3D_8x8_R50.yaml")
_I3D_NL = row(AT_8, 35.40, 48.9, "8x256x256", "Kinetics/c2/I3D_NLN_8x8_R50.yaml")
_SLOW_4 = row(AT_4, 32.45, 27.3, "4x256x256", "Kinetics/c2/SLOW_4x16_R50.yaml")
_SLOW_8 = row(AT_8, 32.45, 54.5, "8x256x256", "Kinetics/c2/SLOW_8x8_R50.yaml")

CARDS: dict[str, Card] = {
    "c2d_r18_8x8": _PLAIN,
    "c2d_r50_8x8": replace(
        _C2D, claims=kinetics(71.46, 89.68, PTV_ZOO), weights=(blocks("C2D_8x8_R50.pyth"),)
    ),
    "c2d_r101_8x8": _PLAIN,
    "c2d_nl_r50_8x8": row(AT_8, 31.69, 37.3, "8x256x256", "Kinetics/C2D_NLN_8x8_R50.yaml"),
    "c2d_nl_r101_8x8": _PLAIN,
    "c2d_nopool_r18_8x8": _PLAIN,
    "c2d_nopool_r50_8x8": replace(
        _NOPOOL,
        claims=kinetics(67.2, 87.8, SLOWFAST_ZOO),
        weights=(pickled("C2D_NOPOOL_8x8_R50.pkl"),),
    ),
    "c2d_nopool_r101_8x8": _PLAIN,
    "i3d_r18_8x8": _PLAIN,
    "i3d_r50_8x8": replace(
        _I3D,
        claims=kinetics(73.5, 90.8, SLOWFAST_ZOO) + kinetics(73.27, 90.70, PTV_ZOO),
        weights=(pickled("I3D_8x8_R50.pkl"), blocks("I3D_8x8_R50.pyth")),
    ),
    "i3d_r101_8x8": row(AT_8, 51.75, 61.3, "8x256x256", "Kinetics/I3D_8x8_R101.yaml"),
    "i3d_nl_r50_8x8": replace(
        _I3D_NL,
        claims=kinetics(74.0, 91.1, SLOWFAST_ZOO),
        weights=(pickled("I3D_NLN_8x8_R50.pkl"),),
    ),
    "i3d_nl_r101_8x8": row(AT_8, 59.11, 73.1, "8x256x256", "Kinetics/I3D_NLN_8x8_R101.yaml"),
    "slow_i3d_r18_8x8": _PLAIN,
    "slow_i3d_r50_8x8": replace(_PLAIN, params_m=28.04),
    "slow_i3d_r101_8x8": replace(_PLAIN, params_m=51.75),
    "slow_r18_8x8": _PLAIN,
    "slow_r50_4x16": replace(
        _SLOW_4,
        claims=kinetics(72.7, 90.3, SLOWFAST_ZOO) + kinetics(72.40, 90.18, PTV_ZOO),
        weights=(pickled("SLOWONLY_4x16_R50.pkl"), blocks("SLOW_4x16_R50.pyth")),
    ),
    "slow_r50_8x8": replace(
        _SLOW_8,
        claims=kinetics(74.8, 91.6, SLOWFAST_ZOO)
        + kinetics(74.58, 91.63, PTV_ZOO)
        + pair({"top1": 60.04, "top5": 85.19}, "SSv2", "1x3 views", PTV_ZOO)
        + pair({"mAP": 34.72}, "Charades", VIEWS, PTV_ZOO),
        weights=(
            pickled("SLOWONLY_8x8_R50.pkl"),
            blocks("SLOW_8x8_R50.pyth"),
            blocks("SLOW_8x8_R50.pyth", "ssv2"),
            blocks("SLOW_8x8_R50.pyth", "charades"),
        ),
    ),
    "slow_r101_8x8": _PLAIN,
    "slow_nl_r50_4x16": row(AT_4, 39.81, 39.1, "4x256x256", "Kinetics/SLOW_NLN_4x16_R50.yaml"),
    "slow_nl_r50_8x8": row(AT_8, 39.81, 88.3, "8x256x256", "Kinetics/SLOW_NLN_8x8_R50.yaml"),
    "slow_r50_32x8": Card(
        spec=ClipSpec(frames=32, stride=8),
        params_m=31.88,
        gmacs=91.03,
        at="32x224x224",
        classes="ucf101",
        source="amazon-science/self-supervised-maclr configs/UCF101/SLOW_32x8_R50.yaml",
        licence="Apache-2.0",
        note="the dense Slow network of MaCLR: stem of five frames with time stride 2",
    ),
    "2d_r18": replace(_PLAIN, spec=IMAGE, classes=""),
    "2d_r50": Card(
        spec=IMAGE,
        params_m=25.56,
        classes="",
        claims=pair({"top1": 76.4, "top5": 93.2}, "ImageNet-1k", "centre crop", SLOWFAST_ZOO),
        weights=(
            WeightsFile(
                tag="in1k",
                layout="pyslowfast",
                address=f"{PYSLOWFAST}/model_zoo/kinetics400/R50_IN1K.pyth",
            ),
        ),
        source="facebookresearch/SlowFast configs/ImageNet/RES_R50.yaml",
        licence="Apache-2.0",
    ),
    "2d_r101": replace(_PLAIN, spec=IMAGE, classes=""),
    "c2d_r50_8x8_caffe2": original(
        71.9, 90.0, 8, 8, "c2d_baseline_8x8_IN_pretrain_400k.pkl", params_m=24.33
    ),
    "c2d_nl_r50_8x8_caffe2": original(
        74.4, 91.4, 8, 8, "c2d_nonlocal_8x8_IN_pretrain_400k.pkl", params_m=31.69
    ),
    "i3d_r50_8x8_caffe2": original(
        73.4, 90.9, 8, 8, "i3d_baseline_8x8_IN_pretrain_400k.pkl", params_m=28.04
    ),
    "i3d_nl_r50_8x8_caffe2": original(
        74.7, 91.6, 8, 8, "i3d_nonlocal_8x8_IN_pretrain_400k.pkl", params_m=35.40
    ),
    "i3d_r50_32x4_caffe2": original(
        75.5, 92.0, 32, 4, "i3d_baseline_32x4_I3D_pretrain_400k.pkl", params_m=28.04
    ),
    "i3d_nl_r50_32x4_caffe2": original(
        76.5, 92.6, 32, 4, "i3d_nonlocal_32x4_I3D_pretrain_400k.pkl", params_m=35.40
    ),
    "c2d_r50_32x2_caffe2": original(
        72.0, 90.0, 32, 2, "c2d_baseline_32x2_IN_pretrain_400k.pkl", params_m=24.33
    ),
    "c2d_nl_r50_32x2_caffe2": original(
        73.9, 91.0, 32, 2, "c2d_nonlocal_32x2_IN_pretrain_400k.pkl", params_m=31.69
    ),
    "i3d_r50_32x2_caffe2": original(
        73.6, 90.8, 32, 2, "i3d_baseline_32x2_IN_pretrain_400k.pkl", params_m=28.04
    ),
    "i3d_nl_r50_32x2_caffe2": original(
        74.9, 91.6, 32, 2, "i3d_nonlocal_32x2_IN_pretrain_400k.pkl", params_m=35.40
    ),
    "i3d_r50_128x1_caffe2": original(
        75.2, 92.0, 128, 1, "i3d_baseline_128x1_I3D_pretrain_400k.pkl", params_m=28.04
    ),
    "i3d_nl_r50_128x1_caffe2": original(
        76.5, 92.7, 128, 1, "i3d_nonlocal_128x1_I3D_pretrain_400k.pkl", params_m=35.40
    ),
    "i3d_r101_32x2_caffe2": original(None, None, 32, 2, "", params_m=51.75),
    "i3d_nl_r101_32x2_caffe2": original(None, None, 32, 2, "", params_m=59.11),
}

FAMILY = Family(
    name="resnet3d",
    module="marey.models.resnet3d",
    network="ResNet3d",
    cards=CARDS,
    layouts={**LAYOUTS, "mmaction2": mmaction2},
    shapeless=(
        *("num_classes", "dropout", "frames", "crop", "pool", "dilation"),
        *("time_strides", "pool_padding", "nonlocal_pool", "nonlocal_groups"),
    ),
)
