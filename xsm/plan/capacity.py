"""Whether VMs fit in a host's memory.

Decides how much memory a host has for VMs and which of its VMs get it. Must not know why a VM is
wanted there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from xsm.plan.observed import ACTIVE, XEN_DOM0_UUID, Domain, HostReport
from xsm.plan.view import View
from xsm.plan.wanted import Wanted, WantedVM
from xsm.plan.witness import why_no_vms
from xsm.site.document import Document
from xsm.site.fields import spelled
from xsm.site.problems import Problem, Severity

RESERVE_LIMIT_MIB = 1024
RESERVE_SHARE = 10
"""A host keeps a tenth of its memory for itself, at most `RESERVE_LIMIT_MIB`, unless the site file
says what VMs may use."""
LEAVING_TOLD = 3
"""VMs named in a reason that hold memory until they are gone."""


@dataclass(frozen=True)
class Shortage:
    """VMs that a host has no memory for. Invariant: a VM that runs there already is never among
    `too_big`."""

    too_big: Mapping[str, str] = field(default_factory=dict)  # VM -> why, with figures
    no_growth: Mapping[str, str] = field(
        default_factory=dict
    )  # running VM that may not get more -> why


@dataclass(frozen=True)
class Capacity:
    """What a host's memory is for, in MiB."""

    total_mib: int  # the hypervisor's, or what the site file lists for VMs
    reserve_mib: int  # kept for the host itself
    foreign_mib: int  # held by running domains that aren't the site's

    @property
    def for_vms_mib(self) -> int:
        return max(0, self.total_mib - self.reserve_mib - self.foreign_mib)

    @property
    def reckoning(self) -> str:
        """How `for_vms_mib` comes about: "it keeps 307 of its 3072 MiB for itself"."""
        parts = [f"the site file lists {self.total_mib} MiB"]
        if self.reserve_mib:
            parts = [f"it keeps {self.reserve_mib} of its {self.total_mib} MiB for itself"]
        if self.foreign_mib:
            parts.append(f"domains that aren't the site's hold {self.foreign_mib} MiB")
        return ", ".join(parts)


