"""`xsm rollback REVISION`: an earlier revision's site file and configs become the new head."""

from __future__ import annotations

import click

from xsm.api.types import Command, Verb
from xsm.cli.carry_out import Manner, manner_options
from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.names import RevisionId
from xsm.cli.power import message_option
from xsm.cli.small_edit import run_command
from xsm.cli.texts import date, first_line, short


@site_command(
    "rollback", short_help="Go back to an earlier revision.", examples=("xsm rollback a1b2c3d",)
)
@click.argument("revision", type=RevisionId(), metavar="REVISION")
@message_option
@manner_options
@pass_context
def command(context: Context, revision: str, message: str, manner: Manner) -> int:
    """Go back to REVISION: its site file and configs become the new head, as a new edit.

    Nothing of the history is lost; what the site itself decided since (members, drained hosts)
    stays.
    """
    goal = context.client.revision(revision)
    if not context.json:
        context.screen.line(
            f"Back to {short(goal.id)} of {date(goal.date)} by {goal.author}:"
            f" {first_line(goal.message)}"
        )
    return run_command(
        context,
        Command(Verb.ROLLBACK, to=goal.id, message=message),
        manner,
        f"Roll back to {short(goal.id)}?",
        always_ask=True,
        nothing=f"The site file and configs are those of {short(goal.id)} already.",
    )
