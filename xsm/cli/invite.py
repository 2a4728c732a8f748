"""`xsm invite NAME`: a token with which one host may join, and the command to run there."""

from __future__ import annotations

import shlex

import click

from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.texts import date_and_zone


@site_command(
    "invite", short_help="Make a token with which a host may join.", examples=("xsm invite dmz05",)
)
@click.argument("name")
@click.option("--again", is_flag=True, help="NAME is a member whose certificate has ended.")
@pass_context
def command(context: Context, name: str, again: bool) -> None:
    """Make a token with which the host NAME may join this site, once.

    Prints the command to run on that host. Whoever has the token can join: pass it on safely.

    With --again NAME is a member that was off until its certificate had ended: it gets a new one.
    """
    invitation = context.client.invite(name, again)
    if context.json:
        context.show(invitation)
        return
    context.screen.warn(
        f"Good once, until {date_and_zone(invitation.expires)}. Run this on {name}:"
    )
    address = f"ADDRESS_OF_{name.upper().replace('-', '_').replace('.', '_')}"
    if again:
        members = {member.name: member for member in context.client.status().members}
        address = members[name].address if name in members else address
    context.screen.raw(
        f"xsm join {shlex.quote(invitation.token)} --name {shlex.quote(name)} --address {address}"
    )
