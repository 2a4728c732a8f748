"""`xsm host libvirt-locks`: libvirt locks the disks of running VMs on this host, too."""

from __future__ import annotations

from dataclasses import dataclass

import click

from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.failures import Failure
from xsm.cli.libvirt_tls import do_here


@dataclass(frozen=True)
class Done:
    """What `-o json` gives."""

    folder: str
    changed: tuple[str, ...]
    by_hand: str  # what somebody has to do, "" for nothing


@site_command(
    "libvirt-locks",
    short_help="Have libvirt lock the disks of running VMs.",
    examples=("xsm host libvirt-locks /srv/shared/locks",),
)
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@pass_context
def libvirt_locks(context: Context, folder: str, yes: bool) -> int:
    """Have libvirt on this host lock the disks of running VMs, by virtlockd in DIR, which all hosts share.

    A second belt beside XSM's claims: also `virsh start` on another host is refused. Do it on all hosts: libvirt
    migrates no VM between hosts that do and hosts that don't. VMs that run now get their locks at their next start.
    Writes lock_manager in /etc/libvirt/qemu.conf and file_lockspace_dir in qemu-lockd.conf; keeps what was there.
    Needs root, and no xsmd.
    """
    from pathlib import Path

    from xsm.edge import libvirt_locks as edge
    from xsm.edge.libvirt_tls import NotPossible

    try:
        todo = edge.todo(Path(folder))
        changed = do_here(context, todo, yes)
        if changed is None:
            return 1
    except NotPossible as error:
        raise Failure(str(error), error.hint) from None
    if context.json:
        context.show(Done(folder, changed, todo.by_hand))
        return 0
    screen = context.screen
    screen.line(f"libvirt is told to lock disks in {folder}.", "good")
    if todo.by_hand:
        screen.line(f"To do: {todo.by_hand}", "care")
    return 0
