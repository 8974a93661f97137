"""Every video once, official scores, skipped files named, the two files written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_run
import torch

from marey.choices import TaskChoice
from marey.engine.distributed import pick_device
from marey.engine.evaluate import autocast, evaluate, write_evaluation
from marey.tasks.classification import Classification
from marey.types import Failure

CPU = torch.device("cpu")


def loader_of(length: int = 7, broken: tuple[int, ...] = (), views: int = 2) -> Any:
    loader = tiny_run.TinyLoader(length, batch=2, rank=0, world=1, training=False, views=views)
    loader.broken, loader.clamped = frozenset(broken), 1
    return loader


def network() -> tiny_run.TinyNet:
    torch.manual_seed(0)
    return tiny_run.TinyNet()


def test_rows_are_the_networks_own_probabilities() -> None:
    model, task = network(), Classification(TaskChoice(), 3)
    seen: list[Any] = []
    found = evaluate(model, task, loader_of(), device=CPU, progress=seen.append)
    assert model.training  # as it came
    model.eval()
    expected = []
    for index in range(7):
        views = torch.stack([tiny_run.clip_of(index, draw) for draw in range(2)])
        expected.append(model.forward_positions(views).softmax(-1).mean((0, 1)).detach())
    rows = torch.tensor([clip["scores"] for clip in found.clips])
    torch.testing.assert_close(rows, torch.stack(expected), atol=6e-6, rtol=0)
    assert [clip["target"] for clip in found.clips] == [[i % 3] for i in range(7)]
    right = torch.stack(expected).argmax(1) == torch.arange(7) % 3
    assert found.metrics["top1"] == int(right.sum()) / 7
    assert found.confusion is not None
    assert found.confusion.trace() == int(right.sum())
    assert (found.classes, found.model, found.views) == (model.classes, "tiny", (2, 1))
    assert [row["done"] for row in seen] == [1, 2, 3, 4]
    assert found.clamped == 4


def test_unreadable_videos_are_skipped_and_named() -> None:
    found = evaluate(
        network(), Classification(TaskChoice(), 3), loader_of(broken=(2, 3, 6)), device=CPU
    )
    assert [clip["key"] for clip in found.clips] == [f"video {i}" for i in (0, 1, 4, 5)]
    assert found.skipped == [Failure(f"video {i}.mp4", "no frames") for i in (2, 3, 6)]


def test_nothing_readable_is_an_error() -> None:
    with pytest.raises(ValueError, match="no video of 'val' could be scored: video 0.mp4: no fr"):
        evaluate(network(), Classification(TaskChoice(), 3), loader_of(2, (0, 1)), device=CPU)


def test_written_files_say_it_all(tmp_path: Path) -> None:
    found = evaluate(network(), Classification(TaskChoice(), 3), loader_of(broken=(6,)), device=CPU)
    assert write_evaluation(tmp_path / "run", found) == tmp_path / "run/metrics.json"
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["metrics"] == found.metrics
    assert metrics["skipped"] == [{"source": "video 6.mp4", "reason": "no frames"}]
    assert (metrics["clips"], metrics["clamped"], metrics["views"]) == (6, 4, [2, 1])
    assert list(metrics["per_class"]) == ["class 0", "class 1", "class 2"]
    assert sum(map(sum, metrics["confusion"])) == 6
    clips = json.loads((tmp_path / "run/predictions.json").read_text())
    assert clips == found.clips
    assert clips[0].keys() == {"key", "video", "start_s", "end_s", "target", "scores"}


def test_several_labels_have_no_confusion(tmp_path: Path) -> None:
    task = Classification(TaskChoice(labels="multi", combine="max"), 3)
    found = evaluate(network(), task, loader_of(), device=CPU)
    assert {"mAP", "mAP_slowfast"} <= found.metrics.keys()
    write_evaluation(tmp_path, found)
    assert json.loads((tmp_path / "metrics.json").read_text())["confusion"] == []


def test_half_precision_is_close_and_bf16_on_a_cpu() -> None:
    task = Classification(TaskChoice(), 3)
    full = evaluate(network(), task, loader_of(), device=CPU)
    half = evaluate(network(), task, loader_of(), device=CPU, precision="fp16")
    a, b = (torch.tensor([c["scores"] for c in e.clips]) for e in (full, half))
    assert 0 < float((a - b).abs().max()) < 0.02
    with autocast(CPU, "fp16"):
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_device("cpu") == CPU
    monkeypatch.setenv("MAREY_DEVICE", "cpu")
    assert pick_device() == CPU
    with pytest.raises(ValueError, match="device is 'gpu0'; choose auto, cpu"):
        pick_device("gpu0")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA GPU is usable here"):
            pick_device("cuda")
