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

from torch import Tensor, nn

from marey.layers.heads import ClassifierHead, ClipClassifier


def fold(clip: Tensor) -> Tensor:
    """Every frame an image of its own: (B, C, T, H, W) -> (B * T, C, H, W)."""
    return clip.transpose(1, 2).flatten(0, 1)


def unfold(x: Tensor, frames: int) -> Tensor:
    """The clip that was folded: (B * T, C, H, W) -> (B, C, T, H, W), a view."""
    return x.unflatten(0, (-1, frames)).transpose(1, 2)


class FrameHead(ClassifierHead):
    """Average-pool each frame, drop out, project, average the logits over frames: (B, 1, K)."""

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
    ``config.frames`` are taken, shorter ones refused.
    """

    trunk: nn.Module
    channels = 3  # of a frame as it enters the trunk

    def stages(self, clip: Tensor) -> list[Tensor]:
        """Maps after every step of the trunk, (B, C, T, H, W)."""
        check_frames(clip, frames=self.config.frames, channels=self.channels, name=self.name)
        frames = clip.shape[2]
        x, maps = fold(clip), []
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


def check_frames(clip: Tensor, *, frames: int, channels: int, name: str) -> None:
    """Raises ValueError unless ``clip`` is (B, channels, T >= frames, H >= 32, W >= 32)."""
    if clip.dim() != 5 or clip.shape[1] != channels:
        raise ValueError(
            f"{name} takes a clip (B, {channels}, T, H, W) but got {tuple(clip.shape)}; stack "
            f"frames along the third axis and keep the {channels} channels in the second"
        )
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
