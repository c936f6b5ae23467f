"""Ctrl-C and SIGTERM as a request that the loop grants at the end of a step.

Alone, a second signal acts at once. Under torchrun it does not: Slurm and systemd signal every process
of a job, torchrun passes what it got on besides, and it kills whoever takes too long.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from elektron.pretraining.launching import launched

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While entered, notes the first signal; alone, a second one acts as it would have without this."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.earlier: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        # Only the main thread may set handlers; elsewhere nobody can press Ctrl-C.
        if threading.current_thread() is threading.main_thread():
            self.earlier = {number: signal.signal(number, self.note) for number in SIGNALS}
        return self

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.received is not None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal and, alone, step aside for the next one."""
        self.received = number
        if not launched():
            self.restore()

    def restore(self) -> None:
        """Put the earlier handlers back."""
        for number, handler in self.earlier.items():
            signal.signal(number, handler)
        self.earlier = {}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.restore()
