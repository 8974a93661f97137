"""What two processes must agree on, run under torchrun; the main one prints what it found."""

from __future__ import annotations

import copy
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import tiny_run
import torch
from safetensors.torch import load_file
from torch import nn

from marey import zoo
from marey.choices import TaskChoice
from marey.engine import distributed
from marey.engine.calibrate import NormGroups, fit_norms, precise_statistics, prepare_norms
from marey.engine.checkpoint import read_checkpoint
from marey.engine.evaluate import evaluate
from marey.engine.log import silent
from marey.engine.optim import set_lr
from marey.engine.schedule import lr_at
from marey.engine.state import RunState
from marey.engine.stop import Stopped
from marey.engine.train import train
from marey.recipe import Recipe
from marey.tasks.classification import Classification
from marey.types import Batch


def rows(ranks: distributed.Ranks) -> Any:
    """Three rows of one process and none of the other."""
    own = torch.arange(6.0).view(3, 2) if ranks.rank == 1 else torch.empty(0, 2)
    return distributed.gather_rows(own, ranks.world, ranks.device).tolist()


def numbers(ranks: distributed.Ranks) -> Any:
    summed = distributed.total([float(ranks.rank + 1), 0.5], ranks)
    return [summed, distributed.largest(5 * ranks.rank, ranks)]


def shared_norm(ranks: distributed.Ranks) -> Any:
    """Largest difference of synchronised norms, forward and back, from one norm over all clips."""
    torch.manual_seed(0)
    clips = torch.randn(4, 3, 2, 3, 3)
    whole, shared = nn.BatchNorm3d(3), nn.BatchNorm3d(3)
    prepare_norms(nn.Sequential(shared), ranks, norm="sync", shared=False)
    own = clips[ranks.rank * 2 :][:2].clone().requires_grad_()
    clips.requires_grad_()
    weigh = torch.randn(4, 3, 2, 3, 3)
    expected, found = whole(clips), shared(own)
    part = slice(ranks.rank * 2, ranks.rank * 2 + 2)
    (expected * weigh).sum().backward()
    (found * weigh[part]).sum().backward()
    assert clips.grad is not None
    assert own.grad is not None
    differences = [found - expected[part], own.grad - clips.grad[part]]
    differences.append(shared.running_mean - whole.running_mean)
    return max(float(d.abs().max()) for d in differences)


def groups_of_norms(ranks: distributed.Ranks) -> Any:
    """Synchronised where a process has few clips, split where it has many."""
    model = prepare_norms(tiny_run.TinyNet(), ranks, norm="batch", shared=True)
    groups, found = NormGroups(ranks), []
    for clips in (2, 8, 16):
        fit_norms(model, clips, each=8, groups=groups)
        found.append([model.body[1].synced, model.body[1].splits])
    return found


def precise(ranks: distributed.Ranks) -> Any:
    """Precise statistics of both processes' clips against those of all at once."""
    torch.manual_seed(0)
    model = tiny_run.TinyNet()

    def send(network: nn.Module, batch: Batch) -> None:
        assert batch.rgb is not None
        network(batch.rgb.flatten(0, 1))

    def loader(rank: int, world: int) -> Any:
        batch = 8 // world
        return tiny_run.TinyLoader(8, batch=batch, rank=rank, world=world, training=False).epoch(0)

    precise_statistics(model, loader(ranks.rank, 2), send, ranks)
    found = model.body[1].running_var.clone()
    alone = distributed.Ranks(0, 1, ranks.device)
    precise_statistics(model, loader(0, 1), send, alone)
    return float((found - model.body[1].running_var).abs().max())


def scores(ranks: distributed.Ranks) -> Any:
    """Sharded evaluation against a single process; one video for two processes, too."""
    torch.manual_seed(0)
    model, task = tiny_run.TinyNet(), Classification(TaskChoice(), 3)
    found = []
    for length in (7, 1):
        pair = []
        for rank, world in ((ranks.rank, 2), (0, 1)):
            loader = tiny_run.TinyLoader(length, batch=2, rank=rank, world=world, training=False)
            loader.broken = frozenset([4])
            pair.append(evaluate(model, task, loader, device=ranks.device))
        many, one = pair
        assert many.clips == one.clips
        assert many.metrics == one.metrics
        assert many.skipped == one.skipped
        found.append([clip["key"] for clip in many.clips])
    return found


def real_scores(ranks: distributed.Ranks, videos: str) -> Any:
    """The same with the data floor's loader and video files."""
    model, task = tiny_run.TinyNet(), Classification(TaskChoice(), 3)
    recipe = tiny_run.TinyRecipe(data__path=videos, data__workers=0)
    pair = []
    for rank, world in ((ranks.rank, 2), (0, 1)):
        loader = recipe.build_loader("val", model, batch=1, rank=rank, world=world)
        pair.append(evaluate(model, task, loader, device=ranks.device))
    assert pair[0].clips == pair[1].clips
    return [Path(clip["video"]).parent.name for clip in pair[0].clips]


