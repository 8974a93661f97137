"""Stored scores averaged: numbers by hand, through files, and what does not belong together."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import marey
from marey.engine.evaluate import Evaluation, write_evaluation
from marey.engine.fusion import fuse, read_evaluation

LABELS = {"a": 0, "b": 1, "c": 1}
FRAMES = {"a": [0.7, 0.3], "b": [0.6, 0.4], "c": [0.8, 0.2]}
FLOW = {"c": [0.1, 0.9], "b": [0.5, 0.5], "a": [0.4, 0.6]}  # in another order


def evaluation(scores: dict[str, list[float]], model: str = "frames") -> Evaluation:
    rows = [
        {"key": k, "video": f"{k}.mp4", "start_s": None, "end_s": None, "target": [LABELS[k]],
         "scores": list(s)}
        for k, s in scores.items()
    ]  # fmt: skip
    right = [float(np.argmax(s) == LABELS[k]) for k, s in scores.items()]
    return Evaluation(
        metrics={"top1": float(np.mean(right))},
        clips=rows,
        confusion=np.array([[1, 0], [2, 0]]),
        classes=("sit", "stand"),
        per_class=[1.0, 0.0],
        model=model,
        split="val",
    )


def test_the_mean_of_two_streams_by_hand() -> None:
    told = fuse([evaluation(FRAMES), evaluation(FLOW, "flow")])
    found = {clip["key"]: clip["scores"] for clip in told.clips}
    assert found == {"a": [0.55, 0.45], "b": [0.55, 0.45], "c": [0.45, 0.55]}
    assert told.metrics["top1"] == pytest.approx(2 / 3)
    assert told.confusion is not None
    assert told.confusion.tolist() == [[1, 0], [1, 1]]
    assert (told.model, told.split) == ("frames + flow", "val")


def test_shares_weigh_the_parts() -> None:
    parts = [evaluation(FRAMES), evaluation(FLOW, "flow")]
    told = fuse(parts, shares=(1, 3))
    assert told.clips[0]["scores"] == [0.475, 0.525]
    assert fuse(parts, shares=(2, 6)).clips == told.clips


def test_through_files_as_the_public_call_reads_them(tmp_path: Path) -> None:
    for name, scores in (("rgb", FRAMES), ("flow", FLOW)):
        write_evaluation(tmp_path / name, evaluation(scores, name))
    again = read_evaluation(tmp_path / "rgb")
    assert again.clips == evaluation(FRAMES).clips
    told = marey.fuse([tmp_path / "rgb", tmp_path / "flow"], out=tmp_path / "both")
    written = json.loads((tmp_path / "both" / "metrics.json").read_text())
    assert written["metrics"]["top1"] == told.metrics["top1"] == pytest.approx(2 / 3)
    assert written["model"] == "rgb + flow"
    assert (tmp_path / "both" / "report.html").is_file()
    assert read_evaluation(tmp_path / "both").clips == told.clips


def test_what_does_not_belong_together_is_refused() -> None:
    first = evaluation(FRAMES)
    with pytest.raises(ValueError, match="1 evaluation to fuse; name two or more"):
        fuse([first])
    with pytest.raises(ValueError, match="give one above 0 for each of 2"):
        fuse([first, first], shares=(1, 0))
    with pytest.raises(ValueError, match=r"on the same videos: 1 are in one only \(c"):
        fuse([first, evaluation({k: FLOW[k] for k in "ab"}, "flow")])
    with pytest.raises(ValueError, match="tell other classes apart: 2 .sit first. and 2 .up first"):
        fuse([first, replace(evaluation(FLOW), classes=("up", "down"))])
    other = evaluation(FLOW)
    other.clips[0]["target"] = [0]
    with pytest.raises(ValueError, match="c has other labels in the two"):
        fuse([first, other])


def test_folders_without_class_scores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no metrics\.json; name a folder"):
        read_evaluation(tmp_path)
    write_evaluation(tmp_path, evaluation(FRAMES))
    (tmp_path / "predictions.json").write_text("[{")
    with pytest.raises(ValueError, match=r"predictions\.json is broken"):
        read_evaluation(tmp_path)
    (tmp_path / "predictions.json").write_text('[{"key": "a", "segments": []}]')
    with pytest.raises(ValueError, match="holds no class scores"):
        read_evaluation(tmp_path)


def test_scores_of_several_label_sets_are_refused() -> None:
    pair = [replace(evaluation(FRAMES), metrics={"action_top1": 0.5, "verb_top1": 0.5})] * 2
    with pytest.raises(ValueError, match="measured by action_top1, verb_top1 cannot be fused"):
        fuse(pair)
