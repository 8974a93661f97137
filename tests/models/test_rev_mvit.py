"""Reversible MViT: gradients equal those of plain autograd, and memory does not grow with depth."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from marey.models import rev_mvit
from marey.models.rev_mvit import VARIANTS, RevMViT

SMALL: dict[str, Any] = {
    "depths": (2, 2, 3),
    "strides": (1, 2, 2),
    "width": 16,
    "crop": 32,
    "num_classes": 5,
    "dropout": 0.0,
}


def tiny(name: str = "rev_mvit_b_16x4", **fields: Any) -> RevMViT:
    torch.manual_seed(0)
    frames = {} if VARIANTS[name].image else {"frames": 4}
    return RevMViT(replace(VARIANTS[name], **{**SMALL, **frames, **fields}))


def test_the_shapes_of_the_docstring() -> None:
    rows = {}
    for line in (rev_mvit.__doc__ or "").splitlines():
        name, *numbers = line.split() or [""]
        if numbers and all(n.isdigit() for n in numbers):
            rows[name] = tuple(int(n) for n in numbers)
    with torch.device("meta"):
        network = RevMViT(VARIANTS["rev_mvit_b_16x4"])
        clip = torch.empty(rows["input"])
        found = {"input": clip, "tokens": network.tokens(clip)[0]}
        found |= {f"stage{i}": m for i, m in enumerate(network.stages(clip), start=1)}
        found |= {"positions": network.forward_positions(clip), "logits": network(clip)}
    assert {n: tuple(v.shape) for n, v in found.items()} == rows


@pytest.mark.parametrize("name", ["rev_mvit_b_16x4", "rev_mvit_b_16"])
@pytest.mark.parametrize("drop_path", [0.0, 0.4])
def test_gradients_are_those_of_plain_autograd(name: str, drop_path: float) -> None:
    plain = tiny(name, reversible=False, drop_path=drop_path).double()
    undone = tiny(name, drop_path=drop_path).double()
    undone.load_state_dict(plain.state_dict())
    clip = torch.randn(3, 3, plain.config.frames, 32, 32, dtype=torch.float64)
    answers = []
    for network in (plain, undone):
        torch.manual_seed(5)
        given = clip.clone().requires_grad_()
        logits = network(given)
        logits.square().sum().backward()
        answers.append((logits, given.grad, [p.grad for p in network.parameters()]))
    (a, b, c), (d, e, f) = answers
    torch.testing.assert_close(a, d)
    torch.testing.assert_close(b, e, rtol=1e-8, atol=1e-10)
    for one, two in zip(c, f, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-10)


def test_frozen_parts_get_no_gradient() -> None:
    network = tiny()
    network.blocks[1].f.requires_grad_(False)  # type: ignore[union-attr]
    network(torch.randn(2, 3, 4, 32, 32)).sum().backward()
    silent = {n for n, p in network.named_parameters() if p.grad is None}
    assert silent == {n for n, _ in network.named_parameters() if n.startswith("blocks.1.f.")}


def test_the_way_back_runs_in_the_precision_of_the_way_there() -> None:
    network = tiny()
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(torch.randn(2, 3, 4, 32, 32)).float().square().sum()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_what_is_remembered_does_not_grow_with_depth() -> None:
    def remembered(**fields: Any) -> int:
        network, kept = tiny(**fields), 0

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            if not isinstance(tensor, torch.nn.Parameter):
                kept += tensor.numel()
            return tensor

        clip = torch.randn(1, 3, 4, 32, 32)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            network(clip)
        return kept

    short, long = remembered(depths=(2, 2, 3)), remembered(depths=(8, 8, 9))
    assert long == short
    assert remembered(depths=(2, 2, 3), reversible=False) > 1.5 * short


def test_dropping_whole_samples_is_an_option() -> None:
    network = tiny(drop_path=0.9, drop_whole=True, depths=(1, 1, 2)).train()
    torch.manual_seed(0)
    tokens, _ = network.blocks[2](torch.randn(64, 8 * 16, 2 * 32), (2, 8, 8))
    silent = (tokens == 0).flatten(1).all(dim=1)
    assert 0 < silent.sum() < 64


def test_clips_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="reads single images"):
        tiny("rev_mvit_b_16")(torch.zeros(1, 3, 4, 32, 32))
