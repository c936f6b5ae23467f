"""Checkpoints written beside training.

The loop hands over a snapshot, copies in the host's memory, and goes on; a thread writes it. One is
written at a time: the next one waits for it. What went wrong with it is said at the step that finds
it out, and training goes on; only the last save of a run that stops has to succeed.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from elektron.errors import ElektronError
from elektron.pretraining import checkpoint
from elektron.pretraining.checkpoint import Snapshot
from elektron.pretraining.config import CheckpointConfig

log = logging.getLogger(__name__)


class Saver:
    """Writes the checkpoints of a run, one after another."""

    def __init__(self, out: Path, config: CheckpointConfig) -> None:
        self.out = out
        self.config = config
        # Its thread is waited for when Python ends, and so is what it writes.
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self.writing: Future[None] | None = None

    def start(self, snapshot: Snapshot) -> None:
        """Write a snapshot, when the one before it has been written."""
        self.wait()
        self.writing = self.pool.submit(checkpoint.write, self.out, snapshot, self.config)

    def look(self) -> None:
        """Say so if the last one could not be written; this does not wait for it."""
        if self.writing is not None and self.writing.done():
            self.wait()

    def wait(self) -> None:
        """Go on when everything has been written, and say what could not be."""
        try:
            self.finish()
        except ElektronError as error:
            log.warning("%s: training goes on", error)

    def finish(self) -> None:
        """Go on when everything has been written.

        Raises:
            ElektronError: the last one could not be.
        """
        writing, self.writing = self.writing, None
        if writing is not None:
            writing.result()
