"""Flow of whole data sets, and clips, training and prediction made of it."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import marey
from marey.choices import AugmentChoice, DataChoice
from marey.cli import main
from marey.data import synthetic
from marey.data.augment import TrainAugment, mirror
from marey.data.dataset import ClipDataset
from marey.data.flow_sets import jobs_of, write_flow
from marey.data.sources import open_data
from marey.types import ClipSpec
from marey.video import VideoWarning, write_video
from marey.video.flow import FlowChoice
from marey.video.flow_files import open_flow

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("cv2") is None, reason="OpenCV is not installed (extra 'flow')"
)
AS_IT_IS = FlowChoice(short_side=0)
SPEC = ClipSpec(
    frames=4,
    stride=1,
    rate=25.0,
    size=32,
    test_size=32,
    short_side=32,
    jitter=(32, 40),
    mean=(128 / 255,) * 2,
    std=(128 / 255,) * 2,
    modality="flow",
    views=(1, 1),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A drawn data set whose motion is known, and its flow."""
    root = tmp_path_factory.mktemp("flow")
    data = synthetic.write_dataset(
        "flow", root / "data", train=6, val=3, test=3, difficulty=0, size=(48, 64), workers=0
    )
    assert write_flow(data, root / "flow", choice=AS_IT_IS, workers=1).written == 12
    return data, root / "flow"


def test_flow_lies_where_its_video_lies_and_a_second_run_writes_nothing(
    made: tuple[Path, Path],
) -> None:
    data, flow = made
    assert (flow / "clips/train/flow_00000/flow_x_00001.jpg").is_file()
    calls: list[tuple[int, int]] = []
    told = write_flow(
        data, flow, choice=AS_IT_IS, workers=1, progress=lambda a, b: calls.append((a, b))
    )
    assert (told.written, told.before, told.failures) == (0, 12, ())
    assert calls == [(12, 12)]
    with pytest.raises(ValueError, match=r"holds flow with bound 20.0, not 10.0"):
        write_flow(data, flow, choice=FlowChoice(short_side=0, bound=10.0), workers=1)


def test_a_stopped_run_goes_on_where_it_was(made: tuple[Path, Path], tmp_path: Path) -> None:
    data, _ = made
    seen: list[int] = []

    def stop(done: int, total: int) -> None:
        seen.append(done)
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_flow(data, tmp_path, choice=AS_IT_IS, workers=1, progress=stop)
    assert seen == [0, 1, 2]
    assert not list(tmp_path.rglob(".*partial*"))
    whole = len(list(tmp_path.rglob("flow.json")))
    assert 2 <= whole < 12
    told = write_flow(data, tmp_path, choice=AS_IT_IS, workers=2)
    assert (told.written, told.before) == (12 - whole, whole)


def test_stored_flow_is_near_the_truth(made: tuple[Path, Path]) -> None:
    data, flow = made
    with open_flow(flow / "clips/val/flow_00001") as video:
        stored = video.frames_at(range(video.num_frames)).frames.float().numpy()
    truth = np.load(data / "flow/val/flow_00001.npy")  # (T - 1, H, W, 2)
    assert len(stored) == len(truth)
    found = (stored - 128) * 40 / 255
    error = np.linalg.norm(found.transpose(0, 2, 3, 1) - truth, axis=-1)[:, 6:-6, 6:-6]
    assert error.mean() < 0.35  # pixels, mpeg and JPEG included
    assert np.linalg.norm(truth, axis=-1).mean() > 2 * error.mean()


def test_bad_files_are_named_and_leave_nothing(tmp_path: Path) -> None:
    frames = synthetic.draw("direction", "train", 0, size=(48, 64)).frames
    write_video(tmp_path / "d/x/good.mp4", frames[:4], 25)
    write_video(tmp_path / "d/x/one.mp4", frames[:1], 25)
    (tmp_path / "d/x/bad.mp4").write_bytes(b"no video")
    told = write_flow(tmp_path / "d", tmp_path / "f", workers=2)
    assert told.written == 1
    assert {Path(f.source).name for f in told.failures} == {"one.mp4", "bad.mp4"}
    assert [p.name for p in (tmp_path / "f/x").iterdir()] == ["good"]
    assert [Path(j.place).name for j in jobs_of(tmp_path / "d/x/good.mp4", tmp_path, "video")] == [
        "good.mkv"
    ]
    write_video(tmp_path / "d/x/good.avi", frames[:4], 25)
    with pytest.raises(ValueError, match="would both go to"):
        write_flow(tmp_path / "d", tmp_path / "f2")


