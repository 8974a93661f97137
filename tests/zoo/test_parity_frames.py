"""TSN, TSM, STM and TEA against the original implementations."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from marey.layers.frames import fold

Parity = Callable[..., None]


def clip_of(clips: list[Tensor], channels: int) -> Tensor:
    """(N, T * channels, H, W), frame by frame, as (N, channels, T, H, W)."""
    (frames,) = clips
    return frames.unflatten(1, (-1, channels)).transpose(1, 2)


def statistics(name: str, x: Tensor, width: int = 64) -> dict[str, Tensor]:
    """Mean, deviation, shape and values at even distances of a folded map."""
    flat = x.flatten()
    step = max(flat.numel() // width, 1)
    return {
        f"{name}_mean": x.mean(),
        f"{name}_std": x.std(),
        f"{name}_shape": torch.tensor(x.shape),
        f"{name}_slice": flat[::step][:width],
    }


def summary(x: Tensor) -> Tensor:
    """Mean, deviation and 62 values at even distances."""
    flat = x.flatten()
    return torch.cat([x.mean()[None], x.std()[None], flat[:: len(flat) // 62][:62]])


def of_stages(network: Any, clip: Tensor) -> dict[str, Tensor]:
    """Logits, and the summaries of the four stages."""
    maps = network.stages(clip)
    found = {f"layer{i}_summary": summary(fold(maps[i])) for i in range(1, 5)}
    return {**found, "logits": network.head(maps[-1:]).mean(dim=1)}


@pytest.mark.parametrize("frames", [3])
def test_tsn_of_mmaction2(parity: Parity, frames: int) -> None:
    def outputs(network: Any, clips: list[Tensor]) -> dict[str, Tensor]:
        clip = clips[0].movedim(1, 2)
        maps = network.stages(clip)
        found = {"logits": network(clip)}
        for i in range(1, 5):
            found |= statistics(f"layer{i}", fold(maps[i]))
        return found

    cost = (1, 3, frames, 224, 224)
    parity("mmaction2_tsn_r50_3seg_k400", "tsn_r50_3seg", "mmaction2", outputs, cost_input=cost)


@pytest.mark.parametrize(
    ("case", "channels", "side", "fields"),
    [
        ("tsnpytorch_resnet50_rgb_3seg_ucf101", 3, 224, {}),
        ("tsnpytorch_resnet50_flow_3seg_ucf101", 10, 160, {"modality": "flow"}),
    ],
)
def test_tsn_of_its_authors(
    parity: Parity, case: str, channels: int, side: int, fields: dict[str, Any]
) -> None:
    def outputs(network: Any, clips: list[Tensor]) -> dict[str, Tensor]:
        clip = clip_of(clips, channels)
        base = fold(network.head.pooled(network.features(clip))).flatten(1)
        return {"logits": network(clip), **statistics("base", base)}

    cost = (1, channels, 3, side, side)
    parity(case, "tsn_r50_3seg", "original", outputs, cost_input=cost, **fields)


@pytest.mark.parametrize("gain", ["", "_gain"])
def test_tsn_on_bn_inception(parity: Parity, gain: str) -> None:
    def outputs(network: Any, clips: list[Tensor]) -> dict[str, Tensor]:
        clip = clip_of(clips, 3)
        wide = network.trunk.stem.wide
        stem, third, fourth, fifth = (fold(m) for m in network.stages(clip))
        pooled = fifth.mean(dim=(2, 3), keepdim=True)
        return {
            "logits": network(clip),
            **statistics("conv1_bn", wide(fold(clip))),
            **statistics("pool2", stem),
            **statistics("inception_3c_pool", third[:, -320:]),
            **statistics("inception_4e_pool", fourth[:, -608:]),
            **statistics("global_pool", pooled),
        }

    case = f"tsnpytorch_bninception_rgb_3seg_ucf101{gain}"
    cost = (1, 3, 3, 224, 224)
    parity(case, "tsn_bninception_3seg", "original", outputs, cost_input=cost)


def test_tsm(parity: Parity) -> None:
    def outputs(network: Any, clips: list[Tensor]) -> dict[str, Tensor]:
        return of_stages(network, clip_of(clips, 3))

    cost = (1, 3, 8, 224, 224)
    parity("tsm_r50_8f_sthv1", "tsm_r50_8f", "original", outputs, cost_input=cost)


def test_stm(parity: Parity) -> None:
    def outputs(network: Any, clips: list[Tensor]) -> dict[str, Tensor]:
        clip = clip_of(clips, 3)
        found = of_stages(network, clip)
        stem, res2 = (fold(m) for m in network.stages(clip)[:2])
        for name, stage, below in (("1", "res2", stem), ("2", "res3", res2)):
            block = getattr(network.trunk, stage).blocks[0]
            found[f"layer{name}_0_mb_summary"] = summary(
                block.motion(block.a(below).relu(), clip.shape[2])
            )
        return found

    cost = (1, 3, 8, 224, 224)
    parity("stm_r50_8f_sthv1", "stm_r50_8f", "original", outputs, cost_input=cost)


def test_tea(parity: Parity) -> None:
    def outputs(network: Any, clips: list[Tensor]) -> dict[str, Tensor]:
        clip = clip_of(clips, 3)
        found = of_stages(network, clip)
        x, frames = fold(network.stages(clip)[0]), clip.shape[2]
        for i, block in enumerate(network.trunk.res2.blocks[:2]):
            found[f"layer1_{i}_me_summary"] = summary(block.excite(block.a(x).relu(), frames))
            x = block(x, frames)
        return found

    cost = (1, 3, 8, 224, 224)
    parity("tea_r50_8f_sthv1", "tea_r50_8f", "original", outputs, cost_input=cost)
