"""Norms: precise statistics, splits, frozen ones, all against the whole batch's numbers."""

from __future__ import annotations

import copy

import pytest
import tiny_run
import torch
from torch import Tensor, nn

from marey.engine.calibrate import (
    NormGroups,
    SharedBatchNorm,
    batch_norms,
    fit_norms,
    hold_frozen,
    precise_statistics,
    prepare_norms,
)
from marey.engine.distributed import Ranks
from marey.types import Batch

ALONE = Ranks(rank=0, world=1, device=torch.device("cpu"))


def batches(count: int, clips: int = 4) -> list[Batch]:
    loader = tiny_run.TinyLoader(count * clips, batch=clips, rank=0, world=1, training=False)
    return list(loader.epoch(0))


def send(model: nn.Module, batch: Batch) -> None:
    assert batch.rgb is not None
    model(batch.rgb.flatten(0, 1))


def test_precise_statistics_are_those_of_all_clips_together() -> None:
    torch.manual_seed(0)
    model, seen = tiny_run.TinyNet(), batches(5)
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    model.eval()
    assert precise_statistics(model, seen, send, ALONE) == 5
    whole = torch.cat([b.rgb.flatten(0, 1) for b in seen if b.rgb is not None])
    features = model.body[0](whole).transpose(0, 1).flatten(1)  # (C, N)
    norm = model.body[1]
    torch.testing.assert_close(norm.running_mean, features.mean(1))
    torch.testing.assert_close(norm.running_var, features.var(1, unbiased=False))
    after = model.state_dict()
    changed = [n for n in after if not torch.equal(after[n], before[n])]
    assert changed == ["body.1.running_mean", "body.1.running_var"]
    assert torch.equal(torch.get_rng_state(), random)
    assert not model.training


def test_precise_statistics_without_norms_or_batches_do_nothing() -> None:
    assert precise_statistics(nn.Linear(2, 2), batches(1), send, ALONE) == 0
    model = tiny_run.TinyNet()
    assert precise_statistics(model, [], send, ALONE) == 0
    assert model.body[1].running_var.eq(1).all()


def norm_of(splits: int) -> SharedBatchNorm:
    norm = nn.BatchNorm3d(3)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    prepare_norms(nn.Sequential(norm), ALONE, norm="batch", shared=True)
    assert isinstance(norm, SharedBatchNorm)
    norm.splits = splits
    return norm


def test_a_split_norm_normalises_each_part_by_itself() -> None:
    torch.manual_seed(1)
    clips = torch.randn(8, 3, 2, 4, 4) * 3 + 1
    norm = norm_of(2)
    out = norm(clips)
    for part in range(2):  # strided samples make one part
        own = clips[part::2]
        mean, var = own.mean((0, 2, 3, 4)), own.var((0, 2, 3, 4), unbiased=False)
        shape = (1, 3, 1, 1, 1)
        expected = (own - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt()
        expected = expected * norm.weight.view(shape) + norm.bias.view(shape)
        torch.testing.assert_close(out[part::2], expected)
    whole_mean = clips.mean((0, 2, 3, 4))
    whole_var = clips.var((0, 2, 3, 4), unbiased=False)
    torch.testing.assert_close(norm.running_mean, 0.1 * whole_mean)
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * whole_var)
    assert int(norm.num_batches_tracked) == 1


def test_one_split_is_a_plain_norm_with_the_same_state() -> None:
    torch.manual_seed(2)
    clips, plain = torch.randn(4, 3, 2, 4, 4), nn.BatchNorm3d(3)
    shared = norm_of(1)
    shared.load_state_dict(plain.state_dict())
    assert torch.equal(shared(clips), plain(clips))
    same = zip(shared.state_dict().items(), plain.state_dict().items(), strict=True)
    assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in same)
    assert torch.equal(shared.eval()(clips), plain.eval()(clips))


def test_split_norms_pass_gradients() -> None:
    norm = norm_of(2).double()
    clips = torch.randn(4, 3, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    norm.running_mean = norm.running_var = None
    norm.track_running_stats = False

    def wide(x: Tensor) -> Tensor:
        return norm(x)

    norm_float = torch.autograd.gradcheck(wide, clips, atol=1e-3, eps=1e-3)
    assert norm_float


def test_statistics_come_from_eight_clips_where_they_can() -> None:
    model = prepare_norms(tiny_run.TinyNet(), ALONE, norm="batch", shared=True)
    groups, norm = NormGroups(ALONE), batch_norms(model)[0]
    for clips, splits in ((4, 1), (8, 1), (16, 2), (64, 8), (12, 1)):
        fit_norms(model, clips, each=8, groups=groups)
        assert (norm.splits, norm.synced) == (splits, False)


def test_frozen_norms_stay_as_published() -> None:
    model = prepare_norms(tiny_run.TinyNet(), ALONE, norm="frozen", shared=False)
    model.train()
    hold_frozen(model, norm="frozen")
    before = copy.deepcopy(model.body[1].state_dict())
    send(model, batches(1)[0])
    assert not any(p.requires_grad for p in model.body[1].parameters())
    assert all(torch.equal(v, before[n]) for n, v in model.body[1].state_dict().items())
    assert model.training
    assert model.dropout.training


def test_a_vector_is_no_batch() -> None:
    with pytest.raises(ValueError, match="batch norm needs"):
        norm_of(1)(torch.zeros(3))


def test_partial_norms_train_the_first_alone() -> None:
    model = nn.Sequential(*(nn.BatchNorm2d(3) for _ in range(3)))
    prepare_norms(model, ALONE, norm="partial", shared=False)
    model.train()
    hold_frozen(model, norm="partial")
    assert [norm.training for norm in model] == [True, False, False]
    assert [p.requires_grad for p in model.parameters()] == [True, True] + [False] * 4
