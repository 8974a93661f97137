"""What every network of the zoo promises: one line of ``TINY`` each, one suite for all.

A line names a variant, fields that make it small, and the clip it is fed. Each kind of network
has at least one line; its own page tests what only it promises.
"""

import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from marey import zoo
from marey.config import from_plain, to_plain
from marey.export import export
from marey.zoo.registry import HOMES

RESNET = {"width": 16, "depths": (1, 1, 1, 1), "num_classes": 5, "dropout": 0.0, "crop": 64}
SMALL = {"num_classes": 5, "dropout": 0.0, "crop": 64}
X3D = {"width_factor": 1.0, "depth_factor": 1.0, "hidden": 32, "num_classes": 5, "dropout": 0.0}
FRAMES = {"width": 16, "depths": (1, 1, 1, 1), "num_classes": 5, "dropout": 0.0, "crop": 48}
PATHS = {"num_classes": 5, "dropout": 0.0, "crop": 64, "frames": 4}
S3D = {"width": 16, "num_classes": 5, "dropout": 0.0}
ATTENTION = {"nonlocals": ((), (0,), (0,), ())}

MVIT = {"depths": (1, 1, 1), "strides": (1, 2, 2), "width": 16, "crop": 32, "num_classes": 5}
MVIT_CLIP = {**MVIT, "frames": 4, "dropout": 0.0, "drop_path": 0.0}
REV = {**MVIT, "drop_path": 0.0, "depths": (2, 1, 2)}
MEAN = {"pool": "mean"}  # the last class token alone would leave some tables without gradient

