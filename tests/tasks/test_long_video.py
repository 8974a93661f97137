"""A memory that goes from clip to clip: by number, through stops, in pieces, as by hand."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from marey.choices import TaskChoice
from marey.engine.evaluate import evaluate
from marey.engine.log import silent
from marey.engine.train import train
from marey.layers.memory import Memory
from marey.models.memvit import MeMViT, MeMViTConfig
from marey.recipe import Recipe
from marey.tasks.long_video import Carried, LongVideo, long_video, newest
from marey.types import Batch

NET: dict[str, Any] = {
    "depths": (1, 1),
    "strides": (1, 2),
    "width": 16,
    "kv_stride": 4,
    "crop": 32,
    "frames": 2,
    "num_classes": 4,
    "dropout": 0.0,
    "drop_path": 0.0,
    "memory": ((1, 2),),
    "compress_kernel": (1, 3, 3),
    "compress_stride": (1, 2, 2),
}
DATA = "drawn:recall?train=2&val=2&test=0&fps=4&size=48x32&difficulty=0&distance_s=2-6"


def tiny(**fields: Any) -> MeMViT:
    torch.manual_seed(0)
    network = MeMViT(replace(MeMViTConfig(), **{**NET, **fields})).eval()
    for name, value in network.named_parameters():
        if "rel_pos" in name or value.dim() > 1:
            torch.nn.init.normal_(value, std=0.2)
    return network


def clip(number: int) -> Tensor:
    return torch.randn(3, 2, 32, 32, generator=torch.Generator().manual_seed(number))


def batch(numbers: Sequence[int]) -> Batch:
    target = torch.eye(4)[[n % 4 for n in numbers]]
    return Batch(
        rgb=torch.stack([clip(n) for n in numbers])[:, None],
        flow=None,
        target=target,
        keys=tuple(str(n) for n in numbers),
        times=torch.zeros(len(numbers), 1, 2),
        index=torch.tensor(numbers),
    )


@torch.no_grad()
def by_hand(network: MeMViT, numbers: Sequence[int]) -> list[Tensor]:
    """Logits of one video's clips, called with its state alone."""
    state, found = network.init_state(), []
    for number in numbers:
        logits, state = network(clip(number)[None], state)
        found.append(logits[0])
    return found


@torch.no_grad()
def carried(network: Any, steps: Sequence[Sequence[int]], **more: Any) -> dict[int, Tensor]:
    memory, found = Carried(network, **more), {}
    for numbers in steps:
        logits = memory.read(network, torch.stack([clip(n) for n in numbers]), numbers)
        found |= dict(zip(numbers, logits, strict=True))
    return found


