"""Being asked to stop: the signal is noted, the loop saves at the next step and leaves.

SIGTERM (pre-emption), SIGUSR1 (the warning a scheduler can be told to send) and SIGINT end the
process with 128 + the signal's number, after a checkpoint: 143, 138 and 130. A second SIGINT does
not wait.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, name)
)


class Stopped(SystemExit):
    """Training was asked to stop and has saved; ``code`` is 128 + the signal's number."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(128 + number)
        self.step = step
        self.reason = (
            f"stopped by {signal.Signals(number).name} after step {step}; saved, "
            "the same command continues"
        )

    def __str__(self) -> str:
        return self.reason


class Signals:
    """While entered, ``number`` is that of the first signal received, 0 before."""

    def __init__(self) -> None:
        self.number = 0
        self._owner = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            return  # a forked loader worker: it ends with its parent, not before
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = self.number or number
