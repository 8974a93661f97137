"""A network made ready to answer one frame after another: the same numbers, fewer passes.

Every 2-D convolution that a batch norm follows takes its scale and shift into its own weights, and
weights lie with channels last, as processors convolve fastest.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def for_inference(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode; it cannot be trained or saved. The network itself stays as it is.

    Pairs are those of a module whose convolution is called ``conv`` and its norm ``norm``.
    """
    ready = copy.deepcopy(network).eval()
    for module in ready.modules():
        conv, norm = getattr(module, "conv", None), getattr(module, "norm", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            module.conv, module.norm = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return ready.requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
