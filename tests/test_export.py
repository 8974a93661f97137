"""Exported networks answer like the eager one, at any batch; failures leave nothing."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import marey
from marey.export import export

TINY = {"width": 8, "depths": (1, 1, 1, 1), "num_classes": 4, "crop": 32}
NONLOCAL = {"frames": 4, "nonlocals": ((), (0,), (0,), ())}
has_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(n) is None for n in ("onnx", "onnxscript", "onnxruntime")),
    reason="onnx, onnxscript and onnxruntime are not installed (extra 'export')",
)


def network(name: str, **fields: object) -> nn.Module:
    torch.manual_seed(0)
    model = marey.build(name, **(TINY | fields)).eval()
    for part in model.modules():  # statistics that do something
        if isinstance(part, nn.BatchNorm3d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return model


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("slow_r50_8x8", {"frames": 4}),
        ("slowfast_r50_8x8", {"frames": 16}),
    ],
)
def test_torch_files_answer_as_the_network_does(name, fields, tmp_path: Path) -> None:
    model = network(name, **fields)
    told = export(model, tmp_path / "net.pt2")
    assert told.difference == pytest.approx(0, abs=1e-5)
    assert told.scale > 0
    assert told.checked_with == "torch"
    extra = {"marey.json": ""}
    program = torch.export.load(tmp_path / "net.pt2", extra_files=extra).module()
    clip = torch.randn(5, *told.input)
    with torch.no_grad():
        torch.testing.assert_close(program(clip), model(clip), atol=1e-5, rtol=1e-5)
    facts = json.loads(extra["marey.json"])
    assert facts["variant"] == name
    assert json.loads(facts["spec"])["frames"] == model.spec.frames
    assert [p.name for p in tmp_path.iterdir()] == ["net.pt2"]


@has_onnx
@pytest.mark.parametrize(
    ("name", "fields"),
    [("slowfast_r50_8x8", {"frames": 16}), ("i3d_nl_r50_8x8", NONLOCAL)],
)
def test_onnx_files_answer_as_the_network_does(name, fields, tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    model = network(name, **fields)
    model.classes = ("a", "b", "c", "d")
    told = export(model, tmp_path / "net.onnx")
    assert told.difference < 1e-4
    assert told.checked_with == "onnxruntime"
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    clip = torch.randn(1, *told.input)
    (logits,) = session.run(None, {"clip": clip.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(logits), model(clip), atol=1e-4, rtol=1e-4)
    facts = {p.key: p.value for p in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert json.loads(facts["classes"]) == ["a", "b", "c", "d"]
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


def test_training_mode_is_put_back(tmp_path: Path) -> None:
    model = network("slow_r50_8x8", frames=4).train()
    frozen = next(m for m in model.modules() if isinstance(m, nn.BatchNorm3d)).eval()
    export(model, tmp_path / "net.pt2", check=False)
    assert model.training
    assert not frozen.training


class Fickle(nn.Module):
    """Answers otherwise once it has been exported."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.spec = marey.ClipSpec(frames=2, test_size=8)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        factor = 1.0 if torch.compiler.is_compiling() else 2.0
        return clip.mean((2, 3, 4)) * self.scale * factor + 1


def test_a_wrong_answer_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="differs from the eager one"):
        export(Fickle(), tmp_path / "net.pt2")
    assert not list(tmp_path.iterdir())


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network("slow_r50_8x8", frames=4)
    with pytest.raises(ValueError, match=r"neither \.pt2 nor \.onnx"):
        export(model, tmp_path / "net.bin")
    with pytest.raises(ValueError, match="format is 'onxx'"):
        export(model, tmp_path / "net.bin", format="onxx")
    with pytest.raises(ValueError, match="no clip spec"):
        export(nn.Linear(2, 2), tmp_path / "net.pt2")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"onnx and onnxscript; pip install 'marey\[export\]'"):
        export(model, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


MEMORY = {
    "depths": (1, 1),
    "strides": (1, 2),
    "width": 16,
    "kv_stride": 4,
    "frames": 4,
    "num_classes": 4,
    "crop": 32,
    "dropout": 0.0,
    "memory": ((1, 3), ()),
}


def remembering(**fields: Any) -> nn.Module:
    torch.manual_seed(0)
    model = marey.build("memvit_16x4", **MEMORY, **fields).eval()
    for name, value in model.named_parameters():
        if "rel_pos" in name or value.dim() > 1:
            nn.init.normal_(value, std=0.2)
    return model


@pytest.mark.parametrize("fields", [{}, {"causal": True, "frame_level": True}], ids=str)
@pytest.mark.parametrize("ending", [".pt2", pytest.param(".onnx", marks=has_onnx)])
def test_a_memory_goes_in_and_comes_out(ending: str, fields: dict, tmp_path: Path) -> None:
    model = remembering(**fields)
    path = tmp_path / f"net{ending}"
    told = export(model, path)
    assert told.difference == pytest.approx(0, abs=2e-5)
    generator = torch.Generator().manual_seed(2)
    stream = [torch.randn(3, *told.input, generator=generator) for _ in range(5)]
    if ending == ".pt2":
        extra = {"marey.json": ""}
        program = torch.export.load(path, extra_files=extra).module()
        facts = json.loads(extra["marey.json"])
    else:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        facts = session.get_modelmeta().custom_metadata_map
        names = [one.name for one in session.get_inputs()]
    shapes = json.loads(facts["state"])
    state = [
        torch.zeros([3 if n == "batch" else n for n in one["shape"]], dtype=TYPES[one["type"]])
        for one in shapes.values()
    ]
    memory = model.init_state()
    for clip in stream:
        with torch.no_grad():
            wanted, memory = model(clip, memory)
            if ending == ".pt2":
                found, *state = program(clip, *state)
            else:
                values = dict(zip(["clip", *shapes], [clip, *state], strict=True))
                given = {name: values[name].numpy() for name in names}
                found, *state = (torch.as_tensor(v) for v in session.run(None, given))
        torch.testing.assert_close(found, wanted, atol=2e-5, rtol=0)
    assert int(state[-2][0]) == 3
    torch.testing.assert_close(state[0], memory.layers[0].old_key, atol=2e-5, rtol=0)


TYPES = {"torch.float32": torch.float32, "torch.int64": torch.int64}
