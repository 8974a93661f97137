"""Writes docs/models.md: one card a system, its table taken from the zoo. Run after changing it.

python docs/make_cards.py
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import torch

from marey import zoo
from marey.choices import Claim
from marey.config import write_whole
from marey.zoo.cards import Card

PAGE = Path(__file__).with_name("models.md")
HEAD = """# Models

Written by `python docs/make_cards.py` from the zoo; do not edit. `marey models show NAME` tells
more about one: fields, input, where its weights are, licence, and its cost measured on the spot.

Columns: *M* parameters in millions, counted here. *G* published multiply-adds of one view in
billions, at the input in brackets; empty where none were published. *input* frames x stride, and
the size in training and in tests. *published* top-1 / top-5 (or mAP) in per cent on the data set,
with the number of its source below the table. Accuracies are not ours: nobody here has trained on
these sets. *weights* layouts in which weights are published.
"""


@dataclass(frozen=True)
class System:
    """A heading, what is to be known, and which variants belong to it."""

    title: str
    text: str
    prefixes: tuple[str, ...]
    original: bool = False

    def reach(self, name: str) -> int:
        """How many letters of a variant's name the longest fitting prefix covers."""
        if name.endswith("_caffe2") != self.original:
            return 0
        return max((len(p) for p in self.prefixes if name.startswith(p)), default=0)

    def holds(self, name: str) -> bool:
        """Whether a variant stands in this card: no other knows more of its name."""
        return 0 < self.reach(name) == max(system.reach(name) for system in SYSTEMS)


