"""`xsm show`: everything about one VM or one host."""

from __future__ import annotations

import click

from xsm.api.types import MemberStatus, PlanAnswer, VmStatus
from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.failures import InputFailure
from xsm.cli.names import VmOrHostName
from xsm.cli.screen import Cell, Column, Screen
from xsm.cli.status import REACH_STYLE
from xsm.cli.texts import age, count, date, short
from xsm.cli.vms import host_text, number_text, state_cell
from xsm.plan.observed import Domain, HostReport

DOMAIN_COLUMNS = (
    Column("DOMAIN"),
    Column("STATE"),
    Column("VCPUS", right=True, drop=1),
    Column("MIB", right=True, drop=2),
    Column("MAC", drop=3),
    Column("REMARK"),
)


@site_command("show", short_help="All about one VM or host.", examples=("xsm show vm1",))
@click.argument("name", type=VmOrHostName(), metavar="VM|HOST")
@pass_context
def command(context: Context, name: str) -> None:
    """All about one VM or one host."""
    vms = context.client.vms()
    found = [vm for vm in vms if vm.name == name]
    status = context.client.status()
    member = next((m for m in status.members if name in (m.name, m.address)), None)
    if found:
        if context.json:
            context.show(found if len(found) > 1 else found[0])
        for vm in found if not context.json else []:
            show_vm(context.screen, vm)
        return
    if member is None:
        from difflib import get_close_matches

        known = [vm.name for vm in vms] + [m.name for m in status.members]
        near = get_close_matches(name, known, n=3)
        hint = (
            f"did you mean {' or '.join(near)}?" if near else "`xsm vms` and `xsm hosts` list all"
        )
        raise InputFailure(f"there is no VM or host {name}", hint)
    answer = context.client.plan()
    if context.json:
        context.show({"member": member, "report": answer.reports.get(member.name)})
    else:
        show_host(context.screen, member, answer)


def show_vm(screen: Screen, vm: VmStatus) -> None:
    """The details of one VM."""
    placed = "pinned by the site file" if vm.pinned else "floating, placed by the site"
    pairs: list[tuple[str, str | Cell]] = [
        ("vm", Cell(vm.name, "name")),
        ("state", state_cell(vm)),
        ("host", host_text(vm) + ("" if vm.foreign else f" ({placed})")),
    ]
    if vm.foreign:
        pairs.append(("remark", "foreign: XSM leaves it alone until `xsm adopt` takes it in"))
    else:
        pairs += [
            ("wanted", vm.wanted_power),
            ("set", vm.set_name),
            ("config", vm.config),
        ]
    pairs += [
        ("vcpus", number_text(vm.observed_vcpus, vm.vcpus, vm.foreign)),
        ("memory", number_text(vm.observed_memory_mib, vm.memory_mib, vm.foreign) + " MiB"),
        ("ip", vm.ip or "-"),
        ("mac", vm.mac or "-"),
        ("uuid", vm.uuid),
        ("domains on", ", ".join(vm.observed_hosts) or "-"),
    ]
    screen.pairs(pairs)
    if vm.pending:
        screen.line("pending:", "care")
        for line in vm.pending:
            screen.line(line, indent=2)


def show_host(screen: Screen, member: MemberStatus, answer: PlanAnswer) -> None:
    """The details of one host, and its domains."""
    report = answer.reports.get(member.name)
    pairs: list[tuple[str, str | Cell]] = [
        ("host", Cell(member.name, "name")),
        ("state", Cell(str(member.reach), REACH_STYLE[member.reach])),
        ("seen", "this host" if member.myself else age(member.seen_s)),
        ("address", member.address),
        ("url", member.url),
        ("revision", short(member.revision)),
        ("drained", "yes" if member.drained else "no"),
    ]
    error = answer.unreachable.get(member.name, "") or member.error
    if error:
        pairs.append(("error", Cell(error, "bad")))
    if report is None:
        screen.pairs(pairs)
        return
    pairs.append(("report of", date(report.at)))
    if report.frozen:
        pairs.append(("frozen", Cell(report.frozen, "bad")))
    if report.facts is None:
        pairs.append(("hypervisor", Cell(report.error or "can't be asked", "bad")))
    else:
        facts = report.facts
        pairs += [
            ("hypervisor", f"{facts.kind} {facts.version}, {facts.arch}"),
            ("cpus", f"{facts.cpus} {facts.cpu_model}".strip()),
            ("memory", f"{facts.memory_mib} MiB, {facts.free_memory_mib} MiB free"),
            ("migration", f"cold only: {facts.cold_only}" if facts.cold_only else "live"),
        ]
    screen.pairs(pairs)
    _domains(screen, report)
    for title, lines in (("pending", report.pending), ("held", report.held)):
        if lines:
            screen.line()
            screen.line(f"{title}:", "care")
            for line in lines:
                screen.line(line, indent=2)


def _domains(screen: Screen, report: HostReport) -> None:
    if report.facts is None:
        return
    screen.line()
    screen.line(count(len(report.domains), "domain") + (":" if report.domains else ""), "head")
    domains = sorted(report.domains, key=lambda domain: (domain.name, domain.uuid))
    screen.table(DOMAIN_COLUMNS, [_domain_row(domain) for domain in domains], indent=2)


def _domain_row(domain: Domain) -> list[Cell | str]:
    words = [] if domain.tag else ["foreign"]
    words += ["autostart"] if domain.autostart else []
    words += [] if domain.persistent else ["transient"]
    return [
        Cell(domain.name, "name"),
        str(domain.state),
        f"{domain.vcpus}/{domain.max_vcpus}",
        f"{domain.memory_mib}/{domain.max_memory_mib}",
        domain.mac or "-",
        Cell(", ".join(words), "faint"),
    ]
