"""MeMViT: memory as a value, whose rows end with their video; sizes, refusals, compilers, cost.

The page exceeds the 400-line cap: memory, boxes and answers of frames each come with their proofs.
"""

import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from marey.engine.recompute import recompute_stages
from marey.layers.memory import Memory
from marey.layers.positions import relative_index
from marey.models import memvit
from marey.models.memvit import VARIANTS, MeMViT, MeMViTConfig, plan_memory

EVERY, OTHER = ((2, 4),), ((2, 4), ())
SMALL: dict[str, Any] = {
    "depths": (1, 2, 1),
    "strides": (1, 2, 2),
    "width": 16,
    "crop": 64,
    "frames": 8,
    "num_classes": 5,
    "dropout": 0.0,
    "drop_path": 0.0,
    "memory": OTHER,
}


def tiny(**fields: Any) -> MeMViT:
    torch.manual_seed(0)
    network = MeMViT(replace(MeMViTConfig(), **{**SMALL, **fields})).eval()
    for name, value in network.named_parameters():
        if "rel_pos" in name or value.dim() > 1:
            torch.nn.init.normal_(value, std=0.3 if "rel_pos" in name else 0.15)
    return network


def clips(count: int, batch: int = 1, side: tuple[int, int] = (64, 64)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(batch, 3, 8, *side, generator=generator) for _ in range(count)]


@torch.no_grad()
def told(network: MeMViT, stream: list[Tensor], **more: Any) -> list[Tensor]:
    state, found = network.init_state(), []
    for clip in stream:
        logits, state = network(clip, state, **more)
        found.append(logits)
    return found


def test_the_shapes_of_the_docstring() -> None:
    rows = {}
    for line in (memvit.__doc__ or "").splitlines():
        name, *numbers = line.split() or [""]
        if numbers and all(n.isdigit() for n in numbers):
            rows[name] = tuple(int(n) for n in numbers)
    with torch.device("meta"):
        network = MeMViT(VARIANTS["memvit_16x4"])
        clip = torch.empty(rows["input"])
        found = {"input": clip, "tokens": network.tokens(clip)[0]}
        found |= {f"stage{i}": m for i, m in enumerate(network.stages(clip), start=1)}
        found |= {"positions": network.forward_positions(clip), "logits": network(clip)}
    assert {n: tuple(v.shape) for n, v in found.items()} == rows


def cost(name: str, memory: tuple[tuple[int, ...], ...], frames: int) -> tuple[int, float]:
    """Parameters, and multiply-adds in billions of one step with every slot filled."""
    with torch.device("meta"):
        config = replace(VARIANTS[name], memory=memory, boxes=False, num_classes=400)
        network = MeMViT(config).eval()
        clip = torch.empty(1, 3, frames, 224, 224)
        state = network.init_state() if memory else None
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(clip, state)
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() / 2e9


@pytest.mark.parametrize(
    ("name", "memory", "params", "gmacs"),
    [
        ("memvit_16x4", OTHER, 35_388_832, 58.70),
        ("memvit_16x4", (), 34_525_216, 57.40),
        ("memvit_16x4", EVERY, 35_388_832, 60.15),
        ("memvit_16x4", ((2, 4, 6, 8), ()), None, 59.32),
        ("memvit_32x3", ((3, 6), ()), 52_601_344, 213.1),
        ("memvit_32x3", (), 51_217_600, 205.8),
    ],
)
def test_parameters_and_multiply_adds(
    name: str, memory: Any, params: int | None, gmacs: float
) -> None:
    counted, found = cost(name, memory, VARIANTS[name].frames)
    assert params is None or counted == params
    assert found == pytest.approx(gmacs, rel=0.01)


@pytest.mark.parametrize(
    ("name", "params"), [("memvit_16x4_ava", 42_230_624), ("memvit_32x3_ava", 59_443_136)]
)
def test_parameters_with_boxes(name: str, params: int) -> None:
    with torch.device("meta"):
        network = MeMViT(VARIANTS[name])
        state, boxes = network.init_state(), torch.empty(3, 5)
        logits, state = network(torch.empty(1, 3, 4, 64, 64), state, boxes)
    assert sum(p.numel() for p in network.parameters()) == params
    assert logits.shape == (3, 80)