def test_what_has_no_flow_and_what_is_no_folder(tmp_path: Path) -> None:
    frames = synthetic.draw("direction", "train", 0, size=(48, 64)).frames
    write_video(tmp_path / "a.mp4", frames[:4], 25)
    with pytest.raises(ValueError, match="a.mp4 is a file; give a folder for the flow"):
        write_flow(tmp_path / "a.mp4", tmp_path / "a.mp4")
    write_flow(tmp_path / "a.mp4", tmp_path / "flow/train")
    with pytest.raises(ValueError, match="flow holds no videos or folders of frames"):
        write_flow(tmp_path / "flow", tmp_path / "f")
    assert not (tmp_path / "f").exists()


def test_a_damaged_video_is_told_and_its_other_frames_have_flow(tmp_path: Path) -> None:
    frames = synthetic.draw("direction", "train", 0, size=(48, 64)).frames
    (tmp_path / "v").mkdir()
    for at, frame in enumerate(frames[:6]):
        Image.fromarray(frame).save(tmp_path / f"v/frame_{at}.png")
    (tmp_path / "v/frame_3.png").write_bytes(b"broken")
    with pytest.warns(VideoWarning, match=r"v: frames missing or damaged: 1, left: 5"):
        told = write_flow(tmp_path / "v", tmp_path / "f", workers=1)
    assert (told.written, told.failures) == (1, ())
    assert open_flow(tmp_path / "f/v").num_frames == 4


def test_clips_of_flow(made: tuple[Path, Path]) -> None:
    data, flow = made
    items = open_data(data).split("train")
    choice = DataChoice(flow=str(flow))
    still = AugmentChoice(flip=0.0)
    training = ClipDataset(items, SPEC, training=True, augment=still, data=choice)
    sample = training.sample(0, 0)
    assert sample.rgb is None
    assert sample.flow is not None
    assert sample.flow.shape == (1, 2, 4, 32, 32)
    with open_flow(flow / "clips/train/flow_00000") as video:
        mean = video.frames_at(range(video.num_frames)).frames.float().mean((0, 2, 3))
    assert sample.flow.mean((0, 2, 3, 4)) == pytest.approx((mean / 128 - 1).tolist(), abs=0.1)
    held = ClipDataset(items, SPEC, training=False, data=choice, views=(2, 3)).sample(0, 0)
    assert held.flow is not None
    assert held.flow.shape == (6, 2, 4, 32, 32)


def test_rgb_difference_reads_colours(made: tuple[Path, Path]) -> None:
    data, _ = made
    from dataclasses import replace

    spec = replace(SPEC, modality="rgb_difference", mean=(0.5,) * 3, std=(0.5,) * 3)
    sample = ClipDataset(open_data(data).split("train"), spec, training=True).sample(0, 0)
    assert sample.rgb is not None
    network = marey.build(
        "s3d", width=8, num_classes=3, modality="rgb_difference", frames=8, crop=32
    ).eval()
    clip = torch.randn(1, 3, 8, 32, 32)
    torch.testing.assert_close(network(clip), network(clip + 3.0), rtol=1e-4, atol=1e-5)


def test_a_mirror_turns_flow_along_x() -> None:
    frames = torch.tensor([[[[100, 128]], [[90, 200]]]], dtype=torch.uint8)  # (1, 2, 1, 2)
    assert mirror(frames, SPEC).tolist() == [[[[127, 155]], [[200, 90]]]]
    assert frames[0, 0].tolist() == [[100, 128]]
    with pytest.raises(ValueError, match="colours, and optical flow has none"):
        TrainAugment(SPEC, AugmentChoice(colour=0.4))


