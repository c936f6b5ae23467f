"""Processes and signals: start several processes on this host, and stop at the end of a step.

torchrun's launcher runs inside this process, so that a signal to `elektron pretrain --nproc` reaches the launcher
itself, which forwards it once and waits for its processes.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from elektron.configuration import save_yaml
from elektron.pretraining.config import PretrainConfig

log = logging.getLogger(__name__)

HANDLED_BY_TORCHRUN = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
PR_SET_PDEATHSIG = 1
"""A parameter of prctl(2), from prctl.h."""


def launched() -> bool:
    """Whether torchrun has started this process."""
    return "RANK" in os.environ


def launch(config: PretrainConfig) -> None:
    """Start `config.nproc` processes with this configuration by torchrun, and wait for them.

    torchrun's environment variables (`PET_MAX_RESTARTS`, `PET_SHUTDOWN_TIMEOUT`) have their usual effect.

    Raises:
        SystemExit: a process has failed, or a signal has stopped them all.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    environment, handlers = dict(os.environ), current_handlers(HANDLED_BY_TORCHRUN)
    try:
        with tempfile.TemporaryDirectory() as folder:
            recipe = Path(folder, "config.yaml")
            save_yaml(config, recipe)
            options = ["--standalone", "--nproc-per-node", str(config.nproc)]
            torchrun([*options, "-m", "elektron", "pretrain", "--config", str(recipe)])
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode > 0:  # the process has logged the reason
            raise SystemExit(failure.exitcode) from None
        log.error("process %d was killed by %s", rank, failure.signal_name())
        raise SystemExit(128 - failure.exitcode) from None
    except SignalException as error:
        raise SystemExit(128 + error.sigval) from None
    finally:  # undo what torchrun sets for its processes in this one
        os.environ.clear()
        os.environ.update(environment)
        restore_handlers(handlers)


class Interruption:
    """Context manager that turns the first SIGINT or SIGTERM into a request to stop at the end of a step.

    Without torchrun, a second signal takes effect at once. Under torchrun it is ignored: Slurm and systemd signal every
    process of a job, torchrun forwards its own signal as well, and it kills processes that take too long.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        """The number of the last signal, if there was one."""
        self.handlers: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether there was a signal."""
        return self.received is not None

    def __enter__(self) -> Interruption:
        self.handlers = current_handlers((signal.SIGINT, signal.SIGTERM))
        for number in self.handlers:
            signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        restore_handlers(self.handlers)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        if not launched():
            restore_handlers(self.handlers)


def current_handlers(signals: Iterable[signal.Signals]) -> dict[int, Any]:
    """The handlers of signals; empty outside the main thread, since only the main thread can set them."""
    in_main = threading.current_thread() is threading.main_thread()
    return {number: signal.getsignal(number) for number in signals if in_main}


def restore_handlers(handlers: dict[int, Any]) -> None:
    """Set the handlers of signals."""
    for number, handler in handlers.items():
        signal.signal(number, handler)


def terminate_when_parent_dies() -> None:
    """On Linux, let the kernel send SIGTERM to this process if torchrun dies without stopping it.

    Otherwise it would keep training, and restarting the run would start a second process in its folder.
    """
    if sys.platform == "linux" and launched():
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
