"""Frame-based networks: an image trunk over every frame of a clip, and one answer for all of them.

    step          shape for 8 frames at 224x224 through a ResNet-50
    clip          1 3 8 224 224
    folded        8 3 224 224
    last map      1 2048 8 7 7
    frame logits  1 8 400
    positions     1 1 400

Source: L. Wang et al., "Temporal Segment Networks", ECCV 2016, Section 3.1: logits are averaged
over frames after the classifier, not features before it (the same without dropout).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from marey.layers.heads import ClassifierHead, ClipClassifier
from marey.types import Modality

COLOURS: dict[Modality, int] = {"rgb": 3, "flow": 2, "rgb_difference": 3}  # of one stored frame


def fold(clip: Tensor) -> Tensor:
    """Every frame an image of its own: (B, C, T, H, W) -> (B * T, C, H, W)."""
    return clip.transpose(1, 2).flatten(0, 1)


def unfold(x: Tensor, frames: int) -> Tensor:
    """The clip that was folded: (B * T, C, H, W) -> (B, C, T, H, W), a view."""
    return x.unflatten(0, (-1, frames)).transpose(1, 2)


def frames_read(modality: Modality, length: int) -> int:
    """Stored frames a snippet of ``length`` steps reads: one image, or the pairs or differences."""
    return {"rgb": 1, "flow": length, "rgb_difference": length + 1}[modality]


def snippet_width(modality: Modality, length: int) -> int:
    """Channels of a snippet as it enters the trunk: 3, 2 * length or 3 * length."""
    return 3 if modality == "rgb" else COLOURS[modality] * length


def snippets(clip: Tensor, modality: Modality, length: int) -> Tensor:
    """Each snippet as one image of many channels, (B, snippet_width, S, H, W).

    Takes the frames of S snippets one after the other, (B, COLOURS, S * frames_read, H, W), or
    beside each other, (B, frames_read * COLOURS, S, H, W), channels fastest (x0 y0 x1 y1 ...).
    Differences of successive frames are taken here.
    Raises ValueError for another number of channels, or frames that fill no whole snippets.
    """
    colours, read = COLOURS[modality], frames_read(modality, length)
    if clip.dim() != 5 or clip.shape[1] not in (colours, colours * read):
        raise ValueError(
            f"{modality} snippets of {read} frames are (B, {colours}, S * {read}, H, W) or "
            f"(B, {colours * read}, S, H, W), not {tuple(clip.shape)}"
        )
    if read == 1:
        return clip
    if clip.shape[1] == colours:
        if clip.shape[2] % read:
            raise ValueError(
                f"clip has {clip.shape[2]} frames, which are no whole snippets of {read} "
                f"({modality}); sample a multiple of {read}"
            )
        clip = clip.unflatten(2, (-1, read)).movedim(3, 1).flatten(1, 2)  # (B, read * c, S, H, W)
    if modality == "rgb_difference":
        frames = clip.unflatten(1, (read, colours))
        clip = (frames[:, 1:] - frames[:, :-1]).flatten(1, 2)
    return clip


class TimeConv(nn.Module):
    """Depth-wise convolution over the previous, the same and the next frame, without bias.

    (B * T, C, H, W) -> the same shape; beyond the clip all is zero. ``weight`` is (C, 1, 3). Three
    multiplications in place are several times faster than a grouped convolution on a processor.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, 1, 3))
        self.weight.data[:, 0, 1] = 1.0  # looks at its own frame only

    def forward(self, x: Tensor, frames: int) -> Tensor:
        # as autocast has it: float32 would lift the maps
        return along_time(x, self.weight.squeeze(1).to(x.dtype), frames)


def along_time(x: Tensor, weight: Tensor, frames: int, *, repeat: bool = False) -> Tensor:
    """``over_time`` of folded frames (B * T, C, H, W), with gradients of its own.

    Beyond the clip all is zero, or, under ``repeat``, as its first and its last frame.
    """
    x = x.unflatten(0, (-1, frames))  # (B, T, C, H, W)
    learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    if learns and not torch.compiler.is_compiling():
        return _OverTime.apply(x, weight, repeat).flatten(0, 1)  # type: ignore[no-any-return]
    return over_time(x, weight, weight[:, ::2] if repeat else None).flatten(0, 1)


