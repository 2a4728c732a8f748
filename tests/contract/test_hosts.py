"""The stand-in hosts of the demo and of these tests."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.domains import definition, uuid_of
from xsm.demo.hosts import HostError, PrivateLibvirtd
from xsm.edge.libvirt_hypervisor import LibvirtHypervisor
from xsm.plan.observed import DomainState

pytestmark = pytest.mark.libvirt

LIMIT_S = 10.0
VM1 = uuid_of("vm1")


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="xsm-", dir="/tmp") as directory:
        yield Path(directory)


@contextlib.contextmanager
def booted(directory: Path, linger: bool = False) -> Iterator[PrivateLibvirtd]:
    host = PrivateLibvirtd(directory, linger=linger)
    host.start()
    try:
        yield host
    finally:
        host.kill()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_domains_outlive_the_client_but_not_the_host(place: Path) -> None:
    with booted(place / "h") as host:
        first = LibvirtHypervisor(host.uri)
        assert first.domains() == ()
        first.define(definition("vm1"))
        first.start(VM1)
        first.close()
        second = LibvirtHypervisor(host.uri)
        assert [d.state for d in second.domains()] == [DomainState.RUNNING]
        host.kill()
        assert not second.alive()
        second.close()
        assert not host.running()
        host.start()
        third = LibvirtHypervisor(host.uri)
        assert third.domains() == ()
        third.close()


def test_hosts_are_apart(place: Path) -> None:
    with booted(place / "a") as one, booted(place / "b") as other:
        a, b = LibvirtHypervisor(one.uri), LibvirtHypervisor(other.uri)
        a.define(definition("vm1"))
        assert (len(a.domains()), len(b.domains())) == (1, 0)
        one.stop()
        assert b.alive()
        a.close()
        b.close()


def test_another_process_finds_and_ends_the_host(place: Path) -> None:
    with booted(place / "h", linger=True):
        again = PrivateLibvirtd(place / "h")
        assert again.running()
        with pytest.raises(HostError, match="already"):
            again.start()
        again.stop()
        assert not again.running()
        again.stop()


def test_a_host_goes_with_a_starter_that_was_killed(place: Path) -> None:
    script = (
        "import sys\n"
        "from xsm.demo.hosts import PrivateLibvirtd\n"
        "PrivateLibvirtd(sys.argv[1]).start(); print('up', flush=True); sys.stdin.read()\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", script, str(place / "h")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert starter.stdin is not None
    assert starter.stdout is not None
    host = PrivateLibvirtd(place / "h")
    try:
        assert starter.stdout.readline() == b"up\n"
        keeper = int((place / "h" / "keeper.pid").read_text())
        starter.kill()
        starter.wait(LIMIT_S)
        until(lambda: not runs(keeper))  # then libvirtd has no client, and ends by its --timeout
        command = Path(f"/proc/{(place / 'h' / 'libvirtd.pid').read_text().strip()}/cmdline")
        assert b"--timeout" in command.read_bytes()
    finally:
        starter.kill()
        starter.wait(LIMIT_S)
        starter.stdin.close()
        starter.stdout.close()
        host.kill()


def runs(pid: int) -> bool:
    """Neither gone nor a zombie that nobody has waited for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_kill_ends_both_processes(place: Path) -> None:
    with booted(place / "h") as host:
        pids = [int((place / "h" / f"{p}.pid").read_text()) for p in ("libvirtd", "keeper")]
        host.kill()
        assert [runs(pid) for pid in pids] == [False, False]


def test_a_recycled_pid_is_not_killed(place: Path) -> None:
    (place / "h").mkdir()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (place / "h" / "libvirtd.pid").write_text(f"{stranger.pid}\n")
        host = PrivateLibvirtd(place / "h")
        assert not host.running()
        host.kill()
        assert runs(stranger.pid)
        stranger.kill()


def test_places_that_libvirt_cannot_use(place: Path) -> None:
    with pytest.raises(HostError, match="short directory such as /tmp/xsm"):
        PrivateLibvirtd(place / ("x" * 90))
    with pytest.raises(HostError, match="without quotes"):
        PrivateLibvirtd(place / "a?b")


def test_a_libvirtd_that_fails_says_why(place: Path) -> None:
    (place / "h" / "libvirtd.log").mkdir(parents=True)  # it can't write its log
    host = PrivateLibvirtd(place / "h")
    with pytest.raises(HostError, match="libvirtd ended with"):
        host.start()
    assert not host.running()
