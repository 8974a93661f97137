"""How networks start: the draws the papers' own code makes.

Constructors draw from torch's global generator, as torch's own layers do: seed it with
``torch.manual_seed`` for a reproducible start.
"""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def start_resnet(network: nn.Module, *, head_std: float = 0.01) -> None:
    """Kaiming-normal kernels (fan out, ReLU), unit norms, zero scale on norms that close a branch.

    A module marks such a norm by an attribute ``last`` that is true. Linear layers are drawn from
    a normal of deviation ``head_std``; every bias starts at zero.
    Source: C. Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019, and the
    authors' code; P. Goyal et al., "Accurate, Large Minibatch SGD", 2017, for the zero scale.
    """
    if next(network.parameters()).is_meta:
        return  # nothing to draw into
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=head_std)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.ones_(module.weight)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if getattr(module, "last", False):
            norm = module.get_submodule("norm")
            assert isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d)
            nn.init.zeros_(norm.weight)


@torch.no_grad()
def start_head(projection: nn.Linear, *, std: float = 0.01) -> None:
    """A fresh classifier: normal weights of deviation ``std``, zero bias."""
    nn.init.normal_(projection.weight, std=std)
    if projection.bias is not None:
        nn.init.zeros_(projection.bias)


@torch.no_grad()
def start_transformer(
    network: nn.Module, *, std: float = 0.02, head_scale: float = 1.0, tables: bool = True
) -> None:
    """Linear weights and tables from a normal cut at two, zero biases, unit norms.

    Tables are the parameters not called weight or bias: class token, positions. Without ``tables``
    relative positions start at zero, as detectors want. ``head_scale`` multiplies the classifier's
    weights. Convolutions keep torch's own draw.
    """
    if next(network.parameters()).is_meta:
        return  # nothing to draw into
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for name, value in network.named_parameters():
        if name.endswith("projection.weight"):
            value.mul_(head_scale)
        elif not name.endswith(("weight", "bias")):
            if tables or "rel_pos" not in name:
                nn.init.trunc_normal_(value, std=std)
            else:
                nn.init.zeros_(value)


@torch.no_grad()
def start_inception(network: nn.Module, *, std: float = 0.01) -> None:
    """Kernels and gates from a truncated normal of deviation ``std``; a bias alone means identity.

    A convolution over time that carries a bias instead of a norm starts as the identity, its centre
    one and all else zero. Norms start as identities, biases at zero.
    Source: S. Xie et al., ECCV 2018, and the authors' code.
    """
    if next(network.parameters()).is_meta:
        return  # nothing to draw into
    for module in network.modules():
        if isinstance(module, nn.Conv3d) and module.bias is not None:
            nn.init.dirac_(module.weight)
        elif isinstance(module, (nn.Conv3d, nn.Linear)):
            nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
