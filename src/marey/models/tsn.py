"""TSN: one snippet from each segment of the whole video, one network, one consensus of answers.

A video is cut into segments of equal length; the same image network looks at one frame of each (or
at a stack of optical flow, or of differences of frames), and the class scores are joined before
the softmax. Nothing in it knows the order of the segments.

    stage         shape of tsn_r50_3seg for 3 frames at 224x224
    input         1 3 3 224 224
    stem          1 64 3 56 56
    res2          1 256 3 56 56
    res3          1 512 3 28 28
    res4          1 1024 3 14 14
    res5          1 2048 3 7 7
    positions     1 1 400
    logits        1 400

Source: L. Wang et al., "Temporal Segment Networks: Towards Good Practices for Deep Action
Recognition", ECCV 2016; the weighted and attention consensus from the TPAMI 2018 version, Section
3.2; rows and numbers from yjxiong/tsn-pytorch and open-mmlab/mmaction2.
Differs: mmaction2 averages features before its dropout, we average scores after it, as the paper
does; without dropout the two are the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from marey.layers.bn_inception import BNInception
from marey.layers.frames import FrameClassifier, FrameHead, snippet_width
from marey.layers.init import start_resnet
from marey.layers.resnet2d import BLOCKS, R18, R50, R101, Trunk2d
from marey.layers.resnet3d import BlockKind
from marey.types import Modality

Agreement = Literal["average", "max", "top_k", "weighted", "attention"]


@dataclass(frozen=True, kw_only=True)
class TsnConfig:
    """One network. ``frames`` are the segments of a training clip; testing may take more."""

    num_classes: int = 400
    dropout: float = 0.4
    frames: int = 3
    crop: int = 224
    backbone: Literal["resnet", "bn_inception"] = "resnet"
    block: BlockKind = "bottleneck"
    depths: tuple[int, ...] = R50
    width: int = 64
    modality: Modality = "rgb"
    snippet: int = 5  # flow pairs, or differences, in one snippet
    consensus: Agreement = "average"
    top_k: int = 3  # segments of consensus="top_k"


_R50 = TsnConfig()
_INCEPTION = TsnConfig(backbone="bn_inception", num_classes=101, dropout=0.8)

VARIANTS: dict[str, TsnConfig] = {
    "tsn_r18_3seg": replace(_R50, block="basic", depths=R18),
    "tsn_r18_8seg": replace(_R50, block="basic", depths=R18, frames=8),
    "tsn_r50_3seg": _R50,
    "tsn_r50_5seg": replace(_R50, frames=5),
    "tsn_r50_8seg": replace(_R50, frames=8),
    "tsn_r50_16seg": replace(_R50, frames=16, num_classes=174),
    "tsn_dense_r50_5seg": replace(_R50, frames=5),
    "tsn_r101_3seg": replace(_R50, depths=R101),
    "tsn_r101_8seg": replace(_R50, depths=R101, frames=8),
    "tsn_bninception_3seg": _INCEPTION,
    "tsn_bninception_7seg": replace(_INCEPTION, frames=7, modality="rgb_difference"),
}


class Consensus(nn.Module):
    """Scores of segments to scores of the video: (B, T, K) and features (B, T, D) -> (B, K).

    ``average``; ``max`` of each class; ``top_k``: the mean of each class's k highest;
    ``weighted``: one learned weight for each of ``frames`` segments; ``attention``: weights from
    the features, softmax(w . f_t) over t.
    Raises ValueError for a rule that is not known, or more segments asked for than there are.
    """

    def __init__(self, kind: Agreement, *, frames: int, width: int, top_k: int) -> None:
        super().__init__()
        if kind not in get_args(Agreement):
            raise ValueError(
                f"consensus is {kind!r}; choose one of {', '.join(get_args(Agreement))}"
            )
        if kind == "top_k" and not 1 <= top_k <= frames:
            raise ValueError(f"top_k is {top_k} of {frames} segments; give 1 to {frames}")
        self.kind, self.frames, self.top_k = kind, frames, top_k
        if kind == "weighted":
            self.weight = nn.Parameter(torch.full((frames,), 1 / frames))
        elif kind == "attention":
            self.attention = nn.Linear(width, 1, bias=False)

    def forward(self, logits: Tensor, features: Tensor) -> Tensor:
        if self.kind == "max":
            return logits.amax(dim=1)
        if self.kind == "top_k":
            return logits.topk(self.top_k, dim=1).values.mean(dim=1)
        if self.kind == "weighted":
            if logits.shape[1] != self.frames:
                raise ValueError(
                    f"the weighted consensus has a weight for each of {self.frames} segments, not "
                    f"for {logits.shape[1]}; test with {self.frames}, or use 'attention'"
                )
            return (logits * self.weight[:, None]).sum(dim=1)
        if self.kind == "attention":
            return (logits * self.attention(features).softmax(dim=1)).sum(dim=1)
        return logits.mean(dim=1)


class TSN(FrameClassifier):
    """(B, 3, T, H, W) -> (B, K) logits, the consensus of T segments.

    Flow is (B, 10, T, H, W), five x and y pairs a segment, or (B, 2, 5 T, H, W); differences are
    taken of six frames a segment, (B, 18, T, H, W) or (B, 3, 6 T, H, W).
    """

    def __init__(self, config: TsnConfig) -> None:
        super().__init__()
        for name in ("num_classes", "frames", "snippet"):
            if getattr(config, name) < 1:
                raise ValueError(f"{name} is {getattr(config, name)}; it must be 1 or more")
        self.config = config
        channels = snippet_width(config.modality, config.snippet)
        self.trunk: Trunk2d | BNInception
        if config.backbone == "bn_inception":
            self.trunk = BNInception(channels=channels)
        else:
            block = BLOCKS[config.block]
            self.trunk = Trunk2d(block, config.depths, width=config.width, channels=channels)
        self.widths = self.trunk.widths[-1:]
        self.head = FrameHead(self.widths, config.num_classes, dropout=config.dropout)
        self.consensus = Consensus(
            config.consensus, frames=config.frames, width=self.widths[0], top_k=config.top_k
        )
        start_resnet(self, head_std=FrameHead.start_std)

    def forward_positions(self, clip: Tensor) -> Tensor:
        """Logits of the video at its one position, (B, 1, K)."""
        pooled = self.head.pooled(self.features(clip)).flatten(2).transpose(1, 2)  # (B, T, D)
        logits = self.head.projection(self.head.dropout(pooled))
        return self.consensus(logits, pooled)[:, None]
