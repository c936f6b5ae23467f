"""Simulated hosts on one machine: network namespaces that virtual cables connect to a switch.

A host has its own interfaces, addresses and ports, and its processes reach other hosts only through its cable.
All hosts share the file system, as the hosts of a cluster share a folder.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

INTERFACE = "eth0"


@dataclass(frozen=True)
class Host:
    """A simulated host."""

    namespace: str
    address: str
    switch: str
    """Namespace at the other end of its cable."""

    def command(self, *command: str) -> list[str]:
        """The command line that runs a command on this host."""
        return ["ip", "netns", "exec", self.namespace, *command]

    def plug(self, plugged: bool) -> None:
        """Plug the cable in, or pull it out; connections are then silent, without being closed."""
        ip("-n", self.switch, "link", "set", self.namespace, "up" if plugged else "down")

    def kill(self) -> None:
        """Kill all processes at once, as a power failure does."""
        for pid in ip("netns", "pids", self.namespace).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """Create hosts and remove them after the block; skips the test where the machine does not allow it."""
    if shutil.which("ip") is None:
        pytest.skip("network namespaces need the command `ip` (iproute2)")
    # Names of interfaces have 15 characters at most.
    own = f"e{os.getpid()}"
    switch = f"{own}s"
    all_hosts = [Host(f"{own}h{n}", f"10.233.0.{n + 1}", switch) for n in range(count)]
    try:
        ip("netns", "add", switch)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces need root and CAP_SYS_ADMIN ({error.stderr.strip()})")
    try:
        try:
            connect(all_hosts, switch)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no bridge of veth pairs can be made here ({error.stderr.strip()})")
        yield all_hosts
    finally:
        for host in all_hosts:
            if Path("/run/netns", host.namespace).exists():
                host.kill()
                ip("netns", "del", host.namespace)
        ip("netns", "del", switch)


def connect(all_hosts: list[Host], switch: str) -> None:
    """Create a bridge in the switch's namespace, and a cable from each host to it."""
    ip("-n", switch, "link", "add", "bridge", "type", "bridge")
    ip("-n", switch, "link", "set", "bridge", "up")
    for host in all_hosts:
        here = ("-n", host.namespace)
        ip("netns", "add", host.namespace)
        ip(*here, "link", "set", "lo", "up")
        ip(*(*here, "link", "add", INTERFACE, "type", "veth"), *("peer", "name", host.namespace, "netns", switch))
        ip(*here, "address", "add", f"{host.address}/24", "dev", INTERFACE)
        ip(*here, "link", "set", INTERFACE, "up")
        ip("-n", switch, "link", "set", host.namespace, "master", "bridge")
        ip("-n", switch, "link", "set", host.namespace, "up")


def ip(*arguments: str) -> str:
    """Run `ip` and return its output. Raises CalledProcessError."""
    done = subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    return done.stdout
