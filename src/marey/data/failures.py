"""The files that could not be used, counted once each, and the share above which a run stops."""

from __future__ import annotations

from collections.abc import Iterable

from marey.types import Failure

_LISTED = 20


class FailureLog:
    """Counts distinct files; the first reason given for a file is kept."""

    def __init__(self, failures: Iterable[Failure] = ()) -> None:
        self._reasons: dict[str, str] = {}
        self.events = 0
        self.add(failures)

    def add(self, failures: Iterable[Failure]) -> list[Failure]:
        """Take failures in; returns those whose file was not known before."""
        fresh = []
        for failure in failures:
            self.events += 1
            if failure.source not in self._reasons:
                self._reasons[failure.source] = failure.reason
                fresh.append(failure)
        return fresh

    def __len__(self) -> int:
        return len(self._reasons)

    @property
    def failures(self) -> tuple[Failure, ...]:
        return tuple(Failure(source, reason) for source, reason in self._reasons.items())

    def share(self, total: int) -> float:
        """Distinct failed files out of ``total``."""
        return len(self) / total if total else 0.0

    def report(self) -> list[str]:
        """One line a file."""
        return [f"{f.source}: {f.reason}" for f in self.failures]

    def raise_if_above(self, share: float, total: int) -> None:
        """Raises ValueError, with the list in its one line, when more than ``share`` failed."""
        if self.share(total) <= share:
            return
        lines = self.report()
        more = f"; and {len(lines) - _LISTED} more" if len(lines) > _LISTED else ""
        raise ValueError(
            f"{len(self)} of {total} files could not be read whole, above the bad share {share:g}: "
            f"repair or remove them, or raise bad_share: {'; '.join(lines[:_LISTED])}{more}"
        )
