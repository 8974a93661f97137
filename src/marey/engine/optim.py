"""The optimiser and its parameter groups: decay, depth and head decide a parameter's group.

    norms (split and shared ones too)      weight_decay = norm_weight_decay
    biases and other vectors, under AdamW  weight_decay = norm_weight_decay
    the head                               lr * head_lr_factor
    the first kernel and its bias          lr * first_lr_factor
    other biases, if bias_lr_factor != 1   lr * bias_lr_factor, weight_decay = norm_weight_decay
    a layer d steps before the head        lr * layer_decay ** d

The published rate of one system holds for one batch; another batch scales it linearly.

Source: section 6.1 of PySlowFast's sheet. Differs: its optimiser does not recognise the affine
weights of split batch norms and decays them; here they are norms like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import nn

from marey.choices import OptimChoice

_NORMS = ("BatchNorm", "LayerNorm", "GroupNorm", "InstanceNorm", "RMSNorm")


def lr_scale(choice: OptimChoice, batch: int) -> float:
    """What every published rate is multiplied by for ``batch`` clips a step."""
    return batch / choice.reference_batch if choice.reference_batch else 1.0


def build_optimizer(model: nn.Module, choice: OptimChoice, batch: int) -> torch.optim.Optimizer:
    """SGD or AdamW over the groups; each group keeps its ``factor`` of the scheduled rate.

    Raises ValueError when no parameter is left to train or a rate or decay is negative.
    """
    for name in (
        *("lr", "weight_decay", "norm_weight_decay", "layer_decay"),
        *("head_lr_factor", "first_lr_factor", "bias_lr_factor"),
    ):
        if getattr(choice, name) < 0:
            raise ValueError(f"optim.{name} is {getattr(choice, name)}; it must not be negative")
    groups = parameter_groups(model, choice)
    if not groups:
        raise ValueError("no parameter is left to train: every one is frozen")
    rate = choice.lr * lr_scale(choice, batch)
    for group in groups:
        group["lr"] = rate * float(group["factor"])  # type: ignore[arg-type]
    if choice.kind == "adamw":
        return torch.optim.AdamW(groups, lr=rate, betas=choice.betas)
    nesterov = choice.nesterov and choice.momentum > 0
    return torch.optim.SGD(groups, lr=rate, momentum=choice.momentum, nesterov=nesterov)


def set_lr(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its factor of the scheduled rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def parameter_groups(model: nn.Module, choice: OptimChoice) -> list[dict[str, object]]:
    """Groups of equal decay and rate factor, in the order in which the model names them first."""
    head = head_names(model)
    depth = depths(model)
    deepest = max(depth.values(), default=0)
    first = next((n.rpartition(".")[0] for n, p in model.named_parameters() if p.ndim > 2), "")
    groups: dict[tuple[float, float], dict[str, object]] = {}
    for name, parameter, in_norm in _named(model):
        if not parameter.requires_grad:
            continue
        bare = in_norm or (choice.kind == "adamw" and parameter.ndim <= 1)
        decay = choice.norm_weight_decay if bare else choice.weight_decay
        factor = choice.layer_decay ** (deepest - depth[name])
        factor = choice.head_lr_factor if name in head else factor
        if name.rpartition(".")[0] == first:
            factor *= choice.first_lr_factor
        if choice.bias_lr_factor != 1.0 and name.endswith("bias") and not in_norm:
            decay, factor = choice.norm_weight_decay, factor * choice.bias_lr_factor
        group = groups.setdefault(
            (decay, factor), {"params": [], "weight_decay": decay, "factor": factor}
        )
        group["params"].append(parameter)  # type: ignore[attr-defined]
    return list(groups.values())


def is_norm(module: nn.Module) -> bool:
    """True for every normalisation, ours and torch's, also when it only wraps another one."""
    names = [kind.__name__ for kind in type(module).__mro__]
    return any(word in name for name in names for word in _NORMS)


def _named(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, bool]]:
    """Each parameter once, with its name and whether it sits in (or under) a normalisation."""
    norms = {name for name, module in model.named_modules() if is_norm(module)}
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        owners = (".".join(parts[:i]) for i in range(1, len(parts)))
        yield name, parameter, any(owner in norms for owner in owners)


def head_names(model: nn.Module) -> set[str]:
    """Names of the head's parameters as the model tells them; empty if it does not."""
    told = getattr(model, "head_parameters", None)
    return set(told()) if callable(told) else set()


def depths(model: nn.Module) -> dict[str, int]:
    """Layer number of each parameter, for layer decay, counted from 0 without gaps.

    The model may tell it (``depth_of(name)``). Otherwise the first number in a parameter's name is
    its stage or block; names without one come before all, the head after all.
    """
    own, head = getattr(model, "depth_of", None), head_names(model)

    def place(name: str) -> float:
        if callable(own):
            return float(own(name))
        if name in head:
            return float("inf")
        number = re.search(r"\d+", name)
        return float(number.group()) if number else -1.0

    places = {name: place(name) for name, _ in model.named_parameters()}
    order = sorted(set(places.values()))
    return {name: order.index(found) for name, found in places.items()}