def test_tables_of_memory() -> None:
    network = MeMViT(replace(VARIANTS["memvit_16x4"], memory=OTHER, depths=(1, 2, 1, 2)))
    plans = [plan_memory(network.config, i, p) for i, p in enumerate(network.plans)]
    assert [p.rows_space for p in plans] == [111, 55, 55, 27, 13, 13]
    assert {p.rows_time for p in plans} == {23}
    assert [p.ages for p in plans] == [(2, 4), ()] * 3


def test_the_first_clip_is_as_without_memory_and_later_ones_are_not() -> None:
    network, stream = tiny(), clips(4)
    found = told(network, stream)
    with torch.no_grad():
        alone = [network(clip) for clip in stream]
    for step in (0, 1):  # nothing is two clips back yet
        torch.testing.assert_close(found[step], alone[step], rtol=0, atol=1e-5)
    for step in (2, 3):
        assert (found[step] - alone[step]).abs().max() > 1e-3


def test_memory_reaches_as_far_as_depth_times_age() -> None:
    network, stream = tiny(memory=((1,),), depths=(1, 1, 1)), clips(6)
    assert network.config.support == 3
    found = told(network, stream)
    for back, seen in ((3, True), (4, False)):
        other = [c.clone() for c in stream]
        other[5 - back] += 1.0
        same = torch.allclose(told(network, other)[5], found[5], rtol=0, atol=1e-6)
        assert same != seen


@pytest.mark.parametrize("ages", [(1,), (1, 2), (2, 4)])
def test_slots_and_selections(ages: tuple[int, ...]) -> None:
    network = tiny(memory=(ages,))
    state, reach = network.init_state(), ages[-1]
    for step, clip in enumerate(clips(6)):
        picked = network.selected(state)
        held = min(step, reach)
        assert picked == sorted(held - age for age in ages if age <= held)
        with torch.no_grad():
            _, state = network(clip, state)
        filled = min(step + 1, reach)
        assert state.tokens() == [2] * (filled - 1) + [4 * 2 * 2 + 1]


def test_a_batch_is_its_rows_alone_and_a_new_video_forgets() -> None:
    network, stream = tiny(), clips(7, batch=2)
    begins = {3: torch.tensor([False, True]), 5: torch.tensor([True, False])}

    def run(row: int | None) -> list[Tensor]:
        state, found = network.init_state(), []
        for step, clip in enumerate(stream):
            part = slice(None) if row is None else slice(row, row + 1)
            state = state.reset(begins[step][part]) if step in begins else state
            with torch.no_grad():
                logits, state = network(clip[part], state)
            found.append(logits)
        return found

    together, rows = run(None), [run(0), run(1)]
    for step in range(7):
        apart = torch.cat([rows[0][step], rows[1][step]])
        torch.testing.assert_close(together[step], apart, rtol=0, atol=2e-5)
    fresh = told(network, [c[1:] for c in stream[3:]])
    for step in range(4):
        torch.testing.assert_close(rows[1][3 + step], fresh[step], rtol=0, atol=1e-5)


def test_zeros_of_other_videos_may_be_looked_at() -> None:
    """The authors' training: rows of an ended video become zeros and stay in the softmax."""
    network, stream = tiny(masked=False), clips(4, batch=2)
    hidden = tiny()
    begins = torch.tensor([False, True])
    states = {n: n.init_state() for n in (network, hidden)}
    found = {}
    with torch.no_grad():
        for step, clip in enumerate(stream):
            for net in (network, hidden):
                state = states[net].reset(begins) if step == 3 else states[net]
                found[net], states[net] = net(clip, state)
    torch.testing.assert_close(found[network][0], found[hidden][0], rtol=0, atol=1e-5)
    assert (found[network][1] - found[hidden][1]).abs().max() > 1e-4


def test_rows_come_and_go() -> None:
    network, stream = tiny(), clips(4, batch=3)
    state = network.init_state()
    with torch.no_grad():
        for clip in stream[:3]:
            _, state = network(clip, state)
        whole, _ = network(stream[3], state)
        index = torch.tensor([2, 0])
        some, _ = network(stream[3][index], state.rows(index))
        again, _ = network(stream[3], pickle.loads(pickle.dumps(state)))
    torch.testing.assert_close(some, whole[index], rtol=0, atol=1e-5)
    assert torch.equal(again, whole)


