"""`xsm apply`: make the site as the file says."""

from __future__ import annotations

from dataclasses import replace

import click

from xsm.api.types import Applied, Preview
from xsm.cli.carry_out import Change, Manner, carry_out, manner_options
from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.names import VmName
from xsm.cli.unknown import names_checked


@site_command(
    "apply",
    short_help="Make the site as the file says.",
    examples=(
        "xsm apply site.xml",
        'xsm apply -m "vm1 needs more memory" --yes',
        "xsm apply --restart vm1",
    ),
)
@click.argument("path", type=click.Path(), metavar="[FILE|DIR]", default=".")
@click.option("-m", "--message", default="", metavar="MSG", help="Why; kept in the history.")
@click.option(
    "--restart",
    multiple=True,
    type=VmName(),
    metavar="VM",
    help="This VM may be restarted where a change needs it. May be repeated.",
)
@manner_options
@pass_context
def command(
    context: Context,
    path: str,
    message: str,
    restart: tuple[str, ...],
    manner: Manner,
) -> int:
    """Make the site as the file says: show the plan, ask, commit, and follow all hosts until it is
    so.

    Takes the site file and the configs beside it. In a clone of the site's repository an edit made
    meanwhile by somebody else is merged, and refused only where both disagree.
    """
    from xsm.cli.site_clone import bring_along
    from xsm.cli.site_folder import proposal, remember_applied, warned
    from xsm.edge.folder import read_folder

    folder = read_folder(path, with_state=False)
    client = context.client
    edit = proposal(folder, client, message=message, restart=tuple(sorted(restart)))

    done: list[Applied] = []

    def do(head: str) -> Applied:
        applied = client.apply(replace(edit, expect=head))
        remember_applied(folder, client, applied.revision)
        done.append(applied)
        return applied

    def preview() -> Preview:
        with names_checked(client, vms=edit.restart):
            return warned(client.preview(edit), edit, folder, client)

    change = Change(
        preview=preview,
        apply=do,
        question="Apply this?",
        always_ask=True,
        shown=folder.shown,
    )
    code = carry_out(context, change, manner)
    # Only now: by then the host that the clone pulls from has the revision, too.
    if done and edit.base and (line := bring_along(folder, client, done[0].revision)):
        context.screen.warn(line, "faint")
    return code
