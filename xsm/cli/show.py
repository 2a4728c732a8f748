"""`xsm show`: everything about one VM or one host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xsm.api.types import MemberStatus, PlanAnswer, VmStatus
from xsm.cli.client import Client
from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.names import VmOrHostName
from xsm.cli.screen import Cell, Column, Screen
from xsm.cli.status import REACH_STYLE
from xsm.cli.texts import age, count, date, short
from xsm.cli.unknown import no_such
from xsm.cli.vms import host_text, number_text, state_cell
from xsm.plan.observed import Domain, HostReport

if TYPE_CHECKING:
    from xsm.plan.wanted import WantedVM  # a VM's files are read only when one is shown

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
            show_vm(context.screen, vm, None if vm.foreign else wanted_vm(context.client, name))
        return
    if member is None:
        raise no_such(
            "VM or host", name, [*(v.name for v in vms), *(m.name for m in status.members)]
        )
    answer = context.client.plan()
    if context.json:
        context.show({"member": member, "report": answer.reports.get(member.name)})
    else:
        show_host(context.screen, member, answer)


def wanted_vm(client: Client, name: str) -> WantedVM | None:
    """What the site's files say of a VM; None when this version of xsm can't read them."""
    from xsm.plan.wanted import wanted
    from xsm.site.document import load
    from xsm.site.problems import Invalid

    try:
        return wanted(load(client.files())).by_name.get(name)
    except Invalid:
        return None


def show_vm(screen: Screen, vm: VmStatus, want: WantedVM | None) -> None:
    """The details of one VM."""
    placed = "pinned by the site file" if vm.pinned else "floating, placed by the site"
    pairs: list[tuple[str, str | Cell]] = [
        ("vm", Cell(vm.name, "name")),
        ("state", state_cell(vm)),
        ("host", host_text(vm) + ("" if vm.foreign else f" ({placed})")),
    ]
    if vm.foreign:
        take = (
            f"`xsm adopt {vm.observed_hosts[0]} {vm.name}`" if vm.observed_hosts else "`xsm adopt`"
        )
        pairs.append(("remark", f"foreign: not of the site; XSM leaves it alone until {take}"))
    else:
        pairs += [
            ("wanted", vm.wanted_power),
            ("set", vm.set_name),
            ("config", vm.config),
        ]
    pairs.append(("vcpus", number_text(vm.observed_vcpus, vm.vcpus, vm.foreign)))
    pairs += [("maxvcpus", str(want.max_vcpus))] if want else []
    memory = number_text(vm.observed_memory_mib, vm.memory_mib, vm.foreign)
    pairs.append(("memory", f"{memory} MiB"))
    pairs += [("maxmem", f"{want.max_memory_mib} MiB")] if want else []
    pairs += [
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
    if not error and report and report.frozen:
        error = f"frozen: {report.frozen}"
    if error:
        pairs.append(("error", Cell(error, "bad")))
    if report is None:
        screen.pairs(pairs)
        return
    pairs.append(("report of", date(report.at)))
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
    words = [] if domain.tag else ["made by xl" if domain.unshown else "foreign"]
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
