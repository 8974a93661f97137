"""Non-local blocks against the original's numbers and against the formula written out."""

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from marey.layers.nonlocal_block import NonLocal, Pairwise

PARTS = {"conv_theta": "theta", "conv_phi": "phi", "conv_g": "g", "conv_out": "out", "bn": "norm"}


def alive(block: NonLocal) -> NonLocal:
    """With a norm that lets the block's findings through."""
    torch.manual_seed(1)
    for value in block.parameters():
        torch.nn.init.normal_(value, std=0.5)
    return block.eval()


@pytest.mark.parametrize(
    ("case", "pairwise"),
    [
        ("nonlocal_block_softmax", "embedded_gaussian"),
        ("nonlocal_block_dot_product", "dot_product"),
    ],
)
def test_reference(filling: dict[str, Any], golden: Path, case: str, pairwise: Pairwise) -> None:
    reference = filling["read"](golden, case)
    state = {
        PARTS[name.split(".")[0]] + name[name.index(".") :]: torch.from_numpy(value)
        for name, value in filling["state"](reference).items()
    }
    block = NonLocal(16, pairwise=pairwise, width_mid=8)
    block.load_state_dict(state, strict=True)
    assert sum(p.numel() for p in block.parameters()) == reference["params"]
    (features,) = filling["clips"](reference)
    with torch.inference_mode():
        found = block.eval()(torch.from_numpy(features)).numpy()
    assert filling["gap"](found, reference["expected"]["logits"]) < 1


def written_out(block: NonLocal, x: Tensor) -> Tensor:
    """The formula of the paper, pair by pair, for one clip without pooling."""
    points = x.flatten(2)[0].T  # (N, C)

    def project(part: str) -> Tensor:
        layer = block.get_submodule(part)
        return points @ layer.weight.flatten(1).T + layer.bias

    count = len(points)
    weight = torch.empty(count, count)
    if block.pairwise == "concatenation":
        joined = block.pair.weight.flatten()
        queries, keys = project("theta"), project("phi")
        for i in range(count):
            for j in range(count):
                weight[i, j] = torch.relu(joined @ torch.cat([queries[i], keys[j]])) / count
    elif block.pairwise == "gaussian":
        weight = (points @ points.T).exp()
        weight = weight / weight.sum(dim=1, keepdim=True)
    elif block.pairwise == "embedded_gaussian":
        queries, keys = project("theta"), project("phi")
        weight = (queries @ keys.T / queries.shape[1] ** 0.5).exp()
        weight = weight / weight.sum(dim=1, keepdim=True)
    else:
        weight = project("theta") @ project("phi").T / count
    found = (weight @ project("g")).T[None].unflatten(2, x.shape[2:])
    return x + block.norm(block.out(found))


@pytest.mark.parametrize("pairwise", get_args(Pairwise))
def test_every_pairwise_function_is_the_papers(pairwise: Pairwise) -> None:
    block = alive(NonLocal(6, pairwise=pairwise, pool=(1, 1, 1)))
    x = torch.randn(1, 6, 2, 3, 2, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(block(x), written_out(block, x), rtol=1e-5, atol=1e-5)


def test_the_shapes_of_the_docstring() -> None:
    with torch.device("meta"):
        block, x = NonLocal(1024), torch.empty(1, 1024, 4, 14, 14)
        pooled = torch.nn.functional.max_pool3d(x, (1, 2, 2))
        query, key = block.theta(x).flatten(2), block.phi(pooled).flatten(2)
        shapes = {
            "query": query.shape,
            "key": key.shape,
            "affinity": block._weights(query, key).shape,
            "out": block(x).shape,
        }
    table = {n: "    " + f"{n:<14}" + " ".join(map(str, s)) for n, s in shapes.items()}
    doc = __import__("marey.layers.nonlocal_block", fromlist=["__doc__"]).__doc__
    for line in table.values():
        assert line in doc


def test_groups_attend_only_to_themselves() -> None:
    block = alive(NonLocal(4, pool=(1, 1, 1), groups=2))
    x = torch.randn(2, 4, 4, 3, 3)
    whole = block(x)
    block.groups = 1
    first, second = block(x[:, :, :2]), block(x[:, :, 2:])
    torch.testing.assert_close(whole, torch.cat([first, second], dim=2))


def test_it_starts_as_the_identity_and_gradients_reach_every_part() -> None:
    block = alive(NonLocal(8, pairwise="concatenation")).train()
    block(torch.randn(2, 8, 2, 4, 4)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in block.parameters())
    torch.nn.init.zeros_(block.norm.weight)
    torch.nn.init.zeros_(block.norm.bias)
    x = torch.randn(1, 8, 2, 4, 4)
    assert torch.equal(block(x), x)


def test_affinities_stay_in_float32_under_autocast() -> None:
    block = alive(NonLocal(8, pairwise="dot_product", pool=(1, 1, 1)))
    seen: list[torch.dtype] = []
    weights = block._weights

    def spy(query: Tensor, key: Tensor) -> Tensor:
        found = weights(query, key)
        seen.append(found.dtype)
        return found

    block._weights = spy  # type: ignore[method-assign]
    with torch.autocast("cpu", torch.bfloat16):
        block(torch.randn(1, 8, 2, 4, 4, dtype=torch.bfloat16))
    assert seen == [torch.float32]


def test_refusals() -> None:
    with pytest.raises(ValueError, match="'softmax'; choose one of gaussian, embedded_gaussian"):
        NonLocal(8, pairwise="softmax")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="3 time steps, which do not divide into 2"):
        NonLocal(8, groups=2)(torch.zeros(1, 8, 3, 4, 4))
