"""Finding out what VMs lack: on a real libvirt, and on storage that hangs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

import libvirt

from tests.sim.hypervisor import SimHypervisor
from xsm.edge import libvirt_needs, preflight
from xsm.edge.hypervisor import HypervisorError
from xsm.edge.libvirt_hypervisor import LibvirtHypervisor
from xsm.edge.preflight import Preflight
from xsm.site.model import HypervisorKind
from xsm.site.needs import Needs

LONG_S = 60.0


def lacking(needs: Needs, kind: HypervisorKind = HypervisorKind.QEMU) -> str:
    """By the test driver, which has one network and one pool, taken for another."""
    conn = libvirt.open("test:///default")
    try:
        return libvirt_needs.lacking(conn, kind, needs)
    finally:
        conn.close()


def lacks(found: dict[str, preflight.Answer]) -> dict[str, str]:
    return {vm: answer.lacks for vm, answer in found.items()}


def test_files_and_bridges(tmp_path: Path) -> None:
    there, gone = tmp_path / "there", tmp_path / "gone"
    there.touch()
    assert lacking(Needs(paths=(str(there),), bridges=("lo",))) == ""
    assert lacking(Needs(paths=(str(gone),))).startswith(f"{gone} is not on ")
    assert lacking(Needs(paths=(f"{there}/x",))).startswith(f"{there}/x is not on ")
    assert lacking(Needs(bridges=("br-none",))).endswith(" has no bridge br-none")
    three = Needs(paths=(str(gone), f"{gone}2", f"{gone}3"))
    assert lacking(three).endswith("(and 1 more)")


def test_networks_pools_and_volumes() -> None:
    assert lacking(Needs(networks=("default",))) == ""
    assert lacking(Needs(networks=("none",))).endswith(" has no libvirt network none")
    assert "has no storage pool none" in lacking(Needs(volumes=(("none", "a"),)))
    told = lacking(Needs(volumes=(("default-pool", "a"),)))
    assert told.startswith("volume a is not in storage pool default-pool on ")


def test_the_test_drivers_domains_have_no_real_disks() -> None:
    hypervisor = LibvirtHypervisor("test:///default")
    try:
        assert hypervisor.lacking(Needs(paths=("/none",), bridges=("br-none",))) == ""
    finally:
        hypervisor.close()


class Hanging(SimHypervisor):
    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.looks = 0

    def lacking(self, needs: Needs) -> str:
        self.looks += 1
        assert self.go_on.wait(LONG_S)
        return super().lacking(needs)


def test_storage_that_hangs_is_what_is_lacking_and_is_asked_only_once() -> None:
    hypervisor = Hanging()
    needs = {"vm1": Needs(paths=("/srv/a",))}

    async def look() -> tuple[dict[str, str], ...]:
        one = Preflight(lambda what: asyncio.to_thread(what, hypervisor), time.monotonic, 0.05)
        first, second = lacks(await one.find(needs)), lacks(await one.find(needs))
        hypervisor.go_on.set()
        while (last := lacks(await one.find(needs))) != {"vm1": ""}:
            assert "storage" in last["vm1"]
        return first, second

    for told in asyncio.run(look()):
        assert "does their storage answer?" in told["vm1"]


def test_answers_are_used_again_for_a_while_and_nothing_is_said_without_libvirtd() -> None:
    hypervisor = Hanging()
    hypervisor.go_on.set()
    now = [0.0]
    needs = {"vm1": Needs(paths=("/srv/a",)), "vm2": Needs(paths=("/srv/a",))}

    async def look() -> None:
        one = Preflight(lambda what: asyncio.to_thread(what, hypervisor), lambda: now[0])
        hypervisor.missing.add("/srv/a")
        assert lacks(await one.find(needs))["vm2"] == "/srv/a is not on host"
        hypervisor.missing.clear()
        assert lacks(await one.find(needs))["vm1"] == "/srv/a is not on host"
        assert hypervisor.looks == 1
        now[0] += preflight.AGE_S + 0.1
        assert lacks(await one.find(needs)) == {"vm1": "", "vm2": ""}

    asyncio.run(look())

    async def lost() -> dict[str, preflight.Answer]:
        def fails(_: Callable[..., object]) -> object:
            raise HypervisorError("the connection is gone", lost=True)

        return await Preflight(lambda what: asyncio.to_thread(fails, what), time.monotonic).find(
            needs
        )

    assert asyncio.run(lost()) == {}