@pytest.mark.parametrize("side", [(64, 96), (96, 64), (48, 48), (80, 33)])
@pytest.mark.parametrize("oblong", ["clamp", "resize"])
def test_frames_that_are_not_square(side: tuple[int, int], oblong: Any) -> None:
    fused, plain = tiny(oblong=oblong), tiny(oblong=oblong, attention="plain")
    found = told(fused, clips(3, side=side))
    torch.testing.assert_close(found, told(plain, clips(3, side=side)), rtol=0, atol=1e-4)
    turned = [c.transpose(3, 4) for c in clips(3, side=side)]
    for name, value in fused.named_parameters():
        if value.dim() == 5:
            value.data = value.data.transpose(3, 4).contiguous()
        for one, two in (("pos_h", "pos_w"), ("mem_h", "mem_w")):
            if name.endswith(one):
                twin = fused.get_parameter(name.replace(one, two))
                value.data, twin.data = twin.data, value.data
    torch.testing.assert_close(told(fused, turned), found, rtol=0, atol=1e-4)


def test_the_longer_side_reads_the_steps_of_the_shorter() -> None:
    rows = relative_index(8, 4, "float32", (4, 2))
    wanted = [[min(max(2 + i - 2 * j, 0), 5) for j in range(4)] for i in range(8)]
    assert rows.tolist() == wanted
    assert relative_index(4, 2).max() == 5


