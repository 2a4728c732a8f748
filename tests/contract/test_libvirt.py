"""What only a real libvirt can show: no connection, events of others' doing, domains that come and go."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import libvirt
import pytest

from tests.contract.domains import definition, uuid_of
from tests.contract.subjects import LibvirtSubject
from xsm.demo.hosts import PrivateLibvirtd
from xsm.edge.hypervisor import HypervisorError
from xsm.edge.libvirt_hypervisor import LibvirtHypervisor
from xsm.plan.observed import DomainState

pytestmark = pytest.mark.libvirt

THREADS = 9
VM1 = uuid_of("vm1")


def no_connection(uri: str) -> str:
    with pytest.raises(HypervisorError) as caught:
        LibvirtHypervisor(uri)
    assert caught.value.lost
    assert uri in caught.value.reason
    return caught.value.reason


def test_no_socket(tmp_path: Path) -> None:
    assert "no such socket" in no_connection(f"test+unix:///default?socket={tmp_path}/none")


def test_nobody_listens(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
    assert "nothing listens there" in no_connection(f"test+unix:///default?socket={path}")


def test_no_permission(tmp_path: Path) -> None:
    """As root nothing is forbidden, so the asker is somebody else then."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        path.chmod(0)
        for directory in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
            directory.chmod(0o755)
        script = (
            "import os, sys\n"
            "from xsm.edge.libvirt_hypervisor import LibvirtHypervisor\n"
            "from xsm.edge.hypervisor import HypervisorError\n"
            "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "try: LibvirtHypervisor(sys.argv[1])\n"
            "except HypervisorError as error: print(error.reason)\n"
        )
        said = subprocess.run(
            [sys.executable, "-c", script, f"test+unix:///default?socket={path}"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    assert "may not use it" in said.stdout
    assert said.stderr == "", "libvirt's own printing is silenced"


@pytest.mark.parametrize("uri", ["bogus:///", "nonsense", "test:///no/such/file.xml"])
def test_a_wrong_uri(uri: str) -> None:
    no_connection(uri)


@pytest.fixture
def subject(libvirtd: PrivateLibvirtd) -> object:
    subject = LibvirtSubject(libvirtd)
    try:
        yield subject
    finally:
        subject.clear()


def test_others_doings_are_told_and_seen(
    subject: LibvirtSubject, libvirtd: PrivateLibvirtd
) -> None:
    h = subject.hypervisor
    h.define(definition("vm1"))
    h.start(VM1)
    virsh = libvirt.open(libvirtd.uri)
    domain = virsh.lookupByName("vm1")
    for call, state in (
        (domain.suspend, DomainState.PAUSED),
        (domain.resume, DomainState.RUNNING),
        (domain.destroy, DomainState.SHUTOFF),
    ):
        subject.forget_events()
        call()
        assert subject.heard(VM1)
        assert h.domains()[0].state is state
    subject.forget_events()
    domain.undefine()
    assert subject.heard(VM1)
    assert h.domains() == ()
    virsh.close()


def test_sizes_set_by_others_are_seen_without_an_event(
    subject: LibvirtSubject, libvirtd: PrivateLibvirtd
) -> None:
    h = subject.hypervisor
    h.define(definition("vm1"))
    h.start(VM1)
    assert h.domains()[0].memory_mib == 96
    virsh = libvirt.open(libvirtd.uri)
    virsh.lookupByName("vm1").setMemory(64 * 1024)
    virsh.lookupByName("vm1").setVcpus(3)
    virsh.close()
    assert (h.domains()[0].memory_mib, h.domains()[0].vcpus) == (64, 3)


def test_domains_that_vanish_while_looked_at_are_left_out(
    subject: LibvirtSubject, libvirtd: PrivateLibvirtd
) -> None:
    h = subject.hypervisor
    for i in range(20):
        h.define(definition(f"stays{i:02}"))
    virsh = libvirt.open(libvirtd.uri)
    over = threading.Event()
    rounds: list[int] = []

    def come_and_go() -> None:
        while not over.is_set():
            domain = virsh.createXML(definition("goes"), 0)
            domain.destroy()
            rounds.append(1)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    looks = 0
    try:
        while looks < 20 or len(rounds) < 20:
            names = [d.name for d in h.domains() if d.name != "goes"]
            assert names == [f"stays{i:02}" for i in range(20)]
            h.find(uuid_of("goes"), "goes")
            h.facts()
            looks += 1
    finally:
        over.set()
        thread.join()
        virsh.close()


def test_calls_from_many_threads(subject: LibvirtSubject) -> None:
    h = subject.hypervisor
    names = [f"vm{i:02}" for i in range(30)]

    def whole_life(name: str) -> tuple[str, ...]:
        h.define(definition(name))
        h.start(uuid_of(name))
        h.set_memory(uuid_of(name), 64)
        (seen,) = h.find(uuid_of(name), name)
        h.domains()
        return (seen.name, seen.state, str(seen.memory_mib))

    with ThreadPoolExecutor(THREADS) as pool:
        seen = list(pool.map(whole_life, names))
    assert seen == [(name, DomainState.RUNNING, "64") for name in names]
    assert [d.name for d in h.domains()] == names


def test_after_close_nothing_is_told_and_nothing_known(
    subject: LibvirtSubject, libvirtd: PrivateLibvirtd
) -> None:
    told: list[str] = []
    h = LibvirtHypervisor(libvirtd.uri, told.append)
    h.close()
    h.close()
    subject.hypervisor.define(definition("vm1"))
    assert subject.heard(VM1)
    assert told == []
    assert not h.alive()
    with pytest.raises(HypervisorError) as caught:
        h.domains()
    assert caught.value.lost
