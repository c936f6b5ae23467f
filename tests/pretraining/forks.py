"""Starts training processes as forks of this process, whose imports they need not repeat.

Only for scripts that have not started threads, which a fork does not inherit.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable

Work = Callable[[], object]


def work_in(processes: int, work: Work, prepare_first: Work = lambda: None) -> int:
    """Run the same work in several processes, and return the exit status of the first.

    When one process dies, the others are killed, as by torchrun.

    Args:
        processes: number of processes.
        work: function that each process calls.
        prepare_first: function that the first process calls before `work`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [fork(work, rank, processes, port, prepare_first) for rank in range(processes)]
    statuses: dict[int, int] = {}
    while len(statuses) < processes:
        child, status = os.wait()
        statuses[child] = os.waitstatus_to_exitcode(status)
        if statuses[child]:
            for other in set(children) - set(statuses):
                os.kill(other, signal.SIGKILL)
    return statuses[children[0]]


def fork(work: Work, rank: int, processes: int, port: int, prepare_first: Work) -> int:
    """Start one process and return its id."""
    sys.stdout.flush()
    if child := os.fork():
        return child
    status = 1
    try:
        if processes > 1:
            os.environ |= {
                "RANK": str(rank),
                "WORLD_SIZE": str(processes),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
        if rank == 0:
            prepare_first()
        work()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:  # noqa: BLE001 (the fork must not go on as its parent)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)
