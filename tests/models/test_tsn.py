"""TSN: consensus, modalities, blindness to order; the shape tables of all frame-based pages."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from marey.models import stm, tea, tsm, tsn
from marey.models.tsn import TSN, VARIANTS, Consensus


def tiny(**fields: object) -> TSN:
    """A narrow network with every norm alive."""
    plain = {"width": 8, "depths": (1, 1, 1, 1), "num_classes": 5, "dropout": 0.0}
    torch.manual_seed(0)
    network = TSN(replace(VARIANTS["tsn_r50_3seg"], **{**plain, **fields}))  # type: ignore[arg-type]
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
    return network.eval()


@pytest.mark.parametrize(
    ("page", "network", "name"),
    [
        (tsn, tsn.TSN, "tsn_r50_3seg"),
        (tsm, tsm.TSM, "tsm_r50_8f"),
        (stm, stm.STM, "stm_r50_8f"),
        (tea, tea.TEA, "tea_r50_8f"),
    ],
)
def test_the_shapes_of_the_docstrings(page: Any, network: Any, name: str) -> None:
    rows = {}
    for line in page.__doc__.splitlines():
        first, *numbers = line.split() or [""]
        if len(numbers) > 1 and all(n.isdigit() for n in numbers):
            rows[first] = tuple(int(n) for n in numbers)
    with torch.device("meta"):
        made = network(page.VARIANTS[name])
        clip = torch.empty(rows["input"])
        maps = made.stages(clip)
        found = dict(zip(("stem", "res2", "res3", "res4", "res5"), maps, strict=True))
        found |= {"input": clip, "positions": made.forward_positions(clip), "logits": made(clip)}
    assert {n: tuple(v.shape) for n, v in found.items()} == rows
    assert made.widths == (2048,)


def test_nothing_depends_on_the_order_of_segments() -> None:
    network, clip = tiny(frames=4), torch.randn(2, 3, 4, 32, 32)
    torch.testing.assert_close(network(clip[:, :, [2, 0, 3, 1]]), network(clip))
    assert network(clip.repeat(1, 1, 2, 1, 1)).shape == (2, 5)  # more segments than in training


def joined(kind: Any, logits: Tensor, features: Tensor, **fields: Any) -> Tensor:
    made = Consensus(kind, frames=logits.shape[1], width=2, **{"top_k": 2, **fields})
    if kind == "attention":
        nn.init.constant_(made.attention.weight, 1.0)
    return made(logits, features).detach()


def test_every_consensus_by_hand() -> None:
    logits = torch.tensor([[[1.0, 8.0], [3.0, 2.0], [5.0, 5.0]]])
    features = torch.tensor([[[0.0, 0.0], [0.5, 0.5], [0.0, 0.0]]])  # the middle one is e times up
    assert joined("average", logits, features).tolist() == [[3.0, 5.0]]
    assert joined("max", logits, features).tolist() == [[5.0, 8.0]]
    assert joined("top_k", logits, features).tolist() == [[4.0, 6.5]]
    torch.testing.assert_close(joined("weighted", logits, features), torch.tensor([[3.0, 5.0]]))
    share = torch.tensor([1.0, 2.718281828, 1.0]) / 4.718281828
    expected = (logits * share[:, None]).sum(dim=1)
    torch.testing.assert_close(joined("attention", logits, features), expected)


def test_a_consensus_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="consensus is 'median'; choose one of average, max"):
        tiny(consensus="median")
    with pytest.raises(ValueError, match="top_k is 4 of 3 segments"):
        tiny(consensus="top_k", top_k=4)
    with pytest.raises(ValueError, match="weight for each of 3 segments, not for 6"):
        tiny(consensus="weighted")(torch.zeros(1, 3, 6, 32, 32))


def test_learned_weights_learn() -> None:
    for kind in ("weighted", "attention"):
        network = tiny(consensus=kind).train()
        network(torch.randn(2, 3, 3, 32, 32)).square().sum().backward()
        (learned,) = (p for n, p in network.named_parameters() if n.startswith("consensus."))
        assert learned.grad is not None
        assert learned.grad.any()


def test_flow_is_read_frame_by_frame_or_stacked() -> None:
    network = tiny(modality="flow", snippet=2)
    flow = torch.randn(1, 2, 3 * 2, 32, 32)  # x and y of two pairs in each of three segments
    stacked = torch.stack([flow[:, :, 2 * s + i, :, :] for s in range(3) for i in range(2)], dim=1)
    stacked = stacked.unflatten(1, (3, 2)).flatten(2, 3).transpose(1, 2)  # (1, 4, 3, 32, 32)
    assert network.trunk.stem.conv.weight.shape[1] == 4  # type: ignore[union-attr]
    torch.testing.assert_close(network(stacked), network(flow))


def test_differences_are_taken_inside() -> None:
    network = tiny(modality="rgb_difference", snippet=5)
    still = torch.randn(1, 3, 1, 32, 32).expand(-1, -1, 18, -1, -1)
    nothing = torch.zeros(1, 18, 3, 32, 32)
    torch.testing.assert_close(network(still), network(nothing))
    bright = torch.randn(1, 3, 18, 32, 32)
    torch.testing.assert_close(network(bright + 0.5), network(bright), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("fields", "shape", "message"),
    [
        ({}, (1, 3, 2, 32, 32), "clip has 2 frames but TSN needs 3, one for each segment"),
        ({"modality": "flow"}, (1, 3, 15, 32, 32), r"flow snippets of 5 frames are \(B, 2, S"),
        ({"modality": "flow"}, (1, 2, 16, 32, 32), "no whole snippets of 5"),
        ({"backbone": "bn_inception"}, (1, 3, 3, 48, 48), "needs multiples of 32; crop to 32"),
    ],
)
def test_clips_that_do_not_fit_are_refused(fields: dict, shape: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**fields)(torch.zeros(shape))
    with pytest.raises(ValueError, match="frames is 0"):
        tiny(frames=0)
