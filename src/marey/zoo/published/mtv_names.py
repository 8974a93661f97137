"""How Flax names and shapes the tensors of MTV: ours -> theirs, and kernels turned both ways.

Source: the checkpoint format of google-research/scenic, projects/mtv. Their linear kernels are
(in, out), of attention (in, heads, width) and (heads, width, out), convolutions T x H x W x in x
out; ours are torch's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

VIEW = re.compile(r"layers\.(\d+)\.views\.(\d+)\.(norm1|norm2|attention|mlp)\.(?:(\w+)\.)?(\w+)")
CROSS = re.compile(r"layers\.(\d+)\.cross\.(\d+_\d+)\.(\w+)\.(\w+)")
CROSS_NORM = re.compile(r"layers\.(\d+)\.norms\.(\d+)\.(\w+)")
CARRIED = re.compile(r"layers\.(\d+)\.projections\.(\d+)\.(\w+)")
GLOBAL = re.compile(r"encoder\.layers\.(\d+)\.(norm1|norm2|attention|mlp)\.(?:(\w+)\.)?(\w+)")
JOIN = re.compile(r"encoder\.joins\.(\d+)\.(\w+)")
START = re.compile(r"tubelets\.(\d+)\.(project\.\w+|class_token|positions)")
PARTS = {
    "norm1": "LayerNorm_0",
    "norm2": "LayerNorm_1",
    "attention": "MultiHeadDotProductAttention_0",
    "mlp": "MlpBlock_0",
}
CROSS_PARTS = {"norm1": "msa_ln", "norm2": "mlp_ln", "attention": "msa", "mlp": "mlp"}
DENSE = {"up": "Dense_0", "down": "Dense_1"}
PLAIN = {
    "bottleneck": "bottleneck",
    "encoder.class_token": "cls_global",
    "encoder.positions": "global_encoder/posembed_input/pos_embedding",
    "encoder.norm.weight": "global_encoder/encoder_norm/scale",
    "encoder.norm.bias": "global_encoder/encoder_norm/bias",
    "head.projection.weight": "output_projection/kernel",
    "head.projection.bias": "output_projection/bias",
}
TOP = "MultiviewEncoder/"


def flax(name: str, config: Any) -> str:
    """The name in a flattened Flax tree. Raises ValueError for what only we compute."""
    if config.fusion == "mlp":
        raise ValueError("fusion 'mlp' has no flax layout; keep this network in the marey layout")
    if name in PLAIN:
        return PLAIN[name]
    if found := START.fullmatch(name):
        view, leaf = found.groups()
        if leaf == "positions":
            return f"{TOP}posembed_input_view{view}/pos_embedding"
        return (
            f"cls_view{view}"
            if leaf == "class_token"
            else (f"embedding_view{view}/{'kernel' if leaf.endswith('weight') else 'bias'}")
        )
    if found := VIEW.fullmatch(name):
        layer, view, part, inner, leaf = found.groups()
        if config.fusion == "attention" and int(layer) in config.fusion_layers:
            place = f"{TOP}cross_view_encoderblock_{layer}/{CROSS_PARTS[part]}_view{view}"
        else:
            place = f"{TOP}encoderblock_{layer}_view{view}/{PARTS[part]}"
        return f"{place}/{_leaf(part, inner, leaf)}"
    if found := CROSS.fullmatch(name):
        layer, pair, inner, leaf = found.groups()
        place = f"{TOP}cross_view_encoderblock_{layer}/cross_attention_view{pair}"
        return f"{place}/{_leaf('attention', inner, leaf)}"
    if found := CROSS_NORM.fullmatch(name):
        layer, view, leaf = found.groups()
        place = f"{TOP}cross_view_encoderblock_{layer}/cross_attention_ln_view{view}"
        return f"{place}/{_leaf('norm', None, leaf)}"
    if found := CARRIED.fullmatch(name):
        layer, view, leaf = found.groups()
        return f"{TOP}bottleneck_linear_{layer}_view{view}/{_leaf('linear', None, leaf)}"
    if found := GLOBAL.fullmatch(name):
        layer, part, inner, leaf = found.groups()
        return f"global_encoder/encoderblock_{layer}/{PARTS[part]}/{_leaf(part, inner, leaf)}"
    if found := JOIN.fullmatch(name):
        view, leaf = found.groups()
        return f"global_encoder_linear_view{view}/{_leaf('linear', None, leaf)}"
    raise ValueError(f"{name} has no name in the flax layout; keep it in the marey layout")


def read(state: Mapping[str, Any]) -> dict[str, Any]:
    """Flax arrays in torch's shapes, by their Flax names; nothing where it is no MTV."""
    if "output_projection/kernel" not in state or "embedding_view0/kernel" not in state:
        return {}
    return {name: turned(name, value) for name, value in state.items()}


