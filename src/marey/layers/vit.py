"""The plain vision-transformer layer: attention and an MLP, each on normed tokens, each added.

    step         shape for ViT-B, a 224-pixel image and its class token
    tokens       1 197 768
    attention    1 197 768
    hidden       1 197 3072

Source: A. Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, Section 3.1; layer norms
of epsilon 1e-6 and the tanh form of GELU, as the authors' Flax code has them.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from marey.layers.attention import DropPath
from marey.layers.linear import Linear

EPSILON = 1e-6


class Attention(nn.Module):
    """Multi-head attention of (B, L, width) on itself, or on ``context`` (B, M, width_context).

    ``width_mid`` is split among the heads, by default the queries' own width.
    """

    def __init__(
        self, width: int, heads: int, *, width_context: int = 0, width_mid: int = 0
    ) -> None:
        super().__init__()
        width_context, width_mid = width_context or width, width_mid or width
        if width_mid % heads:
            raise ValueError(f"{width_mid} channels do not split into {heads} heads; change one")
        self.heads = heads
        self.query = Linear(width, width_mid)
        self.key = Linear(width_context, width_mid)
        self.value = Linear(width_context, width_mid)
        self.out = Linear(width_mid, width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        found = F.scaled_dot_product_attention(
            self._split(self.query(x)),
            self._split(self.key(context)),
            self._split(self.value(context)),
        )
        return self.out(found.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, L, D)


class Mlp(nn.Module):
    """Linear, GELU, linear: (..., width_in) -> (..., width); by default back to the same width."""

    def __init__(self, width: int, width_mid: int, *, width_in: int = 0) -> None:
        super().__init__()
        self.up = Linear(width_in or width, width_mid)
        self.down = Linear(width_mid, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x), approximate="tanh"))


class Layer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), (B, L, width); branches may be dropped."""

    def __init__(self, width: int, heads: int, width_mid: int, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = Mlp(width, width_mid)
        self.drop_path = DropPath(drop_path)

    def attend(self, x: Tensor) -> Tensor:
        """The first half."""
        return x + self.drop_path(self.attention(self.norm1(x)))

    def think(self, x: Tensor) -> Tensor:
        """The second half."""
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.think(self.attend(x))
