"""What a host is, in libvirt's words and XSM's: its kind, size and free memory.

Decides how each driver is asked. Must not know the site.
"""

from __future__ import annotations

from dataclasses import dataclass

import libvirt
from lxml import etree

from xsm.edge import libvirt_locks
from xsm.edge.domain_facts import DomainFacts
from xsm.edge.hypervisor import HypervisorError
from xsm.edge.libvirt_errors import CONNECTION_ERRORS, is_absent, said, unless_absent
from xsm.plan.observed import DomainState
from xsm.site import secure_xml
from xsm.site.model import HypervisorKind

KIB_PER_MIB = 1024
MOVING = frozenset({libvirt.VIR_DOMAIN_PAUSED_MIGRATION, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP})
"""Why a domain is paused that a live migration brings or takes away, or that is just being started."""
EMULATED = frozenset({HypervisorKind.KVM, HypervisorKind.QEMU})
STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: DomainState.RUNNING,  # Xen: a domain that is just being scheduled
    libvirt.VIR_DOMAIN_RUNNING: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: DomainState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: DomainState.SHUTDOWN,
    libvirt.VIR_DOMAIN_SHUTOFF: DomainState.SHUTOFF,
    libvirt.VIR_DOMAIN_CRASHED: DomainState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: DomainState.SUSPENDED,
}
"""libvirt's virDomainState."""
NO_ABORT = {HypervisorKind.XEN: "libvirt's Xen driver can't end a live migration that has begun"}
"""Of the kinds that can't: why."""


@dataclass(frozen=True)
class FixedFacts:
    """What doesn't change while a connection lasts."""

    kind: HypervisorKind
    version: str
    arch: str
    cpu_model: str
    locks: str  # its lock manager of disks, "" for none


def fixed_facts(conn: libvirt.virConnect) -> FixedFacts:
    driver = conn.getType()
    try:
        capabilities = secure_xml.parse(conn.getCapabilities().encode())
    except secure_xml.Malformed as error:
        raise HypervisorError(f"libvirt's capabilities can't be read: {error.message}") from error
    version = f"{driver} {_version(conn.getVersion())}, libvirt {_version(conn.getLibVersion())}"
    kind = kind_of(driver, capabilities)
    return FixedFacts(
        kind,
        version,
        capabilities.findtext("host/cpu/arch") or "",
        capabilities.findtext("host/cpu/model") or "",
        libvirt_locks.manager() if kind in EMULATED else "",
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


@dataclass(frozen=True)
class Paused:
    """What a paused domain is to be taken for. `incoming` (one end of a migration in flight, the guest is not here),
    `cut_off` (nobody may touch either, or only who knows where its guest runs) and `stopped`: as in
    `plan.observed.Domain`."""

    state: DomainState = DomainState.PAUSED
    incoming: bool = False
    cut_off: bool = False
    stopped: str = ""


STOPPED = {
    libvirt.VIR_DOMAIN_PAUSED_IOERROR: "stopped at an I/O error: its disk has no room to grow, or is gone",
    libvirt.VIR_DOMAIN_PAUSED_WATCHDOG: "stopped by its watchdog",
    libvirt.VIR_DOMAIN_PAUSED_CRASHED: "stopped when its guest crashed",
}
"""virDomainPausedReason of what the hypervisor does by itself."""


def why_paused(
    reason: int, operation: int | None, refused: int, job_type: int | None, persistent: bool
) -> Paused:
    """What a paused domain is.

    `reason`: virDomainPausedReason. `operation`, `job_type`: of its job, None when libvirt doesn't say. `refused`: the
    error with which libvirt refused to tell of a job, 0 when it told.
    """
    if reason == libvirt.VIR_DOMAIN_PAUSED_POSTCOPY:
        return Paused(
            incoming=True
        )  # its guest runs on the target, and fetches the rest of its memory from here
    if reason == libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED:
        return Paused(cut_off=True)  # on both ends; neither has a whole guest
    if reason not in MOVING:
        return Paused(stopped=STOPPED.get(reason, ""))
    if operation is not None:
        if operation == libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT:
            return Paused(DomainState.RUNNING)  # the last moment before it goes on elsewhere
        return Paused(incoming=operation == libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN)
    if refused == libvirt.VIR_ERR_OPERATION_UNSUPPORTED:
        # QEMU's driver on the target: "migration statistics are available only on the source host". A definition of an
        # earlier time may be there already, so being persistent says nothing.
        return Paused(incoming=True)
    if job_type == libvirt.VIR_DOMAIN_JOB_NONE and reason == libvirt.VIR_DOMAIN_PAUSED_STARTING_UP:
        return Paused(DomainState.RUNNING)  # QEMU is up and libvirt about to let it run
    if job_type == libvirt.VIR_DOMAIN_JOB_NONE and persistent:
        # libvirtd died here when all memory was sent and nobody had told yet whether the guest went on there. A new
        # libvirtd knows of no job any more, and leaves it paused.
        return Paused(cut_off=True)
    # No word on the job (libxl): what arrives is defined only at the end. Nobody touches what isn't.
    return Paused(incoming=not persistent)


def arrives(kind: HypervisorKind, state: DomainState, persistent: bool) -> bool:
    """Whether a domain that libvirt calls off is being received by a live migration. So Xen's driver shows it until its
    guest goes on here. Nothing else is off and has no definition."""
    return kind is HypervisorKind.XEN and state is DomainState.SHUTOFF and not persistent


def paused_now(dom: libvirt.virDomain, persistent: bool) -> Paused:
    """What a domain that libvirt calls paused is to be taken for at this moment. Raises `libvirtError`."""
    state = unless_absent(lambda: dom.state(0))
    if state is None or state[0] != libvirt.VIR_DOMAIN_PAUSED:
        return Paused()  # it has just changed: an event makes us look again
    try:
        job, refused = dom.jobStats(0), 0
    except libvirt.libvirtError as error:
        if is_absent(error) or error.get_error_domain() in CONNECTION_ERRORS:
            raise
        job, refused = {}, error.get_error_code()
    return why_paused(state[1], job.get("operation"), refused, job.get("type"), persistent)


def free_memory_mib(conn: libvirt.virConnect, kind: HypervisorKind) -> int:
    if kind in EMULATED:  # getFreeMemory leaves out the page cache, which guests may have
        stats = said(lambda: conn.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS))
        if stats:
            free_kib = sum(int(stats.get(part, 0)) for part in ("free", "buffers", "cached"))
            return free_kib // KIB_PER_MIB
    return int(conn.getFreeMemory()) // (KIB_PER_MIB * KIB_PER_MIB)


def weight_of(
    kind: HypervisorKind, dom: libvirt.virDomain, xml: DomainFacts, active: bool
) -> int | None:
    """The domain's CPU weight, None where nobody says. Raises `libvirtError`.

    Of a domain that runs on Xen its XML says what it was started with, also after another weight was set.
    """
    if kind is HypervisorKind.TEST:
        return None  # it takes any weight and keeps none
    asked = active and (kind is HypervisorKind.XEN or xml.shares is None)
    parameters = (said(dom.schedulerParameters) or {}) if asked else {}
    found = parameters.get("weight" if kind is HypervisorKind.XEN else "cpu_shares")
    return int(found) if found else xml.shares


def kept(dom: libvirt.virDomain) -> tuple[bool, bool]:
    """Whether it is persistent, and whether libvirt starts it by itself."""
    return bool(dom.isPersistent()), bool(dom.autostart())
