"""Killed processes restart from the last checkpoint, and a stopped run is saved before it ends."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from elektron.pretraining.config import CheckpointConfig
from elektron.pretraining.launching import Interruption
from tests.pretraining.conftest import metrics
from tests.pretraining.launched import (
    AT_MOST_SECONDS,
    ELEKTRON,
    TORCHRUN,
    alive,
    config_of,
    has_come_to,
    is_the_run,
    newest_step,
    recipe_of,
    started,
    when,
    workers,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")

TWO = ("--standalone", "--nproc-per-node", "2")


def by_torchrun(recipe, *options):
    return [*TORCHRUN, *TWO, *options, "-m", "elektron", "pretrain", "--config", recipe]


def by_nproc(recipe):
    return [*ELEKTRON, "pretrain", "--config", recipe, "--nproc", "2"]


@pytest.fixture(scope="module")
def undisturbed(blocks, tmp_path_factory) -> Path:
    config = config_of(blocks, tmp_path_factory.mktemp("undisturbed") / "run")
    with started(by_torchrun(recipe_of(config)), config.out.with_suffix(".log")) as run:
        assert run.wait(AT_MOST_SECONDS) == 0
    return config.out


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_torchrun_restarts_killed_process_from_checkpoint(victim, undisturbed, blocks, tmp_path):
    config = config_of(blocks, tmp_path / "run")
    command = by_torchrun(recipe_of(config), "--max-restarts", "3")
    with started(command, tmp_path / "said") as run:
        when(has_come_to(config.out, 50), "step 50")
        before = workers(run.pid)
        os.kill(before[victim], signal.SIGSTOP)
        time.sleep(1)  # until the other process waits for it in a collective
        os.kill(before[victim], signal.SIGKILL)
        when(lambda: not any(map(alive, before.values())), "the end of the other process")
        assert run.wait(AT_MOST_SECONDS) == 0
    (resumed,) = metrics(config.out, "resumed")
    assert resumed["step"] >= 40
    is_the_run(config.out, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["starting", "training"])
def test_run_killed_before_first_checkpoint_restarts_from_step_0(moment, undisturbed, blocks, tmp_path):
    config = config_of(blocks, tmp_path / "run", checkpoint=CheckpointConfig(every=1000))
    command = by_torchrun(recipe_of(config), "--max-restarts", "3")
    with started(command, tmp_path / "said") as run:
        if moment == "training":
            when(has_come_to(config.out, 50), "step 50")
        else:
            when(lambda: len(workers(run.pid)) == 2, "two processes")
        os.kill(workers(run.pid)[0], signal.SIGKILL)
        assert run.wait(AT_MOST_SECONDS) == 0
    assert metrics(config.out, "resumed") == []
    is_the_run(config.out, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "number", "everyone"),
    [
        (by_torchrun, signal.SIGTERM, False),
        (by_torchrun, signal.SIGTERM, True),
        (by_nproc, signal.SIGTERM, False),
        (by_nproc, signal.SIGTERM, True),
        (by_nproc, signal.SIGINT, False),
    ],
)
def test_signal_saves_run_at_end_of_step_and_resume_is_exact(command, number, everyone, undisturbed, blocks, tmp_path):
    """The signal goes to the launcher alone or, as from Slurm and systemd, also to each of its processes."""
    config = config_of(blocks, tmp_path / "run")
    with started(command(recipe_of(config)), tmp_path / "said") as run:
        when(has_come_to(config.out, 50), "step 50")
        ours = workers(run.pid)
        for pid in (run.pid, *(ours.values() if everyone else ())):
            os.kill(pid, number)
        status = run.wait(AT_MOST_SECONDS)
        assert not any(map(alive, ours.values()))
    assert status == (128 + number if command is by_nproc else 1)
    stopped = newest_step(config.out)
    assert stopped >= 50
    assert f"interrupted at step {stopped} and saved" in (tmp_path / "said").read_text()
    assert not (config.out / "summary.json").exists()
    with started(command(recipe_of(config)), tmp_path / "said") as run:
        assert run.wait(AT_MOST_SECONDS) == 0
    assert [line["step"] for line in metrics(config.out, "resumed")] == [stopped]
    is_the_run(config.out, undisturbed)


@pytest.mark.slow
def test_run_is_saved_and_stops_when_launcher_is_killed(undisturbed, blocks, tmp_path):
    config = config_of(blocks, tmp_path / "run")
    with started(by_torchrun(recipe_of(config)), tmp_path / "said") as run:
        when(has_come_to(config.out, 50), "step 50")
        ours = workers(run.pid)
        run.kill()
        when(lambda: not any(map(alive, ours.values())), "the end of the others")
    stopped = newest_step(config.out)
    assert f"interrupted at step {stopped} and saved" in (tmp_path / "said").read_text()
    with started(by_torchrun(recipe_of(config)), tmp_path / "said") as run:
        assert run.wait(AT_MOST_SECONDS) == 0
    assert [line["step"] for line in metrics(config.out, "resumed")] == [stopped]
    is_the_run(config.out, undisturbed)


@pytest.mark.slow
def test_nproc_restarts_only_with_max_restarts(undisturbed, blocks, tmp_path):
    config = config_of(blocks, tmp_path / "run")
    with started(by_nproc(recipe_of(config)), tmp_path / "said") as run:
        when(has_come_to(config.out, 50), "step 50")
        os.kill(workers(run.pid)[1], signal.SIGKILL)
        assert run.wait(AT_MOST_SECONDS) == 128 + signal.SIGKILL
    assert "elektron: error: process 1 was killed by SIGKILL" in (tmp_path / "said").read_text()
    with started(by_nproc(recipe_of(config)), tmp_path / "said", PET_MAX_RESTARTS="1") as run:
        when(has_come_to(config.out, 100), "step 100")
        os.kill(workers(run.pid)[1], signal.SIGKILL)
        assert run.wait(AT_MOST_SECONDS) == 0
    assert len(metrics(config.out, "resumed")) == 2
    is_the_run(config.out, undisturbed)


@pytest.mark.parametrize("rank", [None, "0"])
def test_second_sigint_raises_only_in_single_process_run(rank, monkeypatch):
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    # Processes in the background of a shell ignore SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.requested
        if rank is None:
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        else:
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
