"""What `xsm status`, `vms`, `why` show, made from the document, the reports and the peer's state.

Decides only what is shown. No I/O: `answers.py` gathers the inputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from xsm.api.types import MemberStatus, VmStatus
from xsm.peer.contacts import Reach
from xsm.peer.events import Head
from xsm.peer.machine import Peer
from xsm.peer.register import Register
from xsm.plan.actions import Plan
from xsm.plan.forms import RUNS_TWICE
from xsm.plan.observed import ACTIVE, Domain, HostReport
from xsm.plan.planner import plan
from xsm.plan.sightings import is_foreign
from xsm.plan.view import REPORT_OLD_S, View
from xsm.plan.wanted import Wanted, WantedVM
from xsm.plan.witness import contradiction, is_witness
from xsm.site.document import Document

FENCED = "fenced: it was switched off, and is no member until it is switched on and runs nothing"


def members(
    peer: Peer,
    document: Document,
    now: float,
    reports: Mapping[str, HostReport],
    unreachable: Mapping[str, str],
    clocks: Mapping[str, str],
) -> tuple[MemberStatus, ...]:
    """All members as this host sees them, and hosts that were fenced, by name. `reports`, `unreachable`: what they
    answered just now, which is newer than the last greeting. `clocks`: what is wrong with whose."""
    shown = []
    for name, member in sorted(document.state.members.items()):
        heard = peer.contacts.heard_at.get(name)
        myself = name == peer.name
        answered = name in reports and name not in unreachable
        report = reports[name] if answered else None
        reach = peer.contacts.shown(name, len(document.state.members), now)
        if name in unreachable and reach is Reach.ALIVE:
            reach = Reach.SUSPECT
        elif answered:
            reach = Reach.ALIVE
        shown.append(
            MemberStatus(
                name=name,
                address=member.address,
                url=member.url,
                reach=reach,
                seen_s=0.0
                if answered or myself
                else None
                if heard is None
                else round(now - heard, 1),
                revision=_revision(peer, name, report),
                drained=name in document.state.drained,
                myself=myself,
                error=_error(report) or contradiction(member, report)
                if report
                else unreachable.get(name, peer.contacts.errors.get(name, "")),
                clock=clocks.get(name, ""),
                witness=is_witness(member, reports.get(name)),
                since_s=None if myself else peer.contacts.since_s(name, reach, now),
            )
        )
    shown += [
        MemberStatus(m.name, m.address, m.url, Reach.FAILED, None, "", False, error=FENCED)
        for m in document.state.fenced.values()
    ]
    return tuple(sorted(shown, key=lambda m: m.name))


def _revision(peer: Peer, name: str, report: HostReport | None) -> str:
    """What a member acts on by its last report, else what it said last that it shows; "" when it never did."""
    if report:
        return report.revision
    if name == peer.name:
        return peer.head.revision if peer.head else ""
    return peer.contacts.revisions.get(name, "")


def _error(report: HostReport) -> str:
    """Why a member that answers does nothing."""
    return f"frozen: {report.frozen}" if report.frozen else ""


_WAITS = re.compile(r": held: (?:(\S+) keeps it: |waiting for (\S+) to claim it$)")
"""A host's held line that only repeats what another host has to say."""


def held_once(reports: Iterable[HostReport]) -> tuple[str, ...]:
    """What hosts hold. A move that concerns two of them is told once, by the one that knows why."""
    lines = [line for report in reports for line in report.held]
    said = {line.partition(": ")[0] for line in lines if not _WAITS.search(line)}
    return tuple(line for line in lines if not _said_by_other(line, said))


def _said_by_other(line: str, said: Iterable[str]) -> bool:
    waits = _WAITS.search(line)
    vm = line.partition(" on ")[0]
    return waits is not None and f"{vm} on {waits[1] or waits[2]}" in said


def behind(why: str, checkout: str, head: Head | None) -> str:
    """Why the checkout (it is on the revision `checkout`) is not on the head, "" when it is."""
    if why or head is None or checkout == head.revision:
        return why
    return "it is being brought up to date"


def nobodys(
    wanted: Wanted,
    document: Document,
    reports: Mapping[str, HostReport],
    unreachable: Mapping[str, str],
    now: float,
) -> tuple[str, ...]:
    """What is held because it belongs to no member, so that no host's report tells of it. `now`: wall clock."""
    view = View(reports, unreachable, now, shutdowns={}, handovers=None)
    whole = plan(wanted, document, view)
    return tuple(str(a) for a in whole.actions if a.held and a.host not in document.state.members)


def twice(
    wanted: Wanted,
    reports: Mapping[str, HostReport],
    unreachable: Mapping[str, str],
    now: float,
) -> tuple[tuple[str, str], ...]:
    """VM, and a sentence: those that run on two hosts or more, by UUID, whether they bear XSM's mark there or not. Not
    one that is just being migrated, nor by reports that are old. `now`: wall clock."""
    moving = {t.vm for report in reports.values() for t in report.transfers}
    running: dict[str, list[str]] = {}
    for host, report in sorted(reports.items()):
        counts = host not in unreachable and report.at > now - REPORT_OLD_S
        for domain in report.domains if counts else ():
            vm = wanted.by_uuid.get(domain.uuid, "")
            if vm and domain.is_guest and vm not in moving:
                running.setdefault(vm, []).append(host)
    return tuple(
        (vm, f"{vm} runs on {' and on '.join(hosts)}: {RUNS_TWICE}")
        for vm, hosts in sorted(running.items())
        if len(hosts) > 1
    )


