"""Frames and the flow around them in one sample: same moments, same crop, same mirror."""

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from marey import zoo
from marey.choices import AugmentChoice, DataChoice
from marey.cli import main
from marey.data import synthetic
from marey.data.augment import TrainAugment
from marey.data.dataset import ClipDataset
from marey.data.flow_sets import write_flow
from marey.data.loader import collate
from marey.data.sources import open_data
from marey.predictor import Predictor, extract_features
from marey.predictor.feed import clip_seconds
from marey.types import ClipSpec
from marey.video.flow import FlowChoice

needs_opencv = pytest.mark.skipif(
    importlib.util.find_spec("cv2") is None, reason="OpenCV is not installed (extra 'flow')"
)
SPEC = ClipSpec(
    frames=2,
    stride=3,
    sampling="stride",
    size=32,
    test_size=32,
    short_side=32,
    jitter=(32, 32),
    mean=(0.0,) * 5,
    std=(1.0,) * 5,
    value_range=255.0,
    modality="rgb_flow",
    flow_frames=4,
    views=(1, 1),
)
STILL = AugmentChoice(flip=0.0)
SIDE = 32


@pytest.fixture
def numbered(tmp_path: Path) -> tuple[Path, DataChoice]:
    """Twelve frames whose grey is ten times their number, and flow whose x is that plus 100."""
    for label in ("a", "b"):
        video, flow = tmp_path / "clips" / label / "v", tmp_path / "flow" / label / "v"
        video.mkdir(parents=True)
        flow.mkdir(parents=True)
        for t in range(12):
            frame = np.full((SIDE, 48, 3), 10 * t, np.uint8)
            frame[:, 24:] += 5
            Image.fromarray(frame).save(video / f"img_{t + 1:05d}.png")
            if t < 11:
                for axis, value in (("x", 100 + t), ("y", 200 + t)):
                    field = np.full((SIDE, 48), value, np.uint8)
                    Image.fromarray(field).save(flow / f"flow_{axis}_{t + 1:05d}.png")
    return tmp_path / "clips", DataChoice(flow=str(tmp_path / "flow"))


def test_every_frame_has_the_fields_around_it(numbered: tuple[Path, DataChoice]) -> None:
    path, choice = numbered
    items = open_data(path).split("")
    sample = ClipDataset(items, SPEC, training=False, data=choice).sample(0, 0)
    assert sample.rgb is not None
    assert sample.flow is not None
    assert sample.rgb.shape == (1, 3, 2, SIDE, SIDE)
    assert sample.flow.shape == (1, 2, 8, SIDE, SIDE)
    moments = (sample.rgb[0, 0, :, 0, 0] / 10).round().long().tolist()
    assert moments == [4, 7]  # a span of four frames in the middle of twelve
    fields = [t + step for t in moments for step in (-2, -1, 0, 1)]
    assert sample.flow[0, 0, :, 5, 5].round().long().tolist() == [100 + t for t in fields]
    assert sample.flow[0, 1, :, 5, 5].round().long().tolist() == [200 + t for t in fields]