def over_time(x: Tensor, weight: Tensor, ends: Tensor | None = None) -> Tensor:
    """(B, T, C, H, W), each frame with its neighbours by ``weight`` (C, 3), in the type of ``x``.

    ``ends`` (C, 2) is what the first and the last frame add of themselves.
    """
    before, same, after = weight[..., None, None].unbind(1)  # (C, 1, 1) each
    first, last = (None, None) if ends is None else ends[..., None, None].unbind(1)
    if x.dtype == weight.dtype:
        y = x * same
        y[:, 1:].addcmul_(x[:, :-1], before)
        y[:, :-1].addcmul_(x[:, 1:], after)
        if first is not None and last is not None:
            y[:, :1].addcmul_(x[:, :1], first)
            y[:, -1:].addcmul_(x[:, -1:], last)
        return y
    y, end = torch.empty_like(x), x.shape[1] - 1
    for t in range(end + 1):  # sums of one frame, in the wider type, stay in the cache
        found = x[:, t] * same
        left = (t - 1, before) if t else (t, first)
        right = (t + 1, after) if t < end else (t, last)
        for at, share in (left, right):
            if share is not None:
                found.addcmul_(x[:, at], share)
        y[:, t] = found
    return y


class _OverTime(torch.autograd.Function):
    """``over_time`` and its gradients; torch's own copy the maps for each of its parts."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, repeat: bool) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.repeat = repeat
        return over_time(x, weight, weight[:, ::2] if repeat else None)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (given,), (x, weight) = gradients, ctx.saved_tensors
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = over_time(given, weight.flip(1), weight[:, ::2] if ctx.repeat else None)
        if ctx.needs_input_grad[1]:
            first = dotted(given[:, :1], x[:, :1]) if ctx.repeat else 0
            last = dotted(given[:, -1:], x[:, -1:]) if ctx.repeat else 0
            parts = [
                dotted(given[:, 1:], x[:, :-1]) + first,
                dotted(given, x),
                dotted(given[:, :-1], x[:, 1:]) + last,
            ]
            of_weight = torch.stack(parts, dim=1).to(weight.dtype)
        return of_x, of_weight, None


def dotted(left: Tensor, right: Tensor) -> Tensor:
    """Inner products of each channel of (B, T, C, H, W), (C,), in single precision at least."""
    wide = torch.promote_types(left.dtype, torch.float32)
    return (left * right).flatten(3).sum(3, dtype=wide).sum((0, 1))


class FrameHead(ClassifierHead):
    """Average-pool each frame, drop out, project, average the logits over frames: (B, 1, K)."""

    start_std = 0.001

    def pooled(self, maps: Sequence[Tensor]) -> Tensor:
        """What is known of each frame, (B, D, T, 1, 1)."""
        (last,) = maps
        return last.mean(dim=(3, 4), keepdim=True)

    def frame_logits(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits of every frame, (B, T, K)."""
        return super().forward(maps)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return self.frame_logits(maps).mean(dim=1, keepdim=True)


class FrameClassifier(ClipClassifier):
    """(B, C, T, H, W) -> (B, K) logits. A network adds ``config``, ``trunk``, ``head``, ``widths``.

    ``trunk.steps`` are called step(x, frames) on (B * T, C, H, W). Longer clips than
    ``config.frames`` are taken, shorter ones refused. A configuration with ``modality`` and
    ``snippet`` reads snippets of flow or differences in the place of frames.
    """

    trunk: nn.Module

    def folded(self, clip: Tensor) -> tuple[Tensor, int]:
        """The frames of a clip as the trunk takes them, (B * T, C, H, W), and their number T.

        Raises ValueError for a clip of another kind or fewer frames than the network needs.
        """
        modality: Modality = getattr(self.config, "modality", "rgb")
        clip = snippets(clip, modality, getattr(self.config, "snippet", 1))
        check_frames(clip, frames=self.config.frames, name=self.name)
        return fold(clip), clip.shape[2]

    def stages(self, clip: Tensor) -> list[Tensor]:
        """Maps after every step of the trunk, (B, C, T, H, W)."""
        x, frames = self.folded(clip)
        maps = []
        for step in self.trunk.steps:  # type: ignore[union-attr]
            x = step(x, frames)
            maps.append(unfold(x, frames))
        return maps

    def features(self, clip: Tensor) -> tuple[Tensor, ...]:
        """The last map, (B, widths[0], T, H', W'), alone in a tuple."""
        return (self.stages(clip)[-1],)

    def stage_modules(self) -> list[nn.Module]:
        """Parts whose activations may be recomputed, each one map in and one map out."""
        return list(self.trunk.steps)  # type: ignore[arg-type]


def check_frames(clip: Tensor, *, frames: int, name: str) -> None:
    """Raises ValueError unless ``clip`` is (B, C, T >= frames, H >= 32, W >= 32)."""
    if clip.shape[2] < frames:
        raise ValueError(
            f"clip has {clip.shape[2]} frames but {name} needs {frames}, one for each segment; "
            f"sample {frames}, or build the network with frames={clip.shape[2]}"
        )
    if min(clip.shape[3], clip.shape[4]) < 32:
        raise ValueError(
            f"clip is {clip.shape[3]}x{clip.shape[4]} pixels but {name} needs at least 32x32; "
            f"resize it"
        )
