"""Attention that remembers, where it is causal: what is hidden, and pools that end early."""

import torch

from marey.layers.attention import Term, attend
from marey.layers.memory import MemoryAttention, MemoryPlan, without_later
from marey.layers.pooling_attention import AttentionPlan, TokenPool, key_rows


def test_later_frames_and_the_class_token_are_hidden() -> None:
    generator = torch.Generator().manual_seed(0)
    size, size_k = (3, 1, 2), (3, 1, 1)
    query = torch.randn(1, 2, 7, 4, generator=generator)
    key, value = (torch.randn(1, 2, 4, 4, generator=generator) for _ in range(2))
    near = torch.randn(1, 2, 7, 3, generator=generator)
    term = Term(near, key_rows(size_k, 0, 1, query.device))
    logits = query @ key.transpose(2, 3)
    logits[..., 1:] += near
    sees = torch.tensor(  # the class token; two tokens of each of three frames
        [[0, 1, 1, 1]] + 2 * [[0, 1, 0, 0]] + 2 * [[0, 1, 1, 0]] + 2 * [[0, 1, 1, 1]]
    ).bool()
    wanted = logits.masked_fill(~sees, -torch.inf).softmax(-1) @ value
    for form in ("plain", "fused"):
        found = attend(query, key, value, scale=1.0, terms=[without_later(term, size)], form=form)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_a_causal_pool_is_the_tail_cut_from_one_padded_on_both_sides() -> None:
    torch.manual_seed(0)
    tokens, grid = torch.randn(2, 1 + 5 * 4 * 4, 6), (5, 4, 4)
    for kernel, stride in (((3, 3, 3), (1, 2, 2)), ((2, 3, 3), (1, 1, 1)), ((7, 1, 1), (1, 1, 1))):
        pool = TokenPool(6, 2, kernel, stride, causal=True)
        t, h, w = kernel
        maps = tokens[:, 1:].unflatten(1, grid).movedim(-1, 1)
        both = torch.nn.functional.conv3d(
            maps, pool.weight.repeat(2, 1, 1, 1, 1), None, stride, (t - 1, h // 2, w // 2), groups=6
        )[:, :, :5]
        assert pool.size(grid) == tuple(both.shape[2:])
        rows = torch.cat([tokens[:, :1], both.flatten(2).transpose(1, 2)], dim=1)
        wanted = torch.nn.functional.layer_norm(rows.unflatten(2, (2, 3)), (3,), eps=1e-6)
        torch.testing.assert_close(pool(tokens, grid), wanted.transpose(1, 2), rtol=0, atol=1e-4)


def test_gradients_come_from_no_later_frame() -> None:
    """A frame's own answer, differentiated by the frames: in blocks too."""
    plan = AttentionPlan(
        width_in=8, width=8, heads=2, kernel_q=(3, 3, 3), kernel_kv=(3, 3, 3), rows_time=7
    )
    torch.manual_seed(0)
    for side in (2, 9):  # 324 queries and keys go block by block on a CPU
        layer = MemoryAttention(plan, MemoryPlan(), causal=True)
        for axis in "hw":
            setattr(layer, f"rel_pos_{axis}", torch.nn.Parameter(torch.randn(2 * side - 1, 4)))
        grid = (4, side, side)
        tokens = torch.randn(1, 1 + 4 * side**2, 8, requires_grad=True)
        found, size = layer(tokens, grid)
        assert size == grid
        found[:, 1:].unflatten(1, grid)[:, 1].square().sum().backward()
        assert tokens.grad is not None
        reached = tokens.grad[:, 1:].unflatten(1, grid).abs().sum((0, 2, 3, 4))
        assert (reached > 0).tolist() == [True, True, False, False]
        assert not tokens.grad[:, 0].any()  # the class token is seen by none