SYSTEMS = (
    System(
        "C2D",
        "A ResNet that looks at one frame at a time; only pooling over time lets frames meet "
        "(`nopool`: only the average at the end). Cheap, and blind to order. The `nl` rows add "
        "five non-local blocks, in which every place looks at every other in space and time.",
        ("c2d_",),
    ),
    System(
        "I3D",
        "The same network with three frames in the first convolution of every other block and "
        "five in the stem, so that motion is seen from the start. `slow_i3d` keeps all frames to "
        "the end. Weights of an image ResNet can be inflated into it.",
        ("i3d_r", "i3d_nl_", "slow_i3d_"),
    ),
    System(
        "Slow",
        "Few frames, far apart, kept to the end, with convolutions over time only in the last two "
        "stages. The slow half of SlowFast, and a strong plain network.",
        ("slow_r", "slow_nl_"),
    ),
    System(
        "SlowFast",
        "Two pathways: a slow one in full width on few frames, and a fast one with an eighth of "
        "the channels on all of them, joined after every stage but the last. One clip goes in; "
        "the slow frames are picked inside. R101 has time kernels in the first six blocks of "
        "res4, `full` in all.",
        ("slowfast_",),
    ),
    System(
        "R(2+1)D and its siblings",
        "One ResNet without a pool after its stem, told apart by which convolutions see time: "
        "`r3d` all, `fr2d` none, `r2d` only the first (and all frames at once), `mcX` those before "
        "group X, `rmcX` those from it on; `r2plus1d` splits each into space and time, with a ReLU "
        "in between. Four publishers size the split differently, and their weights fit only their "
        "own variant: VMZ (`r2plus1d_18`, `_34`, `_152`; also Caffe2 files) takes the formula for "
        "each convolution, torchvision (`_tv`) once for both of a block, mmaction2 (`_mm`) also "
        "splits the shortcuts, widens the stem and pools after it, pytorchvideo (`_ptv`) puts time "
        "first. A file is recognised by its tensors, and one of another publisher is named, not "
        "loaded. `r3d_18` and `mc3_18` are torchvision's, at 15 frames a second; VMZ's own files "
        "of them are `r3d_18_vmz` and `mc3_18_vmz`, with the same tensors and another epsilon. "
        "Clip and video accuracy differ by ten points and more: `1x1` rows are of single clips; "
        "frames, and the set trained on before, stand in brackets. "
        "IG-65M and Sports-1M files carry 359 and 487 classes. Two streams: evaluate the RGB "
        "network and the flow network (`r2plus1d_34_flow`), each with `--out`, and average "
        "their stored scores with `marey fuse`.",
        ("r2d_", "fr2d_", "r3d_", "mc2_", "mc3_", "mc4_", "mc5_", "rmc", "r2plus1d_"),
    ),
    System(
        "MViT",
        "A transformer whose grid of tokens shrinks while its width grows. Learned positions are "
        "added to the tokens. Rows without frames read images.",
        ("mvit_",),
    ),
    System(
        "MViTv2",
        "The same with relative positions, one table an axis, and the pooled query added to what "
        "attention found: the strongest networks here for their cost. Attention is fused, so that "
        "memory grows with the length of the clip and not with its square. Rows without frames "
        "read images and can be detection backbones (`pyramid='hybrid'`); `cls` rows keep a class "
        "token.",
        ("mvitv2_",),
    ),
    System(
        "MTV",
        "Several transformers on one video, each on tubelets of another length, that look at each "
        "other in a few layers; the largest reads the shortest. Each can start from an image "
        "transformer (`marey.zoo.inflate_views`). Fusion by attention as published, by bottleneck "
        "tokens, or by joint MLPs.",
        ("mtv_",),
    ),
    System(
        "MeMViT",
        "An MViT that reads a long video clip by clip and remembers, compressed, what its layers "
        "saw: `logits, state = model(clip, state)` from `model.init_state()`; "
        "`state.reset(begins)` where a new video begins. Plain rows are the Kinetics "
        "networks without memory (`memory=((2, 4), ())` adds it); `ava` rows answer for boxes.",
        ("memvit_",),
    ),
    System(
        "X3D",
        "A very narrow image network (`x2d`) grown along six axes into a video network: many "
        "frames, high resolution, few channels, depthwise convolutions. XS, S and M share "
        "their weights' shapes: a file that does not say which needs `--model`. Ten centre crops "
        "are `--views 10x1 --clip.test_size 160` (the size in training).",
        ("x2d", "x3d_"),
    ),
    System(
        "Reversible MViT",
        "Two streams whose blocks can be computed backwards: training remembers only what leaves a "
        "stage, so that memory does not grow with depth. `rev_vit` rows are plain "
        "transformers on patches of 16 pixels.",
        ("rev_",),
    ),
    System(
        "ir-CSN and ip-CSN",
        "Residual networks in which no convolution both mixes channels and looks around: 1x1x1 for "
        "channels, depth-wise 3x3x3 for neighbours. `ir` has only the depth-wise one in the middle "
        "of a block, `ip` keeps a 1x1x1 before it. Read from VMZ's and mmaction2's files.",
        ("ircsn_", "ipcsn_"),
    ),
    System(
        "STS",
        "Networks trained on single images first. In fine-tuning the first half of every "
        "convolution over time stays a picture filter, whose taps look along rows and columns of a "
        "frame; the other half looks along time. Tensors are those of the plain network, so a file "
        "without a name is taken for the plain one, with a note: name the STS variant. "
        "`marey.models.sts.split` puts it into other networks. `slowfast_*_mm` are mmaction2's "
        "SlowFast networks, plain. Accuracies are top-1 after 50 and 100 epochs.",
        ("sts_", "slowfast_r50_4x16_mm", "slowfast_r50_8x8_mm"),
    ),
    System(
        "BasicTAD and PlusTAD",
        "What happens when, in half a minute of frames at once: a clip network, a pyramid over "
        "time, and a head that finds segments ([when.md](when.md)). `ab` refines anchors, `af` "
        "measures distances from points. PlusTAD sees twice the frames, larger. `--net.backbone` "
        "puts another network of this page inside.",
        ("basictad_", "plustad_"),
    ),
    System(
        "C2D and I3D of the non-local paper",
        "The originals of 2018, with ImageNet weights to start from. They differ from those above "
        "in arithmetic (no padding in the first pool; strides in time in the 32x2 and 128x1 "
        "forms), so their weights fit only here.",
        ("c2d_", "i3d_"),
        original=True,
    ),
    System(
        "Two-stream fusion",
        "A frame and the optical flow around it, through an image network each, whose maps are "
        "fused at a step (`places`): sum, max, concat, conv, bilinear, or conv3d over space and "
        "time, with 3-D pooling over the moments of a clip. `network(rgb, flow)`. Rows that end "
        "in `logits`, and those without a kind of fusion, keep both towers and average their "
        "answers. VGG-16 and ResNets start from torchvision's weights, both towers; "
        "`--net.streams spatial` or `temporal` is one alone. No weights were published but for "
        "MATLAB. [flow.md](flow.md) shows how to train one.",
        ("two_stream_",),
    ),
    System(
        "BQN",
        "Two pathways from one clip of three frames a moment: what moves, through a band-pass and "
        "in full size, and the still picture, small. They exchange maps after every block, in "
        "turns, or both ways (`both`), over ResNets or X3Ds. No weights were published; "
        "`--net.pathways busy` or `quiet` is one pathway alone.",
        ("bqn_",),
    ),
    System(
        "S3D and I3D on Inception-V1",
        "Inception blocks over clips. I3D convolves time everywhere, I2D nowhere, `top` and "
        "`bottom` in so many of the upper or lower units (of eleven). S3D splits every convolution "
        "into space, then time; S3D-G scales channels by what the whole clip shows; Fast S3D spans "
        "time in its two top blocks only. `tf` computes as the authors' code, `milnce` as a "
        "network trained with text, whose 512 outputs are an embedding. Clips of any size from "
        "5 frames of 17x17 pixels up.",
        ("s3d", "fast_s3d", "i2d_", "i3d_inception", "i3d_flow_", "i3d_top", "i3d_bottom"),
    ),
    System(
        "MutualNet",
        "One set of weights for every budget: a width uses the leading channels of each layer, and "
        "clips shrink with it. `select(gflops=...)` says which width and size; `--budget` does so "
        "on the command line. Figures are those of the full network. The image networks are the "
        "authors'; for clips they published curves and no code, so the clip networks are built by "
        "the rules of the image ones and take the weights of the plain network.",
        ("mutualnet_",),
    ),
    System(
        "TSN",
        "One snippet from each segment of the whole video through one image network, and a "
        "consensus of the scores: average, max, top-k, weighted or attention (`consensus`). Blind "
        "to order. Reads frames, stacks of flow (`modality='flow'`; warped flow is written by "
        "`marey flow --warped`) or differences of frames. BN-Inception takes BGR "
        "bytes.",
        ("tsn_",),
    ),
    System(
        "TSM",
        "TSN's network, an eighth of whose channels comes from the next frame and an eighth from "
        "the previous one, in front of every block: order for no multiply-add. The `online` rows "
        "only look back, and run frame by frame on a stream (`step`).",
        ("tsm_",),
    ),
    System(
        "STM",
        "Every bottleneck also convolves each channel over three frames (CSTM) and adds "
        "differences of features of neighbouring frames (CMM).",
        ("stm_",),
    ),
    System(
        "TEA",
        "Res2Net blocks whose four parts see more and more of time (MTA), after motion has turned "
        "channels up or down (ME). `gate='paper'` takes the gate of the text, not of the code.",
        ("tea_",),
    ),
    System(
        "Image ResNets",
        "Clips of one frame, for ImageNet weights and for checking inflation.",
        ("2d_",),
    ),
)


