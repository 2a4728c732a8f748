"""`xsm history`: who changed what, newest first."""

from __future__ import annotations

import click

from xsm.api.types import RevisionInfo
from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.names import VmName
from xsm.cli.screen import Screen
from xsm.cli.texts import date, first_line, short
from xsm.cli.unknown import check_told_of

DEFAULT_LIMIT = 20
MAX_LIMIT = 10_000  # xsmd gives no more at once


@site_command(
    "history",
    short_help="Who changed what, newest first.",
    examples=("xsm history -n 5", "xsm history --vm vm1"),
)
@click.option(
    "-n",
    "limit",
    type=click.IntRange(1, MAX_LIMIT),
    default=DEFAULT_LIMIT,
    show_default=True,
    metavar="N",
    help="How many revisions.",
)
@click.option("--vm", type=VmName(), metavar="VM", default="", help="Only what changed this VM.")
@pass_context
def command(context: Context, limit: int, vm: str) -> None:
    """Who changed what, newest first."""
    revisions = context.client.history(limit, vm)
    if vm and not revisions:
        check_told_of(context.client, vm)
    if context.json:
        context.show(revisions)
    elif revisions:
        for revision in revisions:
            show_revision(context.screen, revision)
    else:
        context.screen.warn(f"nothing has changed {vm}" if vm else "there are no revisions")


def show_revision(screen: Screen, revision: RevisionInfo, indent: int = 0) -> None:
    """One revision: a heading of one line, then its changes."""
    merge = " [merge]" if revision.merge else ""
    screen.line(
        f"{short(revision.id)}  {date(revision.date)}  {revision.author}{merge}"
        f"  {first_line(revision.message)}",
        "head",
        indent,
    )
    for line in revision.changes:
        screen.line(line, indent=indent + 4)
