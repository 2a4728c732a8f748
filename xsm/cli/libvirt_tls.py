"""`xsm host libvirt-tls`: libvirt's TLS on this host, from the site's CA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.failures import Failure

if TYPE_CHECKING:
    from xsm.edge.libvirt_tls import Todo


@dataclass(frozen=True)
class Done:
    """What `-o json` gives."""

    uri: str
    changed: tuple[str, ...]
    by_hand: str  # what somebody has to do, "" for nothing
    problem: str  # why libvirt doesn't answer there, "" when it does


@site_command(
    "libvirt-tls",
    short_help="Let the site's hosts migrate VMs to this one, over TLS.",
    examples=("xsm host libvirt-tls", "xsm host libvirt-tls --yes"),
)
@click.option(
    "--replace", is_flag=True, help="Also where certificates of another CA are; they are kept."
)
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@pass_context
def libvirt_tls(context: Context, replace: bool, yes: bool) -> int:
    """Give this host's libvirt and QEMU their certificates, and let libvirtd listen for the site's other hosts.

    Writes /etc/pki/CA, /etc/pki/libvirt, /etc/pki/qemu, TLS in /etc/libvirt/libvirtd.conf (this site's hosts only are
    let in), and `migrate_uri` in xsmd.toml. Shows it first and asks; checks at the end that libvirt answers there.
    Given again it does what is missing. Needs root, and no xsmd.
    """
    import os
    from pathlib import Path

    from xsm.edge import libvirt_tls as edge
    from xsm.edge.certificate import CertificateRefused, libvirt_files, peer_files
    from xsm.edge.settings import load_settings, settings_path

    path = settings_path(context.config or None, os.environ, os.geteuid())
    settings = load_settings(context.config or None)
    try:
        uri = edge.migrate_uri(settings)
        todo = edge.todo(settings, Path(path), libvirt_files(settings.tls_dir), replace=replace)
        changed = do_here(context, todo, yes)
        if changed is None:
            return 1
    except edge.NotPossible as error:
        raise Failure(str(error), error.hint) from None
    except CertificateRefused as error:
        raise Failure(str(error)) from None
    problem = edge.check(uri, peer_files(settings.tls_dir))
    # Once it answers, nothing is left to be done by hand.
    by_hand = todo.by_hand or (HOW if problem else "")
    _show(context, Done(uri, changed, by_hand, problem))
    return 1 if problem and not todo.by_hand else 0


def do_here(context: Context, todo: Todo, yes: bool) -> tuple[str, ...] | None:
    """Show what is to be done on this host, ask, and do it; what that was, None when the user said no. Raises
    `edge.libvirt_tls.NotPossible`, `OSError`."""
    from xsm.edge.libvirt_tls import carry_out, lines

    changed = tuple(lines(todo))
    if changed and not context.json:
        context.screen.line("On this host:")
        for line in changed:
            context.screen.line(line, indent=2)
    if changed and not context.confirm("Do it?", yes):
        return None
    carry_out(todo)
    return changed


HOW = "libvirtd must run with --listen (systemd: libvirtd-tls.socket), and port 16514 be open"


def _show(context: Context, done: Done) -> None:
    if context.json:
        context.show(done)
        return
    screen = context.screen
    if not done.problem:
        screen.line(f"libvirt answers at {done.uri}, with this site's certificates.", "good")
    else:
        screen.line(f"libvirt doesn't answer at {done.uri} yet: {done.problem}", "care")
    if done.by_hand:
        screen.line(f"To do: {done.by_hand}", "care")
    if any("migrate_uri" in line for line in done.changed):
        screen.line("xsmd reads migrate_uri when it starts: restart it if it runs.")