def test_training_draws_one_crop_and_one_mirror_for_both(
    numbered: tuple[Path, DataChoice],
) -> None:
    path, choice = numbered
    items = open_data(path).split("")
    always = AugmentChoice(flip=1.0, crop="corners", scales=(1.0,), colour=0.0)
    dataset = ClipDataset(items, SPEC, training=True, augment=always, data=choice)
    sample = dataset.sample(0, 0)
    assert sample.rgb is not None
    assert sample.flow is not None
    left, right = sample.rgb[0, 0, 0, 0, [0, -1]].tolist()
    assert left >= right  # the brighter half is on the left now
    moment = int(right // 10)
    assert sample.flow[0, 0, 2, 5, 5].round() == 255 - (100 + moment)
    assert sample.flow[0, 1, 2, 5, 5].round() == 200 + moment
    batch = collate([sample, sample])
    assert [clip.shape[0] for clip in batch.clips] == [2, 2]
    coloured = TrainAugment(SPEC, AugmentChoice(colour=0.4))  # of the frames alone
    assert coloured.flow is not None
    assert coloured.flow.choice.colour == 0.0


def test_views_cut_both_alike(numbered: tuple[Path, DataChoice]) -> None:
    path, choice = numbered
    items = open_data(path).split("")
    sample = ClipDataset(items, SPEC, training=False, data=choice, views=(2, 10)).sample(0, 0)
    assert sample.rgb is not None
    assert sample.flow is not None
    assert len(sample.rgb) == len(sample.flow) == 20
    assert sample.flow[5, 0, 0, 5, 5].round() == 255 - sample.flow[0, 0, 0, 5, 5].round()


def test_flow_that_is_not_whole_is_named(numbered: tuple[Path, DataChoice]) -> None:
    path, choice = numbered
    items = open_data(path).split("")
    dataset = ClipDataset(items, SPEC, training=False, data=choice)
    broken = Path(choice.flow) / "a" / "v"
    (broken / "flow_y_00004.png").unlink()
    (failure,) = dataset.sample(0, 0).failures
    assert failure.reason == "its y picture is missing (at number 4)"
    (broken / "flow_x_00004.png").unlink()
    for number in range(5, 12):
        for axis in "xy":
            (broken / f"flow_{axis}_{number:05d}.png").unlink()
    (failure,) = dataset.sample(0, 0).failures
    assert "3 fields of flow for 12 frames, between which there are 11" in failure.reason
    shutil.rmtree(broken)
    with pytest.raises(ValueError, match="has no flow in"):
        dataset.sample(0, 0)
    with pytest.raises(ValueError, match=r"'marey flow DATA DIR'.*--data.flow DIR"):
        ClipDataset(items, SPEC, training=False).sample(0, 0)


def test_strides_are_drawn_and_shrink_for_short_videos(numbered: tuple[Path, DataChoice]) -> None:
    path, choice = numbered
    items = open_data(path).split("")
    spec = replace(SPEC, stride=5, least_stride=2)
    dataset = ClipDataset(items, spec, training=True, augment=STILL, data=choice)
    gaps = set()
    for epoch in range(30):
        sample = dataset.sample(0, epoch)
        assert sample.rgb is not None
        first, second = (sample.rgb[0, 0, :, 0, 0] / 10).tolist()
        gaps.add(int(second) - int(first))
    assert gaps == {2, 3, 4, 5}
    long = replace(spec, frames=6, stride=15, least_stride=5)  # at most 2 apart in 12 frames
    sample = ClipDataset(items, long, training=False, data=choice).sample(0, 0)
    assert sample.rgb is not None
    assert (sample.rgb[0, 0, :, 0, 0] / 10).long().diff().tolist() == [2] * 5
    assert not sample.clamped


@needs_opencv
def test_train_evaluate_and_predict_with_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = synthetic.write_dataset(
        "flow", tmp_path / "data", train=6, val=3, test=3, difficulty=0, size=(48, 64), workers=0
    )
    flow, run = tmp_path / "flow", tmp_path / "run"
    write_flow(data, flow, choice=FlowChoice(short_side=0), workers=1)
    words = ["train", str(data), "--model", "two_stream_conv3d_r50_5f", "--out", str(run)]
    words += ["--data.flow", str(flow), "--data.workers", "0", "--augment.crop", "borders"]
    words += ["--net.width", "4", "--net.depths", "1", "1", "1", "1", "--clip.frames", "2"]
    words += ["--clip.size", "32", "--clip.test_size", "32", "--clip.short_side", "32"]
    words += ["--clip.stride", "2", "--clip.least_stride", "1", "--run.batch", "3"]
    words += ["--schedule.epochs", "2", "--schedule.warmup_epochs", "0"]
    words += ["--schedule.head_epochs", "1"]
    assert main(words) == 0
    capsys.readouterr()
    told = ["--weights", str(run), "--flow", str(flow), "--json"]
    assert main(["evaluate", str(data), *told, "--views", "1x1", "--out", str(tmp_path / "e")]) == 0
    stored = json.loads((tmp_path / "e" / "predictions.json").read_text())
    clip = Path(stored[0]["video"])
    capsys.readouterr()
    assert main(["predict", str(clip), *told, "--views", "1x1", "--top", "3"]) == 0
    found = json.loads(capsys.readouterr().out)["predictions"]
    by_label = {row["label"]: row["score"] for row in found}
    classes = json.loads((tmp_path / "e" / "metrics.json").read_text())["classes"]
    assert [by_label[name] for name in classes] == pytest.approx(stored[0]["scores"], abs=2e-3)
    assert main(["predict", str(clip), "--weights", str(run)]) == 2
    assert "'marey flow SRC DIR' and name the folder, --flow DIR" in capsys.readouterr().err
    told = ["extract", str(clip), "--weights", str(run), "--out", str(tmp_path / "rows")]
    assert main(told) == 2
    assert "--flow DIR" in capsys.readouterr().err
    assert main([*told, "--flow", str(flow)]) == 0
    with np.load(tmp_path / "rows" / f"{clip.stem}.npz") as file:
        rows, times = file["features"], file["times"]
    assert rows.shape == (len(times), 2 * 128)  # of both towers
    ready = Predictor(zoo.load(run), flow=str(flow))
    with ready.open(clip) as video:
        given = torch.cat(
            [some for some, _ in ready.windows(video, *[clip_seconds(ready.spec)] * 2)]
        )
    with torch.inference_mode():
        maps = ready.model.features(given)
    wanted = torch.cat([one.mean((2, 3, 4)) for one in maps], dim=1)
    torch.testing.assert_close(torch.from_numpy(rows), wanted, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="was given with a Predictor"):
        extract_features(clip, ready, tmp_path / "no", flow=str(flow))


def test_the_mean_of_two_losses_is_each_their_own() -> None:
    from marey.choices import TaskChoice
    from marey.tasks.classification import Classification
    from marey.types import Batch

    target = torch.eye(3)[[0, 2]]
    clip = torch.zeros(2, 1, 3, 1, 4, 4)
    batch = Batch(clip, clip[:, :, :2], target, ("a", "b"), torch.zeros(2, 1, 1), torch.arange(2))
    answers = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0))

    def model(rgb: torch.Tensor, flow: torch.Tensor, *, each: bool = False) -> torch.Tensor:
        assert (rgb.shape[1], flow.shape[1]) == (3, 2)
        return answers if each else answers.mean(1)

    task = Classification(TaskChoice(), 3, answers=2)
    loss = task.loss(model, batch)["loss"]  # type: ignore[arg-type]
    single = [torch.nn.functional.cross_entropy(answers[:, i], target) for i in (0, 1)]
    torch.testing.assert_close(loss, single[0] + single[1])


def test_a_stream_brings_no_flow() -> None:
    from marey.predictor.stream import Stream

    network = zoo.build("two_stream_r18", width=4, depths=(1, 1, 1, 1), num_classes=3)
    with pytest.raises(ValueError, match="reads optical flow, which a stream does not bring"):
        Stream(network, "0")
