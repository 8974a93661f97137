"""A network that remembers, started from one that does not; and both, saved and read again."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from marey import zoo
from marey.zoo.memory_start import inflate, starts
from marey.zoo.weights import published_state

TINY: dict[str, Any] = {
    "width": 8,
    "depths": (1, 1, 2, 1),
    "frames": 4,
    "crop": 64,
    "num_classes": 5,
}
MEMORY = {"memory": ((1, 2), ())}


def made(**fields: Any) -> Any:
    torch.manual_seed(0)
    network: Any = zoo.build("memvit_16x4", **{**TINY, **fields}).eval()
    for value in network.parameters():
        torch.nn.init.normal_(value, std=0.2)
    return network


@torch.no_grad()
def test_the_first_clip_is_answered_as_the_network_without_memory_does() -> None:
    plain, network = made(), made(**MEMORY)
    told = inflate(network, plain.state_dict())
    new = ("rel_pos_mem", "compress", "head.")
    assert all(any(word in name for word in new) for name in told.left)
    assert set(told.unused) == {"head.projection.weight", "head.projection.bias"}
    network.head.load_state_dict(plain.head.state_dict())
    clip = torch.randn(2, 3, 4, 64, 64)
    logits, _ = network(clip, network.init_state())
    torch.testing.assert_close(logits, plain(clip), rtol=0, atol=1e-5)


def test_a_table_of_time_grows_by_its_last_row_and_published_names_are_read() -> None:
    plain, network = made(), made(**MEMORY, frames=8)
    rows = len(network.blocks[0].attn.rel_pos_t)
    assert rows > len(plain.blocks[0].attn.rel_pos_t)
    inflate(network, published_state(plain, "original"))
    grown, before = network.blocks[0].attn.rel_pos_t, plain.blocks[0].attn.rel_pos_t
    assert torch.equal(grown[: len(before)], before)
    assert torch.equal(grown[len(before) :], before[-1:].expand(rows - len(before), -1))


def test_only_what_lacks_a_memory_is_a_start_of_it() -> None:
    plain, network = made(), made(**MEMORY)
    assert starts(plain.state_dict(), network.config)
    assert not starts(network.state_dict(), network.config)
    assert not starts(plain.state_dict(), plain.config)
    with pytest.raises(ValueError, match="do not start this network: .* take its own depths"):
        inflate(network, made(width=16).state_dict())


@torch.no_grad()
def test_saved_and_read_again_it_remembers_the_same(tmp_path: Path) -> None:
    network = made(**MEMORY)
    again: Any = zoo.load(zoo.save(network, tmp_path / "net.safetensors"))
    assert asdict(again.config) == asdict(network.config)
    answers = []
    for one in (network, again.eval()):
        state = one.init_state()
        for k in range(3):
            clip = torch.full((1, 3, 4, 64, 64), float(k))
            logits, state = one(clip, state)
        answers.append(logits)
    assert torch.equal(*answers)