def test_missing_flow_is_one_line(made: tuple[Path, Path], tmp_path: Path) -> None:
    data, _ = made
    items = open_data(data).split("train")
    with pytest.raises(ValueError, match=r"'marey flow DATA DIR'.*--data.flow DIR"):
        ClipDataset(items, SPEC, training=True).sample(0, 0)
    with pytest.raises(ValueError, match=r"flow_00000.mp4 has no flow in"):
        ClipDataset(items, SPEC, training=True, data=DataChoice(flow=str(tmp_path))).sample(0, 0)


def test_train_evaluate_and_predict_on_flow(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, flow = made
    run = tmp_path / "run"
    words = ["train", str(data), "--model", "s3d_flow", "--out", str(run), "--data.flow", str(flow)]
    words += ["--net.width", "8", "--clip.frames", "6", "--clip.size", "32"]
    words += ["--clip.test_size", "32", "--clip.short_side", "32", "--clip.jitter", "32", "40"]
    words += [
        "--schedule.epochs",
        "1",
        "--schedule.warmup_epochs",
        "0",
        "--run.batch",
        "3",
        "--data.workers",
        "0",
    ]
    assert main(words) == 0
    assert main(["evaluate", str(data), "--weights", str(run), "--json"]) == 0
    clip = flow / "clips/val/flow_00000"
    capsys.readouterr()
    assert main(["predict", str(clip), "--weights", str(run), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["predictions"][:1]
    assert row["label"] in ("translation", "rotation", "zoom")
    assert main(["predict", str(data / "clips/val/flow_00000.mp4"), "--weights", str(run)]) == 2
    assert "reads optical flow" in capsys.readouterr().err


def test_the_command(made: tuple[Path, Path], tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    data, _ = made
    video = data / "clips/test/flow_00000.mp4"
    assert main(["flow", str(video), str(tmp_path / "out"), "--store", "video", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["written"] == 1
    assert (tmp_path / "out/flow_00000.mkv").is_file()
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    assert main(["flow", str(tmp_path / "bad.mp4"), str(tmp_path / "out")]) == 1
    assert "bad.mp4: not a readable video" in capsys.readouterr().err
    assert main(["flow", str(tmp_path / "none.mp4"), str(tmp_path / "out")]) == 2


def test_warped_flow_is_stored_and_what_could_not_be_steadied_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = synthetic.draw("flow", "train", 0, difficulty=0)
    blank = np.full((4, 48, 64, 3), 90, np.uint8)
    write_video(tmp_path / "pan.mp4", clip.frames[:6], 25)
    write_video(tmp_path / "blank.mp4", blank, 25)
    words = ["--short-side", "0", "--workers", "1"]
    for name in ("pan", "blank"):
        for kind in ("plain", "warped"):
            more = ["--warped"] if kind == "warped" else []
            source, out = str(tmp_path / f"{name}.mp4"), str(tmp_path / kind)
            assert main(["flow", source, out, *words, *more]) == 0
            told = capsys.readouterr().err
            assert ("3 fields hold the camera's motion still" in told) == bool(
                more and name == "blank"
            )
    moves = {}
    for kind in ("plain", "warped"):
        with open_flow(tmp_path / kind / "pan") as flow:
            stored = flow.frames_at(range(5)).frames[..., 8:-8, 8:-8].float() - 128
            moves[kind] = stored.abs().mean().item()
    assert moves["plain"] > 4  # steps of 0.16 pixels
    assert moves["warped"] < 1
    assert json.loads((tmp_path / "warped/blank/flow.json").read_text())["unsteadied"] == 3
    assert main(["flow", str(tmp_path / "pan.mp4"), str(tmp_path / "warped"), *words]) == 2
    assert "holds flow with warped True, not False" in capsys.readouterr().err


def test_videos_need_no_labels(tmp_path: Path) -> None:
    clip = synthetic.draw("flow", "train", 0, difficulty=0)
    for name in ("b", "a"):
        write_video(tmp_path / "clips" / f"{name}.mp4", clip.frames[:4], 25)
    assert (
        write_flow(tmp_path / "clips", tmp_path / "flow", choice=AS_IT_IS, workers=1).written == 2
    )
    with open_flow(tmp_path / "flow" / "a") as flow:
        assert flow.num_frames == 3
