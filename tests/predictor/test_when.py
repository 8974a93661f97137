"""Segments of files: streamed as evaluated, told once certain, from the shell too."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import marey
from marey import zoo
from marey.choices import SegmentChoice, SuppressionChoice, TaskChoice, WindowChoice
from marey.cli import main
from marey.config import to_plain
from marey.data.table import ItemTable, build_table
from marey.data.windows import WindowDataset
from marey.predictor.when import When, ahead
from marey.video import open_video
from marey.video.writer import write_video

FIELDS: dict[str, Any] = {
    "num_classes": 3,
    "frames": 16,
    "crop": 32,
    "backbone_net": {"width": 8, "depths": (1, 1, 1, 1)},
    "head_width": 16,
    "levels": 3,
}
CHOICE = TaskChoice(
    windows=WindowChoice(overlap=0.25),
    segments=SegmentChoice(
        min_score=0.0, joined=SuppressionChoice(kind="weighted", threshold=0.4, most=10**6)
    ),
)


@pytest.fixture
def detector() -> Any:
    torch.manual_seed(0)
    network: Any = zoo.build("basictad_af", **FIELDS)
    for conv in (network.head.projection, network.head.offsets):
        torch.nn.init.normal_(conv.weight, std=0.3)
    network.recipe = {"task": to_plain(CHOICE)}
    return network.eval()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Twenty-three seconds of noise that changes slowly."""
    draw = np.random.RandomState(0)
    frames = draw.randint(255, size=(23, 40, 48, 3), dtype=np.uint8).repeat(10, axis=0)
    return write_video(tmp_path / "long.mp4", frames, 10.0) or tmp_path / "long.mp4"


def test_streamed_segments_are_those_of_the_evaluation(
    detector: Any, tmp_path: Path, video: Any
) -> None:
    """Window by window, told early, and still what joining the whole video gives."""
    path = tmp_path / "long.mp4"
    when = When(detector, min_score=0.0, device="cpu")
    with open_video(path) as opened:
        told = list(when.stream(opened))
    intervals = [[{"start_s": 0.0, "end_s": 1.0, "label": 0}]]
    table = build_table([str(path)], [[0]], intervals=intervals, multi_label=True)
    items = ItemTable(table, ("a", "b", "c"))
    data = WindowDataset(items, detector.spec, training=False, windows=CHOICE.windows)
    parts = []
    for index, (_, start) in enumerate(data.places):
        sample = data.sample(index, 0)
        assert sample.rgb is not None
        with torch.inference_mode():
            found = when.task.candidates(detector(sample.rgb), [int(sample.target[2])])[0]  # type: ignore[index]
        parts.append(found._replace(segments=found.segments + start))
    whole = when.task.segments(parts, end_s=23.0)
    assert len(data.places) == 6
    rows = sorted(
        (round(p, 4), k, round(a, 2), round(b, 2))
        for (a, b), p, k in zip(*(c.tolist() for c in whole), strict=True)
        if b > a
    )
    labels = {f"class {k}": k for k in range(3)}
    mine = sorted(
        (round(o.score, 4), labels[o.label], round(o.start_s, 2), round(o.end_s, 2)) for o in told
    )
    assert len(mine) == len(rows)
    assert np.allclose(np.array(mine), np.array(rows), atol=0.011)