def test_boxes_look_at_boxes_of_past_clips() -> None:
    network = tiny(boxes=True, box_heads=2, memory=((1,),))
    boxes = torch.tensor([[0, 0.1, 0.1, 0.5, 0.9], [1, 0.2, 0.3, 0.9, 0.8], [0, 0, 0, 1, 1]])
    stream = clips(3, batch=2)
    found = told(network, stream, boxes=boxes)
    order = torch.tensor([2, 0, 1])
    moved = told(network, stream, boxes=boxes[order])
    torch.testing.assert_close([f[order] for f in found], moved, rtol=0, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(network(stream[0], None, boxes), found[0], rtol=0, atol=1e-5)
        one = network(stream[0][:1], None, boxes[[0, 2]])
    torch.testing.assert_close(found[0][[0, 2]], one, rtol=0, atol=1e-5)
    padded = tiny(boxes=True, box_heads=2, memory=((1,),), box_padding="zeros")
    assert (told(padded, stream, boxes=boxes)[0] - found[0]).abs().max() > 1e-4


def test_compression_starts_as_a_mean() -> None:
    network = MeMViT(replace(MeMViTConfig(), **SMALL))
    pool: Any = network.blocks[0].attn.compress_k
    tokens = torch.randn(1, 1 + 4 * 4 * 4, 16, generator=torch.Generator().manual_seed(0))
    grid = tokens[:, 1:].unflatten(1, (4, 4, 4)).movedim(-1, 1)
    padded = torch.nn.functional.pad(grid, (1, 1, 1, 1, 3, 3))
    mean = torch.nn.functional.avg_pool3d(padded, (7, 3, 3), (4, 2, 2))
    wanted = torch.cat([tokens[:, :1], mean.flatten(2).transpose(1, 2)], dim=1)
    found = pool(tokens, (4, 4, 4)).squeeze(1)
    wanted = torch.nn.functional.layer_norm(wanted, (16,), eps=pool.norm.eps)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("uncompressed", [1, 2])
def test_which_clips_teach_the_compression(uncompressed: int) -> None:
    """The published setting never does (its newest compressed clip is not looked at)."""
    network = tiny(uncompressed=uncompressed, memory=((2, 4),)).train()
    state = network.init_state()
    for clip in clips(4):
        network.zero_grad()
        logits, state = network(clip, state)
        logits.sum().backward()
    grads = [p.grad for n, p in network.named_parameters() if "compress" in n]
    assert all((g is not None and bool(g.any())) == (uncompressed == 2) for g in grads[:-6])


def test_checkpointing_changes_no_gradient() -> None:
    plain, thrifty = tiny(memory=((1, 2),)).train(), tiny(memory=((1, 2),)).train()
    recompute_stages(thrifty)
    for network in (plain, thrifty):
        state = network.init_state()
        for clip in clips(3):
            logits, state = network(clip, state)
        logits.square().sum().backward()
    for (name, one), two in zip(plain.named_parameters(), thrifty.parameters(), strict=True):
        if one.grad is None:
            assert two.grad is None
        else:
            torch.testing.assert_close(two.grad, one.grad, msg=name)


def test_half_precision_agrees() -> None:
    network, stream = tiny(), clips(4)
    found = told(network, stream)[-1]
    with torch.autocast("cpu", torch.bfloat16):
        narrow = told(network, stream)[-1]
    assert (narrow.float() - found).abs().max() < 0.15 * found.std() + 0.02


def test_compiled_without_a_break() -> None:
    network, stream = tiny(), clips(4)
    torch.compiler.reset()
    compiled: Any = torch.compile(network, backend="eager", fullgraph=True)
    state, wanted = compiled(stream[0], network.init_state())[1], told(network, stream)
    with torch.no_grad():
        for clip, want in zip(stream[1:], wanted[1:], strict=True):
            logits, state = compiled(clip, state)
            torch.testing.assert_close(logits, want, rtol=0, atol=1e-5)


def test_exported_with_its_memory() -> None:
    network, stream = tiny(), clips(5, batch=2)
    with torch.no_grad():
        _, state = network(stream[0], network.init_state())
        program = torch.export.export(network, (stream[1], state)).module()
        again, wanted = state, told(network, stream)
        for clip, want in zip(stream[1:], wanted[1:], strict=True):
            logits, again = program(clip, again)
            torch.testing.assert_close(logits, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("fields", [{}, {"memory": ((1,),)}, {"kv_stride": 2, "memory": ()}])
@pytest.mark.parametrize("causal", [True, False])
def test_answers_of_frames_that_see_no_later_one(fields: dict, causal: bool) -> None:
    """With ``kv_stride`` 2 attention goes block by block."""
    network, stream = tiny(causal=causal, frame_level=True, **fields), clips(4, batch=2)
    other = [clip.clone() for clip in stream]
    other[-1][:, :, 4:] += 1.0  # the last two of four steps of the last clip
    found, changed, states = [], [], []
    with torch.no_grad():
        for into, given in ((found, stream), (changed, other)):
            state = network.init_state() if network.config.reach else None
            for clip in given:
                logits = network(clip, state)
                logits, state = logits if state is not None else (logits, None)
                into.append(logits)
            states.append(state)
    apart = (found[-1] - changed[-1]).abs().amax((0, 2))
    assert apart.shape == (4,)
    assert bool(apart[:2].max() == 0) == causal
    assert apart[2:].min() > 1e-2
    layers = [state.layers for state in states if state is not None]
    for one, two in zip(*layers, strict=True) if layers else ():
        for name in ("new_key", "new_value"):  # remembered of the last clip
            kept = [getattr(part, name)[:, 0, 1:].unflatten(1, (4, -1)) for part in (one, two)]
            apart = (kept[0] - kept[1]).abs().amax((0, 2, 3))
            assert bool(apart[:2].max() == 0) == causal
            assert apart[2:].min() > 0
    if layers:
        alone = network(stream[-1]).detach()
        assert (alone - found[-1]).abs().amax((0, 2)).min() > 1e-3  # every frame remembers


def test_answers_of_frames_by_hand() -> None:
    network, clip = tiny(frame_level=True), clips(1, batch=2)[0]
    with torch.no_grad():
        tokens, grid, _ = network.remember(clip, None)
        maps = network.norm(tokens)[:, 1:].reshape(2, *grid, -1)
        wanted = torch.stack(
            [network.head.projection(maps[:, t].mean(dim=(1, 2))) for t in range(grid[0])], dim=1
        )
        assert network(clip).shape == (2, 4, 5)
        torch.testing.assert_close(network(clip), wanted, rtol=0, atol=1e-5)
        torch.testing.assert_close(network.forward_positions(clip), wanted, rtol=0, atol=1e-5)
        told, _ = network(clip, network.init_state())
        torch.testing.assert_close(told, wanted, rtol=0, atol=1e-5)
        assert network(clip[:, :, :6]).shape == (2, 3, 5)  # of other lengths and sizes
        assert network(clip[..., :32]).shape == (2, 4, 5)


def test_a_causal_class_token_sees_the_whole_clip() -> None:
    network, clip = tiny(causal=True), clips(1)[0]
    with torch.no_grad():
        found = network(clip)
        for frame in range(8):
            other = clip.clone()
            other[:, :, frame] += 1.0
            assert (network(other) - found).abs().max() > 1e-3


@pytest.mark.parametrize("causal", [True, False])
def test_every_gradient_of_frames_arrives(causal: bool) -> None:
    network = tiny(causal=causal, frame_level=True, memory=((1,),)).train()
    state = network.init_state()
    for clip in clips(3, batch=2):
        logits, state = network(clip, state)
    logits.square().sum().backward()
    silent = [
        n
        for n, p in network.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    assert silent == []
    token = network.positions.class_token
    assert token is not None
    assert token.requires_grad != causal  # only past class tokens are looked at then


@pytest.mark.parametrize("causal", [True, False])
def test_answers_of_frames_compiled_exported_and_in_half(causal: bool) -> None:
    network, stream = tiny(causal=causal, frame_level=True), clips(4, batch=2)
    wanted = told(network, stream)
    torch.compiler.reset()
    compiled: Any = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        _, state = network(stream[0], network.init_state())
        program = torch.export.export(network, (stream[1], state)).module()
        again = state
        for clip, want in zip(stream[1:], wanted[1:], strict=True):
            logits, state = compiled(clip, state)
            torch.testing.assert_close(logits, want, rtol=0, atol=1e-5)
            logits, again = program(clip, again)
            torch.testing.assert_close(logits, want, rtol=0, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            narrow = told(network, stream)[-1]
    assert (narrow.float() - wanted[-1]).abs().max() < 0.15 * wanted[-1].std() + 0.02


def test_a_memory_of_something_else_is_refused() -> None:
    network, stream = tiny(), clips(2, batch=2)
    with torch.no_grad():
        _, state = network(stream[0], network.init_state())
    with pytest.raises(ValueError, match="memory is of 2 videos but the batch has 1 clips"):
        network(stream[1][:1], state)
    with pytest.raises(ValueError, match="of 2 layers .* remembers in 4"):
        tiny(memory=((2, 4),))(stream[1], state)
    with pytest.raises(ValueError, match="another network or size of clip"):
        tiny(width=32)(stream[1], state)
    with pytest.raises(ValueError, match="another network or size of clip"):
        network(stream[1][..., :32, :32], state)
    with pytest.raises(ValueError, match=r"\(3,\) rows to reset in a memory of 2"):
        state.reset(torch.zeros(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="was built without memory"):
        tiny(memory=())(stream[1], Memory())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"memory": ((4, 2),)}, "name increasing ages from 1 on"),
        ({"memory": ((2,),), "uncompressed": 3}, "choose 1 to 2"),
        ({"memory": ((),)}, "names no age in any layer"),
        ({"positions": "joint"}, "positions is 'joint' but MeMViT has 'relative' only"),
        ({"crop": 8}, "would be empty"),
        ({"box_slots": 0, "boxes": True}, "box_slots is 0"),
        ({"box_blocks": 0, "boxes": True}, "box_blocks is 0"),
        ({"box_heads": 3, "boxes": True}, "of width 64 do not split into 3 heads"),
        ({"drop_path": 1.0}, r"drop_path is 1; it must be in \[0, 1\)"),
        ({"width": 15}, "the 2 heads of the second stage"),
        ({"compress_stride": (0, 2, 2)}, r"compress_stride is \(0, 2, 2\)"),
        ({"pool_kernel": 2}, "pool_kernel is 2; it must be odd"),
        ({"pool_kernel": 1}, "pooling kernels of 3 or more"),
        ({"patch_stride": (0, 4, 4)}, r"patch_stride is \(0, 4, 4\)"),
        ({"frame_level": True, "boxes": True}, "set one of them"),
    ],
)
def test_configurations_that_cannot_be_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**fields)


def test_boxes_are_for_networks_of_boxes() -> None:
    boxes = torch.zeros(1, 5)
    with pytest.raises(ValueError, match="take an _ava variant"):
        tiny()(clips(1)[0], None, boxes)
    network = tiny(boxes=True, box_heads=2, box_slots=2)
    with pytest.raises(ValueError, match="give boxes"):
        network(clips(1)[0])
    with pytest.raises(ValueError, match="has 3 boxes but the network has 2 places"):
        network(clips(1)[0], None, boxes.expand(3, 5))
    with pytest.raises(ValueError, match=r"boxes are \(1, 4\)"):
        network(clips(1)[0], None, boxes[:, 1:])
