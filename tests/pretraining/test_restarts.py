"""World that are killed come back from the last checkpoint, and a run that is stopped loses nothing."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from elektron.pretraining.config import CheckpointConfig
from elektron.pretraining.launching import Interruption
from tests.pretraining.launched import (
    AT_MOST_SECONDS,
    ELEKTRON,
    TORCHRUN,
    alive,
    config_of,
    has_come_to,
    logged,
    newest_step,
    recipe_of,
    started,
    when,
    workers,
)
from tests.pretraining.test_train import metrics, same_weights

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


def is_the_run(out, undisturbed):
    """Whether weights and everything that was logged have the same bits."""
    assert same_weights(out, undisturbed)
    assert logged(out) == logged(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_comes_back_by_itself(victim, undisturbed, blocks, tmp_path):
    config = config_of(blocks, tmp_path / "run")
    command = by_torchrun(recipe_of(config), "--max-restarts", "3")
    with started(command, tmp_path / "said") as run:
        when(has_come_to(config.out, 50), "step 50")
        before = workers(run.pid)
        os.kill(before[victim], signal.SIGSTOP)
        time.sleep(1)  # the other one now waits for it in a collective
        os.kill(before[victim], signal.SIGKILL)
        when(lambda: not any(map(alive, before.values())), "the end of the other process")
        assert run.wait(AT_MOST_SECONDS) == 0
    (resumed,) = metrics(config.out, "resumed")
    assert resumed["step"] >= 40
    is_the_run(config.out, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["starting", "training"])
def test_killed_before_the_first_checkpoint_it_begins_again(moment, undisturbed, blocks, tmp_path):
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
def test_a_run_that_is_stopped_is_saved_at_the_end_of_a_step(command, number, everyone, undisturbed, blocks, tmp_path):
    """By a signal to the launcher, or, as Slurm and systemd do, to each of its processes too."""
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
def test_without_its_launcher_a_run_stops_and_is_saved(undisturbed, blocks, tmp_path):
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
def test_nproc_does_not_start_again_unasked(undisturbed, blocks, tmp_path):
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
def test_a_second_signal_acts_at_once_only_where_one_is_alone(rank, monkeypatch):
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    # In a shell's background it is ignored.
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
