"""Predictions of files: official scores, result shape, windows, bad files among good ones."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import marey
from marey.choices import DataChoice, TaskChoice
from marey.data.transforms import test_views as spatial_views
from marey.data.transforms import to_input
from marey.predictor import Predictor, predict
from marey.predictor.predictor import choose_device, default_views, network, task_of
from marey.types import ClipSpec
from marey.video import VideoError, open_video
from marey.video.sampling import clip_indices

DARK, LIGHT = 20, 230


def official_scores(model, path, views):
    """Softmax per position, mean over positions, then over views, one clip at a time."""
    rows = []
    with open_video(path) as video, torch.no_grad():
        for view in range(views[0]):
            indices = clip_indices(
                video.num_frames, video.fps, model.spec, view=view, num_views=views[0]
            )
            clip = to_input(video.frames_at(indices).frames, model.spec)
            for crop in spatial_views(clip, model.spec, views[1]):
                rows.append(model.forward_positions(crop[None]).softmax(-1).mean(1)[0])
    return torch.stack(rows).mean(0)


@pytest.mark.parametrize("views", [(1, 1), (3, 1), (2, 3)])
def test_a_file_is_scored_the_official_way(tiny, draw, views: tuple[int, int]) -> None:
    path = draw("a.mp4", [(3 * i) % 256 for i in range(90)], size=48)
    expected = official_scores(tiny, path, views)
    for batch in (1, 4):
        with open_video(path) as video:
            scores = Predictor(tiny, views=views, batch=batch).scores(video)
        torch.testing.assert_close(scores, expected, atol=1e-6, rtol=0)


def test_it_agrees_with_evaluation_of_the_same_file(tiny, draw, tmp_path: Path) -> None:
    from marey.data.dataset import ClipDataset
    from marey.data.sources import open_data
    from marey.tasks.classification import Classification

    path = draw("videos/a.mp4", list(range(0, 250, 3)), size=48)
    (tmp_path / "list.csv").write_text("path,label,split\nvideos/a.mp4,x,val\n")
    items = open_data(tmp_path / "list.csv").splits["val"]
    data = DataChoice(path=str(tmp_path))
    dataset = ClipDataset(items, tiny.spec, training=False, data=data, views=(2, 3), num_classes=6)
    with torch.no_grad():
        expected = Classification(TaskChoice(), 6).scores(tiny, dataset.sample(0, 0).rgb[None])[0]
    with open_video(path) as video:
        torch.testing.assert_close(Predictor(tiny, views=(2, 3)).scores(video), expected)


def test_a_result_has_the_shape_the_design_names(brightness, draw) -> None:
    path = draw("light.mp4", [LIGHT] * 40)
    (result,) = predict(path, brightness, top=5)
    assert list(result) == ["source", "model", "task", "predictions"]
    assert result["source"] == str(path)
    assert (result["model"], result["task"]) == ("brightness", "what")
    first, second = result["predictions"]
    assert list(first) == ["label", "score", "start_s", "end_s"]
    assert (first["label"], first["start_s"], first["end_s"]) == ("light", 0.0, 2.0)
    assert first["score"] > 0.99
    assert first["score"] + second["score"] == pytest.approx(1, abs=1e-5)
    assert json.loads(json.dumps(result)) == result


def test_windows_follow_the_video_in_time(brightness, draw) -> None:
    path = draw("turn.mp4", [DARK] * 40 + [LIGHT] * 40)
    (result,) = predict(path, brightness, window_s=1.0, top=1)
    found = [(p["label"], p["start_s"], p["end_s"]) for p in result["predictions"]]
    assert found == [("dark", 0, 1), ("dark", 1, 2), ("light", 2, 3), ("light", 3, 4)]
    (half,) = predict(path, brightness, window_s=1.0, step_s=0.5, top=1, batch=2)
    assert len(half["predictions"]) == 7


def test_one_bad_file_among_many_is_named_and_the_others_go_on(brightness, draw, tmp_path) -> None:
    draw("a.mp4", [DARK] * 20)
    draw("c.mp4", [LIGHT] * 20)
    (tmp_path / "b.mp4").write_bytes(b"not a video")
    a, b, c = predict(tmp_path, brightness)
    assert [a["predictions"][0]["label"], c["predictions"][0]["label"]] == ["dark", "light"]
    assert b["predictions"] == []
    assert b["source"].endswith("b.mp4")
    assert b["skipped"] == "not a readable video (invalid data) (at header)"
    assert "skipped" not in a


def test_a_single_bad_file_is_an_error(brightness, tmp_path) -> None:
    (tmp_path / "b.mp4").write_bytes(b"not a video")
    with pytest.raises(VideoError, match=r"b\.mp4"):
        predict(tmp_path / "b.mp4", brightness)


def test_arrays_and_frame_folders_are_sources(brightness, tmp_path) -> None:
    from PIL import Image

    for i in range(12):
        picture = Image.fromarray(np.full((20, 24, 3), LIGHT, dtype=np.uint8))
        (tmp_path / "frames").mkdir(exist_ok=True)
        picture.save(tmp_path / "frames" / f"{i:04d}.png")
    dark = np.full((12, 20, 24, 3), DARK, dtype=np.uint8)
    first, second = predict([str(tmp_path / "frames"), dark], brightness)
    assert first["predictions"][0]["label"] == "light"
    assert second["source"] == "array"
    assert second["predictions"][0]["label"] == "dark"


def test_without_names_classes_have_numbers(tiny, draw) -> None:
    (result,) = predict(draw("a.mp4", [90] * 30), tiny, top=6)
    labels = {p["label"] for p in result["predictions"]}
    assert labels == {f"class {k}" for k in range(6)}
    scores = [p["score"] for p in result["predictions"]]
    assert scores == sorted(scores, reverse=True)


def test_own_weights_bring_their_classes(tiny, draw, tmp_path) -> None:
    from marey.zoo import save

    path = draw("a.mp4", [90] * 30)
    before = predict(path, tiny)[0]["predictions"]
    file = save(tiny, tmp_path / "own.safetensors")
    loaded = predict(path, str(file))[0]
    assert loaded["model"] == "slow_r50_8x8"
    assert loaded["predictions"] == before


def test_strict_refuses_a_short_clip_and_clamp_counts_it(brightness, draw) -> None:
    short = draw("short.mp4", [LIGHT] * 5)
    with pytest.raises(VideoError, match="policy='strict'"):
        predict(short, brightness, policy="strict")
    predictor = Predictor(brightness)
    assert predictor(short)[0]["predictions"][0]["label"] == "light"
    assert predictor.clamped == 1


def test_half_precision_stays_close(tiny, draw) -> None:
    path = draw("a.mp4", [(7 * i) % 256 for i in range(60)])
    with open_video(path) as video:
        exact = Predictor(tiny).scores(video)
        half = Predictor(tiny, precision="bf16").scores(video)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, exact, atol=0.02, rtol=0)


def test_many_labels_take_the_largest_view(brightness) -> None:
    brightness.recipe = {"task": {"labels": "multi", "combine": "max"}}
    predictor = Predictor(brightness, views=(2, 1))
    frames = np.full((40, 16, 16, 3), DARK, dtype=np.uint8)
    frames[10:] = LIGHT
    with open_video(frames, fps=20) as video:
        scores = predictor.scores(video)
    assert scores[0] > 0.4
    assert scores[1] > 0.99  # the second view is all light


def test_defaults() -> None:
    assert default_views(ClipSpec()) == (3, 1)
    assert default_views(ClipSpec(views=(1, 3))) == (1, 1)
    assert default_views(ClipSpec(sampling="segment", views=(10, 3))) == (1, 1)
    assert choose_device("cpu") == torch.device("cpu")


def test_one_class_or_several_is_read_from_the_weights(tiny, brightness, tmp_path) -> None:
    import dataclasses

    from marey.zoo import load, save

    several = TaskChoice(labels="multi", combine="max")
    assert task_of(brightness) == TaskChoice()
    task = {"kind": "classification", "labels": "multi", "smoothing": 0.1, "combine": "max"}
    file = save(tiny, tmp_path / "weights.safetensors", recipe={"task": task})
    stored = dataclasses.replace(several, smoothing=0.1)  # as it was trained
    assert task_of(load(str(file))) == stored
    assert task_of(load(str(tmp_path))) == stored
    brightness.spec = dataclasses.replace(brightness.spec, sampling="stride")  # Charades
    assert task_of(brightness) == several


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"top": 0}, "top is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"views": (0, 1)}, "views is 0"),
        ({"views": (1, 2)}, "2 spatial views"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"policy": "lax"}, "policy is 'lax'"),
        ({"window_s": -1.0}, "window_s is -1"),
        ({"device": "abacus"}, "device 'abacus'"),
    ],
)
def test_impossible_options_are_refused(brightness, options, word) -> None:
    with pytest.raises(ValueError, match=word):
        Predictor(brightness, **options)


def test_refusals_of_predict(brightness, draw, tmp_path) -> None:
    path = draw("a.mp4", [90] * 10)
    with pytest.raises(ValueError, match="task is 'who'"):
        predict(path, brightness, task="who")
    with pytest.raises(ValueError, match="never ends"):
        predict("rtsp://camera", brightness)
    with pytest.raises(ValueError, match="does not exist"):
        predict(tmp_path / "none.mp4", brightness)
    with pytest.raises(ValueError, match="clip spec"):
        Predictor(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="guess at random"):
        network("slow_r50_8x8")
    with pytest.raises(ValueError, match="has its own"):
        network(brightness, "x.safetensors")


def test_the_public_name(brightness, draw) -> None:
    assert marey.predict(draw("a.mp4", [LIGHT] * 20), brightness)[0]["predictions"]
