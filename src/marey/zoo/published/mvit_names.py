"""How publishers name and shape the tensors of MViT: ours -> theirs.

    layout         stem      pools        queries, keys, values   holds
    pyslowfast     4-D or 5-D  5-D        one tensor, or three    everything
    mvit           4-D       4-D          one                     images, detection backbones
    timm           4-D       4-D          one                     version 2 images, by stage
    torchvision    5-D       5-D          one                     clips with a class token
    pytorchvideo   4-D or 5-D  5-D        three, pools twice      absolute positions

Source: the checkpoint formats of facebookresearch/SlowFast, facebookresearch/mvit and detectron2,
facebookresearch/pytorchvideo, torchvision and timm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from marey.zoo.cards import Form

if TYPE_CHECKING:
    from torch import Tensor

    State = dict[str, Tensor]

TABLES = {
    "pyslowfast": {
        "positions.class_token": "cls_token",
        "positions.spatial": "pos_embed_spatial",
        "positions.temporal": "pos_embed_temporal",
        "positions.class_position": "pos_embed_class",
        "positions.joint": "pos_embed",
    },
    "torchvision": {
        "positions.class_token": "pos_encoding.class_token",
        "positions.spatial": "pos_encoding.spatial_pos",
        "positions.temporal": "pos_encoding.temporal_pos",
        "positions.class_position": "pos_encoding.class_pos",
    },
}
TABLES["pytorchvideo"] = {
    name: f"cls_positional_encoding.{theirs}" for name, theirs in TABLES["pyslowfast"].items()
}
TABLES["timm"] = {"positions.class_token": "cls_token"}
POOL_NORM = re.compile(r"attn\.pool_(.)\.norm\.")
POOL = re.compile(r"attn\.pool_[qkv]\.weight$")
PROJECTED = re.compile(r"(.*attn)\.([qkv])\.(weight|bias)$")
TWICE = re.compile(r"(.*attn)\._attention_pool_([qkv])\.(pool|norm)\.(\w+)$")


def pyslowfast(name: str, config: Any) -> str:
    """Names of PySlowFast's ``model_state``; detection backbones as detectron2 has them."""
    if name in TABLES["pyslowfast"]:
        return TABLES["pyslowfast"][name]
    if found := re.fullmatch(r"scale_norms\.(\d)\.(\w+)", name):
        return f"scale{int(found[1]) + 2}_norm.{found[2]}"
    name = POOL_NORM.sub(r"attn.norm_\1.", name)
    return re.sub(r"^patch_embed\.", "patch_embed.proj.", name)


def mvit(name: str, config: Any) -> str:
    """The same names, of the image networks and detectors that store kernels without time."""
    if not config.image:
        raise _unnamed(name, "mvit")
    return pyslowfast(name, config)


def torchvision(name: str, config: Any) -> str:
    """Names of ``torchvision.models.video``."""
    if config.image or config.positions == "joint" or not config.class_token:
        raise _unnamed(name, "torchvision")
    if name in TABLES["torchvision"]:
        return TABLES["torchvision"][name]
    changes = {
        r"^patch_embed\.": "conv_proj.",
        r"attn\.proj\.": "attn.project.0.",
        r"attn\.pool_(.)\.weight": r"attn.pool_\1.pool.weight",
        r"attn\.pool_(.)\.norm\.": r"attn.pool_\1.norm_act.0.",
        r"mlp\.fc1": "mlp.0",
        r"mlp\.fc2": "mlp.3",
        r"^(blocks\.\d+)\.proj\.": r"\1.project.",
        r"^head\.projection\.": "head.1.",
    }
    for pattern, theirs in changes.items():
        name = re.sub(pattern, theirs, name)
    return name


def pytorchvideo(name: str, config: Any) -> str:
    """Names of pytorchvideo's hub networks."""
    if config.positions == "relative" or getattr(config, "pyramid", ""):
        raise _unnamed(name, "pytorchvideo")
    if name in TABLES["pytorchvideo"]:
        return TABLES["pytorchvideo"][name]
    name = re.sub(r"^patch_embed\.", "patch_embed.patch_model.", name)
    name = re.sub(r"^norm\.", "norm_embed.", name)
    return POOL_NORM.sub(r"attn.norm_\1.", name).replace("head.projection.", "head.proj.")