def write(state: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """Our tensors, by Flax names, in the shapes of Flax."""
    return {name: _back(name, value, config) for name, value in state.items()}


def _leaf(part: str, inner: str | None, leaf: str) -> str:
    if part.startswith("norm"):
        return "scale" if leaf == "weight" else "bias"
    last = "kernel" if leaf == "weight" else "bias"
    return last if inner is None else f"{DENSE.get(inner, inner)}/{last}"


def image_name(name: str, view: int) -> str | None:
    """The tensor of an image transformer that one of a view starts from, or None.

    ``layers.3.views.0.mlp.up.bias`` -> ``Transformer/encoderblock_3/MlpBlock_0/Dense_0/bias``.
    """
    if found := START.fullmatch(name):
        if int(found.group(1)) != view:
            return None
        leaf = found.group(2)
        kinds = {"class_token": "cls", "positions": "Transformer/posembed_input/pos_embedding"}
        return kinds.get(leaf, f"embedding/{'kernel' if leaf.endswith('weight') else 'bias'}")
    found = VIEW.fullmatch(name)
    if found is None or int(found.group(2)) != view:
        return None
    layer, _, part, inner, leaf = found.groups()
    return f"Transformer/encoderblock_{layer}/{PARTS[part]}/{_leaf(part, inner, leaf)}"


def spread(name: str, value: Any, shape: tuple[int, ...]) -> Any:
    """An image's tensor in a view's shape: kernels at the middle frame, the class token at every
    moment, positions over another square of patches."""
    if name.endswith("project.weight"):
        kernel = value.new_zeros(shape)
        if kernel[:, :, 0].shape == value.shape:
            kernel[:, :, shape[2] // 2] = value
            return kernel
        return value
    if name.endswith("class_token"):
        return value[:, None].expand(-1, shape[1], -1, -1)
    return value


def turned(name: str, value: Any) -> Any:
    """A Flax array in torch's shape."""
    *_, layer, leaf = f"/{name}".split("/")
    if leaf == "kernel":
        if value.dim() == 5:
            return value.permute(4, 3, 0, 1, 2).contiguous()
        if value.dim() == 4:
            return value.permute(3, 2, 0, 1).contiguous()
        wide = value.flatten(0, 1) if layer == "out" else value.flatten(1)
        return wide.T.contiguous()
    return value.flatten() if layer in ("query", "key", "value") and leaf == "bias" else value


def _back(name: str, value: Any, config: Any) -> Any:
    *_, layer, leaf = f"/{name}".split("/")
    if leaf == "kernel":
        if value.dim() == 5:
            return value.permute(2, 3, 4, 1, 0).contiguous()
        kernel = value.T.contiguous()
        if layer == "out":
            return kernel.unflatten(0, (_heads(name, config), -1))
        if layer in ("query", "key", "value"):
            return kernel.unflatten(1, (_heads(name, config), -1))
        return kernel
    if layer in ("query", "key", "value"):
        return value.unflatten(0, (_heads(name, config), -1))
    return value


def _heads(name: str, config: Any) -> int:
    """How many heads the attention of this name has."""
    if name.startswith("global_encoder"):
        return int(config.encoder.heads)
    if found := re.search(r"cross_attention_view(\d+)_(\d+)", name):
        asks, told = (int(n) for n in found.groups())
        return int(config.views[asks if config.query_heads else told].heads)
    found = re.search(r"_view(\d+)/", name)
    assert found is not None, name
    return int(config.views[int(found.group(1))].heads)