def capacity(document: Document, report: HostReport | None, host: str) -> Capacity | None:
    """Memory of `host` and what it is for; None when nobody knows.

    What the site file says of the host, else what the hypervisor has less a reserve; in both cases
    less what running foreign domains hold.
    """
    entry = document.host_entry(host)
    listed = entry.memory_mib if entry else None
    facts = report.facts if report else None
    # Xen's Domain-0 is no VM: it counts only where the hypervisor's whole memory was the start.
    foreign_mib = sum(
        d.memory_mib
        for d in (report.domains if report and facts else ())
        if d.state in ACTIVE
        and _is_foreign(d, document.state.site_id)
        and (d.uuid != XEN_DOM0_UUID or listed is None)
    )
    if listed is not None:
        return Capacity(listed, 0, foreign_mib)
    if facts is None:
        return None
    reserve_mib = min(RESERVE_LIMIT_MIB, facts.memory_mib // RESERVE_SHARE)
    return Capacity(facts.memory_mib, reserve_mib, foreign_mib)


def capacity_mib(document: Document, report: HostReport | None, host: str) -> int | None:
    """Memory that the site's VMs may use on `host`, in MiB; None when nobody knows."""
    found = capacity(document, report, host)
    return found.for_vms_mib if found else None


def unfit(document: Document, reports: Mapping[str, HostReport]) -> Iterator[Problem]:
    """A warning for each VM that its host can't run as far as is known: alone it is more than the host has for VMs,
    or the host is a witness."""
    found: dict[str, Capacity | None] = {}
    for vm in document.site.vms():
        host = document.host_of(vm)
        if host is None or host not in document.state.members:
            continue
        never = why_no_vms(document.state, host, reports.get(host))
        if never and document.state.members[host].witness:
            continue  # `site.checks` tells it
        if never:
            dom0 = spelled(document.site_path, "DOM0")
            hint = f"another {dom0}, or none: then the site places it"
            yield Problem(
                document.site_path, vm.line, f"{vm.name}: {never}", hint, Severity.WARNING
            )
            continue
        if host not in found:
            found[host] = capacity(document, reports.get(host), host)
        there = found[host]
        if there is not None and vm.memory_mib > there.for_vms_mib:
            yield Problem(
                document.site_path,
                vm.line,
                f"{vm.name} needs {vm.memory_mib} MiB, {host} has {there.for_vms_mib} MiB for VMs",
                f"{there.reckoning}; less {spelled(document.site_path, 'MEM')}, or another host",
                Severity.WARNING,
            )


def _is_foreign(domain: Domain, site_id: str) -> bool:
    return domain.tag is None or domain.tag.site_id != site_id or site_id == ""


def shortage(wanted: Wanted, document: Document, view: View, host: str) -> Shortage:
    """Share out the memory of `host`: first to what its running VMs have, then to their growth,
    then to the others, each in order of their names. Without a report nobody is refused: the host
    itself will know.

    When acting, what is still active there and belongs elsewhere holds its memory until it is gone: of a swap, who
    comes waits for who leaves. Foreseeing, it is taken for gone.
    """
    report = view.reports.get(host)
    if report is None or report.facts is None:
        return Shortage()
    for_vms_mib = capacity_mib(document, report, host)
    if for_vms_mib is None:
        return Shortage()
    on = [w for w in (wanted.by_name[n] for n in wanted.by_host.get(host, ())) if w.is_on]
    leaving = () if view.foresees else leaving_from(wanted, report)
    leaving_mib = sum(d.memory_mib for d in leaving)
    if sum(w.vm.memory_mib for w in on) + leaving_mib <= for_vms_mib:
        return Shortage()
    active = {
        d.uuid: d
        for d in report.domains
        if d.state in ACTIVE and not _is_foreign(d, wanted.site_id)
    }
    used = sum(min(active[w.uuid].memory_mib, w.vm.memory_mib) for w in on if w.uuid in active)
    used += leaving_mib
    too_big: dict[str, str] = {}
    no_growth: dict[str, str] = {}
    for w in sorted(on, key=lambda each: (each.uuid not in active, each.name)):
        domain = active.get(w.uuid)
        more = (
            w.vm.memory_mib - min(domain.memory_mib, w.vm.memory_mib) if domain else w.vm.memory_mib
        )
        if used + more <= for_vms_mib:
            used += more
            continue
        figures = _figures(w, host, more, for_vms_mib, used)
        (no_growth if domain else too_big)[w.name] = figures + _until_gone(leaving)
    return Shortage(too_big, no_growth)


def leaving_from(wanted: Wanted, report: HostReport) -> tuple[Domain, ...]:
    """The site's domains that are active on the report's host and are to be off, or elsewhere. By name."""
    names = wanted.by_host.get(report.host, ())
    stay = {w.uuid for w in (wanted.by_name[name] for name in names) if w.is_on}
    found = (
        d
        for d in report.domains
        if d.state in ACTIVE and d.uuid not in stay and not _is_foreign(d, wanted.site_id)
    )
    return tuple(sorted(found, key=lambda d: (d.name, d.uuid)))


def _until_gone(leaving: Iterable[Domain]) -> str:
    held = [f"{d.name} ({d.memory_mib} MiB)" for d in leaving]
    more = f" and {len(held) - LEAVING_TOLD} more" if len(held) > LEAVING_TOLD else ""
    return f"; {', '.join(held[:LEAVING_TOLD])}{more} is to leave it" if held else ""


def _figures(w: WantedVM, host: str, more: int, for_vms_mib: int, used: int) -> str:
    return (
        f"{host} is too small for it: {more} MiB more needed, {max(0, for_vms_mib - used)} MiB left "
        f"of {for_vms_mib} MiB for VMs"
    )
