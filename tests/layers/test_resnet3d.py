import pytest
import torch

from marey.layers.resnet3d import (
    Block,
    Stage,
    Stem,
    Trunk,
    TrunkPlan,
    check_clip,
    check_plan,
    spread_kernels,
)


def test_kernels_repeat_and_stop() -> None:
    assert spread_kernels((3, 1), 6) == (3, 1, 3, 1, 3, 1)
    assert spread_kernels((3,), 5, reach=2) == (3, 3, 1, 1, 1)


@pytest.mark.parametrize("kind", ["bottleneck", "basic"])
def test_a_block_projects_only_where_shapes_differ(kind: str) -> None:
    width = 16 if kind == "bottleneck" else 4
    same = Block(width, 4, kind=kind, kernel=3, stride=1, dilation=1)  # type: ignore[arg-type]
    down = Block(width, 4, kind=kind, kernel=1, stride=2, dilation=1)  # type: ignore[arg-type]
    assert not hasattr(same, "shortcut")
    assert down.shortcut.conv.stride == (1, 2, 2)
    x = torch.randn(1, width, 2, 8, 8)
    assert down(x).shape == (1, width, 2, 4, 4)
    last = same.c if kind == "bottleneck" else same.b
    torch.nn.init.zeros_(last.norm.weight)
    assert torch.equal(same.eval()(x), x.relu()), "a silent branch leaves the shortcut"


def test_the_stride_is_in_the_spatial_convolution() -> None:
    block = Block(8, 4, kind="bottleneck", kernel=3, stride=2, dilation=1)
    strides = [part.conv.stride for part in (block.a, block.b, block.c)]
    assert strides == [(1, 1, 1), (1, 2, 2), (1, 1, 1)]


def test_a_stem_quarters_space_and_may_halve_time_twice() -> None:
    clip = torch.randn(1, 3, 8, 112, 112)
    assert Stem(4, kernel=5)(clip).shape == (1, 4, 8, 28, 28)
    original = Stem(4, kernel=5, stride=2, pool=2, pool_padding=0)
    assert original(clip).shape == (1, 4, 2, 27, 27)


def test_a_dilated_trunk_keeps_the_size_of_res4() -> None:
    plan = TrunkPlan(width=4, kernels=((1,), (1,), (1,), (1,), (3,)), dilation=2)
    trunk = Trunk(plan)
    assert plan.widths == (4, 16, 32, 64, 128)
    x = torch.randn(1, 3, 1, 64, 64)
    sizes = []
    for step in trunk.steps:
        x = step(x)
        sizes.append(x.shape[-1])
    assert sizes == [16, 16, 8, 4, 4]
    assert trunk.res5.blocks[0].b.conv.dilation == (1, 2, 2)


def test_a_stage_runs_its_nonlocal_blocks_in_order() -> None:
    from marey.layers.nonlocal_block import NonLocal

    stage = Stage(4, 1, [1, 1], nonlocals={0: NonLocal(4)})
    order: list[str] = []
    for name, part in (("0", stage.blocks[0]), ("n", stage.nonlocals["0"]), ("1", stage.blocks[1])):
        part.register_forward_hook(lambda *_, name=name: order.append(name))
    stage(torch.randn(1, 4, 1, 4, 4))
    assert order == ["0", "n", "1"]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 8, 64, 64), "takes a clip"),
        ((1, 1, 8, 64, 64), "three colours"),
        ((1, 3, 1, 64, 64), "has 1 frames but net needs at least 2"),
        ((1, 3, 8, 64, 15), "64x15 pixels but net needs at least 16x16"),
    ],
)
def test_clips_that_do_not_fit_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_clip(torch.zeros(shape), frames=2, side=16, name="net")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 0}, "width is 0"),
        ({"depths": (1, 1, 1)}, "depths is"),
        ({"kernels": ((1,), (2,), (1,), (1,), (1,))}, "odd time kernels"),
        ({"nonlocals": ((), (1,), (), ())}, "block 1 of res3, which has 1"),
        ({"counts": {"num_classes": 0}}, "num_classes is 0"),
    ],
)
def test_plans_that_cannot_be_built_are_refused(fields: dict, message: str) -> None:
    plain = {
        "width": 8,
        "depths": (1, 1, 1, 1),
        "kernels": ((1,),) * 5,
        "nonlocals": ((), (), (), ()),
        "counts": {},
    }
    check_plan(**plain)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        check_plan(**{**plain, **fields})
