"""Convolutional systems through every published layout and back: ``marey convert``, both ways."""

from pathlib import Path
from typing import Any

import pytest
import torch

from marey import cli, zoo

NARROW = {"width": 8, "depths": (1, 2, 1, 1), "num_classes": 5}
GROWN = {"width_factor": 1.0, "depth_factor": 1.0, "hidden": 32, "num_classes": 5}
INCEPTION = {"width": 8, "num_classes": 5}
WIDENING = {**GROWN, "shortcut_norms": "widening"}

LAYOUTS: list[tuple[str, str, dict[str, Any]]] = [
    ("x3d_s", "pyslowfast", GROWN),
    ("x3d_s", "mmaction2", GROWN),
    ("x3d_s", "pytorchvideo", WIDENING),
    ("r3d_18", "torchvision", NARROW),
    ("mc3_18", "torchvision", NARROW),
    ("r2plus1d_18_tv", "torchvision", NARROW),
    ("r2plus1d_34", "vmz", NARROW),
    ("r2plus1d_34", "caffe2", NARROW),
    ("r2plus1d_152", "caffe2", NARROW),
    ("rmc3_18", "caffe2", NARROW),
    ("r2plus1d_34_mm", "mmaction2", NARROW),
    ("r2plus1d_r50_ptv", "pytorchvideo", NARROW),
    ("ircsn_r50", "caffe2", NARROW),
    ("ircsn_r50", "mmaction2", NARROW),
    ("s3d", "torchvision", INCEPTION),
    ("s3d", "kylemin", INCEPTION),
    ("i3d_inception", "pytorch_i3d", INCEPTION),
    ("s3dg_milnce", "original", INCEPTION),
    ("sts_slow_r50_8x8", "mmaction2", NARROW),
    ("sts_slowfast_r50_4x16", "mmaction2", {**NARROW, "width": 32}),
    ("sts_ircsn_r50", "mmaction2", NARROW),
    ("sts_x3d_s", "mmaction2", GROWN),
    ("sts_r2plus1d_34", "mmaction2", NARROW),
]


def built(name: str, **fields: Any) -> Any:
    """A network in which every tensor has numbers of its own."""
    network: Any = zoo.build(name, **fields)
    generator = torch.Generator().manual_seed(0)
    for tensor, value in network.state_dict().items():
        if value.is_floating_point() and not tensor.endswith("num_batches_tracked"):
            value.uniform_(0.5, 1.5, generator=generator)
    return network


def assert_same(found: Any, made: Any) -> None:
    mine, theirs = made.state_dict(), found.state_dict()
    assert list(mine) == list(theirs)
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []
    assert (found.variant, found.config) == (made.variant, made.config)


@pytest.mark.parametrize(("name", "layout", "fields"), LAYOUTS)
def test_narrow_networks_there_and_back(
    tmp_path: Path, name: str, layout: str, fields: dict[str, Any]
) -> None:
    made = built(name, **fields)
    own = zoo.save(made, tmp_path / "own.safetensors")
    theirs = tmp_path / "theirs.pth"
    assert cli.main(["convert", str(own), str(theirs), "--to", layout]) == 0
    found: Any = zoo.load(name, theirs, **fields)
    assert found.provenance == f"{theirs} ({layout})"
    assert_same(found, made)


@pytest.mark.parametrize(("name", "layout"), [("x3d_xs", "pyslowfast"), ("s3d", "torchvision")])
def test_a_published_file_is_read_without_being_named(
    tmp_path: Path, name: str, layout: str
) -> None:
    made = built(name)
    own, theirs, back = (str(tmp_path / f) for f in ("own.safetensors", "t.pth", "b.safetensors"))
    zoo.save(made, own)
    assert cli.main(["convert", own, theirs, "--to", layout]) == 0
    words = ["--model", name] if name.startswith("x3d") else []  # three X3Ds share their tensors
    assert cli.main(["convert", theirs, back, *words]) == 0
    assert_same(zoo.load(back), made)
