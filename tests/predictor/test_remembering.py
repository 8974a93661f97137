"""Networks with memory on long files: the answers of an evaluation, in constant memory."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import marey
from marey.choices import StreamChoice
from marey.cli import main
from marey.data.sequences import clip_length_s
from marey.predictor import Predictor, Stream
from marey.predictor.remembering import clips_of
from marey.recipe import Recipe
from marey.tasks.long_video import newest
from marey.video import write_video

SIDE = {"size": 32, "test_size": 32, "short_side": 32, "jitter": [32, 32]}
CHOSEN = Recipe(
    model="memvit_16x4",
    net={
        "depths": [1, 1],
        "strides": [1, 2],
        "width": 16,
        "kv_stride": 4,
        "dropout": 0.0,
        "memory": [[1, 3], []],
        "compress_kernel": [1, 3, 3],
        "compress_stride": [1, 2, 2],
    },
    clip={"frames": 2, "stride": 4, "rate": 8.0, **SIDE},
).changed(task={"kind": "long_video"}, data={"workers": 0})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of 9.5 and 4 seconds of noise, 8 frames a second, and segments of two classes."""
    folder = tmp_path_factory.mktemp("long")
    rng = np.random.default_rng(0)
    for name, count in (("a", 76), ("b", 32)):
        grain = rng.integers(0, 256, (count, 4, 6, 3), dtype=np.uint8)
        frames = grain.repeat(8, axis=1).repeat(8, axis=2)
        write_video(folder / f"{name}.mp4", list(frames), 8, crf=8)
    rows = ["a.mp4,0,3,jump,val", "a.mp4,2,6,turn,val", "b.mp4,1,2,turn,val"]
    text = "\n".join(["video,start_s,end_s,label,split", *rows, "a.mp4,0,1,jump,train"])
    (folder / "segments.csv").write_text(text + "\n")
    return folder


RUNS = {"no gap": {}, "overlapping": {"step_s": 0.5}, "frames": {"frames": 4, "stride": 2}}


@pytest.fixture(scope="module", params=RUNS)
def run(request: Any, data: Path) -> tuple[Recipe, Path]:
    """A recipe and weights it wrote, whose answers depend on the memory."""
    fields = dict(RUNS[request.param])
    chosen = CHOSEN.changed(
        data={"path": str(data / "segments.csv")},
        task={"streams": {"step_s": fields.pop("step_s", 0.0)}},
        clip={**CHOSEN.clip, **fields},
        net={**CHOSEN.net, "frame_level": bool(fields), "causal": bool(fields)},
    )
    torch.manual_seed(0)
    network = chosen.build_model()
    for name, value in network.named_parameters():
        if "rel_pos" in name or value.dim() > 1:
            torch.nn.init.normal_(value, std=0.2)
    return chosen, chosen.save_model(network, data / f"{request.param}.safetensors")


def test_a_stream_answers_as_the_evaluation_does(run: tuple[Recipe, Path], data: Path) -> None:
    chosen, weights = run
    found = marey.evaluate(data / "segments.csv", weights=weights, recipe=chosen, split="val")
    step = chosen.task.streams.step_s or 1.0
    for name in ("a.mp4", "b.mp4"):
        wanted = [clip for clip in found.clips if clip["video"].endswith(name)]
        results = list(Stream(marey.load(str(weights)), str(data / name), top=2))
        assert len(results) == len(wanted) > 3
        for place, (result, clip) in enumerate(zip(results, wanted, strict=True)):
            told = {p["label"]: p["score"] for p in result["predictions"]}
            scores = dict(zip(found.classes, clip["scores"], strict=True))
            assert told == pytest.approx(scores, abs=2e-5)
            first = result["predictions"][0]
            assert (first["start_s"], first["end_s"]) == (place * step, place * step + 1.0)
            assert result["dropped"] == 0


def test_without_memory_the_answers_would_be_others(run: tuple[Recipe, Path], data: Path) -> None:
    _, weights = run
    network = marey.load(str(weights))
    with torch.no_grad():
        stream = Stream(network, str(data / "a.mp4"), top=2)
        results = list(stream)
        assert stream.remembering is not None
        alone = []
        with marey.open_video(data / "a.mp4") as video:
            for pixels, _ in clips_of(video, stream.every_s, network.spec):
                alone.append(newest(network(pixels[None])).sigmoid()[0])
    apart = []
    for result, scores in zip(results, alone, strict=True):
        told = {p["label"]: p["score"] for p in result["predictions"]}
        apart.append(max(abs(told[n] - float(scores[k])) for k, n in enumerate(network.classes)))
    assert apart[0] < 1e-5
    assert max(apart[1:]) > 1e-3


def test_what_is_held_does_not_grow(run: tuple[Recipe, Path], data: Path) -> None:
    stream = Stream(marey.load(str(run[1])), str(data / "a.mp4"))
    held = []
    for _ in stream:
        assert stream.remembering is not None
        memory = stream.remembering.carried.memory
        held.append((memory.bytes, memory.batch))
    assert len(held) >= 9
    assert len(set(held)) == 1
    assert held[0][1] == 1


def camera(count: int) -> Any:
    rng = np.random.default_rng(1)
    for i in range(count):
        yield i / 8, rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_a_camera_is_remembered_too(run: tuple[Recipe, Path]) -> None:
    stream = Stream(marey.load(str(run[1])), camera(60), every_s=1.0)
    results = list(stream)
    assert results
    assert stream.remembering is not None
    assert stream.remembering.read == len(results)
    assert stream.feed.span_s == clip_length_s(stream.predictor.spec)


def test_limits_and_a_new_start(run: tuple[Recipe, Path], data: Path) -> None:
    stream = Stream(Predictor(marey.load(str(run[1]))), data / "a.mp4", max_results=3)
    first = list(stream)
    assert len(first) == 3
    again = list(stream)
    assert [r["predictions"] for r in again] == [r["predictions"] for r in first]
    counted = Stream(marey.load(str(run[1])), data / "a.mp4", every_s=4.0)
    assert len(list(counted)) == 3


def test_the_command_prints_a_line_a_clip(
    run: tuple[Recipe, Path], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", str(data / "a.mp4"), "--weights", str(run[1]), "--json"]
    assert main([*words, "--stream"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == (9 if run[0].task.streams == StreamChoice() else 18)
    assert {line["model"] for line in lines} == {"memvit_16x4"}
    assert main(words) == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 1
    assert "memvit_16x4 is asked about views alone; --stream lets it remember" in told.err