def page() -> str:
    """The whole page as text."""
    names = zoo.list_models()
    told = [name for system in SYSTEMS for name in names if system.holds(name)]
    assert sorted(told) == sorted(names), f"in no card or in two: {set(names) ^ set(told)}"
    parts = [HEAD]
    for system in SYSTEMS:
        sources: list[str] = []
        rows = [line(name, sources) for name in names if system.holds(name)]
        parts.append(
            "\n".join(
                [
                    f"## {system.title}\n",
                    fill(system.text, 100),
                    "",
                    "| name | M | G | input | published | weights |",
                    "|---|---|---|---|---|---|",
                    *rows,
                ]
            )
            + "\n"
        )
        if sources:
            parts.append("\n".join(f"{i}. {text}" for i, text in enumerate(sources, 1)) + "\n")
    return "\n".join(parts)


def line(name: str, sources: list[str]) -> str:
    """One row; sources met for the first time are appended."""
    card = zoo.card(name)
    cost = f"{card.gmacs:g} ({card.at.replace('x', ' x ', 1)})" if card.gmacs else ""
    spec = card.spec
    read = f"{spec.frames}x{spec.stride}, {spec.size} / {spec.test_size}"
    layouts = dict.fromkeys(file.layout for file in card.weights)
    cells = (f"`{name}`", f"{parameters(name):.2f}", cost, read, published(card, sources))
    return f"| {' | '.join(cells)} | {', '.join(layouts)} |"


def parameters(name: str) -> float:
    """Learnable values in millions, counted without memory."""
    with torch.device("meta"):
        model = zoo.build(name)
    return sum(value.numel() for value in model.parameters()) / 1e6


def published(card: Card, sources: list[str]) -> str:
    """The claims of a card, one group a data set and source."""
    groups: dict[tuple[str, str, str], list[Claim]] = {}
    for claim in card.claims:
        if claim.value is not None:
            groups.setdefault((claim.dataset, claim.protocol, claim.source), []).append(claim)
    cells = []
    for (dataset, protocol, source), claims in groups.items():
        if source not in sources:
            sources.append(source)
        values = " / ".join(f"{claim.value:g}" for claim in claims)
        kind = "" if len(claims) > 1 else f" {claims[0].metric}"
        views = protocol.split()[0] if protocol else ""
        cells.append(f"{dataset} {values}{kind}, {views} [{sources.index(source) + 1}]")
    return "<br>".join(cells)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(write_whole(PAGE, page()), file=sys.stderr)
