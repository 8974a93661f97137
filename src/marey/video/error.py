"""The one error of this floor."""

from __future__ import annotations


class VideoError(ValueError):
    """A file that cannot be read: which, where in it, and why, in one line.

    ``source`` the path or a description of it; ``position`` such as "header" or "frame 28";
    ``cause`` in a few words.
    """

    def __init__(self, source: str, position: str, cause: str) -> None:
        self.source = source
        self.position = position
        self.cause = " ".join(cause.split())
        super().__init__(f"{source}: {self.cause} (at {position})")

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, str, str]]:
        return type(self), (self.source, self.position, self.cause)


class VideoWarning(UserWarning):
    """Frames of a file are missing or unreadable and reading went on without them."""
