"""How publishers name the tensors of TSN, TSM, STM and TEA: ours -> theirs.

    original   each paper's own code: an image network under ``base_model.``, ``new_fc``; the file
               of STM has neither prefix nor new name
    mmaction2  ``backbone.`` and ``cls_head.fc_cls``, convolution and norm under one name

Source: the checkpoints of yjxiong/tsn-pytorch, mit-han-lab/temporal-shift-module,
Phoenix1327/tea-action-recognition and open-mmlab/mmaction2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marey.zoo.published.resnet_names import HEAD, torchvision

BRANCH = re.compile(
    r"trunk\.inception(\d)\.blocks\.(\w)\.(single|three|twice|pool)(?:\.(\d))?\.(conv|norm)\.(\w+)"
)
INCEPTION_STEM = re.compile(r"trunk\.stem\.(wide|reduce|three)\.(conv|norm)\.(\w+)")
ATTENTION = re.compile(r"trunk\.res(\d)\.blocks\.(\d+)\.attention\.(theta|phi|g|out|norm)\.(\w+)")
FIRST = re.compile(r"(layer\d)\.(\d+)\.conv1\.weight")  # the convolution that reads shifted input
MOBILE = re.compile(
    r"trunk\.stages\.(\d)\.blocks\.(\d+)\.(expand|deep|project)\.(conv|norm)\.(\w+)"
)
MOBILE_EDGE = re.compile(r"trunk\.(stem|tail)\.(conv|norm)\.(\w+)")
MOBILE_DEPTHS = (1, 2, 3, 4, 3, 3, 1)
STEM_NAMES = {"wide": "conv1_7x7_s2", "reduce": "conv2_3x3_reduce", "three": "conv2_3x3"}
BRANCH_NAMES = {
    "single": ("1x1",),
    "three": ("3x3_reduce", "3x3"),
    "twice": ("double_3x3_reduce", "double_3x3_1", "double_3x3_2"),
    "pool": ("pool_proj",),
}
EXTRA_STM = {
    "time.weight": "shift.weight",
    "motion.reduce.conv.weight": "mb.stage_conv.weight",
    "motion.filter.weight": "mb.shift.weight",
    "motion.expand.weight": "mb.conv1x1.weight",
}
EXTRA_TEA = {
    "excite.reduce.conv": "me.conv1",
    "excite.reduce.norm": "me.bn1",
    "excite.filter": "me.conv2",
    "excite.expand.conv": "me.conv3",
    "excite.expand.norm": "me.bn3",
}


FIRST_KERNELS = (
    *("base_model.conv1.weight", "backbone.conv1.conv.weight", "base_model.conv1_7x7_s2.weight"),
    *("trunk.stem.conv.weight", "trunk.stem.wide.conv.weight"),
)


def told_modality(state: Mapping[str, Any]) -> dict[str, Any]:
    """The modality that a state's first kernel reads, by its channels."""
    kernel = next((state[name] for name in FIRST_KERNELS if name in state), None)
    known = {3: "rgb", 10: "flow", 15: "rgb_difference"}
    modality = None if kernel is None else known.get(int(kernel.shape[1]))
    return {"modality": modality} if modality else {}


def bn_inception(name: str) -> str | None:
    """Names of BN-Inception in yjxiong/tensorflow-model-zoo.torch, or None."""
    if found := INCEPTION_STEM.fullmatch(name):
        part, kind, leaf = found.groups()
        return f"{STEM_NAMES[part]}{'_bn' if kind == 'norm' else ''}.{leaf}"
    if found := BRANCH.fullmatch(name):
        number, letter, branch, at, kind, leaf = found.groups()
        layer = f"inception_{number}{letter}_{BRANCH_NAMES[branch][int(at or 0)]}"
        return f"{layer}{'_bn' if kind == 'norm' else ''}.{leaf}"
    return None


def image_name(name: str) -> str | None:
    """The tensor of the image network that one of ours is, of any backbone here.

    Both pathways of BQN are image networks of their own, and so are both streams of two.
    """
    name = re.sub(r"^(quiet|busy|spatial|temporal)\.", "trunk.", name)
    return torchvision(name) or bn_inception(name)


def mobilenet(name: str, config: Any) -> str | None:
    """Names of MobileNetV2 in the code of TSM's authors (``features``), with its shifts, or None.

    The network of their demonstration, which only looks back, has none of the wrappers.
    """
    if found := MOBILE_EDGE.fullmatch(name):
        edge, kind, leaf = found.groups()
        return f"features.{0 if edge == 'stem' else 18}.{int(kind == 'norm')}.{leaf}"
    if found := MOBILE.fullmatch(name):
        stage, block, part, kind, leaf = found.groups()
        at = sum(MOBILE_DEPTHS[: int(stage)]) + int(block) + 1
        parts = ("expand", "deep", "project") if int(stage) else ("deep", "project")
        wrapped = part == "expand" and int(block) > 0 and kind == "conv"
        net = "net." if wrapped and config.direction == "both" else ""
        return f"features.{at}.conv.{parts.index(part) * 3 + (kind == 'norm')}.{net}{leaf}"
    return None


