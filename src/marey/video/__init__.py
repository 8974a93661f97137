"""Mechanism: decoding, sampling, cutting long videos, writing."""

from marey.video.error import VideoError, VideoWarning
from marey.video.reader import Video, open_video
from marey.video.sampling import clip_indices, is_clamped
from marey.video.writer import VideoWriter, write_video

__all__ = [
    "Video",
    "VideoError",
    "VideoWarning",
    "VideoWriter",
    "clip_indices",
    "is_clamped",
    "open_video",
    "write_video",
]