def timm(name: str, config: Any) -> str:
    """Names of timm's ``mvitv2``, which number blocks by stage."""
    if not config.image or config.positions != "relative" or config.pyramid:
        raise _unnamed(name, "timm")
    if name in TABLES["timm"]:
        return TABLES["timm"][name]
    name = re.sub(r"^patch_embed\.", "patch_embed.proj.", name)
    name = POOL_NORM.sub(r"attn.norm_\1.", name).replace("head.projection.", "head.fc.")
    if found := re.match(r"blocks\.(\d+)\.(.*)", name):
        block, rest = int(found[1]), found[2]
        starts = [0, *accumulate(config.depths)]
        stage = max(i for i, start in enumerate(starts[:-1]) if start <= block)
        if rest.startswith("proj."):
            branch = {"attention": "attn", "mlp": "mlp"}[config.grow]
            rest = rest.replace("proj.", f"shortcut_proj_{branch}.")
        return f"stages.{stage}.blocks.{block - starts[stage]}.{rest}"
    return name


LAYOUTS = {
    "pyslowfast": pyslowfast,
    "mvit": mvit,
    "torchvision": torchvision,
    "pytorchvideo": pytorchvideo,
    "timm": timm,
}


# ---- the same tensors in other shapes


def _flat_pools(state: Mapping[str, Tensor]) -> bool:
    return any(POOL.search(name) and value.dim() == 4 for name, value in state.items())


def with_time(state: Mapping[str, Tensor]) -> State:
    """Stem and pooling kernels without time get one of length one."""
    flat = {n: v.unsqueeze(2) for n, v in state.items() if v.dim() == 4}
    return {**state, **flat}


def without_time(state: Mapping[str, Tensor], *, pools: bool) -> State:
    """The inverse, of the stem alone or of the pools too."""
    return {
        n: v.squeeze(2) if v.dim() == 5 and (pools or not POOL.search(n)) else v
        for n, v in state.items()
    }


def fused(state: Mapping[str, Tensor]) -> State:
    """Three projections to queries, keys and values as one."""
    from torch import cat

    own: State = {}
    for name, value in state.items():
        found = PROJECTED.match(name)
        if found is None:
            own[name] = value
        elif found[2] == "q":
            parts = [state.get(f"{found[1]}.{letter}.{found[3]}") for letter in "qkv"]
            if all(part is not None for part in parts):
                own[f"{found[1]}.qkv.{found[3]}"] = cat(parts)  # type: ignore[arg-type]
    return own


def separate(state: Mapping[str, Tensor]) -> State:
    """The inverse of ``fused``."""
    own: State = {}
    for name, value in state.items():
        if ".attn.qkv." not in name:
            own[name] = value
            continue
        for letter, part in zip("qkv", value.chunk(3), strict=True):
            own[name.replace(".qkv.", f".{letter}.")] = part.clone()
    return own


def _read_pyslowfast(state: Mapping[str, Tensor]) -> State:
    if "patch_embed.proj.weight" not in state or _flat_pools(state):
        return {}
    return with_time(fused(state))


def _write_pyslowfast(state: Mapping[str, Tensor], config: Any) -> State:
    state = without_time(state, pools=False) if config.image else dict(state)
    return separate(state) if getattr(config, "separate_qkv", False) else state


def _read_mvit(state: Mapping[str, Tensor]) -> State:
    named = "patch_embed.proj.weight" in state and "head.fc.weight" not in state
    return with_time(state) if named and _flat_pools(state) else {}


def _read_timm(state: Mapping[str, Tensor]) -> State:
    return with_time(state) if "head.fc.weight" in state else {}


def _write_flat(state: Mapping[str, Tensor], config: Any) -> State:
    return without_time(state, pools=True)


def _read_torchvision(state: Mapping[str, Tensor]) -> State:
    if "conv_proj.weight" not in state:
        return {}
    return {
        n: v.reshape(1, -1, v.shape[-1]) if n.startswith("pos_encoding.") else v
        for n, v in state.items()
    }


def _write_torchvision(state: Mapping[str, Tensor], config: Any) -> State:
    tables = {n: v.squeeze(0) for n, v in state.items() if n.startswith("pos_encoding.")}
    lines = {n: v.squeeze(0) for n, v in tables.items() if n.endswith(("class_token", "class_pos"))}
    return {**state, **tables, **lines}


def _read_pytorchvideo(state: Mapping[str, Tensor]) -> State:
    if "patch_embed.patch_model.weight" not in state:
        return {}
    return with_time(fused({n: v for n, v in state.items() if not _repeats(n, v, state)}))


def _repeats(name: str, value: Tensor, state: Mapping[str, Tensor]) -> bool:
    """Whether a tensor is the second copy of another one."""
    from torch import equal

    found = TWICE.match(name)
    if found is None:
        return False
    first = state.get(f"{found[1]}.{found[3]}_{found[2]}.{found[4]}")
    return first is not None and equal(first, value)


