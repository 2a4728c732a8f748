"""Whether VMs fit in a host's memory.

Decides how much memory a host has for VMs and which of its VMs get it. Must not know why a VM is
wanted there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xsm.plan.observed import ACTIVE, Domain, HostReport
from xsm.plan.sightings import XEN_DOM0_UUID
from xsm.plan.view import View
from xsm.plan.wanted import Wanted, WantedVM
from xsm.site.document import Document

RESERVE_LIMIT_MIB = 1024
RESERVE_SHARE = 10
"""A host keeps a tenth of its memory for itself, at most `RESERVE_LIMIT_MIB`, unless the site file
says what VMs may use."""


@dataclass(frozen=True)
class Shortage:
    """VMs that a host has no memory for. Invariant: a VM that runs there already is never among
    `too_big`."""

    too_big: Mapping[str, str] = field(default_factory=dict)  # VM -> why, with figures
    no_growth: Mapping[str, str] = field(
        default_factory=dict
    )  # running VM that may not get more -> why


def capacity_mib(document: Document, report: HostReport | None, host: str) -> int | None:
    """Memory that the site's VMs may use on `host`, in MiB; None when nobody knows.

    What the site file says of the host, else what the hypervisor has less a reserve; in both cases
    less what running foreign domains hold.
    """
    entry = document.host_entry(host)
    listed = entry.memory_mib if entry else None
    facts = report.facts if report else None
    if listed is None and facts is None:
        return None
    total = listed if listed is not None else 0
    if listed is None and facts is not None:
        total = facts.memory_mib - min(RESERVE_LIMIT_MIB, facts.memory_mib // RESERVE_SHARE)
    site_id = document.state.site_id
    for domain in report.domains if report and facts else ():
        if not _is_foreign(domain, site_id) or domain.state not in ACTIVE:
            continue
        # Xen's Domain-0 is no VM: it counts only where the hypervisor's whole memory was the
        # start.
        if domain.uuid != XEN_DOM0_UUID or listed is None:
            total -= domain.memory_mib
    return max(0, total)


def _is_foreign(domain: Domain, site_id: str) -> bool:
    return domain.tag is None or domain.tag.site_id != site_id or site_id == ""


def shortage(wanted: Wanted, document: Document, view: View, host: str) -> Shortage:
    """Share out the memory of `host`: first to what its running VMs have, then to their growth,
    then to the others, each in order of their names. Without a report nobody is refused: the host
    itself will know."""
    report = view.reports.get(host)
    if report is None or report.facts is None:
        return Shortage()
    capacity = capacity_mib(document, report, host)
    if capacity is None:
        return Shortage()
    on = [w for w in (wanted.by_name[n] for n in wanted.by_host.get(host, ())) if w.is_on]
    if sum(w.vm.memory_mib for w in on) <= capacity:
        return Shortage()
    active = {
        d.uuid: d
        for d in report.domains
        if d.state in ACTIVE and not _is_foreign(d, wanted.site_id)
    }
    used = sum(min(active[w.uuid].memory_mib, w.vm.memory_mib) for w in on if w.uuid in active)
    too_big: dict[str, str] = {}
    no_growth: dict[str, str] = {}
    for w in sorted(on, key=lambda each: (each.uuid not in active, each.name)):
        domain = active.get(w.uuid)
        more = (
            w.vm.memory_mib - min(domain.memory_mib, w.vm.memory_mib) if domain else w.vm.memory_mib
        )
        if used + more <= capacity:
            used += more
            continue
        (no_growth if domain else too_big)[w.name] = _figures(w, host, more, capacity, used)
    return Shortage(too_big, no_growth)


def _figures(w: WantedVM, host: str, more: int, capacity: int, used: int) -> str:
    return (
        f"{host} is too small for it: {more} MiB more needed, {max(0, capacity - used)} MiB left "
        f"of {capacity} MiB for VMs"
    )
