"""A run across two hosts, one of which is cut off or dies, equals an undisturbed run."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from subprocess import Popen

import pytest

from elektron.pretraining.config import PretrainConfig
from tests.pretraining.conftest import metrics
from tests.pretraining.hosts import INTERFACE, Host, hosts
from tests.pretraining.launched import (
    AT_MOST_SECONDS,
    TORCHRUN,
    config_of,
    has_come_to,
    is_the_run,
    newest_step,
    recipe_of,
    started,
    when,
)

pytestmark = pytest.mark.slow

COLLECTIVE_TIMEOUT = 15
ENVIRONMENT = {
    "GLOO_SOCKET_IFNAME": INTERFACE,
    # Without it, torch 2.13 does not tell a restarted host the address of the other host.
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
}


@pytest.fixture(scope="module")
def two() -> Iterator[list[Host]]:
    with hosts(2) as both:
        yield both


def across(blocks: Path, out: Path) -> PretrainConfig:
    return config_of(blocks, out, collective_timeout=COLLECTIVE_TIMEOUT)


def on(host: Host, first: Host, config: PretrainConfig) -> AbstractContextManager[Popen]:
    """Start the run's process on one host; the first host has the rendezvous."""
    command = [
        *(*TORCHRUN, "--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3"),
        *("--rdzv-backend", "c10d", "--rdzv-id", config.out.name),
        *("--rdzv-endpoint", f"{first.address}:29400", "--local-addr", host.address),
        # Both hosts have the same name, from which torchrun would otherwise derive this.
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


@pytest.mark.parametrize("how", ["killed", "cut off", "preempted"])
def test_run_with_lost_and_restarted_host_equals_undisturbed_run(how, two, undisturbed, blocks, tmp_path):
    """The other host notices at once or after the collective timeout, and waits for the restart."""
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


def test_loss_of_rendezvous_host_ends_other_host(two, undisturbed, blocks, tmp_path):
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


def test_short_network_outage_does_not_interrupt_run(two, undisturbed, blocks, tmp_path):
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