def _write_pytorchvideo(state: Mapping[str, Tensor], config: Any) -> State:
    state = separate(without_time(state, pools=False) if config.image else state)
    for name, value in list(state.items()):
        if found := re.match(r"(.*attn)\.(pool|norm)_([qkv])\.(\w+)$", name):
            state[f"{found[1]}._attention_pool_{found[3]}.{found[2]}.{found[4]}"] = value.clone()
    return state


FORMS = {
    "pyslowfast": Form(_read_pyslowfast, _write_pyslowfast),
    "mvit": Form(_read_mvit, _write_flat),
    "torchvision": Form(_read_torchvision, _write_torchvision),
    "pytorchvideo": Form(_read_pytorchvideo, _write_pytorchvideo),
    "timm": Form(_read_timm, _write_flat),
}


# ---- what a state says about its network


def infer(state: Mapping[str, Tensor], config: Any) -> dict[str, Any]:
    """Fields that published names and shapes give away, where blocks are numbered through.

    Heads, strides and what is classified are not visible and stay those of ``config``, but for
    one pattern: relative positions with growth in the MLP and a class token are MaskFeat's
    fine-tuned networks, which classify the mean.
    """
    found: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, value in state.items():
        if match := re.match(r"blocks\.(\d+)\.(.*)", name):
            found.setdefault(int(match[1]), {})[match[2]] = tuple(value.shape)
    blocks = [found[i] for i in sorted(found)]
    if not blocks or any("attn.qkv.weight" not in block for block in blocks):
        return {}
    widths = [block["attn.qkv.weight"][0] // 3 for block in blocks]
    fields: dict[str, Any] = {
        "width": widths[0],
        "depths": tuple(widths.count(w) for w in dict.fromkeys(widths)),
    }
    begins = next((i for i in range(1, len(widths)) if widths[i] != widths[i - 1]), 0)
    if begins:
        grown = blocks[begins]["attn.qkv.weight"][1] != widths[begins]
        fields["grow"] = "attention" if grown else "mlp"
    tokens = {name: tuple(value.shape) for name, value in state.items()}
    fields["class_token"] = any(n.endswith(("cls_token", ".class_token")) for n in tokens)
    fields["pyramid"] = "hybrid" if "scale2_norm.weight" in tokens else ""
    fields |= _tables(tokens, config, fields["class_token"]) | _pools(blocks, begins)
    relative = fields.get("positions") == "relative"
    if relative and fields["class_token"] and fields.get("grow") == "mlp" and not config.image:
        fields["pool"] = "mean_then_norm"
    elif not fields["class_token"] and config.pool == "class":
        fields["pool"] = "mean"
    return fields


def _tables(shapes: Mapping[str, tuple[int, ...]], config: Any, token: bool) -> dict[str, Any]:
    """Kind of positions, and the frames and crop they were made for."""

    def rows(*endings: str) -> int:
        return next((s[-2] for n, s in shapes.items() if n.endswith(endings)), 0)

    step_t, step = config.patch_stride[:2]
    relative, time = rows("blocks.0.attn.rel_pos_h"), rows("blocks.0.attn.rel_pos_t")
    space, joint = rows("pos_embed_spatial", ".spatial_pos"), rows("pos_embed")
    frames = rows("pos_embed_temporal", ".temporal_pos") or (time + 1) // 2
    if relative:
        told = {"positions": "relative", "crop": (relative + 1) // 2 * step}
    elif space:
        told = {"positions": "separate", "crop": round(space**0.5) * step}
    elif joint:
        cells = (joint - token) // config.grid[0]
        told = {"positions": "joint", "crop": round(cells**0.5) * step}
    else:
        return {"positions": "none"}
    return told | ({"frames": frames * step_t} if frames and not config.image else {})


def _pools(blocks: list[dict[str, tuple[int, ...]]], begins: int) -> dict[str, Any]:
    """Which queries are pooled, and whether kernels follow the strides."""
    names = [n for n in ("attn.pool_k.weight", "attn.pool_k.pool.weight") if n in blocks[0]]
    if not names:
        return {}
    query = names[0].replace("pool_k", "pool_q")
    still = [block for i, block in enumerate(blocks) if i != begins]
    fields: dict[str, Any] = {
        "query_pools": "all" if all(query in block for block in still) else "transitions"
    }
    side = blocks[0][names[0]][-1]
    fields["pool_kernel"] = 0 if any(b.get(names[0], (side,))[-1] != side for b in blocks) else side
    return fields


def _unnamed(name: str, layout: str) -> ValueError:
    return ValueError(
        f"{name} has no name in the {layout} layout; keep this network in the marey layout"
    )