def test_a_video_is_decoded_once_and_windows_do_not_pile_up(
    detector: Any, tmp_path: Path, video: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    when, asked, waiting = When(detector, device="cpu"), [], []
    with open_video(tmp_path / "long.mp4") as opened:
        frames_at = opened.frames_at

        def counted(indices: Any, **size: Any) -> Any:
            asked.extend(int(i) for i in indices)
            return frames_at(indices, **size)

        monkeypatch.setattr(opened, "frames_at", counted)
        for start, frames, after in when._windows(opened):
            waiting.append((start, len(frames), after))
    assert asked == sorted(asked)
    assert len(asked) == 69
    assert (
        waiting
        == [
            (0, 16, 12),
            (12, 16, 24),
            (24, 16, 36),
            (36, 16, 48),
            (48, 16, 60),
            (60, 9, float("inf")),
        ][: len(waiting)]
    )
    assert waiting[-1][2] == float("inf")


def test_a_classifier_gives_a_timeline(tmp_path: Path, video: Any) -> None:
    network: Any = zoo.build("slow_r50_8x8", num_classes=4, width=8, depths=(1, 1, 1, 1), crop=32)
    (result,) = marey.predict(
        str(tmp_path / "long.mp4"), network, task="when", min_score=0.0, device="cpu"
    )
    rows = result["predictions"]
    assert result["task"] == "when"
    assert rows[0]["start_s"] == 0.0
    assert rows[-1]["end_s"] == pytest.approx(23.0, abs=0.01)
    assert all(a["label"] != b["label"] for a, b in pairwise(rows))


def test_windows_that_cannot_be_are_refused(detector: Any, tmp_path: Path, video: Any) -> None:
    """A detector has windows of its own; a classifier's may not be shorter than a frame."""
    path = str(tmp_path / "long.mp4")
    for name in ("window_s", "step_s"):
        with pytest.raises(ValueError, match=f"{name} is 3, but a detector's windows"):
            marey.predict(path, detector, task="when", device="cpu", **{name: 3.0})
    network: Any = zoo.build("slow_r50_8x8", num_classes=4, width=8, depths=(1, 1, 1, 1), crop=32)
    with pytest.raises(ValueError, match=r"step_s is 0.01 but a frame of .*long.mp4 lasts 0.1 s"):
        marey.predict(path, network, task="when", device="cpu", step_s=0.01)


def test_from_the_shell(
    detector: Any, tmp_path: Path, video: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = zoo.save(detector, tmp_path / "w.safetensors", recipe={"task": to_plain(CHOICE)})
    path, out = str(tmp_path / "long.mp4"), tmp_path / "out"
    words = ["predict", path, "--weights", str(weights), "--device", "cpu"]
    assert main([*words, "--task", "when", "--min-score", "0.4", "--save", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == path
    told = json.loads((out / "long.json").read_text())
    assert told["task"] == "when"
    assert len(told["predictions"]) == len(lines) - 1 > 0
    assert {p.suffix for p in out.iterdir()} == {".json", ".csv", ".vtt", ".html"}
    assert main(words) == 2
    assert "basictad_af finds segments: add --task when" in capsys.readouterr().err


def test_evaluation_takes_fields_of_the_task(
    detector: Any, tmp_path: Path, video: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under THUMOS14's rule detections on a segment of no clear class are not held against one."""
    detector.classes = ("a", "b", "c")
    weights = zoo.save(detector, tmp_path / "w.safetensors", recipe={"task": to_plain(CHOICE)})
    rows = [f"long.mp4,{k}.0,{k + 2}.0,{'abc'[k % 3]},val" for k in range(0, 12, 2)]
    heads = ["video,start_s,end_s,label,split", *rows]
    clear, unclear = tmp_path / "clear.csv", tmp_path / "unclear.csv"
    clear.write_text("\n".join(heads) + "\n")
    unclear.write_text("\n".join([*heads, "long.mp4,13.0,23.0,Ambiguous,val"]) + "\n")
    words = ["--weights", str(weights), "--workers", "0", "--device", "cpu", "--json"]
    found = {}
    for rule in ("cleaned", "thumos14"):
        for path in (clear, unclear):
            options = ["--task.segments.rule", rule, "--task.segments.overlaps", "0.1", "0.3"]
            assert main(["evaluate", str(path), *words, *options]) == 0
            found[rule, path] = json.loads(capsys.readouterr().out)["metrics"]
    assert set(found["cleaned", clear]) == {"mAP", "mAP@0.1", "mAP@0.3"}
    assert found["cleaned", clear] == found["cleaned", unclear]
    assert found["thumos14", unclear]["mAP@0.1"] > found["thumos14", clear]["mAP@0.1"] > 0
    assert main(["evaluate", str(clear), *words, "--task.segments.rule", "thumos"]) == 2
    assert "choose one of 'cleaned', 'activitynet', 'thumos14'" in capsys.readouterr().err
    assert main(["evaluate", str(clear), *words, "--task.segment.rule", "thumos14"]) == 2
    assert "did you mean 'segments'" in capsys.readouterr().err


def test_where_nothing_scores_enough_it_is_said_with_the_best(
    detector: Any, tmp_path: Path, video: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "long.mp4")
    every = When(detector, min_score=0.0, device="cpu")(path)[0]
    best = max(p["score"] for p in every["predictions"])
    assert "highest_score" not in every
    (none,) = When(detector, min_score=1.0, device="cpu")(path)
    assert none["predictions"] == []
    assert none["highest_score"] == best < 1
    (tmp_path / "z.mp4").touch()
    _, broken = When(detector, min_score=1.0, device="cpu")([path, str(tmp_path / "z.mp4")])
    assert "highest_score" not in broken  # the one before had another
    weights = zoo.save(detector, tmp_path / "w.safetensors", recipe={"task": to_plain(CHOICE)})
    words = ["predict", path, "--weights", str(weights), "--device", "cpu", "--task", "when"]
    assert main([*words, "--min-score", "1"]) == 0
    said = f"  no segment scores --min-score 1; the highest score was {best:.3f}"
    assert capsys.readouterr().out.splitlines() == [path, said]


def test_a_short_video_and_one_cut_off(detector: Any, tmp_path: Path, video: Any) -> None:
    frames = np.random.RandomState(0).randint(255, size=(5, 40, 48, 3), dtype=np.uint8)
    write_video(tmp_path / "short.mp4", frames, 10.0)
    (result,) = When(detector, min_score=0.0, device="cpu")(str(tmp_path / "short.mp4"))
    assert result["predictions"]
    assert max(row["end_s"] for row in result["predictions"]) <= 0.5
    whole = (tmp_path / "long.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    results = When(detector, device="cpu")([str(tmp_path / "short.mp4"), str(tmp_path / "cut.mp4")])
    assert "skipped" not in results[0]
    assert "skipped" in results[1]


def test_errors_come_out_of_the_thread() -> None:
    def things() -> Any:
        yield 1
        raise ValueError("broken in the middle")

    seen = []
    with pytest.raises(ValueError, match="broken in the middle"):
        seen.extend(ahead(things(), 2))
    assert seen == [1]


def test_options_without_a_meaning_are_refused(detector: Any) -> None:
    with pytest.raises(ValueError, match="top means nothing to task 'when'"):
        marey.predict("x.mp4", detector, task="when", top=3)
    with pytest.raises(ValueError, match="min_score is 3"):
        When(detector, min_score=3)
    with pytest.raises(ValueError, match="a detector has windows of its own"):
        marey.predict("x.mp4", detector, task="what", window_s=2.0)
