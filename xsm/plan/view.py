"""What the planner is told besides the site: hosts' reports, who does not answer, what was begun,
what was agreed.

Decides when a host as a whole can't be acted on, and says why. Must not know about VMs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from xsm.plan.observed import HostReport, HypervisorFacts
from xsm.plan.witness import why_no_vms
from xsm.site.document import Document
from xsm.site.model import HypervisorKind

SHUTDOWN_LIMIT_S = 60.0
"""How long a guest may take to heed a shutdown request before it is powered off."""
REPORT_OLD_S = 60.0
"""An older report is shown with its age, and no longer proves that a domain runs twice."""


@dataclass(frozen=True)
class Handover:
    """A member's claim of a VM that runs elsewhere: the source may let go of it, and this is how it
    can be received."""

    target: str
    epoch: int
    kind: HypervisorKind
    cold_only: str
    wait: str = ""  # why it can't be received live just now, though it will
    copies: tuple[str, ...] = ()  # disks that it lacks, to be copied along
    shared: tuple[str, ...] = ()  # disks that it has on storage of the network


@dataclass(frozen=True)
class View:
    """What is known at one moment. Times are on one clock, in seconds.

    `shutdowns`: (host, uuid) -> when the guest was first asked to shut down. Invariant: an entry
    goes when the domain is off or is no longer among `planner.going_off` of the plan; a stale one
    would power a guest off at once.
    `handovers`: None foresees the whole site for people; a mapping (VM -> claim) is for acting:
    then a source lets go of a VM only to the member that has claimed it, and other hosts' reports
    may be missing.
    """

    reports: Mapping[str, HostReport]
    unreachable: Mapping[str, str]  # host -> why
    now: float
    shutdowns: Mapping[tuple[str, str], float]
    handovers: Mapping[str, Handover] | None = None
    elsewhere: Mapping[str, str] = field(
        default_factory=dict
    )  # when acting: VM that is active here, too -> the member on which it runs, by that one's own word

    offered: frozenset[str] = frozenset()
    """When acting: VMs that run elsewhere and belong here, with disks to be copied, as their source has just said."""

    @property
    def foresees(self) -> bool:
        return self.handovers is None

    def facts(self, host: str) -> HypervisorFacts | None:
        report = self.reports.get(host)
        return report.facts if report else None


def clock_text(at: float) -> str:
    """A moment for people: the time of day in UTC. A report's age would make a different plan every
    second."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"second {at:.0f}"


def owner_trouble(document: Document, view: View, host: str) -> str:
    """Why `host` can't act on its VMs now, "" when it can."""
    if host in document.state.fenced:
        return f"{host} was fenced (switched off); it comes back to the site when it is switched on"
    if host not in document.state.members:
        return f"no xsmd has joined for {host} (`xsm invite {host}` here, `xsm join` there)"
    report = view.reports.get(host)
    seen = f"; last report {clock_text(report.at)}" if report else ""
    if host in view.unreachable:
        return f"{host} does not answer: {view.unreachable[host] or 'unknown reason'}{seen}"
    if report is None:
        return f"no report from {host} yet"
    if report.facts is None:
        why = report.error or "unknown reason"
        return f"the hypervisor of {host} can't be asked: {why} (as of {clock_text(report.at)})"
    if report.frozen:
        return f"{host} acts on nothing: {report.frozen}"
    return ""


def target_trouble(document: Document, view: View, host: str) -> str:
    """Why `host` can't receive a VM now, "" when it can.

    When acting, the target's claim says that it is there, so its report may be missing.
    """
    never = why_no_vms(document.state, host, view.reports.get(host))
    if never:
        return never
    if host in document.state.drained:
        return f"{host} is drained (`xsm host resume {host}` lets VMs run there again)"
    if view.foresees or host not in document.state.members:
        return owner_trouble(document, view, host)
    return ""


def is_fresh(view: View, host: str) -> bool:
    """Whether the host's report is good enough to prove that a domain runs there at this moment."""
    report = view.reports.get(host)
    if report is None or report.facts is None or host in view.unreachable:
        return False
    return view.now - report.at <= REPORT_OLD_S
