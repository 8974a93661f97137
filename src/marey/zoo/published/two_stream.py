"""Two-stream fusion as published: what each row reads, costs and claims.

Its weights were published for MATLAB only and are not read here. Figures are mean class accuracies
in per cent: split 1 where rows compare ways to fuse, the mean of three splits for the final ones.
Parameters are counted here; the paper counts a fusion kernel over half its input (97.58 M for
conv at relu5, of 97.76 M).

Source: C. Feichtenhofer et al., CVPR 2016, Tables 1 to 5; K. Simonyan, A. Zisserman, NIPS 2014.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from marey.choices import Claim
from marey.types import ClipSpec
from marey.zoo.cards import Card, Family

PAPER = "CVPR 2016, tables of the paper (not re-checked)"
DENSE = "25x2 views, whole frames"
GROUPS = "10x2 views of 5 moments, whole frames"

# VGG-M reads bytes less a mean, and flow bytes less 128; the others as torchvision's networks do.
BYTES = ClipSpec(
    frames=1,
    stride=1,
    sampling="snippet",
    test_frames=25,
    short_side=256,
    jitter=(256, 256),
    mean=(123.68, 116.78, 103.94, 128.0, 128.0),
    std=(1.0,) * 5,
    value_range=255.0,
    modality="rgb_flow",
    views=(1, 3),
)
SCALED: dict[str, Any] = {
    "mean": (0.485, 0.456, 0.406, 128 / 255, 128 / 255),
    "std": (0.229, 0.224, 0.225, 0.226, 0.226),
    "value_range": 1.0,
}
FIVE: dict[str, Any] = {
    "frames": 5,
    "stride": 15,
    "least_stride": 5,
    "sampling": "stride",
    "test_frames": 0,
    "views": (10, 3),
}


def alone(spec: ClipSpec) -> dict[str, dict[str, Any]]:
    """What changes in the spec where one stream is built without the other."""
    mean, std, length = spec.mean, spec.std, spec.flow_frames
    return {
        "rgb": {"mean": mean[:3], "std": std[:3]},
        "flow": {"mean": mean[3:], "std": std[3:], "segment_frames": length},
    }


def figures(
    ucf101: float | None, hmdb51: float | None, protocol: str = DENSE, splits: str = "split 1"
) -> tuple[Claim, ...]:
    """Mean class accuracy on both sets, of one split or of three."""
    return tuple(
        Claim(
            dataset=data,
            metric="mean_class",
            value=value,
            protocol=f"{protocol}, {splits}",
            source=PAPER,
        )
        for data, value in (("UCF101", ucf101), ("HMDB51", hmdb51))
        if value is not None
    )


def card(spec: ClipSpec, params_m: float, *claims: Claim, **more: Any) -> Card:
    return Card(
        spec=spec,
        params_m=params_m,
        classes="ucf101",
        claims=claims,
        source="feichtenhofer/twostreamfusion",
        licence="not stated",
        modalities=alone(spec),
        **more,
    )


IMAGES = replace(BYTES, **SCALED)
CLIPS = replace(IMAGES, **FIVE)
THREE = "mean of 3 splits"
TAKEN = "which towers were kept after the fusion is not stated for this row; here both are"
NONE = "in the authors' code, without results here"

CARDS: dict[str, Card] = {
    "two_stream_vgg_m": card(
        BYTES,
        181.34,
        *figures(85.94, 54.90),
        *figures(74.22, 36.77, f"{DENSE}, frames alone"),
        *figures(82.34, 51.50, f"{DENSE}, flow alone"),
    ),
    "two_stream_sum_vgg_m": card(BYTES, 97.24, *figures(85.20, None)),
    "two_stream_max_vgg_m": card(BYTES, 97.24, *figures(82.70, None), twin="two_stream_sum_vgg_m"),
    "two_stream_concat_vgg_m": card(BYTES, 172.73, *figures(83.53, None)),
    "two_stream_bilinear_vgg_m": card(
        BYTES, 39.61, *figures(85.05, None), note="published with an SVM, here a linear layer"
    ),
    "two_stream_conv_vgg_m": card(BYTES, 97.76, *figures(85.96, None)),
    "two_stream_conv_relu2_vgg_m": card(BYTES, 91.47, *figures(82.25, None)),
    "two_stream_conv_relu3_vgg_m": card(BYTES, 93.04, *figures(83.43, None)),
    "two_stream_conv_relu4_vgg_m": card(BYTES, 95.40, *figures(82.55, None)),
    "two_stream_conv_relu5_logits_vgg_m": card(BYTES, 181.86, *figures(86.04, None)),
    "two_stream_conv_relu3_relu5_fc6_vgg_m": card(BYTES, 207.35, *figures(81.55, None)),
    "two_stream_vgg16": card(
        IMAGES,
        269.36,
        *figures(90.62, 58.17),
        *figures(91.7, 58.7, splits=THREE),
        *figures(82.61, 47.06, f"{DENSE}, frames alone"),
        *figures(86.25, 55.23, f"{DENSE}, flow alone"),
    ),
    "two_stream_conv_vgg16_vgg_m_5f": card(
        CLIPS, 225.91, *figures(89.35, 56.93, GROUPS), note=TAKEN
    ),
    "two_stream_conv_pool3d_vgg16_vgg_m_5f": card(
        CLIPS,
        225.91,
        *figures(89.64, 57.58, GROUPS),
        note=TAKEN,
        twin="two_stream_conv_vgg16_vgg_m_5f",
    ),
    "two_stream_conv3d_vgg16_vgg_m_5f": card(
        CLIPS,
        239.54,
        *figures(90.40, 58.63, GROUPS),
        *figures(90.8, 62.1, GROUPS, THREE),
        note=TAKEN,
    ),
    "two_stream_conv3d_single_vgg16_5f": card(CLIPS, 163.56, *figures(91.8, 64.6, GROUPS, THREE)),
    "two_stream_conv3d_vgg16_5f": card(CLIPS, 283.51, *figures(92.5, 65.4, GROUPS, THREE)),
    "two_stream_r18": card(IMAGES, 22.51, note="small; not published"),
    "two_stream_r50": card(IMAGES, 47.48, note=NONE),
    "two_stream_conv_r50": card(IMAGES, 55.67, note="not published"),
    "two_stream_conv3d_r50_5f": card(CLIPS, 273.98, note=NONE),
    "two_stream_conv3d_r101_5f": card(CLIPS, 311.96, note=NONE),
    "two_stream_conv3d_r152_5f": card(CLIPS, 343.25, note=NONE),
}

FAMILY = Family(
    name="two_stream",
    module="marey.models.two_stream",
    network="TwoStream",
    cards=CARDS,
    layouts={},
    shapeless=("num_classes", "dropout", "frames", "pool", "stop"),
    start="marey.zoo.stream_start",
)
