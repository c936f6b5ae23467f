"""A run across two hosts, one of which is cut off or dies, ends as if nothing had happened."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from subprocess import Popen

import pytest

from elektron.pretraining.config import PretrainConfig
from tests.pretraining.hosts import INTERFACE, Host, hosts
from tests.pretraining.launched import (
    AT_MOST_SECONDS,
    TORCHRUN,
    config_of,
    has_come_to,
    logged,
    newest_step,
    recipe_of,
    started,
    when,
)
from tests.pretraining.test_train import metrics, same_weights

pytestmark = pytest.mark.slow

COLLECTIVE_TIMEOUT = 15
ENVIRONMENT = {
    "GLOO_SOCKET_IFNAME": INTERFACE,
    # Without it a host that comes back waits in vain for torch 2.13 to tell it where the others meet.
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
}


@pytest.fixture(scope="module")
def two() -> Iterator[list[Host]]:
    with hosts(2) as both:
        yield both


def across(blocks: Path, out: Path) -> PretrainConfig:
    return config_of(blocks, out, collective_timeout=COLLECTIVE_TIMEOUT)


def on(host: Host, first: Host, config: PretrainConfig) -> AbstractContextManager[Popen]:
    """The run's part on one host; its first one keeps the rendezvous."""
    command = [
        *(*TORCHRUN, "--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3"),
        *("--rdzv-backend", "c10d", "--rdzv-id", config.out.name),
        *("--rdzv-endpoint", f"{first.address}:29400", "--local-addr", host.address),
        # Both have this machine's name, by which torchrun would tell whose address that is.
        *("--rdzv-conf", f"is_host={int(host is first)}"),
        *("-m", "elektron", "pretrain", "--config", recipe_of(config)),
    ]
    said = config.out.with_name(f"said-by-{host.address}")
    return started(host.command(*command), said, **ENVIRONMENT)


@pytest.fixture(scope="module")
def undisturbed(two, blocks, tmp_path_factory) -> Path:
    config = across(blocks, tmp_path_factory.mktemp("undisturbed") / "run")
    with ExitStack() as stack:
        runs = [stack.enter_context(on(host, two[0], config)) for host in two]
        assert [run.wait(AT_MOST_SECONDS) for run in runs] == [0, 0]
    return config.out


def is_the_run(out: Path, undisturbed: Path) -> None:
    assert same_weights(out, undisturbed)
    assert logged(out) == logged(undisturbed)


@pytest.mark.parametrize("how", ["killed", "cut off", "preempted"])
def test_a_host_that_is_lost_and_started_again(how, two, undisturbed, blocks, tmp_path):
    """The other one notices at once, or when its patience ends, and waits for it."""
    config = across(blocks, tmp_path / "run")
    first, second = two
    with on(first, first, config) as stays:
        with on(second, first, config) as lost:
            when(has_come_to(config.out, 50), "step 50")
            if how == "preempted":
                lost.terminate()
                lost.wait(AT_MOST_SECONDS)
            elif how == "cut off":
                second.plug(False)
                time.sleep(COLLECTIVE_TIMEOUT + 5)
            second.kill()
        second.plug(True)
        saved = newest_step(config.out)
        with on(second, first, config) as again:
            assert [run.wait(AT_MOST_SECONDS) for run in (stays, again)] == [0, 0]
    assert [line["step"] for line in metrics(config.out, "resumed")] == [saved]
    assert how != "preempted" or saved >= 50, "saved at the step that it was stopped at"
    is_the_run(config.out, undisturbed)


def test_without_the_host_of_the_rendezvous_the_other_ends(two, undisturbed, blocks, tmp_path):
    config = across(blocks, tmp_path / "run")
    first, second = two
    with on(first, first, config), on(second, first, config) as other:
        when(has_come_to(config.out, 50), "step 50")
        first.kill()
        assert other.wait(AT_MOST_SECONDS) != 0
    with on(first, first, config) as one, on(second, first, config) as other:
        assert [run.wait(AT_MOST_SECONDS) for run in (one, other)] == [0, 0]
    assert len(metrics(config.out, "resumed")) == 1
    is_the_run(config.out, undisturbed)


def test_a_cable_that_was_out_for_a_moment_costs_that_moment(two, undisturbed, blocks, tmp_path):
    config = across(blocks, tmp_path / "run")
    first, second = two
    with on(first, first, config) as one, on(second, first, config) as other:
        when(has_come_to(config.out, 50), "step 50")
        second.plug(False)
        time.sleep(COLLECTIVE_TIMEOUT / 3)
        second.plug(True)
        assert [run.wait(AT_MOST_SECONDS) for run in (one, other)] == [0, 0]
    assert metrics(config.out, "resumed") == []
    is_the_run(config.out, undisturbed)
