"""Attention with an axis-wise bias: fused and plain are one function, and the original's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from marey.layers import blocked_attention
from marey.layers.attention import DropPath, Term, attend
from marey.layers.linear import Mlp
from marey.layers.pooling_attention import AttentionPlan, PoolingAttention


def terms(count: int, *, keys: int, seed: int = 0) -> list[Term]:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for rows in (3, 5)[:count]:
        scores = torch.randn(2, 2, 7, rows, generator=generator, dtype=torch.float64)
        row = torch.randint(-1, rows, (keys,), generator=generator)
        found.append(Term(scores.requires_grad_(), row))
    return found


def written_out(query: Tensor, key: Tensor, value: Tensor, bias: list[Term]) -> Tensor:
    """Query by query and key by key."""
    logits = 0.5 * query @ key.transpose(-2, -1)
    for scores, row in bias:
        for j, at in enumerate(row.tolist()):
            if at >= 0:
                logits[..., j] = logits[..., j] + scores[..., at]
    return logits.softmax(-1) @ value


@pytest.mark.parametrize("form", ["blocks", "fused", "plain"])
@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("residual", [-1, 0, 1])
def test_every_form_is_the_definition(
    form: Any, count: int, residual: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    if form == "blocks":
        form = "fused"
        monkeypatch.setattr(blocked_attention, "WORTH", 0)
        monkeypatch.setattr(blocked_attention, "BLOCK", 30)  # three queries at a time
    query, key, value = (
        torch.randn(2, 2, n, 6, dtype=torch.float64, requires_grad=True) for n in (7, 11, 11)
    )
    bias = terms(count, keys=11)
    leaves = [query, key, value, *(term.scores for term in bias)]
    expected = written_out(query, key, value, bias)
    if residual >= 0:
        expected = expected + query * (torch.arange(7) >= residual)[:, None]
    found = attend(query, key, value, scale=0.5, terms=bias, residual=residual, form=form)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    weigh = torch.randn_like(expected)
    one = torch.autograd.grad((found * weigh).sum(), leaves)
    two = torch.autograd.grad((expected * weigh).sum(), leaves)
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("size", [1.0, 40.0])
def test_blocks_in_bf16_keep_its_precision(size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked_attention, "WORTH", 0)
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, n, 16) for n in (30, 20, 20))
    query = query * size  # long queries need their largest logit taken away
    exact = (query.double() @ key.double().transpose(-2, -1) / 4).softmax(-1) @ value.double()
    found = attend(*(t.bfloat16() for t in (query, key, value)), scale=0.25)
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=0.02 * max(size / 4, 1))


@pytest.mark.parametrize("form", ["blocks", "fused", "plain"])
@pytest.mark.parametrize("first", [0, 1])
def test_scores_at_once_are_those_of_each_axis(
    form: Any, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    plan = AttentionPlan(width_in=12, width=12, heads=2, rows_space=7, rows_time=3)
    layer = PoolingAttention(plan)
    for axis in "hwt":
        torch.nn.init.normal_(getattr(layer, f"rel_pos_{axis}"))
    query = torch.randn(2, 2, first + 2 * 4 * 6, 6, requires_grad=True)
    key, value = torch.randn(2, 2, 2, first + 2 * 2 * 3, 6)
    sizes = (2, 4, 6), (2, 2, 3)
    if form == "blocks":
        monkeypatch.setattr(blocked_attention, "WORTH", 0)
    else:
        layer.plan = replace(plan, form=form)
    terms = layer.terms(query, *sizes)
    expected = attend(query, key, value, scale=layer.scale, terms=terms, residual=first)
    leaves = [query, *(p for name, p in layer.named_parameters() if "rel_pos" in name)]
    with torch.no_grad():
        at_once = layer.find(query, key, value, *sizes)
    found = layer.find(query, key, value, *sizes)
    for each in (at_once, found):
        torch.testing.assert_close(each, expected, rtol=1e-5, atol=1e-5)
    weigh = torch.randn_like(expected)
    one = torch.autograd.grad((found * weigh).sum(), leaves)
    two = torch.autograd.grad((expected * weigh).sum(), leaves)
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["blocks", "fused", "plain"])
@pytest.mark.parametrize("tag", ["a", "b", "c", "d"])
def test_relative_positions_are_the_original_ones(
    filling: dict[str, Any], golden: Path, tag: str, form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form == "blocks":
        form = "fused"
        monkeypatch.setattr(blocked_attention, "WORTH", 0)
    case = filling["read"](golden, "mvit_relpos")
    told = next(c for c in case["config"]["attention_cases"] if c["tag"] == tag)
    tensors = {
        name: torch.from_numpy(filling["normal"](f"input:{tag}.{name}", told[name]))
        for name in ("q", "k", "v", "rel_pos_h", "rel_pos_w", "rel_pos_t")
    }
    depth, heads = told["head_dim"], told["heads"]
    plan = AttentionPlan(width_in=8, width=depth * heads, heads=heads, form=form, residual=False)
    layer = PoolingAttention(plan)
    for axis in "hwt":
        table = torch.nn.Parameter(tensors[f"rel_pos_{axis}"])
        layer.register_parameter(f"rel_pos_{axis}", table)
    sizes = tuple(told["q_thw"]), tuple(told["k_thw"])
    with torch.no_grad():
        found = layer.find(tensors["q"], tensors["k"], tensors["v"], *sizes)
    assert filling["gap"](found.numpy(), case["expected"][f"{tag}_out"]) < 1


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25)
    found = drop(torch.ones(4000, 2, 3))
    assert found.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert (found.amax((1, 2)) == found.amin((1, 2))).all()
    assert found.mean().item() == pytest.approx(1.0, abs=0.03)
    assert torch.equal(drop.eval()(torch.ones(2, 2)), torch.ones(2, 2))


def test_the_mlp_uses_the_exact_gelu() -> None:
    mlp = Mlp(1, 1, 1)
    with torch.no_grad():
        for layer in (mlp.fc1, mlp.fc2):
            layer.weight.fill_(1.0)
            layer.bias.zero_()
        assert mlp(torch.tensor([[1.0]])).item() == pytest.approx(0.841344746)
