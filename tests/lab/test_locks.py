"""virtlockd as a second belt on shared storage: what XSM can't forbid, libvirt does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.hosts import LabHost
from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.places import LOCKS
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, Site

FILES = ("/etc/libvirt/qemu.conf", "/etc/libvirt/qemu-lockd.conf")


def restart_libvirtd(host: LabHost) -> None:
    host.stop_daemon("libvirtd")
    wait_for("libvirtd ends", lambda: not host.daemon_pid("libvirtd"), SOON_S)
    host.start_libvirtd()


@pytest.fixture
def locked(lab: Lab, site: Site) -> Iterator[None]:
    """All hosts lock disks, as `xsm host libvirt-locks` says; afterwards none does."""
    site.apply()
    for host in lab.hosts.values():
        said = host.xsm("host", "libvirt-locks", LOCKS, "--yes")
        assert "To do: start `virtlockd --daemon`" in said
        host.run("virtlockd", "--daemon", "--pid-file", "/run/virtlockd.pid")
        restart_libvirtd(host)
    yield
    site.apply()
    for host in lab.hosts.values():
        host.run("mv", f"{FILES[0]}.before-xsm", FILES[0])
        host.run("rm", FILES[1])
        restart_libvirtd(host)
        host.stop_daemon("virtlockd")


@pytest.mark.usefixtures("locked")
def test_nobody_starts_the_same_disk_on_another_host(
    lab: Lab, site: Site, observer: Observer
) -> None:
    """Proves that a VM's disk is locked on its host, so that `virsh start` by hand on another one is refused; that a
    live migration takes the lock along; and that `xsm hosts` tells who locks."""
    site.apply(VM("lock1", "dmz01"))
    observer.wait_ticks("lock1", 3, host="dmz01")
    wait_for(
        "all tell", lambda: lab["dmz04"].xsm("hosts").count("locks disks (lockd)") == 4, SOON_S
    )
    refused_by_hand(lab, "dmz01", "dmz03")
    lab["dmz04"].xsm("migrate", "lock1", "dmz02", "--yes")
    observer.wait_ticks("lock1", 3, host="dmz02")
    assert observer.gaps("lock1") == []
    refused_by_hand(lab, "dmz02", "dmz03")
    refused_by_hand(lab, "dmz02", "dmz01")
    site.wait_converged()
    assert observer.hosts("lock1") == ["dmz02"]


def refused_by_hand(lab: Lab, runs_on: str, other: str) -> None:
    """Somebody takes the domain's XML to another host, under another name, and starts it there."""
    xml = lab[runs_on].virsh("dumpxml", "--inactive", "lock1")
    uuid = lab[runs_on].virsh("domuuid", "lock1").strip()
    text = xml.replace("<name>lock1</name>", "<name>by-hand</name>").replace(
        f"<uuid>{uuid}</uuid>", ""
    )
    lab[other].run("sh", "-c", "cat >by-hand.xml", stdin=text)
    done = lab[other].run("virsh", "-q", "create", "by-hand.xml", check=False)
    assert done.returncode != 0
    assert "resource busy" in done.stderr and "is locked" in done.stderr, done.stderr