def mobilenet_mm(name: str) -> str | None:
    """Names of MobileNetV2 in mmaction2, with its shifts, or None."""
    kinds = {"conv": "conv", "norm": "bn"}
    if found := MOBILE_EDGE.fullmatch(name):
        edge, kind, leaf = found.groups()
        return f"conv{1 if edge == 'stem' else 2}.{kinds[kind]}.{leaf}"
    if found := MOBILE.fullmatch(name):
        stage, block, part, kind, leaf = found.groups()
        parts = ("expand", "deep", "project") if int(stage) else ("deep", "project")
        net = "net." if part == "expand" and int(block) > 0 else ""
        return f"layer{int(stage) + 1}.{block}.conv.{parts.index(part)}.{net}{kinds[kind]}.{leaf}"
    return None


def tsn_original(name: str, config: Any) -> str | None:
    """Names of tsn-pytorch."""
    return _named(name, image_name(name), "base_model.", "new_fc", "original")


def tsn_mmaction2(name: str, config: Any) -> str | None:
    """Names of mmaction2's TSN; it has no BN-Inception and no learned consensus."""
    return _named(name, _pairs(torchvision(name)), "backbone.", "cls_head.fc_cls", "mmaction2")


def tsm_original(name: str, config: Any) -> str | None:
    """Names of temporal-shift-module: what is shifted hangs under ``net``."""
    if config.backbone != "resnet":
        if config.direction == "past":
            return _named(name, mobilenet(name, config), "", "classifier", "original")
        return _named(name, mobilenet(name, config), "base_model.", "new_fc", "original")
    if found := ATTENTION.fullmatch(name):
        stage, block, part, leaf = found.groups()
        layer = {"out": "W.0", "norm": "W.1", "g": "g.0", "phi": "phi.0"}.get(part, part)
        theirs: str | None = f"layer{int(stage) - 1}.{block}.nl.{layer}.{leaf}"
    else:
        theirs = _shifted(torchvision(name), config)
        if theirs and ".block." in name:
            theirs = re.sub(r"^(layer\d\.\d+)\.", r"\1.block.", theirs)
    if theirs and config.halves:
        theirs = re.sub(r"^layer2\.", "layer2.net.", theirs)
    return _named(name, theirs, "base_model.", "new_fc", "original")


def tsm_mmaction2(name: str, config: Any) -> str | None:
    """Names of mmaction2's TSM, which shifts in front of the first convolution only."""
    odd = {
        "place='block'": config.place == "block",
        "halves": config.halves,
        "non-local blocks": any(config.nonlocals),
    }
    for why, true in odd.items():
        if true:
            raise _unnamed(why, "mmaction2")
    if config.backbone != "resnet":
        theirs = mobilenet_mm(name)
    else:
        theirs = _pairs(_shifted(torchvision(name), config))
    return _named(name, theirs, "backbone.", "cls_head.fc_cls", "mmaction2")


def stm_original(name: str, config: Any) -> str | None:
    """Names of the author's file: those of an image ResNet, and its own parts in each block."""
    theirs = torchvision(name)
    if theirs is None and (found := _block(name)):
        layer, part = found
        part = part.replace("motion.reduce.norm.", "mb.stage_bn.")
        theirs = f"{layer}.{EXTRA_STM.get(part, part)}"
    return _named(name, theirs, "", "fc", "original")


def tea_original(name: str, config: Any) -> str | None:
    """Names of tea-action-recognition: those of Res2Net-50, and its own parts in each block."""
    theirs = torchvision(name)
    if theirs is None and (found := _block(name)):
        layer, part = found
        if at := re.fullmatch(r"times\.(\d)\.weight", part):
            theirs = f"{layer}.shifts.{at.group(1)}.conv.weight"
        else:
            owner, _, leaf = part.rpartition(".")
            theirs = f"{layer}.{EXTRA_TEA[owner]}.{leaf}"
    return _named(name, theirs, "base_model.", "new_fc", "original")


def _named(name: str, theirs: str | None, prefix: str, classifier: str, layout: str) -> str:
    if theirs is not None:
        return prefix + theirs
    if found := HEAD.fullmatch(name):
        return f"{classifier}.{found.group(1)}"
    raise _unnamed(name, layout)


def _block(name: str) -> tuple[str, str] | None:
    """``trunk.res2.blocks.0.time.weight`` -> ``layer1.0`` and ``time.weight``."""
    found = re.fullmatch(r"trunk\.res(\d)\.blocks\.(\d+)\.(.+)", name)
    return (f"layer{int(found[1]) - 1}.{found[2]}", found[3]) if found else None


def _shifted(theirs: str | None, config: Any) -> str | None:
    """Where a shift wraps the first convolution, or the block, the name goes through ``net``."""
    if theirs is None:
        return None
    if config.place == "block":
        return re.sub(r"^(layer\d\.\d+)\.", r"\1.net.", theirs)
    found = FIRST.fullmatch(theirs)
    every = 2 if config.depths[2] >= 23 else 1
    if found and int(found[2]) % every == 0:
        return f"{found[1]}.{found[2]}.conv1.net.weight"
    return theirs


def _pairs(theirs: str | None) -> str | None:
    """mmaction2 keeps a convolution and its norm under one name: ``conv1.conv``, ``conv1.bn``."""
    if theirs is None:
        return None
    theirs = theirs.replace("downsample.0.", "downsample.conv.")
    theirs = theirs.replace("downsample.1.", "downsample.bn.")
    theirs = re.sub(r"(^|\.)conv(\d)\.", r"\1conv\2.conv.", theirs)
    return re.sub(r"(^|\.)bn(\d)\.", r"\1conv\2.bn.", theirs)


def _unnamed(name: str, layout: str) -> ValueError:
    return ValueError(
        f"{name} has no name in the {layout} layout; keep this network in the marey layout"
    )
