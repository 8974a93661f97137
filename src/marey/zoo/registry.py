"""Names to networks: the explicit table of families, and what each variant reads and claims.

Importing this page loads no torch; ``build`` does.
"""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from fnmatch import fnmatchcase
from importlib import import_module
from typing import TYPE_CHECKING, Any

from marey.config import nearest, override
from marey.types import ClipSpec
from marey.zoo.cards import TAGS, Card, Family, Tag
from marey.zoo.published import (
    basictad,
    bqn,
    csn,
    memvit,
    mtv,
    mutualnet,
    mvit,
    r2plus1d,
    resnet3d,
    rev_mvit,
    s3d,
    slowfast,
    stm,
    sts,
    tea,
    tsm,
    tsn,
    two_stream,
    x3d,
)

if TYPE_CHECKING:
    from torch import nn

FAMILIES: tuple[Family, ...] = (
    resnet3d.FAMILY,
    slowfast.FAMILY,
    basictad.FAMILY,
    mutualnet.FAMILY,
    r2plus1d.FAMILY,
    mvit.FAMILY,
    mtv.FAMILY,
    memvit.FAMILY,
    x3d.FAMILY,
    rev_mvit.FAMILY,
    tsn.FAMILY,
    tsm.FAMILY,
    stm.FAMILY,
    tea.FAMILY,
    csn.FAMILY,
    sts.FAMILY,
    bqn.FAMILY,
    s3d.FAMILY,
    two_stream.FAMILY,
)


def _merge(families: tuple[Family, ...]) -> dict[str, Family]:
    homes: dict[str, Family] = {}
    for family in families:
        for name in family.cards:
            if name in homes:
                raise ValueError(f"{name} is in both {homes[name].name} and {family.name}")
            homes[name] = family
    return homes


HOMES = _merge(FAMILIES)


def list_models(pattern: str = "*") -> list[str]:
    """Names of the variants that match a shell pattern, in the order of the tables."""
    return [name for name in HOMES if fnmatchcase(name, pattern)]


def split_name(name: str) -> tuple[str, Tag | None]:
    """``slow_r50_8x8.ssv2`` as variant and data set; None where no set is named.

    Raises ValueError for an unknown variant or data set, naming the nearest.
    """
    variant, _, tag = str(name).partition(".")
    if variant not in HOMES:
        raise ValueError(
            f"{name!r} is not a model{nearest(variant, HOMES)} (`marey models list` names all)"
        )
    if tag and tag not in TAGS:
        raise ValueError(
            f"{name!r} names the data set {tag!r}{nearest(tag, TAGS)} (known: {', '.join(TAGS)})"
        )
    return variant, TAGS[tag] if tag else None


def family_of(name: str) -> Family:
    """The family of a variant."""
    return HOMES[split_name(name)[0]]


def card(name: str) -> Card:
    """What is published about a variant: cost, claims with their sources, where weights are."""
    variant, tag = split_name(name)
    found = replace(HOMES[variant].cards[variant], name=str(name))
    if tag is None:
        return found
    return replace(found, spec=tag.applied(found.spec), classes=tag.classes)


def config_of(name: str, **fields: Any) -> Any:
    """The variant's configuration with ``fields`` replaced.

    Raises ValueError for an unknown name or field, or a value of another type.
    """
    variant, tag = split_name(name)
    config = import_module(HOMES[variant].module).VARIANTS[variant]
    counts = {"num_classes": tag.num_classes} if tag else {}
    return override(config, {**counts, **fields})


def spec_of(name: str, config: Any = None) -> ClipSpec:
    """How pixels become input of a variant, following its configuration's ``frames`` and ``crop``.

    Where the configuration has a ``stride``, so does the clip; another ``modality`` brings the
    means of its own, where the card has them, and another ``snippet`` its length. Another crop
    scales the published test crop, short side and jitter range with it.
    """
    spec = card(name).spec
    published = config_of(name)
    config = published if config is None else config
    modality = getattr(config, "modality", spec.modality)
    if modality != spec.modality:
        spec = replace(spec, modality=modality, **card(name).modalities.get(modality, {}))
    snippet: int = getattr(config, "snippet", 0)
    if snippet != getattr(published, "snippet", 0):
        stored = {"flow": snippet, "rgb_difference": snippet + 1}.get(spec.modality, 1)
        spec = replace(spec, segment_frames=stored)
        spec = replace(spec, flow_frames=snippet) if spec.modality == "rgb_flow" else spec
    for field in ("frames", "stride"):
        value = getattr(config, field, None)
        if value is not None and value != getattr(published, field):
            spec = replace(spec, **{field: value})
    if config.crop != spec.size:
        scale = config.crop / spec.size
        low, high = spec.jitter
        spec = replace(
            spec,
            size=config.crop,
            test_size=round(spec.test_size * scale),
            short_side=round(spec.short_side * scale),
            jitter=(round(low * scale), round(high * scale)),
        )
    return spec


def build(name: str, **fields: Any) -> nn.Module:
    """A network of random weights; ``fields`` replace fields of its configuration.

    It carries ``variant``, ``config``, ``spec``, ``classes`` and ``provenance``. Build under
    ``torch.device("meta")`` for one without memory. Raises ValueError for an unknown name or field.
    """
    variant, _ = split_name(name)
    config = config_of(name, **fields)
    network = construct(variant, config)
    return attach(network, variant, config, spec_of(name, config), provenance="random weights")


def construct(variant: str, config: Any) -> nn.Module:
    """The bare network of a variant's family, around its backbone where it has one."""
    family = HOMES[variant]
    network = getattr(import_module(family.module), family.network)
    if not hasattr(config, "backbone_net"):
        return network(config)
    own = {"frames": config.frames, "crop": config.crop, **config.backbone_net}
    inner = config_of(config.backbone, **own)
    return network(config, construct(split_name(config.backbone)[0], inner))


def attach(
    network: Any,
    variant: str,
    config: Any,
    spec: ClipSpec,
    *,
    classes: tuple[str, ...] | None = None,
    provenance: str = "",
) -> nn.Module:
    """Hang on a network the plain attributes that others read."""
    assert dataclasses.is_dataclass(config)
    network.variant, network.config, network.spec = variant, config, spec
    network.classes, network.provenance = classes, provenance
    return network