def close(found: dict[int, Tensor], wanted: dict[int, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for number, logits in wanted.items():
        torch.testing.assert_close(found[number], logits, rtol=0, atol=2e-5, msg=str(number))


def test_clips_of_one_video_remember_and_another_video_does_not() -> None:
    network = tiny()
    steps = [[0, 10], [1, 11], [2, 20], [3, 21], [22, 4]]  # 12 does not come, 20 begins
    found = carried(network, steps)
    wanted = {
        n: x
        for v in ([0, 1, 2, 3, 4], [10, 11], [20, 21, 22])
        for n, x in zip(v, by_hand(network, v), strict=True)
    }
    close(found, wanted)
    alone = by_hand(network, [1])[0]
    assert (found[1] - alone).abs().max() > 1e-2


def test_a_clip_that_was_left_out_ends_the_memory() -> None:
    network = tiny()
    found = carried(network, [[0], [1], [3], [4]])
    for number, wanted in zip([3, 4], by_hand(network, [3, 4]), strict=True):
        torch.testing.assert_close(found[number], wanted, rtol=0, atol=2e-5)


def test_a_batch_in_pieces_is_the_batch() -> None:
    network = tiny()
    whole = carried(network, [[0, 10, 20], [1, 11, 21], [2, 12, 22]])
    pieces = [[0, 10], [20], [1, 11], [21], [2, 12], [22]]
    close(carried(network, pieces, calls=3), whole)
    lost = carried(network, pieces, calls=1)
    assert (lost[1] - whole[1]).abs().max() > 1e-2


def test_rows_that_nobody_asks_for_are_dropped() -> None:
    network = tiny()
    memory = Carried(network, calls=3)
    with torch.no_grad():
        for step in range(5):
            memory.read(network, clip(step)[None], [step])
            memory.read(network, clip(100 + 10 * step)[None], [100 + 10 * step])
    assert memory.last == [140, 4, 130]
    assert memory.memory.batch == 3


def test_label_sets_are_told_of_the_remembered_clip() -> None:
    network = tiny()
    task = long_video(TaskChoice(label_sets=(("verb", 2), ("noun", 2))), 4, network)
    assert task.best == "action_top1"
    target = torch.tensor([[1.0, 0, 0, 1], [0, 1, 1, 0]])
    first, second = (replace(batch(numbers), target=target) for numbers in ([0, 10], [1, 11]))
    task.loss(network, first)
    told = task.loss(network, second)["loss"]
    logits = torch.stack([by_hand(network, [0, 1])[1], by_hand(network, [10, 11])[1]])
    rule = torch.nn.functional.cross_entropy
    wanted = rule(logits[:, :2], target[:, :2]) + rule(logits[:, 2:], target[:, 2:])
    assert float(told.detach()) == pytest.approx(float(wanted), abs=1e-5)
    with torch.no_grad():
        task.batch_scores(network, first)
        found = task.batch_scores(network, second)
    expected = torch.cat([logits[:, :2].softmax(1), logits[:, 2:].softmax(1)], 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert type(long_video(TaskChoice(), 4, network)) is LongVideo


def test_no_memory_no_state() -> None:
    network = tiny(memory=())
    task = LongVideo(TaskChoice(labels="multi"), 4, network)
    assert not task.training.remembers
    found = task.batch_scores(network, batch([0, 10]))
    with torch.no_grad():
        wanted = network(torch.stack([clip(0), clip(10)])).sigmoid()
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("labels", ["single", "multi"])
def test_loss_and_scores_are_of_the_remembered_clip(labels: Any) -> None:
    network = tiny()
    task = LongVideo(TaskChoice(labels=labels), 4, network)
    task.loss(network, batch([0, 10]))
    told = task.loss(network, batch([1, 11]))
    logits = torch.stack([by_hand(network, [0, 1])[1], by_hand(network, [10, 11])[1]])
    target = batch([1, 11]).target
    rule = torch.nn.functional
    if labels == "single":
        wanted, scores = rule.cross_entropy(logits, target), logits.softmax(1)
    else:
        wanted, scores = rule.binary_cross_entropy_with_logits(logits, target), logits.sigmoid()
    assert float(told["loss"].detach()) == pytest.approx(float(wanted), abs=1e-5)
    assert not any(value.requires_grad for value in task.training.memory.tensors())
    with torch.no_grad():
        task.batch_scores(network, batch([0, 10]))
        found = task.batch_scores(network, batch([1, 11]))
    torch.testing.assert_close(found, scores, rtol=0, atol=1e-5)
    assert task.training.last == [1, 11]  # evaluation leaves the memory of training alone


def test_the_memory_goes_through_a_checkpoint(tmp_path: Path) -> None:
    network = tiny()
    task = LongVideo(TaskChoice(labels="multi"), 4, network)
    for numbers in ([0, 10], [1, 11]):
        task.loss(network, batch(numbers))
    torch.save(task.own_state(), tmp_path / "state.pt")
    again = LongVideo(TaskChoice(labels="multi"), 4, network)
    again.load_own_state(torch.load(tmp_path / "state.pt", weights_only=True))
    one, two = (t.loss(network, batch([2, 12]))["loss"] for t in (task, again))
    assert torch.equal(one, two)
    fresh = LongVideo(TaskChoice(labels="multi"), 4, network).loss(network, batch([2, 12]))["loss"]
    assert not torch.equal(one, fresh)


def test_memories_side_by_side() -> None:
    network = tiny()
    states = []
    with torch.no_grad():
        for numbers in ([0, 10], [20]):
            _, state = network(torch.stack([clip(n) for n in numbers]), network.init_state())
            states.append(state)
        both = states[0].beside(states[1])
        found, _ = network(torch.stack([clip(n) for n in (1, 11, 21)]), both)
    for row, numbers in enumerate(([0, 1], [10, 11], [20, 21])):
        torch.testing.assert_close(found[row], by_hand(network, numbers)[1], rtol=0, atol=2e-5)
    assert Memory().beside(both) is both
    assert both.beside(Memory()) is both
    assert both.bytes == states[0].bytes * 3 // 2
    with torch.no_grad():
        _, other = tiny(width=32)(clip(0)[None], Memory())
    with pytest.raises(ValueError, match="different networks or sizes"):
        both.beside(other)


def test_frames_learn_what_holds_at_them_and_the_newest_answers() -> None:
    network = tiny(frame_level=True, causal=True, frames=4)
    task = LongVideo(TaskChoice(labels="multi"), 4, network)
    clips = {n: torch.cat([clip(n), clip(n + 500)], dim=1) for n in (0, 1, 10, 11)}
    generator = torch.Generator().manual_seed(3)
    target = torch.randint(0, 2, (2, 4, 4), generator=generator).float()  # of four frames
    first, second = (
        replace(batch(n), rgb=torch.stack([clips[i] for i in n])[:, None], target=target)
        for n in ([0, 10], [1, 11])
    )
    task.loss(network, first)
    told = task.loss(network, second)
    with torch.no_grad():
        _, state = network(first.rgb[:, 0], network.init_state())  # type: ignore[index]
        logits, _ = network(second.rgb[:, 0], state)  # type: ignore[index]
    assert logits.shape == (2, 2, 4)
    rule = torch.nn.functional.binary_cross_entropy_with_logits
    wanted = rule(logits, target[:, [1, 3]])
    assert float(told["loss"].detach()) == pytest.approx(float(wanted), abs=1e-5)
    right = target[:, [1, 3]].gather(2, logits.argmax(2, keepdim=True))
    assert (int(told["correct"]), int(told["count"])) == (int(right.sum()), 4)
    with torch.no_grad():
        task.batch_scores(network, first)
        found = task.batch_scores(network, second)
    torch.testing.assert_close(found, logits[:, -1].sigmoid(), rtol=0, atol=1e-5)


def test_boxes_are_refused() -> None:
    with pytest.raises(ValueError, match="answers for boxes"):
        LongVideo(TaskChoice(), 4, tiny(boxes=True))


def test_weights_that_no_gradient_reaches_are_not_waited_for() -> None:
    for fields in ({}, {"memory": ((2, 4), ())}, {"memory": ((1,), ())}):
        network = tiny(**fields).train()
        memory = Carried(network)
        for number in range(6):
            logits = memory.read(network, clip(number)[None], [number])
        logits.square().sum().backward()
        for name, weight in network.named_parameters():
            assert (weight.grad is not None) == weight.requires_grad, name


def recipe(**changes: Any) -> Recipe:
    net = {k: v for k, v in NET.items() if k not in ("frames", "crop", "num_classes")}
    side = {"size": 32, "test_size": 32, "short_side": 32, "jitter": [32, 36]}
    bare = Recipe(
        model="memvit_16x4", net=net, clip={"frames": 2, "stride": 4, "rate": 4.0, **side}
    )
    return bare.changed(
        **{
            "task": {"kind": "long_video"},
            "data": {"path": DATA, "workers": 0},
            "run": {"batch": 2, "log_steps": 4},
            "optim": {"kind": "adamw", "lr": 2e-3},
            "schedule": {"epochs": 1.0},
            "augment": {"flip": 0.0},
            **changes,
        }
    )


def of_frames() -> Recipe:
    """Clips of four frames, two steps of time, answered one by one."""
    chosen = recipe(schedule={"epochs": 0.2})
    return chosen.changed(
        net={**chosen.net, "frame_level": True, "causal": True},
        clip={**chosen.clip, "frames": 4, "stride": 2},
    )


@pytest.mark.parametrize("made", [recipe, of_frames])
def test_evaluation_equals_clips_run_by_hand(made: Any) -> None:
    chosen = made()
    network = chosen.build_model()
    task: Any = chosen.build_task(network)
    loader = chosen.build_loader("val", network, batch=2, rank=0, world=1)
    found = evaluate(network, task, loader, device=torch.device("cpu"))
    dataset: Any = loader.dataset
    assert len(found.clips) == len(dataset) == 60
    network.eval()
    rows = iter(found.clips)
    with torch.no_grad():
        for video in range(2):
            state = network.init_state()
            for number in dataset.numbers.of(video):
                pixels = dataset.sample(number, 0).rgb
                logits, state = network(pixels, state)
                row = next(rows)
                assert row["key"] == dataset[number].key
                assert row["target"] == list(dataset[number].target)
                assert row["scores"] == pytest.approx(
                    newest(logits)[0].sigmoid().tolist(), abs=3e-5
                )


def test_a_run_learns_from_labels_of_frames(tmp_path: Path) -> None:
    chosen = of_frames()
    network = chosen.build_model()
    loader = chosen.build_loader("train", network, batch=2, rank=0, world=1)
    some = next(iter(loader.epoch(0)))
    assert isinstance(some.target, Tensor)
    assert some.target.shape == (2, 4, len(network.classes))
    dataset: Any = loader.dataset
    for row, number in enumerate(some.index.tolist()):
        place, at = dataset.numbers.place(number)
        for frame in range(4):
            moment = dataset.start(place, at) + (frame + 0.5) / 2  # two frames a second
            labels = dataset.table.target_within(place, moment, moment)
            assert some.target[row, frame].nonzero().flatten().tolist() == list(labels)
    result = train(chosen, tmp_path / "run", progress=silent)
    assert result.steps == 6
    assert 0 < result.metrics["mAP"] <= 1


def test_a_run_stopped_between_clips_goes_on_with_its_memory(tmp_path: Path) -> None:
    from marey.engine import train as loop
    from marey.engine.checkpoint import read_checkpoint

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    chosen = recipe(run={"batch": 2, "log_steps": 4, "save_steps": 7, "accumulate": 2})
    result = train(chosen, whole, progress=silent)
    assert result.steps == 30
    backward = loop.backward

    def dying(state: Any, some: Batch) -> Any:
        if state.step == 10:
            raise KeyboardInterrupt
        return backward(state, some)

    loop.backward = dying  # type: ignore[assignment]
    try:
        with pytest.raises(KeyboardInterrupt):
            train(chosen, stopped, progress=silent)
    finally:
        loop.backward = backward
    assert read_checkpoint(stopped / "checkpoints/step-00000007.pt")["done"] == 7
    train(chosen, stopped, progress=silent)
    ends = [read_checkpoint(out / "checkpoints/step-00000030.pt") for out in (whole, stopped)]
    for name, value in ends[0]["model"].items():
        assert torch.equal(value, ends[1]["model"][name]), name
    memories = [end["ranks"][0]["task"] for end in ends]
    assert memories[0]["last"] == memories[1]["last"]
    for a, b in zip(*(m["memory"]["layers"] for m in memories), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert (whole / "predictions.json").read_bytes() == (stopped / "predictions.json").read_bytes()


def test_shapes_that_change_are_refused() -> None:
    chosen = recipe(schedule={"multigrid": "short"})
    network = chosen.build_model()
    with pytest.raises(ValueError, match="leave schedule.multigrid at none"):
        chosen.build_loader("train", network, batch=2, rank=0, world=1)
