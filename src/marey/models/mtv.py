"""MTV: several transformers, small to large, on one video cut into long to short tubelets.

Each view has its own encoder; a few layers let neighbouring views look at each other. The
view with the longest tubelets sets the pace: the shorter ones fold their extra moments into
space, so that every view has the same number of aligned steps, and each step is encoded alone. A
global encoder then reads one token of every moment of every view.

    step       shape of mtv_b2_s4_ti8 for a 32-frame clip at 224x224
    input      1 3 32 224 224
    view0      1 4 197 192
    view1      1 8 197 384
    view2      1 16 197 768
    aligned0   4 197 192
    aligned1   4 394 384
    aligned2   4 788 768
    moments    1 16 1344
    token      1 1344
    logits     1 400

Source: S. Yan et al., "Multiview Transformers for Video Recognition", CVPR 2022, and the authors'
code (google-research/scenic, projects/mtv). Views are numbered from the longest tubelet.
Differs: MLP fusion stands only in the paper, which leaves open how views of unequal length meet;
ours averages the moments of the longer one.
The page exceeds the 400-line cap: four ways for views to meet stand side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.attention import DropPath
from marey.layers.conv import Triple
from marey.layers.heads import ClassifierHead, ClipClassifier
from marey.layers.vit import EPSILON, Attention, Layer, Mlp

Fusion = Literal["attention", "bottleneck", "mlp", "none"]
Classifier = Literal["token", "mean", "max", "sum"]


@dataclass(frozen=True, kw_only=True)
class View:
    """One encoder: its width, heads, hidden width and layers, and its tubelet (T, H, W)."""

    width: int
    heads: int
    hidden: int
    depth: int
    tubelet: tuple[int, int, int] = (1, 1, 1)


SIZES: dict[str, tuple[int, int, int, int, int]] = {
    # width, heads, hidden, depth, patch
    "Ti": (192, 3, 768, 12, 16),
    "S": (384, 6, 1536, 12, 16),
    "B": (768, 12, 3072, 12, 16),
    "L": (1024, 16, 4096, 24, 16),
    "H": (1280, 16, 5120, 32, 14),
}


def views_of(text: str) -> tuple[View, ...]:
    """``Ti/8+S/4+B/2`` as views: size / frames of a tubelet, or size / patch x frames, or HxWxT.

    Raises ValueError for another size or form.
    """
    found = []
    for part in text.split("+"):
        size, _, tubelet = part.strip().partition("/")
        numbers = tubelet.split("x")
        if size not in SIZES or len(numbers) > 3 or not all(n.isdigit() for n in numbers):
            raise ValueError(
                f"view {part!r} of {text!r} is not SIZE/T, SIZE/SxT or SIZE/HxWxT with a size of "
                f"{', '.join(SIZES)}"
            )
        width, heads, hidden, depth, patch = SIZES[size]
        *space, time = (int(n) for n in numbers)
        high, wide = (space or [patch])[0], (space or [patch])[-1]
        found.append(
            View(width=width, heads=heads, hidden=hidden, depth=depth, tubelet=(time, high, wide))
        )
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class MTVConfig:
    """One network; ``frames`` and ``crop`` size its tables. ``encoder`` is the global one, whose
    width counts only where views are merged in time."""

    num_classes: int = 400
    dropout: float = 0.0
    frames: int = 32
    crop: int = 224
    views: tuple[View, ...] = views_of("Ti/8+S/4+B/2")
    fusion: Fusion = "attention"
    fusion_layers: tuple[int, ...] = (5, 11)
    descending: bool = True  # what is learned from short tubelets flows to long ones
    query_heads: bool = True  # cross attention has the heads of the view that asks
    bottlenecks: int = 4  # tokens that carry what is fused, for fusion="bottleneck"
    merge: Literal["channel", "time"] = "channel"
    classifier: Classifier = "token"
    encoder: View = View(width=768, heads=8, hidden=3072, depth=12)
    drop_path: float = 0.1


VARIANTS: dict[str, MTVConfig] = {
    "mtv_b2_s4_ti8": MTVConfig(),
    "mtv_l2_b4_s8_ti16": MTVConfig(
        views=views_of("Ti/16+S/8+B/4+L/2"), fusion_layers=(11, 23), num_classes=600
    ),
}


class Tubelets(nn.Module):
    """One view's start: tubelets as tokens, a class token at each moment, positions.

    (B, 3, T, H, W) -> (B, T', 1 + n, C); positions are the same at every moment.
    """

    def __init__(self, view: View, grid: Triple, *, token: bool) -> None:
        super().__init__()
        self.project = nn.Conv3d(3, view.width, view.tubelet, view.tubelet)
        moments, length = grid[0], grid[1] * grid[2] + token
        self.has_token = token
        if token:
            self.class_token = nn.Parameter(torch.zeros(1, moments, 1, view.width))
        self.positions = nn.Parameter(torch.zeros(1, length, view.width))

    def forward(self, clip: Tensor) -> Tensor:
        tokens = self.project(clip).flatten(3).permute(0, 2, 3, 1)  # (B, T', n, C)
        if self.has_token:
            first = self.class_token.to(tokens.dtype).expand(tokens.shape[0], -1, -1, -1)
            tokens = torch.cat([first, tokens], dim=2)
        return tokens + self.positions


class Alone(nn.Module):
    """One layer of every view that still has one; views do not meet. Keys are view numbers."""

    def __init__(self, config: MTVConfig, depth: int) -> None:
        super().__init__()
        self.views = nn.ModuleDict(
            {
                str(i): Layer(
                    view.width, view.heads, view.hidden, drop_path=_drop(config, i, depth)
                )
                for i, view in enumerate(config.views)
                if depth < view.depth
            }
        )

    def forward(
        self, views: list[Tensor], carried: Tensor | None
    ) -> tuple[list[Tensor], Tensor | None]:
        views = list(views)
        for name, layer in self.views.items():
            views[int(name)] = layer(views[int(name)])
        return views, carried

    def layer(self, name: str) -> Layer:
        """The layer of one view."""
        found = self.views[name]
        assert isinstance(found, Layer)
        return found


class CrossView(Alone):
    """The same after each view has looked at its neighbour of shorter tubelets (if descending).

    What is looked at are the views before any of them changed. Views whose own layers have ended
    still take part.
    """

    def __init__(self, config: MTVConfig, depth: int) -> None:
        super().__init__(config, depth)
        views = config.views
        self.norms = nn.ModuleList(nn.LayerNorm(view.width, eps=EPSILON) for view in views)
        self.pairs = neighbours(len(views), descending=config.descending)
        self.cross, self.drops = nn.ModuleDict(), nn.ModuleDict()
        for asks, told in self.pairs:
            source = views[asks] if config.query_heads else views[told]
            self.cross[f"{asks}_{told}"] = Attention(
                views[asks].width,
                source.heads,
                width_context=views[told].width,
                width_mid=source.width,
            )
            self.drops[f"{asks}_{told}"] = DropPath(_drop(config, told, depth))

    def forward(
        self, views: list[Tensor], carried: Tensor | None
    ) -> tuple[list[Tensor], Tensor | None]:
        normed = [norm(view) for norm, view in zip(self.norms, views, strict=True)]
        views = list(views)
        for asks, told in self.pairs:
            name = f"{asks}_{told}"
            found = self.cross[name](normed[asks], normed[told])
            views[asks] = views[asks] + self.drops[name](found)
        return super().forward(views, carried)


class Bottleneck(Alone):
    """A few tokens pass through the views in turn and carry what they saw to the next.

    Where a view has another width than the one before, they are projected to it.
    """

    def __init__(self, config: MTVConfig, depth: int, width: int) -> None:
        super().__init__(config, depth)
        self.order = [n for n in _order(config) if n in self.views]
        self.count = config.bottlenecks
        self.projections = nn.ModuleDict()
        for name in self.order:
            wanted = config.views[int(name)].width
            if wanted != width:
                self.projections[name] = nn.Linear(width, wanted)
            width = wanted
        self.width = width  # of the tokens afterwards

    def forward(
        self, views: list[Tensor], carried: Tensor | None
    ) -> tuple[list[Tensor], Tensor | None]:
        assert carried is not None
        views = list(views)
        for name in self.order:
            if name in self.projections:
                carried = self.projections[name](carried)
            joined = self.views[name](torch.cat([views[int(name)], carried], dim=1))
            views[int(name)], carried = joined[:, : -self.count], joined[:, -self.count :]
        return views, carried


class JointMlp(Alone):
    """The MLP of a view also reads its neighbour's tokens, averaged over the moments between."""

    def __init__(self, config: MTVConfig, depth: int, moments: Sequence[int]) -> None:
        super().__init__(config, depth)
        self.pairs = neighbours(len(config.views), descending=config.descending)
        self.norms, self.moments = nn.ModuleDict(), tuple(moments)
        for asks, told in self.pairs:
            if str(asks) in self.views:
                view, other = config.views[asks], config.views[told].width
                self.norms[str(asks)] = nn.LayerNorm(other, eps=EPSILON)
                self.views[str(asks)].mlp = Mlp(
                    view.width, view.hidden, width_in=view.width + other
                )

    def forward(
        self, views: list[Tensor], carried: Tensor | None
    ) -> tuple[list[Tensor], Tensor | None]:
        views = list(views)
        told_by = dict(self.pairs)
        seen = {n: self.layer(n).attend(views[int(n)]) for n in self.views}
        for name, x in seen.items():
            layer = self.layer(name)
            if name not in self.norms:
                views[int(name)] = layer.think(x)
                continue
            told = told_by[int(name)]
            other = self.norms[name](seen.get(str(told), views[told]))
            other = self._aligned(other, self.moments[told], self.moments[int(name)])
            joined = torch.cat([layer.norm2(x), other], dim=-1)
            views[int(name)] = x + layer.drop_path(layer.mlp(joined))
        return views, carried

    @staticmethod
    def _aligned(tokens: Tensor, has: int, wants: int) -> Tensor:
        """(B, has * n, C) as (B, wants * n, C): moments averaged, or repeated."""
        tokens = tokens.unflatten(1, (has, -1))
        if has >= wants:
            return tokens.unflatten(1, (wants, -1)).mean(dim=2).flatten(1, 2)
        return tokens.repeat_interleave(wants // has, dim=1).flatten(1, 2)


class GlobalEncoder(nn.Module):
    """One token of each moment of each view -> one token (B, D), by a transformer of its own."""

    def __init__(self, config: MTVConfig, moments: Sequence[int]) -> None:
        super().__init__()
        plan, widths = config.encoder, [view.width for view in config.views]
        self.merge, self.rule = config.merge, config.classifier
        self.width = plan.width if config.merge == "time" else sum(widths)
        length = sum(moments) if config.merge == "time" else max(moments)
        if config.merge == "time":
            self.joins = nn.ModuleList(nn.Linear(width, self.width) for width in widths)
        if self.rule == "token":
            self.class_token = nn.Parameter(torch.zeros(1, 1, self.width))
        self.positions = nn.Parameter(torch.zeros(1, length + (self.rule == "token"), self.width))
        self.layers = nn.ModuleList(
            Layer(self.width, plan.heads, plan.hidden) for _ in range(plan.depth)
        )
        self.norm = nn.LayerNorm(self.width, eps=EPSILON)

    def merged(self, views: list[Tensor]) -> Tensor:
        """(B, T_i, C_i) of each view as one sequence; shorter ones are repeated whole."""
        if self.merge == "time":
            joined = [join(x) for join, x in zip(self.joins, views, strict=True)]
            return torch.cat(joined, dim=1)
        length = max(x.shape[1] for x in views)
        return torch.cat([x.repeat(1, length // x.shape[1], 1) for x in views], dim=2)

    def forward(self, views: list[Tensor]) -> Tensor:
        x = self.merged(views)
        if self.rule == "token":
            x = torch.cat([self.class_token.to(x.dtype).expand(x.shape[0], -1, -1), x], dim=1)
        x = x + self.positions
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        return x[:, 0] if self.rule == "token" else _pool(x, self.rule, dim=1)


class MTV(ClipClassifier):
    """(B, 3, T, H, W) -> (B, K) logits, for clips of ``config.frames`` and ``config.crop``."""

    def __init__(self, config: MTVConfig) -> None:
        super().__init__()
        check_config(config)
        self.config = config
        self.grids = [grid_of(config, view) for view in config.views]
        moments = [grid[0] for grid in self.grids]
        self.steps = min(moments)  # aligned steps
        folded = [n // self.steps for n in moments]
        token = config.classifier == "token"
        self.tubelets = nn.ModuleList(
            Tubelets(view, grid, token=token)
            for view, grid in zip(config.views, self.grids, strict=True)
        )
        width = config.views[int(_order(config)[0])].width
        if config.fusion == "bottleneck":
            shape = (1, self.steps, config.bottlenecks, width)
            self.bottleneck = nn.Parameter(torch.zeros(shape))
        self.layers = nn.ModuleList()
        for depth in range(max(view.depth for view in config.views)):
            layer: Alone
            if depth not in config.fusion_layers or config.fusion == "none":
                layer = Alone(config, depth)
            elif config.fusion == "attention":
                layer = CrossView(config, depth)
            elif config.fusion == "mlp":
                layer = JointMlp(config, depth, folded)
            else:
                layer = Bottleneck(config, depth, width)
                width = layer.width
            self.layers.append(layer)
        self.encoder = GlobalEncoder(config, moments)
        self.widths = tuple(view.width for view in config.views)
        self.head = ClassifierHead(
            (self.encoder.width,), config.num_classes, dropout=config.dropout
        )
        start(self)

    def encoded(self, clip: Tensor) -> list[Tensor]:
        """Tokens of each view after its layers, aligned: (B * steps, folded * (1 + n), C)."""
        self._check(clip)
        views = [
            x.unflatten(1, (self.steps, -1)).flatten(0, 1).flatten(1, 2)
            for x in (tubelets(clip) for tubelets in self.tubelets)
        ]
        carried = None
        if self.config.fusion == "bottleneck":
            carried = self.bottleneck.expand(clip.shape[0], -1, -1, -1).flatten(0, 1)
        for layer in self.layers:
            views, carried = layer(views, carried)
        return views

    def unfolded(self, views: list[Tensor]) -> list[Tensor]:
        """Aligned tokens back by moment: (B, T_i, 1 + n_i, C_i)."""
        return [
            x.unflatten(0, (-1, self.steps)).unflatten(2, (grid[0] // self.steps, -1)).flatten(1, 2)
            for x, grid in zip(views, self.grids, strict=True)
        ]

    def pooled(self, clip: Tensor) -> Tensor:
        """What is classified, (B, D)."""
        rule = self.config.classifier
        by_moment = self.unfolded(self.encoded(clip))
        return self.encoder(
            [x[:, :, 0] if rule == "token" else _pool(x, rule, 2) for x in by_moment]
        )

    def forward_positions(self, clip: Tensor) -> Tensor:
        """Logits as (B, 1, K): this network has one output position."""
        return self.head.projection(self.head.dropout(self.pooled(clip))).unsqueeze(1)

    def features(self, clip: Tensor) -> tuple[Tensor, ...]:
        """Each view's last map, (B, C_i, T_i, H, W), without class tokens."""
        first = int(self.config.classifier == "token")
        return tuple(
            x[:, :, first:].unflatten(2, grid[1:]).movedim(-1, 1)
            for x, grid in zip(self.unfolded(self.encoded(clip)), self.grids, strict=True)
        )

    def stages(self, clip: Tensor) -> list[tuple[Tensor, ...]]:
        """A network of one resolution has one stage."""
        return [self.features(clip)]

    def stage_modules(self) -> list[nn.Module]:
        """Parts whose activations may be recomputed, each one sequence in and one out."""
        parts = [part for part in self.layers if isinstance(part, Alone)]
        return [*(x for part in parts for x in part.views.values()), *self.encoder.layers]

    def reset_head(self, num_classes: int) -> None:
        super().reset_head(num_classes)
        nn.init.zeros_(self.head.projection.weight)

    def _check(self, clip: Tensor) -> None:
        wanted = (3, self.config.frames, self.config.crop, self.config.crop)
        if clip.dim() != 5 or tuple(clip.shape[1:]) != wanted:
            raise ValueError(
                f"{self.name} was built for clips (B, 3, {wanted[1]}, {wanted[2]}, {wanted[3]}) "
                f"but got {tuple(clip.shape)}; build or load it with frames= and crop= of the clip"
            )


def resized(name: str, value: Tensor, shape: tuple[int, ...], config: MTVConfig) -> Tensor | None:
    """A table of other moments or another crop as one of ``shape``; None for what is no table.

    Class tokens and global positions are interpolated over time with their ends kept, positions
    over their square of patches, and tubelet kernels over the frames of a tubelet. ``config`` says
    whether tables begin with a class token's row, and how many of the global positions are a
    view's: views merged in time have theirs one after the other.
    """
    value, rows = value.float(), int(config.classifier == "token")
    if name.endswith("class_token") and value.dim() == 4 and len(shape) == 4:
        flat = value[:, :, 0].transpose(1, 2)
        return _stretch(flat, shape[1]).transpose(1, 2).unsqueeze(2)
    if name == "encoder.positions":
        moments = [grid_of(config, view)[0] for view in config.views]
        wanted = moments if config.merge == "time" else [max(moments)]
        rest = value[:, rows:].transpose(1, 2)
        had = [rest.shape[2] * n // sum(wanted) for n in wanted]
        if sum(had) != rest.shape[2] or min(had) < 1:
            return None
        parts = map(_stretch, rest.split(had, dim=2), wanted)
        return torch.cat([value[:, :rows], *(x.transpose(1, 2) for x in parts)], dim=1)
    if name.endswith("positions"):
        old, new = isqrt(max(value.shape[1] - rows, 0)), isqrt(shape[1] - rows)
        if old**2 + rows != value.shape[1] or new**2 + rows != shape[1] or not old:
            return None
        grid = value[:, rows:].transpose(1, 2).unflatten(2, (old, old))
        grid = F.interpolate(grid, (new, new), mode="bilinear", align_corners=True)
        return torch.cat([value[:, :rows], grid.flatten(2).transpose(1, 2)], dim=1)
    if name == "bottleneck":
        flat = value.flatten(2).transpose(1, 2)
        return _stretch(flat, shape[1]).transpose(1, 2).unflatten(2, value.shape[2:])
    if name.endswith("project.weight") and value.shape[:2] == shape[:2]:
        return F.interpolate(value, shape[2:], mode="trilinear", align_corners=True)
    return None


def _stretch(rows: Tensor, length: int) -> Tensor:
    """(B, C, n) -> (B, C, length), the ends kept."""
    return F.interpolate(rows, length, mode="linear", align_corners=True)


def neighbours(count: int, *, descending: bool) -> list[tuple[int, int]]:
    """(view that asks, view that is looked at), in the order of the updates."""
    if descending:
        return [(told - 1, told) for told in range(count - 1, 0, -1)]
    return [(told + 1, told) for told in range(count - 1)]


def grid_of(config: MTVConfig, view: View) -> Triple:
    """Moments, rows and columns of a view's tubelets."""
    time, high, wide = view.tubelet
    return config.frames // time, config.crop // high, config.crop // wide


def check_config(config: MTVConfig) -> None:
    """Raises ValueError for views that cannot be aligned, and for sizes that do not divide."""
    if not config.views:
        raise ValueError("views is empty; give one or more, as views_of('Ti/8+S/4+B/2')")
    for name in ("num_classes", "bottlenecks", "frames", "crop"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be 1 or more")
    if not 0.0 <= config.drop_path < 1.0:
        raise ValueError(f"drop_path is {config.drop_path:g}; it must be in [0, 1)")
    for view in (*config.views, config.encoder):
        if min(view.width, view.heads, view.hidden, view.depth + 1, *view.tubelet) < 1:
            raise ValueError(f"{view} has a number below 1; only its depth may be 0")
    for view in config.views:
        time, high, wide = view.tubelet
        if config.frames % time or config.crop % high or config.crop % wide:
            raise ValueError(
                f"a clip of {config.frames} frames at {config.crop} pixels does not divide into "
                f"tubelets of {time} x {high} x {wide} (T x H x W); change frames, crop or views"
            )
    moments = [grid_of(config, view)[0] for view in config.views]
    if any(n % min(moments) for n in moments) or any(max(moments) % n for n in moments):
        raise ValueError(
            f"views have {moments} moments, which do not align: each must divide the largest and "
            f"be a multiple of the least"
        )
    grids = {grid_of(config, view)[1:] for view in config.views}
    if config.fusion == "mlp" and len(grids) > 1:
        raise ValueError(f"fusion 'mlp' joins equal patches but views have {sorted(grids)}")


@torch.no_grad()
def start(network: MTV) -> None:
    """Xavier kernels, zero cross attention and classifier, so that views start apart."""
    if next(network.parameters()).is_meta:
        return
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        if isinstance(module, (Tubelets, GlobalEncoder)):
            nn.init.normal_(module.positions, std=0.02)
        if isinstance(module, Tubelets):
            _central(module.project)
    for layer in network.layers:
        if isinstance(layer, CrossView):
            for cross in layer.cross.values():
                assert isinstance(cross, Attention)
                nn.init.zeros_(cross.out.weight)
    if network.config.fusion == "bottleneck":
        nn.init.normal_(network.bottleneck, std=0.02)
    nn.init.zeros_(network.head.projection.weight)


def _central(project: nn.Conv3d) -> None:
    """A patch kernel at the middle frame of a tubelet, zero elsewhere."""
    kernel = torch.empty_like(project.weight[:, :, 0])
    nn.init.xavier_uniform_(kernel.flatten(1))
    project.weight.zero_()
    project.weight[:, :, project.kernel_size[0] // 2] = kernel
    nn.init.zeros_(project.bias)  # type: ignore[arg-type]


def _drop(config: MTVConfig, view: int, depth: int) -> float:
    """The share of samples whose branch is dropped, growing with depth to ``drop_path``."""
    return config.drop_path * min(depth / max(config.views[view].depth - 1, 1), 1.0)


def _order(config: MTVConfig) -> list[str]:
    """View numbers in the order in which bottleneck tokens pass through them."""
    names = [str(i) for i in range(len(config.views))]
    return names[::-1] if config.descending else names


def _pool(x: Tensor, rule: Classifier, dim: int) -> Tensor:
    if rule == "max":
        return x.amax(dim)
    return x.sum(dim) if rule == "sum" else x.mean(dim)