TINY: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "c2d_r50_8x8": (RESNET, (2, 3, 8, 48, 48)),
    "i3d_nl_r50_8x8": ({**RESNET, **ATTENTION}, (2, 3, 8, 48, 48)),
    "slow_r18_8x8": (RESNET, (2, 3, 4, 48, 48)),
    "slow_r50_32x8": (RESNET, (2, 3, 8, 48, 48)),
    "x3d_s": ({**X3D, "frames": 4, "crop": 64}, (2, 3, 4, 48, 48)),
    "slowfast_nl_r50_8x8": ({**RESNET, **ATTENTION}, (2, 3, 16, 48, 48)),
    "mutualnet_mobilenet_v1": ({**SMALL, "multiplier": 0.25}, (2, 3, 1, 48, 48)),
    "mutualnet_mobilenet_v2": ({**SMALL, "multiplier": 0.25}, (2, 3, 1, 48, 48)),
    "mutualnet_resnet50": (RESNET, (2, 3, 1, 48, 48)),
    "mutualnet_slow_r50_8x8": (RESNET, (2, 3, 8, 48, 48)),
    "bqn_r50_8x3": ({**PATHS, "width": 16, "depths": (1, 2, 1, 1)}, (2, 3, 12, 80, 80)),
    "bqn_both_r50_8x3": ({**PATHS, "width": 16, "depths": (1, 1, 1, 1)}, (2, 3, 12, 64, 64)),
    "bqn_x3d_m_16x3": ({**PATHS, "depth_factor": 1.0, "hidden": 64}, (2, 3, 12, 80, 80)),
    "mutualnet_x3d_m": ({**SMALL, "depth_factor": 1.0, "hidden": 64}, (2, 3, 8, 48, 48)),
    "mutualnet_slowfast_r50_4x16": (RESNET, (2, 3, 16, 48, 48)),
    "r2plus1d_18_tv": (RESNET, (2, 3, 8, 48, 48)),
    "r2plus1d_152": (RESNET, (2, 3, 8, 48, 48)),
    "r2plus1d_34_mm": (RESNET, (2, 3, 8, 64, 64)),
    "r2plus1d_r50_ptv": (RESNET, (2, 3, 8, 64, 64)),
    "r2d_18": (RESNET, (2, 3, 8, 48, 48)),
    "rmc3_18": (RESNET, (2, 3, 8, 48, 48)),
    "i3d_top4_inception": (S3D, (2, 3, 8, 64, 64)),
    "s3d": (S3D, (2, 3, 16, 64, 64)),
    "s3dg_flow": (S3D, (2, 2, 16, 64, 64)),
    "s3dg_tf": (S3D, (2, 3, 8, 64, 64)),
    "s3dg_milnce": (S3D, (2, 3, 16, 64, 64)),
    "mvit_b_16x4": ({**MVIT_CLIP, **MEAN}, (2, 3, 4, 32, 32)),
    "mvitv2_s_16x4": ({**MVIT_CLIP, **MEAN}, (2, 3, 6, 40, 40)),
    "mvitv2_t": ({**MVIT, "drop_path": 0.0}, (2, 3, 1, 48, 48)),
    "rev_mvit_b_16x4": ({**REV, "frames": 4, "dropout": 0.0}, (2, 3, 4, 32, 32)),
    "rev_mvit_b_16": (REV, (2, 3, 1, 48, 48)),
    "tsn_r50_3seg": (FRAMES, (2, 3, 3, 48, 48)),
    "tsn_r18_8seg": ({**FRAMES, "consensus": "attention"}, (2, 3, 8, 48, 48)),
    "tsn_bninception_3seg": ({"num_classes": 5, "dropout": 0.0}, (2, 3, 3, 64, 64)),
    "tsm_r50_8f": (FRAMES, (2, 3, 8, 48, 48)),
    "tsm_nl_r50_8f": ({**FRAMES, **ATTENTION}, (2, 3, 8, 48, 48)),
    "tsm_online_r18_8f": (FRAMES, (2, 3, 8, 48, 48)),
    "tsm_mobilenet_v2_8f": ({"num_classes": 5, "dropout": 0.0, "width": 32}, (2, 3, 8, 64, 64)),
    "stm_r50_8f": (FRAMES, (2, 3, 8, 48, 48)),
    "tea_r50_8f": (FRAMES, (2, 3, 8, 48, 48)),
    "ircsn_r50": (RESNET, (2, 3, 8, 64, 64)),
    "ipcsn_r152": (RESNET, (2, 3, 8, 64, 64)),
    "sts_slow_r50_8x8": (RESNET, (2, 3, 4, 64, 64)),
    "sts_ircsn_r50": (RESNET, (2, 3, 4, 64, 64)),
    "sts_slowfast_r50_4x16": ({**RESNET, "width": 32}, (2, 3, 16, 64, 64)),
    "sts_x3d_s": ({**X3D, "frames": 4, "crop": 64}, (2, 3, 4, 64, 64)),
    "sts_r2plus1d_34": (RESNET, (2, 3, 4, 64, 64)),
}
STREAM = {"num_classes": 5, "dropout": 0.0, "crop": 48, "snippet": 2}
STREAMS = {**STREAM, "width": 16, "depths": (1, 1, 1, 1)}
TINY |= {
    "two_stream_r18": ({**STREAMS, "frames": 2}, (2, 7, 2, 48, 48)),
    "two_stream_conv_r50": ({**STREAMS, "fusion": "bilinear"}, (2, 7, 1, 48, 48)),
    "two_stream_conv3d_r50_5f": (STREAMS, (2, 7, 5, 48, 48)),
    "two_stream_conv3d_vgg16_vgg_m_5f": (
        {**STREAM, "width": 4, "crop": 64},
        (2, 7, 5, 64, 64),
    ),
    "two_stream_conv_relu3_relu5_fc6_vgg_m": (
        {**STREAM, "width": 4, "crop": 64},
        (2, 7, 1, 64, 64),
    ),
}
VIEWS = (
    {"width": 12, "heads": 3, "hidden": 24, "depth": 2, "tubelet": (4, 8, 8)},
    {"width": 16, "heads": 2, "hidden": 32, "depth": 3, "tubelet": (2, 8, 8)},
)
MTV = {
    "views": VIEWS,
    "frames": 8,
    "crop": 32,
    "num_classes": 5,
    "drop_path": 0.0,
    "encoder": {"width": 20, "heads": 4, "hidden": 24, "depth": 1},
}
TINY |= {
    "mtv_b2_s4_ti8": ({**MTV, "fusion_layers": (1,)}, (2, 3, 8, 32, 32)),
}
has_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(n) is None for n in ("onnx", "onnxscript", "onnxruntime")),
    reason="onnx, onnxscript and onnxruntime are not installed (extra 'export')",
)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
every = pytest.mark.parametrize("name", TINY)


