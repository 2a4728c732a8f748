"""Which hypervisor this host has: libvirt's, or none where it is a witness.

Decides what a witness answers. libvirt is imported only where it is asked: a witness needs none of its packages.
"""

from __future__ import annotations

import platform
from typing import NoReturn

from xsm.edge.hypervisor import Hypervisor, HypervisorError, OnChange
from xsm.edge.settings import Settings
from xsm.peer.events import Way
from xsm.plan.observed import Domain, FoundDisk, HypervisorFacts, Job, Moved
from xsm.site.disk import Volume
from xsm.site.model import HypervisorKind
from xsm.site.needs import Needs
from xsm.site.tag import Tag


def connect(settings: Settings, on_change: OnChange) -> Hypervisor:
    """Connect to this host's hypervisor. Raises `HypervisorError`."""
    if settings.is_witness:
        return NoHypervisor()
    try:
        from xsm.edge.libvirt_hypervisor import LibvirtHypervisor
    except ImportError as error:
        raise HypervisorError(f"libvirt's library is not installed: {error}") from error
    return LibvirtHypervisor(settings.libvirt_uri, on_change, settings.announces)


class NoHypervisor:
    """`xsm.edge.hypervisor.Hypervisor` of a witness: it has no domains, and refuses to make any."""

    def facts(self) -> HypervisorFacts:
        """No memory and no CPUs for VMs, however large the machine is."""
        return HypervisorFacts(
            kind=HypervisorKind.NONE,
            version="",
            arch=platform.machine(),
            cpus=0,
            memory_mib=0,
            free_memory_mib=0,
            cold_only="it is a witness",
        )

    def domains(self) -> tuple[Domain, ...]:
        return ()

    def find(self, uuid: str, name: str) -> tuple[Domain, ...]:
        return ()

    def lacking(self, needs: Needs) -> str:
        return "a witness has no hypervisor"

    def disks(self, wanted: tuple[Volume, ...]) -> tuple[FoundDisk, ...]:
        return tuple(FoundDisk(v.disk, trouble="a witness has no storage pools") for v in wanted)

    def make_disk(self, volume: Volume) -> None:
        _refuse()

    def set_aside(self, volume: Volume, name: str) -> str:
        _refuse()

    def stays_on(self, uuid: str) -> frozenset[tuple[str, str]]:
        return frozenset()

    def grow_disk(self, uuid: str, volume: Volume) -> None:
        _refuse()

    def alive(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing is kept open."""

    def domain_xml(self, uuid: str) -> str:
        _refuse()

    def define(self, xml: str) -> None:
        _refuse()

    def start(self, uuid: str) -> None:
        _refuse()

    def shutdown(self, uuid: str) -> None:
        _refuse()

    def destroy(self, uuid: str) -> None:
        _refuse()

    def undefine(self, uuid: str) -> None:
        _refuse()

    def suspend(self, uuid: str) -> None:
        _refuse()

    def resume(self, uuid: str) -> None:
        _refuse()

    def set_memory(self, uuid: str, mib: int) -> None:
        _refuse()

    def set_vcpus(self, uuid: str, n: int) -> None:
        _refuse()

    def set_weight(self, uuid: str, weight: int) -> None:
        _refuse()

    def set_limits(self, uuid: str, xml: str) -> None:
        _refuse()

    def set_tag(self, uuid: str, tag: Tag) -> None:
        _refuse()

    def migrate(self, uuid: str, way: Way) -> Moved | None:
        _refuse()

    def post_copy(self, uuid: str) -> None:
        _refuse()

    def job(self, uuid: str) -> Job | None:
        _refuse()

    def abort(self, uuid: str) -> None:
        _refuse()


def _refuse() -> NoReturn:
    raise HypervisorError("this host is a witness: it runs no VMs", absent=True)
