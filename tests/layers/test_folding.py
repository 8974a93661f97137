"""A network prepared for inference answers alike, without its norms, and leaves the first alone."""

from typing import Any

import pytest
import torch
from torch import nn

from marey import zoo
from marey.layers.folding import for_inference


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("tsm_online_r18_8f", {"width": 16, "depths": (1, 1, 1, 1)}),
        ("tsm_online_mobilenet_v2_8f", {"width": 32}),
    ],
)
def test_the_same_answers_without_norms(name: str, fields: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network: Any = zoo.build(name, **fields, num_classes=5)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.1)
            nn.init.normal_(part.running_mean, std=0.1)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    ready: Any = for_inference(network)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(isinstance(part, nn.BatchNorm2d) for part in ready.modules())
    network.eval()
    old = new = None
    with torch.inference_mode():
        for frame in torch.randn(3, 2, 3, 64, 64):
            wanted, old = network.step(frame, old)
            found, new = ready.step(frame.contiguous(memory_format=torch.channels_last), new)
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * wanted.std().item())
