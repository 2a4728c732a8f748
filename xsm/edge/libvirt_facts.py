"""What a host is, in libvirt's words and XSM's: its kind, size and free memory.

Decides how each driver is asked. Must not know the site.
"""

from __future__ import annotations

from dataclasses import dataclass

import libvirt
from lxml import etree

from xsm.edge.hypervisor import HypervisorError
from xsm.edge.libvirt_errors import said
from xsm.site import secure_xml
from xsm.site.model import HypervisorKind

KIB_PER_MIB = 1024
EMULATED = frozenset({HypervisorKind.KVM, HypervisorKind.QEMU})


@dataclass(frozen=True)
class FixedFacts:
    """What doesn't change while a connection lasts."""

    kind: HypervisorKind
    version: str
    arch: str
    cpu_model: str


def fixed_facts(conn: libvirt.virConnect) -> FixedFacts:
    driver = conn.getType()
    try:
        capabilities = secure_xml.parse(conn.getCapabilities().encode())
    except secure_xml.Malformed as error:
        raise HypervisorError(f"libvirt's capabilities can't be read: {error.message}") from error
    version = f"{driver} {_version(conn.getVersion())}, libvirt {_version(conn.getLibVersion())}"
    return FixedFacts(
        kind_of(driver, capabilities),
        version,
        capabilities.findtext("host/cpu/arch") or "",
        capabilities.findtext("host/cpu/model") or "",
    )


def kind_of(driver: str, capabilities: etree._Element) -> HypervisorKind:
    match driver.lower():
        case "test":
            return HypervisorKind.TEST
        case "xen":
            return HypervisorKind.XEN
        case "qemu":
            kvm = capabilities.find("guest/arch/domain[@type='kvm']") is not None
            return HypervisorKind.KVM if kvm else HypervisorKind.QEMU
    raise HypervisorError(f"libvirt's driver {driver} is none that XSM knows: Xen, QEMU or test")


def _version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def free_memory_mib(conn: libvirt.virConnect, kind: HypervisorKind) -> int:
    if kind in EMULATED:  # getFreeMemory leaves out the page cache, which guests may have
        stats = said(lambda: conn.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS))
        if stats:
            free_kib = sum(int(stats.get(part, 0)) for part in ("free", "buffers", "cached"))
            return free_kib // KIB_PER_MIB
    return int(conn.getFreeMemory()) // (KIB_PER_MIB * KIB_PER_MIB)
