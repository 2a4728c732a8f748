"""`xsm vms`: what is wanted and what is observed, side by side."""

from __future__ import annotations

import re

import click

from xsm.api.types import VmStatus
from xsm.cli.client import Client
from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.names import HostName
from xsm.cli.screen import Cell, Column
from xsm.cli.unknown import host_named, no_such

COLUMNS = (
    Column("VM"),
    Column("STATE"),
    Column("HOST"),
    Column("SET", drop=5),
    Column("CONFIG", drop=6),
    Column("VCPUS", right=True, drop=2),
    Column("MIB", right=True, drop=1),
    Column("IP", drop=4),
    Column("MAC", drop=7),
    Column("REMARK"),
)

HELD = ": held: "
MOVES = {"migrate live": "moves live", "migrate cold": "moves cold"}
WORDS = {"live": "changes live", "create": "is made", "start": "starts", "recreate": "is made anew"}
"""Consequences as a remark; the others are their own words."""

_PLACE = re.compile(r"\S+( on \S+)?: ")
_MOVE = re.compile(r"host \S* ?=> (\S+)")

STATE_STYLE = {
    "running": "good",
    "paused": "care",
    "crashed": "bad",
    "absent": "bad",
    "unknown": "faint",
}


@site_command("vms", short_help="The VMs, wanted and observed.")
@click.option("--host", type=HostName(), metavar="HOST", help="Only VMs of this host.")
@click.option("--set", "set_name", metavar="SET", help="Only VMs of this set.")
@click.option("--pending", is_flag=True, help="Only VMs that are not as they should be.")
@pass_context
def command(context: Context, host: str | None, set_name: str | None, pending: bool) -> None:
    """The VMs of the site, and domains that are not the site's (foreign).

    A value that differs from what is wanted is shown as `observed => wanted`.
    """
    client = context.client
    home = host_named(client, host) if host is not None else ""
    vms = [
        vm
        for vm in client.vms()
        if (host is None or home in (vm.wanted_host, *vm.observed_hosts))
        and (set_name is None or vm.set_name == set_name)
        and (not pending or vm.pending)
    ]
    if not vms and set_name is not None:
        _check_set(client, set_name)
    if context.json:
        context.show(vms)
    elif vms:
        context.screen.table(COLUMNS, [_row(vm) for vm in vms])
        if context.screen.width is not None and any(
            HELD in line for vm in vms for line in vm.pending
        ):
            context.screen.line("(`xsm why VM` says why something is held)", "faint")
    else:
        context.screen.warn("no VMs" if not (home or set_name or pending) else "no such VMs")


def _check_set(client: Client, set_name: str) -> None:
    """A set may have no VMs; only the site file knows then. Raises `Refused` (unknown)."""
    from xsm.site.document import load

    names = [vm_set.name for vm_set in load(client.files()).site.sets]
    if set_name not in names:
        raise no_such("set", set_name, names)


def _row(vm: VmStatus) -> list[Cell | str]:
    return [
        Cell(vm.name, "name"),
        state_cell(vm),
        host_text(vm),
        vm.set_name or "-",
        vm.config or "-",
        number_text(vm.observed_vcpus, vm.vcpus, vm.foreign),
        number_text(vm.observed_memory_mib, vm.memory_mib, vm.foreign),
        vm.ip or "-",
        vm.mac or "-",
        remark(vm),
    ]


def state_cell(vm: VmStatus) -> Cell:
    """The observed state; red when the VM runs in two places, which must never be."""
    if len(vm.running_on) > 1:
        return Cell("RUNS TWICE", "bad")
    if vm.state == "shutoff" and vm.wanted_power == "stopped":
        return Cell("stopped", "faint")
    return Cell(vm.state, STATE_STYLE.get(vm.state, ""))


def host_text(vm: VmStatus) -> str:
    """Where it is, and where it should be when that is elsewhere."""
    seen = vm.running_on or vm.observed_hosts
    observed = ",".join(seen)
    if vm.foreign or not vm.wanted_host:
        return observed or "-"
    if observed in ("", vm.wanted_host):
        return vm.wanted_host
    return f"{observed} => {vm.wanted_host}"


def number_text(observed: int | None, wanted: int, foreign: bool) -> str:
    if foreign:
        return "-" if observed is None else str(observed)
    return str(wanted) if observed in (None, wanted) else f"{observed} => {wanted}"


def remark(vm: VmStatus) -> Cell:
    """What the row doesn't show yet, shortly: `xsm why` tells the reasons."""
    if vm.foreign:
        return Cell("foreign", "faint")
    words = [] if vm.pinned else ["floating"]
    words += dict.fromkeys(_shortly(line) for line in vm.pending)
    return Cell("; ".join(words), "care" if vm.pending else "faint")


def _shortly(line: str) -> str:
    """`moves to dmz03: held` of a pending line, which says where, what and why."""
    rest = _PLACE.sub("", line, count=1)
    what, held, _ = rest.partition(HELD)
    if held:
        move = _MOVE.match(what)
        subject = f"moves to {move[1]}" if move else what.split(" ", 1)[0].rstrip(":,")
        return f"{subject}: held"
    how, colon, what = rest.partition(": ")
    if not colon:
        return rest
    move = _MOVE.match(what) if how in MOVES else None
    return f"{MOVES[how]} to {move[1]}" if move else WORDS.get(how, how)
