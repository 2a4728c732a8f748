"""Disks of the site file, on real QEMU: made, copied, grown while the guest looks on, moved where they are shared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.places import CONSOLES, HOSTS, SHARED
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, Site

POOLS = {"default": "/var/lib/libvirt/images", "san": f"{SHARED}/san"}
SECTORS_PER_MIB = 2048


@dataclass(frozen=True)
class Own(VM):
    """A guest whose disks are the site file's only."""

    disks: tuple[str, ...] = ()

    @property
    def entry(self) -> str:
        disks = "".join(f"<DISK>{disk}</DISK>" for disk in self.disks)
        return super().entry.replace("</VM>", f"{disks}</VM>")

    @property
    def config(self) -> str:
        before, _, rest = super().config.partition("    <disk ")
        return before + rest.partition("</disk>\n")[2]


@pytest.fixture(scope="module", autouse=True)
def pools(lab: Lab) -> Iterator[None]:
    """A pool of each host's own, and one that all share."""
    for host in lab.hosts.values():
        for name, path in POOLS.items():
            host.run("mkdir", "-p", path)
            if name not in host.virsh("pool-list", "--all", "--name").split():
                host.virsh("pool-create-as", name, "dir", "--target", path)
    yield
    for host in lab.hosts.values():
        for name in POOLS:
            host.virsh("pool-destroy", name)


def told(vm: str, host: str) -> str:
    """The sizes of its disks by the guest's own last word, in its disks' order."""
    text = (HOSTS[host].inside(CONSOLES) / f"{vm}.log").read_text(errors="replace")
    lines = [line for line in text.splitlines() if line.startswith(f"DISKS {vm}")]
    sizes = [word.partition("=") for word in lines[-1].split()[2:]] if lines else []
    return " ".join(f"{name}={int(sectors) // SECTORS_PER_MIB}" for name, _, sectors in sizes)


def wait_told(vm: str, host: str, sizes: str) -> None:
    wait_for(f"{vm} has {sizes}", lambda: told(vm, host) == sizes, SOON_S)


def volumes(lab: Lab, host: str, pool: str, vm: str) -> list[str]:
    lab[host].virsh("pool-refresh", pool)
    listed = lab[host].virsh("vol-list", pool).split()
    return sorted({word for word in listed if word.startswith(f"{vm}-")})


def test_disks_are_made_and_grow_while_the_guest_looks_on(
    lab: Lab, site: Site, observer: Observer
) -> None:
    """Proves that a VM's disks, qcow2 and raw, are made on its host before its first start, that the guest sees them in
    the file's order, and sees them grow without a restart; and that one is never made smaller."""
    first = ("name=root size=32M", "name=data size=16M format=raw")
    shown = site.apply(Own("disk1", "dmz01", disks=first))
    assert "disk root 32 MiB in pool default" in shown
    wait_told("disk1", "dmz01", "vda=32 vdb=16")
    assert volumes(lab, "dmz01", "default", "disk1") == ["disk1-data", "disk1-root.qcow2"]
    bigger = ("name=root size=64M", "name=data size=24M format=raw")
    shown = site.apply(Own("disk1", "dmz01", disks=bigger))
    assert "disk root 32 MiB => 64 MiB" in shown
    wait_told("disk1", "dmz01", "vda=64 vdb=24")
    assert "cannot shrink" in site.apply(Own("disk1", "dmz01", disks=first))
    observer.wait_ticks("disk1", 3, host="dmz01")
    assert told("disk1", "dmz01") == "vda=64 vdb=24"
    assert len({tick.boot for tick in observer.ticks("disk1")}) == 1
    assert observer.gaps("disk1") == []


def test_a_disk_is_a_copy_of_its_base_and_bigger(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that `from=` copies a volume, with what is in it, as big as the file says; the base stays as it is."""
    base = "/var/lib/libvirt/images/base.qcow2"
    script = (
        f'printf "base n=1 x\\n" >/tmp/base && truncate -s 8M /tmp/base && '
        f"qemu-img convert -f raw -O qcow2 /tmp/base {base} && rm /tmp/base"
    )
    lab["dmz02"].run("sh", "-c", script)
    site.apply(Own("disk2", "dmz02", disks=("name=root size=48M from=base.qcow2",)))
    wait_told("disk2", "dmz02", "vda=48")
    text = (HOSTS["dmz02"].inside(CONSOLES) / "disk2.log").read_text(errors="replace")
    assert "disk=base_n=1_x" in text
    assert "Capacity:       8.00 MiB" in lab["dmz02"].virsh("vol-info", "base.qcow2", "default")
    observer.wait_ticks("disk2", 3, host="dmz02")


def test_a_disk_that_hosts_share_moves_live_and_one_that_is_not_shared_is_held(
    lab: Lab, site: Site, observer: Observer
) -> None:
    """Proves that a VM on a shared pool moves live; and that one whose disk only its host has stays where it runs, with
    the reason told, and no blank disk is made for it anywhere."""
    shared, own = ("name=root size=16M pool=san",), ("name=root size=16M",)
    site.apply(Own("disk3", "dmz01", disks=shared), Own("disk4", "dmz01", disks=own))
    observer.wait_ticks("disk3", 3, host="dmz01")
    observer.wait_ticks("disk4", 3, host="dmz01")
    site.write(lab["dmz01"], Own("disk3", "dmz02", disks=shared), Own("disk4", "dmz02", disks=own))
    lab["dmz01"].xsm("apply", "/root/site", "--yes", "--no-wait", "-m", "both go to dmz02")
    wait_for("disk3 has moved", lambda: observer.hosts("disk3") == ["dmz02"], SOON_S)
    observer.wait_ticks("disk3", 5, host="dmz02")
    assert observer.gaps("disk3") == []
    reason = "its disk root (volume disk4-root.qcow2 of pool default) is not on dmz02"
    wait_for("the reason is told", lambda: reason in "".join(lab.status("dmz03")["held"]), SOON_S)
    observer.wait_ticks("disk4", 5, host="dmz01")
    assert observer.gaps("disk4") == []
    assert volumes(lab, "dmz02", "default", "disk4") == []
    assert volumes(lab, "dmz02", "san", "disk3") == ["disk3-root.qcow2"]
    site.apply()
    assert volumes(lab, "dmz01", "default", "disk4") == ["disk4-root.qcow2"]
