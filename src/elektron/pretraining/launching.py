"""Starting several processes on this host, and having one of them speak for all."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elektron.configuration import save_yaml
from elektron.pretraining.config import PretrainConfig


def launched() -> bool:
    """Whether torchrun has started this process."""
    return "RANK" in os.environ


def launch(config: PretrainConfig) -> None:
    """Have torchrun start `config.nproc` processes with this configuration, and wait for them.

    Raises:
        SystemExit: one of them has failed; it has said why.
    """
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder, "config.yaml")
        save_yaml(config, recipe)
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", str(config.nproc)),
            *("-m", "elektron", "pretrain", "--config", str(recipe)),
        ]
        done = subprocess.run(command, check=False)
    if done.returncode != 0:
        raise SystemExit(done.returncode)


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