def parallel(out: Path) -> Any:
    """Sharded parameters: the same weights as DDP, also when stopped and resumed."""
    fields = {"run__ema": 0.9, "run__accumulate": 2, "optim__clip_norm": 1.0}
    train(tiny_run.TinyRecipe(**fields), out / "ddp", progress=silent)
    fields["run__parallel"] = "fsdp"
    train(tiny_run.TinyRecipe(**fields), out / "whole", progress=silent)
    tiny_run.interrupt_before(7, lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        train(tiny_run.TinyRecipe(**fields), out / "stopped", progress=silent)
        raise AssertionError("was not stopped")
    except Stopped:
        tiny_run.loop.backward = tiny_run.backward
    train(tiny_run.TinyRecipe(**fields), out / "stopped", progress=silent)
    distributed.wait(2)
    ddp, whole, stopped = (
        load_file(out / name / "weights_last.safetensors") for name in ("ddp", "whole", "stopped")
    )
    learned = [n for n in ddp if "running" not in n and "tracked" not in n]
    return {
        "resumed": all(torch.equal(whole[n], stopped[n]) for n in whole),
        "from ddp": max(float((ddp[n] - whole[n]).abs().max()) for n in learned),
    }


def transformer(ranks: distributed.Ranks) -> Any:
    """Weights of a sharded MViT after two steps, a clip each, against one process with both."""
    torch.manual_seed(0)
    small = {"frames": 4, "crop": 64, "depths": (1, 1, 1, 1), "width": 8, "num_classes": 3}
    alone = zoo.build("mvitv2_s_16x4", **small, drop_path=0.0, dropout=0.0).train()
    sharded = distributed.parallel(copy.deepcopy(alone), ranks, kind="fsdp")
    clips, weigh = torch.randn(2, 3, 4, 64, 64), torch.randn(2, 3)
    own = slice(ranks.rank, ranks.rank + 1)
    for model, part in ((alone, slice(0, 2)), (sharded, own)):
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(2):
            optimiser.zero_grad()
            (model(clips[part]) * weigh[part]).sum(dim=1).mean().backward()
            optimiser.step()
    gaps, moved, held = [], [], 0
    for name, value in sharded.named_parameters():
        wanted = dict(alone.named_parameters())[name]
        gaps.append(float((value.full_tensor() - wanted).abs().max()))
        moved.append(bool(wanted.grad.any()))
        held += value.to_local().numel()
    share = held / sum(p.numel() for p in alone.parameters())
    return {"apart": max(gaps), "moved": sum(moved) / len(moved), "share": share}


def long_video(out: Path) -> Any:
    """A stream of clips each: stopped and resumed with the memories of both, and as one process;
    copied and sharded. One layer teaches its compression, the other cannot."""
    data = "drawn:recall?train=2&val=2&test=0&fps=4&size=48x32&difficulty=0&distance_s=2-6"
    net = {"depths": [1, 1], "strides": [1, 2], "width": 8, "kv_stride": 4, "memory": [[1], [2]]}
    side = {"size": 32, "test_size": 32, "short_side": 32, "jitter": [32, 32]}
    recipe = Recipe(model="memvit_16x4", net={**net, "dropout": 0.0, "drop_path": 0.0}).changed(
        clip={"frames": 2, "stride": 4, "rate": 4.0, **side},
        task={"kind": "long_video", "streams": {"step_s": 4.0}},
        data={"path": data, "workers": 0},
        run={"batch": 2},
        optim={"kind": "sgd", "lr": 0.05},
        schedule={"epochs": 1.0},
        augment={"flip": 0.0},
    )
    ranks = distributed.start("cpu")
    if ranks.main:
        recipe.open_data()  # drawn once
    distributed.wait(2)
    sharded = recipe.changed(run={"parallel": "fsdp"})
    for chosen, kind in ((recipe, ""), (sharded, "fsdp ")):
        train(chosen, out / f"{kind}whole", progress=silent)
        tiny_run.interrupt_before(7, lambda: os.kill(os.getpid(), signal.SIGTERM))
        try:
            train(chosen, out / f"{kind}stopped", progress=silent)
            raise AssertionError("was not stopped")
        except Stopped:
            tiny_run.loop.backward = tiny_run.backward
        train(chosen, out / f"{kind}stopped", progress=silent)
    distributed.wait(2)
    alone = distributed.Ranks(0, 1, ranks.device)
    state = RunState.build(recipe, alone)
    loader = recipe.build_loader("train", state.model, batch=2, rank=0, world=1)
    for step, batch in enumerate(loader.epoch(0)):
        rate = lr_at(recipe.schedule, recipe.optim.lr, step / len(loader))
        set_lr(state.optimizer, rate)
        tiny_run.backward(state, batch)
        state.optimizer.step()
        state.optimizer.zero_grad()
    mine = dict(state.model.named_parameters())
    found: dict[str, Any] = {"steps": len(loader)}
    for kind in ("", "fsdp "):
        whole, stopped = (
            load_file(out / f"{kind}{name}" / "weights_last.safetensors")
            for name in ("whole", "stopped")
        )
        last = sorted((out / f"{kind}whole/checkpoints").glob("step-*.pt"))[-1]
        found[kind] = {
            "resumed": all(torch.equal(whole[n], stopped[n]) for n in whole),
            "apart": max(float((whole[n] - mine[n]).abs().max()) for n in mine),
            "last": [part["task"]["last"] for part in read_checkpoint(last)["ranks"]],
        }
    return found


def main() -> None:
    torch.set_num_threads(1)
    ranks = distributed.start("cpu")
    checks = (rows, numbers, shared_norm, groups_of_norms, precise, scores, transformer)
    found = {check.__name__: check(ranks) for check in checks}
    found["real_scores"] = real_scores(ranks, sys.argv[2])
    found["parallel"] = parallel(Path(sys.argv[1]))
    found["long_video"] = long_video(Path(sys.argv[1]) / "long")
    if ranks.main:
        print("FOUND " + json.dumps(found))


if __name__ == "__main__":
    main()
