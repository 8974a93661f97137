"""BasicTAD: shapes, necks and heads in every combination, and life around it."""

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
from marey.models import basictad
from marey.models.basictad import BasicTADConfig, steps_of
from marey.zoo.published.basictad import rows

SLIM = {"width": 8, "depths": (1, 1, 1, 1)}
TINY: dict[str, Any] = {
    "num_classes": 3,
    "frames": 16,
    "crop": 32,
    "backbone_net": SLIM,
    "neck_width": 12,
    "fpn_width": 16,
    "head_width": 16,
}
variants = pytest.mark.parametrize("name", zoo.list_models("*tad_a?"))


def tiny(name: str = "basictad_ab", **fields: Any) -> tuple[Any, Tensor]:
    """A narrow detector of the variant's kind with every norm alive, and two windows."""
    torch.manual_seed(0)
    network: Any = zoo.build(name, **{**TINY, **fields})
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm3d)):
            nn.init.uniform_(module.weight, 0.5, 1.0)
        if isinstance(module, basictad.SegmentHead):  # published heads start almost constant
            for conv in (module.projection, module.offsets):
                nn.init.normal_(conv.weight, std=0.05)
    return network, torch.randn(2, 3, 16, 32, 32)


def test_the_shapes_of_the_docstring() -> None:
    told = {}
    for line in (basictad.__doc__ or "").splitlines():
        name, _, numbers = line.strip().rpartition("  ")
        if numbers and all(n.isdigit() for n in numbers.split()):
            told[name.strip()] = tuple(map(int, numbers.split()))
    with torch.device("meta"):
        network: Any = zoo.build("basictad_ab")
        window = torch.empty(told["window"])
        levels = network.levels(window)
        found = {
            "window": window,
            "maps": network.maps(window),
            "level 0": levels[0],
            "level 4": levels[4],
            "answers": network(window),
        }
    assert {n: tuple(v.shape) for n, v in found.items()} == told


def test_parameters_of_every_published_row() -> None:
    with torch.device("meta"):
        counted = {
            name: sum(p.numel() for p in zoo.build(name).parameters())
            for name in zoo.list_models("*tad_a?")
        }
    stated = {name: round(count / 1e6, 2) for name, count in counted.items()}
    assert stated == {
        "basictad_ab": 40.84,
        "basictad_af": 132.47,
        "plustad_ab": 40.84,
        "plustad_af": 132.53,
    }


@pytest.mark.parametrize(
    ("neck", "head"),
    [
        ("pool", "anchor"),
        ("tdm", "sigmoid"),
        ("vdm", "softmax"),
        ("fpn", "anchor"),
        ("pool_fpn", "softmax"),
        ("tdm_fpn", "anchor"),
        ("vdm_fpn", "sigmoid"),
    ],
)
def test_necks_carry_heads(neck: str, head: str) -> None:
    network, windows = tiny(neck=neck, head=head, levels=4, still_norms=False)
    answers = network(windows)
    each = 5 if head == "anchor" else 1
    extra = 1 if head == "softmax" else 0
    assert answers.shape == (2, (16 + 8 + 4 + 2) * each, 3 + extra + 2)
    assert steps_of(answers.shape[1], network.config) == [16, 8, 4, 2]
    answers.square().sum().backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == [n for n in silent if ".scales." not in n and "mask" not in n] == []


