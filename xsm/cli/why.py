"""`xsm why VM`: the story of one VM, from the edit to the domain."""

from __future__ import annotations

from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.events import event_rows
from xsm.cli.history import show_revision
from xsm.cli.names import vm_argument
from xsm.cli.screen import Screen
from xsm.cli.unknown import names_checked


@site_command("why", short_help="Why a VM is as it is.", examples=("xsm why vm1",))
@vm_argument()
@pass_context
def command(context: Context, vm: str) -> None:
    """Why a VM is as it is: which commit wanted it, who claimed it, what was done, what is left."""
    with names_checked(context.client, vms=(vm,)):
        why = context.client.why(vm)
    if context.json:
        context.show(why)
        return
    screen = context.screen
    screen.line(why.vm, "name")
    _section(screen, "wanted", why.wanted)
    if why.commits:
        screen.line("because of", "head", indent=2)
        for revision in why.commits:
            show_revision(screen, revision, indent=4)
    _section(screen, "claims", why.claims)
    _section(screen, "observed", why.observed)
    if why.events:
        screen.line("what happened", "head", indent=2)
        screen.bare_rows(event_rows(why.events), indent=4)
    _section(screen, "next", why.next or ("nothing: it is as it should be",))


def _section(screen: Screen, title: str, lines: tuple[str, ...]) -> None:
    if not lines:
        return
    screen.line(title, "head", indent=2)
    for line in lines:
        screen.line(line, indent=4)
