"""`xsm hosts`: what each host can carry, what it carries, and how fresh that knowledge is."""

from __future__ import annotations

from xsm.api.types import MemberStatus, PlanAnswer, Status
from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.screen import Cell, Column
from xsm.cli.status import REACH_STYLE
from xsm.cli.texts import age, count, short
from xsm.plan.observed import ACTIVE, XEN_DOM0_UUID, HostReport

COLUMNS = (
    Column("HOST"),
    Column("STATE"),
    Column("FOR", drop=6),
    Column("HYPERVISOR", drop=3),
    Column("VMS", right=True),
    Column("CPUS", right=True, drop=4),
    Column("MEMORY MIB", right=True, drop=2),
    Column("FREE MIB", right=True),
    Column("REVISION", drop=5),
    Column("REMARK"),
)


@site_command("hosts", short_help="The hosts and what they have left.")
@pass_context
def command(context: Context) -> None:
    """The hosts: hypervisor (or that it is a witness), VMs, memory in all and free, and what is wrong with them.

    FOR is how long a host has been alive, suspect, failed or left (its xsmd was stopped on purpose), as this one sees
    it.
    """
    show_hosts(context)


def show_hosts(context: Context) -> None:
    """The table, or as JSON the members and their reports."""
    status = context.client.status()
    answer = context.client.plan()
    if context.json:
        context.show({"members": status.members, "reports": answer.reports})
        return
    context.screen.table(COLUMNS, [_row(member, answer, status) for member in status.members])


def _row(member: MemberStatus, answer: PlanAnswer, status: Status) -> list[Cell | str]:
    report = answer.reports.get(member.name)
    error = answer.unreachable.get(member.name, "") or member.error
    if report and not error:
        error = f"frozen: {report.frozen}" if report.frozen else report.error
    remarks = ["drained"] if member.drained else []
    remarks += ["signs certificates"] if member.signs else []
    locks = report.facts.locks if report and report.facts else ""
    remarks += [f"locks disks ({locks})"] if locks else []
    unshown = sum(domain.unshown for domain in report.domains) if report else 0
    remarks += (
        [f"{count(unshown, 'domain')} made by xl, which libvirt doesn't show"] if unshown else []
    )
    remarks += [error] if error else []
    behind = bool(member.revision) and member.revision != status.revision
    return [
        Cell(member.name, "name"),
        Cell(str(member.reach), REACH_STYLE[member.reach]),
        "-" if member.since_s is None else age(member.since_s),
        *_carries(member, report),
        Cell(short(member.revision), "care" if behind else ""),
        Cell(", ".join(remarks), "bad" if error else "care" if member.drained else ""),
    ]


def _carries(member: MemberStatus, report: HostReport | None) -> list[str]:
    """Hypervisor, VMs, CPUs, memory in all and free."""
    if member.witness or (report and report.says_witness):
        return ["witness", "-", "-", "-", "-"]
    facts = report.facts if report else None
    if report is None or facts is None:
        return ["-"] * 5
    memory = (str(facts.memory_mib), str(facts.free_memory_mib))
    return [f"{facts.kind} {facts.version}", str(running(report)), str(facts.cpus), *memory]


def running(report: HostReport) -> int:
    """How many domains hold memory there, foreign ones too. Xen's own Domain-0 is none."""
    return sum(d.state in ACTIVE and d.uuid != XEN_DOM0_UUID for d in report.domains)