@pytest.mark.parametrize(
    ("backbone", "net", "steps"),
    [
        ("i3d_r50_8x8", SLIM, 8),  # halves time itself
        ("slowfast_r50_8x8", {**SLIM, "width": 16}, 4),  # two pathways, the fast one pooled
        ("c2d_nopool_r18_8x8", SLIM, 16),
    ],
)
def test_other_clip_networks_fit_inside(backbone: str, net: dict[str, Any], steps: int) -> None:
    network, windows = tiny(backbone=backbone, backbone_net=net, levels=3)
    answers = network.eval()(windows)
    assert steps_of(answers.shape[1], network.config) == [steps, steps // 2, steps // 4]
    assert not torch.equal(answers[0], answers[1])


@variants
def test_half_precision_and_compiled_alike(name: str) -> None:
    network, windows = tiny(name)
    network.eval()
    torch.compiler.reset()
    with torch.no_grad():
        plain = network(windows)
        with torch.autocast("cpu", torch.bfloat16):
            narrow = network(windows)
        compiled = torch.compile(network, backend="eager", fullgraph=True)(windows)
    assert (narrow.float() - plain).abs().max() < 0.15 * plain.std() + 0.02
    torch.testing.assert_close(compiled, plain)


@pytest.mark.parametrize(("name", "kind"), [("basictad_ab", "torch"), ("plustad_af", "onnx")])
def test_exported_files_answer_alike(name: str, kind: Any, tmp_path: Path) -> None:
    network, _ = tiny(name, levels=3, head_depth=2)
    told = export(network, tmp_path / "net", format=kind, frames=16, size=32)
    assert told.difference is not None
    assert told.difference < 1e-3 * told.scale


@variants
def test_saved_whole_and_built_without_memory(name: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        empty: Any = zoo.build(name, **TINY)
        assert empty(torch.empty(2, 3, 16, 32, 32)).is_meta
    network, windows = tiny(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again: Any = zoo.load(zoo.save(network, tmp_path / "net.safetensors"))
    with torch.no_grad():
        assert torch.equal(again.eval()(windows), network.eval()(windows))
    config = network.config
    assert from_plain(BasicTADConfig, json.loads(json.dumps(to_plain(config)))).head == config.head


@variants
def test_another_class_count_resizes_the_classifier(name: str, tmp_path: Path) -> None:
    network, windows = tiny(name)
    path = zoo.save(network, tmp_path / "net.safetensors")
    with pytest.warns(UserWarning, match="its classifier for 3 classes was dropped"):
        wider: Any = zoo.load(path, num_classes=7)
    each, beside = rows(network.config)
    assert wider.head.projection.weight.shape[0] == 7 * each + beside
    assert wider(windows).shape[-1] == 7 + beside + 2


def test_published_files_hold_their_backbone_twice() -> None:
    network, windows = tiny("plustad_af", frames=16)
    once = zoo.weights.published_state(network, "original")  # type: ignore[attr-defined]
    twice = {f"module.{n}": v for n, v in once.items()}
    for name, value in once.items():
        if name.startswith("backbone."):
            twice[f"module.backbone._model.{name.removeprefix('backbone.')}"] = value
    twice["module.backbone._model.blocks.5.proj.weight"] = torch.zeros(400, 64)
    fields = {n: v for n, v in TINY.items() if n != "num_classes"}
    again: Any = zoo.load("plustad_af", twice, **fields)
    assert again.config.num_classes == 3
    with torch.no_grad():
        assert torch.equal(again.eval()(windows), network.eval()(windows))


def test_a_backbone_may_bring_its_own_weights() -> None:
    clips: Any = zoo.build("slow_r50_8x8", **SLIM)
    state = dict(zoo.weights.published_state(clips, "pytorchvideo").items())
    with pytest.warns(UserWarning, match="is the backbone slow_r50_8x8: .* start at random"):
        network: Any = zoo.load("basictad_af", state, **TINY)
    assert torch.equal(network.backbone.trunk.stem.conv.weight, clips.trunk.stem.conv.weight)


def test_norms_of_the_neck_stand_still_and_others_learn() -> None:
    network, windows = tiny("basictad_ab")
    network.train()
    network(windows)
    assert network.neck.stages[0].norm.running_mean.abs().max() == 0
    assert network.fpn.laterals[0].norm.running_mean.abs().max() > 0


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"levels": 0}, "levels is 0"),
        ({"frames": 15, "time_pool": 2}, "which time_pool 2 does not divide"),
        ({"neck": "fpn", "levels": 7}, "needs 7 stages"),
        ({"backbone": "slow_r50_8x9"}, "did you mean 'slow_r50_8x8'"),
        ({"backbone_net": {"widht": 8}}, "widht is not a field"),
    ],
)
def test_impossible_detectors_are_refused(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        zoo.build("basictad_af", **{**TINY, **fields})
