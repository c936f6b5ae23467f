"""Starting several processes on this host, and having one of them speak for all.

torchrun's launcher runs inside this process, not in one of its own: a signal to `elektron pretrain
--nproc` then reaches the launcher itself, which passes it on once and waits for its processes, and
Ctrl-C, which a terminal sends to every process of the command, reaches nobody twice.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elektron.configuration import save_yaml
from elektron.pretraining.config import PretrainConfig

log = logging.getLogger(__name__)

# What torchrun handles and passes on.
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
# A parameter of prctl(2), by its number in prctl.h.
PR_SET_PDEATHSIG = 1


def launched() -> bool:
    """Whether torchrun has started this process."""
    return "RANK" in os.environ


def launch(config: PretrainConfig) -> None:
    """Have torchrun start `config.nproc` processes with this configuration, and wait for them.

    What torchrun takes from its environment (`PET_MAX_RESTARTS`, `PET_SHUTDOWN_TIMEOUT`) holds here too.

    Raises:
        SystemExit: one of them has failed and has said why, or a signal has stopped them all.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    with tempfile.TemporaryDirectory() as folder, environment_and_handlers_as_they_were():
        recipe = Path(folder, "config.yaml")
        save_yaml(config, recipe)
        try:
            torchrun(
                [
                    *("--standalone", "--nproc-per-node", str(config.nproc)),
                    *("-m", "elektron", "pretrain", "--config", str(recipe)),
                ]
            )
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            if failure.exitcode > 0:  # it has said why
                raise SystemExit(failure.exitcode) from None
            log.error("process %d was killed by %s", rank, failure.signal_name())
            raise SystemExit(128 - failure.exitcode) from None
        except SignalException as error:
            raise SystemExit(128 + error.sigval) from None


@contextmanager
def environment_and_handlers_as_they_were() -> Iterator[None]:
    """Undo afterwards what torchrun sets for its processes in this one."""
    environment = dict(os.environ)
    # Only the main thread may set handlers, and elsewhere torchrun sets none.
    in_main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in HANDLED} if in_main else {}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def stop_with_the_launcher() -> None:
    """On Linux, have this process get SIGTERM when torchrun dies without having stopped it.

    Else it would train on unseen, and the next start of the run would be a second one in its folder.
    """
    if sys.platform == "linux" and launched():
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def warn_of_hosts_that_cannot_return() -> None:
    """Say what torch 2.13 needs so that a host which was lost can join the others again."""
    hosts = int(os.environ.get("GROUP_WORLD_SIZE", "1"))
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))
    if hosts > 1 and restarts and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        log.warning(
            "a host that is lost cannot join again: set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 on all "
            "hosts before torchrun"
        )


@contextmanager
def quiet_unless(speaks: bool) -> Iterator[None]:
    """Log nothing but errors from a process for which another one speaks."""
    logger = logging.getLogger("elektron")
    level = logger.level
    if not speaks:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
