"""VGG-M and VGG-16: image networks of plain convolutions, no norms, three full layers on top.

A network here is a row of steps, each named after what it ends in, so that others can join maps
between any two of them. Full layers are convolutions over a window as large as the last map of a
training crop: a larger picture gives an answer at each place of that window.

    step     VGG-M at 224x224    VGG-16 at 224x224
    relu1    1 96 109 109        1 64 224 224
    relu2    1 256 26 26         1 128 112 112
    relu3    1 512 13 13         1 256 56 56
    relu4    1 512 13 13         1 512 28 28
    relu5    1 512 13 13         1 512 14 14
    pool     1 512 6 6           1 512 7 7
    fc6      1 4096 1 1          1 4096 1 1
    fc7      1 2048 1 1          1 4096 1 1

Source: K. Chatfield et al., "Return of the Devil in the Details", BMVC 2014 (VGG-M, here with 2048
channels in fc7); K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks", ICLR 2015.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

VggKind = Literal["vgg_m", "vgg16"]
MAPS = ("relu1", "relu2", "relu3", "relu4", "relu5")
FULL = ("fc6", "fc7")


class Conv(NamedTuple):
    """One convolution, followed by ReLU."""

    width: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1


class Pool(NamedTuple):
    """A max-pool; ``up`` keeps a last window that is not full."""

    kernel: int
    stride: int = 2
    up: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, self.kernel, self.stride, ceil_mode=self.up)

    def size(self, side: int) -> int:
        """The side of the pooled map."""
        room = side - self.kernel + (self.stride - 1 if self.up else 0)
        return room // self.stride + 1


class Plan(NamedTuple):
    """``pooled`` and ``normed`` name the steps whose maps the next one pools, or normalises."""

    convs: tuple[tuple[Conv, ...], ...]
    pool: Pool
    pooled: tuple[str, ...]
    normed: tuple[str, ...]
    hidden: tuple[int, int]


PLANS: dict[VggKind, Plan] = {
    "vgg_m": Plan(
        convs=((Conv(96, 7, 2, 0),), (Conv(256, 5, 2, 1),), *(((Conv(512),),) * 3)),
        pool=Pool(3, up=True),
        pooled=("relu1", "relu2"),
        normed=("relu1", "relu2"),
        hidden=(4096, 2048),
    ),
    "vgg16": Plan(
        convs=tuple((Conv(w),) * n for w, n in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))),
        pool=Pool(2),
        pooled=MAPS[:4],
        normed=(),
        hidden=(4096, 4096),
    ),
}


class ConvStep(nn.Module):
    """What the last map still owes (normalise, pool), then convolutions, each with its ReLU."""

    def __init__(
        self, width_in: int, convs: tuple[Conv, ...], *, norm: bool, pool: Pool | None
    ) -> None:
        super().__init__()
        self.norm = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0) if norm else None
        self.pool = pool
        self.convs = nn.ModuleList()
        for width, kernel, stride, padding in convs:
            self.convs.append(nn.Conv2d(width_in, width, kernel, stride, padding))
            width_in = width

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.norm is None else self.norm(x)
        x = x if self.pool is None else self.pool(x)
        for conv in self.convs:
            x = F.relu(conv(x), inplace=True)
        return x


class FullStep(nn.Module):
    """Drop out, then a full layer over a window, at each place of it: (N, C, H, W) -> (N, D, h, w).

    The weight is that of a linear layer over (C, window, window).
    """

    def __init__(self, width_in: int, width: int, *, window: int, dropout: float) -> None:
        super().__init__()
        self.window, self.dropout = window, nn.Dropout(dropout)
        self.full = nn.Linear(width_in * window * window, width)

    def forward(self, x: Tensor) -> Tensor:
        """Raises ValueError for a map smaller than the window."""
        if min(x.shape[2:]) < self.window:
            raise ValueError(
                f"the last map is {x.shape[2]}x{x.shape[3]} but the full layer reads "
                f"{self.window}x{self.window}; give clips as large as crop, or build with theirs"
            )
        kernel = self.full.weight.unflatten(1, (-1, self.window, self.window))
        return F.relu(F.conv2d(self.dropout(x), kernel, self.full.bias), inplace=True)


class Vgg(nn.Module):
    """``steps`` by name, relu1 to fc7; ``pool`` stands between relu5 and fc6 and is the caller's.

    ``scale`` narrows every layer; ``crop`` sizes the window of fc6; ``joined`` are channels that
    others add to the map of a step; ``until`` is the last step built. ``widths`` are the channels
    of each step, as it leaves it.
    Raises ValueError for a crop that leaves no map.
    """

    def __init__(
        self,
        kind: VggKind,
        *,
        channels: int = 3,
        scale: float = 1.0,
        crop: int = 224,
        dropout: float = 0.5,
        joined: Mapping[str, int] | None = None,
        until: str = FULL[-1],
        second_norm: bool = True,
    ) -> None:
        super().__init__()
        plan, joined = PLANS[kind], joined or {}
        normed = plan.normed if second_norm else plan.normed[:1]
        self.pool, self.steps = plan.pool, nn.ModuleDict()
        width, self.widths = channels, dict[str, int]()
        for name, before, convs in zip(MAPS, (None, *MAPS), plan.convs, strict=False):
            convs = tuple(conv._replace(width=scaled(conv.width, scale)) for conv in convs)
            pool = plan.pool if before in plan.pooled else None
            self.steps[name] = ConvStep(width, convs, norm=before in normed, pool=pool)
            self.widths[name] = convs[-1].width
            width = convs[-1].width + joined.get(name, 0)
            if name == until:
                return
        window = plan.pool.size(last_side(kind, crop))
        if window < 1:
            raise ValueError(f"crop is {crop}; {kind} has no map left for it, take a larger one")
        for name, hidden, side in zip(FULL, plan.hidden, (window, 1), strict=True):
            rate = dropout if name == "fc7" else 0.0  # that of fc6 follows it
            self.widths[name] = scaled(hidden, scale)
            self.steps[name] = FullStep(width, self.widths[name], window=side, dropout=rate)
            width = self.widths[name] + joined.get(name, 0)
            if name == until:
                return


def scaled(width: int, scale: float) -> int:
    """A layer's width times ``scale``, at least 1."""
    return max(1, round(width * scale))


def last_side(kind: VggKind, crop: int) -> int:
    """The side of relu5's map for a square crop; 0 or less where none is left."""
    plan, side = PLANS[kind], crop
    for name, convs in zip(MAPS, plan.convs, strict=True):
        for conv in convs:
            side = (side + 2 * conv.padding - conv.kernel) // conv.stride + 1
        side = plan.pool.size(side) if name in plan.pooled else side
    return side