def made(name: str) -> tuple[Any, Tensor]:
    """The small network with every norm alive, and its clip."""
    fields, shape = TINY[name]
    torch.manual_seed(0)
    network: Any = zoo.build(name, **fields)
    for part in network.modules():
        if isinstance(part, NORMS) and part.affine:
            nn.init.uniform_(part.weight, 0.5, 1.0)
            nn.init.normal_(part.running_mean, 0, 0.1)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
        elif isinstance(part, nn.Conv2d) and part.groups > 1:
            nn.init.normal_(part.weight, 0, 0.5)  # the published start fades over many layers
        elif isinstance(part, nn.Conv3d) and HOMES[name].name == "s3d":
            nn.init.kaiming_normal_(part.weight)  # and so does that of 70 layers without shortcuts
    for value in network.parameters():  # what starts at zero would hide the rest
        if value.dim() > 1 and not value.any():
            nn.init.normal_(value, std=0.1)
    return network, torch.randn(shape, generator=torch.Generator().manual_seed(0))


@every
def test_logits_are_the_mean_of_positions(name: str) -> None:
    network, clip = made(name)
    network.eval()
    with torch.no_grad():
        logits, positions = network(clip), network.forward_positions(clip)
    assert logits.shape == (len(clip), 5)
    torch.testing.assert_close(positions.mean(dim=1), logits)
    assert not torch.equal(logits[0], logits[1])  # it does look at its clip


@every
def test_gradients_reach_every_parameter(name: str) -> None:
    network, clip = made(name)
    network(clip).square().sum().backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@every
def test_half_precision_agrees(name: str) -> None:
    network, clip = made(name)
    network.eval()
    with torch.no_grad():
        plain = network(clip)
        with torch.autocast("cpu", torch.bfloat16):
            narrow = network(clip)
    spread = plain.std().item()
    assert (narrow.float() - plain).abs().max().item() < 0.15 * spread + 0.02


@every
def test_compiled_without_a_break(name: str) -> None:
    network, clip = made(name)
    network.eval()
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(clip), network(clip))


@every
@pytest.mark.parametrize("kind", ["torch", pytest.param("onnx", marks=has_onnx)])
def test_exported_files_answer_alike(name: str, kind: str, tmp_path: Path) -> None:
    network, clip = made(name)
    told = export(network, tmp_path / "net", format=kind, frames=clip.shape[2], size=clip.shape[3])
    assert told.checked_with == {"torch": "torch", "onnx": "onnxruntime"}[kind]
    assert told.difference is not None
    assert told.difference < 1e-3 * told.scale


@every
def test_built_without_memory_and_saved_whole(name: str, tmp_path: Path) -> None:
    fields, shape = TINY[name]
    with torch.device("meta"):
        empty: Any = zoo.build(name, **fields)
        assert empty(torch.empty(shape)).shape == (shape[0], 5)
    assert all(p.is_meta for p in empty.parameters())
    network, clip = made(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again: Any = zoo.load(zoo.save(network, tmp_path / "net.safetensors"))
    with torch.no_grad():
        assert torch.equal(again.eval()(clip), network.eval()(clip))


OTHERS = {
    "basictad",
    "memvit",
}  # detectors and memories answer otherwise; their own page tests the same promises


def test_every_family_has_a_line_here() -> None:
    told = {HOMES[name].name for name in TINY} | OTHERS
    assert told == {family.name for family in HOMES.values()}


@pytest.mark.parametrize("name", zoo.list_models())
def test_configurations_survive_json(name: str) -> None:
    config = zoo.config_of(name)
    assert from_plain(type(config), json.loads(json.dumps(to_plain(config)))) == config
