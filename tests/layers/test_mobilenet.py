"""MobileNet V1 and V2: shapes of the docstring, torchvision's arithmetic, refusals."""

import pytest
import torch
import torchvision

from marey.layers import mobilenet
from marey.layers.mobilenet import MobileNetV1, MobileNetV2, start_mobilenet


def test_the_shapes_of_the_docstring() -> None:
    lines = [line.split() for line in (mobilenet.__doc__ or "").splitlines()]
    rows = [tuple(map(int, row[1:])) for row in lines if len(row) == 5 and row[1].isdigit()]
    with torch.device("meta"):
        trunk, x = MobileNetV2(), torch.empty(rows[0])
        found = [tuple(x.shape)]
        for step in trunk.steps:
            x = step(x, 8)
            found.append(tuple(x.shape))
    assert found == rows
    assert trunk.widths == tuple(row[1] for row in rows[1:])


def test_v2_is_torchvisions_with_other_names() -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.mobilenet_v2(weights=None).eval()
    ours = MobileNetV2().eval()
    given = [v for n, v in theirs.state_dict().items() if not n.startswith("classifier")]
    assert [v.shape for v in given] == [v.shape for v in ours.state_dict().values()]
    ours.load_state_dict(dict(zip(ours.state_dict(), given, strict=True)))
    x = torch.randn(1, 3, 64, 64)
    for step in ours.steps:
        x_before, x = x, step(x, 1)
    assert x_before.shape[1] == 320
    torch.manual_seed(0)
    torchvision.models.mobilenet_v2(weights=None)
    x0 = torch.randn(1, 3, 64, 64)
    found = x0
    for step in ours.steps:
        found = step(found, 1)
    torch.testing.assert_close(found, theirs.features(x0))


def test_v1_has_the_published_size() -> None:
    trunk = MobileNetV1()
    assert sum(p.numel() for p in trunk.parameters()) == 4231976 - 1024 * 1000 - 1000
    assert trunk.widths == (32, 64, 128, 256, 512, 1024)
    assert MobileNetV1(multiplier=0.25).widths[-1] == 256


def test_the_start_of_the_authors() -> None:
    torch.manual_seed(0)
    trunk = MobileNetV1()
    start_mobilenet(trunk)
    last = trunk.stages[-1].blocks[-1]
    assert last.project.conv.weight.std().item() == pytest.approx((2 / 1024) ** 0.5, rel=0.01)
    assert last.deep.conv.weight.std().item() == pytest.approx((2 / (9 * 1024)) ** 0.5, rel=0.05)


def test_a_multiplier_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="multiplier is 0; it must be above 0"):
        MobileNetV2(multiplier=0)
