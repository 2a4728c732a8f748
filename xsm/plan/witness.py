"""Who runs no VMs at all: a witness, which only has a vote.

Decides what counts where the table of members and a host's own word are two sources: the table, from the day the host
joined, so that a witness is one also while it is silent. Rows of older revisions don't say; then the host's last report
does. Must not know what follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping

from xsm.plan.observed import HostReport
from xsm.site.state import Member, State


def why_no_vms(state: State, host: str, report: HostReport | None) -> str:
    """Why the host runs no VMs at all, "" when it may."""
    member = state.member(host)
    if is_witness(member, report):
        return f"{host} is a witness, which runs no VMs"
    return contradiction(member, report) if member else ""


def is_witness(member: Member | None, report: HostReport | None) -> bool:
    """By the table of members; where that doesn't say, by the host's last report."""
    if member is not None and member.witness is not None:
        return member.witness
    return report is not None and report.says_witness


def contradiction(member: Member, report: HostReport | None) -> str:
    """What is wrong where a host's daemon says something else than the table of members, "" when nothing is."""
    if report is None or report.facts is None or member.witness is None:
        return ""
    if member.witness and not report.says_witness:
        return (
            f"{member.name} joined as a witness, but its xsmd manages a hypervisor ({report.facts.kind}): no VM comes "
            'to it; put hypervisor = "none" into its settings, or forget it and join it anew without --witness'
        )
    if not member.witness and report.says_witness:
        return (
            f"{member.name} joined as a host that runs VMs, but its xsmd says that it is a witness: no VM comes to it; "
            "put its hypervisor back into its settings, or drain and forget it and join it anew with --witness"
        )
    return ""


def without_witnesses(
    state: State, silent: Mapping[str, str], reports: Mapping[str, HostReport]
) -> dict[str, str]:
    """Of hosts that don't answer (host -> why), those that may run something."""
    return {
        host: why
        for host, why in silent.items()
        if not is_witness(state.member(host), reports.get(host))
    }