def domains_of(
    want: WantedVM, site_id: str, reports: Mapping[str, HostReport]
) -> dict[str, Domain]:
    """Host -> the domain there that is the VM: it carries the site's tag and the VM's UUID or name."""
    found = {}
    for host, report in sorted(reports.items()):
        for domain in report.domains:
            ours = domain.tag is not None and domain.tag.site_id == site_id
            if ours and (domain.uuid == want.uuid or (domain.tag and domain.tag.vm == want.name)):
                found[host] = domain
    return found


def vms(
    wanted: Wanted, reports: Mapping[str, HostReport], unreachable: Mapping[str, str], plan: Plan
) -> tuple[VmStatus, ...]:
    """Every VM of the site, wanted and observed side by side; then foreign domains."""
    pending: dict[str, list[str]] = {}
    for action in plan.actions:
        pending.setdefault(action.vm, []).append(str(action))
    shown = [
        _vm(w, domains_of(w, wanted.site_id, reports), unreachable, tuple(pending.get(name, ())))
        for name, w in sorted(wanted.by_name.items())
    ]
    for host, report in sorted(reports.items()):
        for domain in report.domains:
            if is_foreign(domain, wanted.site_id):
                shown.append(_foreign(host, domain))
    return tuple(shown)


def _vm(
    want: WantedVM,
    found: Mapping[str, Domain],
    unreachable: Mapping[str, str],
    pending: tuple[str, ...],
) -> VmStatus:
    running = tuple(h for h, d in found.items() if d.state in ACTIVE)
    shown = next((found[h] for h in (*running, *found)), None)
    # Whoever doesn't answer may run it.
    state = str(shown.state) if shown else "unknown" if unreachable else "absent"
    return VmStatus(
        name=want.name,
        set_name=want.vm.set_name,
        config=want.vm.config,
        uuid=want.uuid,
        mac=want.mac,
        ip=want.vm.ip or "",
        pinned=want.pinned,
        wanted_host=want.host or "",
        wanted_power=str(want.vm.power),
        observed_hosts=tuple(found),
        running_on=running,
        state=state,
        vcpus=want.vm.vcpus,
        memory_mib=want.vm.memory_mib,
        observed_vcpus=shown.vcpus if shown else None,
        observed_memory_mib=shown.memory_mib if shown else None,
        pending=pending,
    )


def _foreign(host: str, domain: Domain) -> VmStatus:
    return VmStatus(
        name=domain.name,
        set_name="",
        config="",
        uuid=domain.uuid,
        mac=domain.mac or "",
        ip="",
        pinned=False,
        wanted_host="",
        wanted_power="",
        observed_hosts=(host,),
        running_on=(host,) if domain.state in ACTIVE else (),
        state=str(domain.state),
        vcpus=domain.vcpus,
        memory_mib=domain.memory_mib,
        observed_vcpus=domain.vcpus,
        observed_memory_mib=domain.memory_mib,
        foreign=True,
    )


def wanted_story(want: WantedVM, document: Document) -> tuple[str, ...]:
    """What the site wants of one VM, and where that is written."""
    vm = want.vm
    where = f"{document.site_path}:{vm.line}"
    placed = (
        f"on {want.host}, which the site file says ({where})"
        if want.pinned
        else f"on {want.host}, where the site placed it (no DOM0 in {where})"
        if want.host
        else f"nowhere yet: no host has room for it (no DOM0 in {where})"
    )
    lines = [
        f"{vm.power}, {placed}",
        f"{_vcpus(vm.vcpus)}, {vm.memory_mib} MiB, config {want.config.path}, set {vm.set_name}",
        f"UUID {want.uuid}, MAC {want.mac}; migration {vm.migration}, drift {vm.drift}",
    ]
    lines += [
        f"HELD by a conflict over {c.what}: shown {c.shown}, the other edit said {c.other} "
        f"(`xsm resolve {vm.name}` settles it as shown)"
        for c in want.conflicts
    ]
    return tuple(lines)


def _vcpus(number: int) -> str:
    return f"{number} VCPU" if number == 1 else f"{number} VCPUs"


def claim_story(vm: str, register: Register, me: str) -> tuple[str, ...]:
    """What this host's vote file says of a VM."""
    if not register.voted:
        return (f"{me} has never voted for a claim of it",)
    lines = [f"epoch {register.voted}: {me} voted for {register.claimant}"]
    if register.held:
        lines.append(
            f"{me} holds epoch {register.held}: a majority voted for it and every earlier claimant let go"
        )
    if register.bar:
        lines.append(f"{me} will not start it under an epoch below {register.bar}")
    others = sorted(register.claimants - {register.claimant})
    if others:
        lines.append(f"earlier claimants not known to have let go: {', '.join(others)}")
    return tuple(lines)


def next_story(vm: str, plan: Plan, reports: Mapping[str, HostReport]) -> tuple[str, ...]:
    """What is done about it just now, and what is to be done."""
    moving = (str(t) for _, report in sorted(reports.items()) for t in report.transfers)
    lines = [line for line in moving if line.startswith(f"{vm}: ")]
    return (*lines, *(str(action) for action in plan.actions if action.vm == vm))


def observed_story(
    found: Mapping[str, Domain], reports: Mapping[str, HostReport], now: float
) -> tuple[str, ...]:
    """Where the VM's domains are. `now`: wall clock."""
    if not found:
        return (f"no domain of it on {', '.join(sorted(reports)) or 'any host that answers'}",)
    return tuple(
        f"{host}: {d.state}, {d.memory_mib} MiB, {_vcpus(d.vcpus)}"
        f"{'' if d.persistent else ', not persistent'} (seen {max(0.0, now - reports[host].at):.0f} s ago)"
        for host, d in found.items()
    )
