"""`xsm resolve VM`: keep what is shown of a conflict; what was held goes on."""

from __future__ import annotations

from xsm.api.types import Command, Verb
from xsm.cli.carry_out import Manner, manner_options
from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.names import vm_argument
from xsm.cli.power import message_option
from xsm.cli.small_edit import run_command


@site_command("resolve", short_help="Settle a VM's conflict as it is shown.")
@vm_argument()
@message_option
@manner_options
@pass_context
def command(context: Context, vm: str, message: str, manner: Manner) -> int:
    """Settle VM's conflicts: two people changed it at once, and the values shown now are right.

    To choose another value edit the site file and apply it; that settles a conflict, too.
    """
    if not context.json:
        for conflict in context.client.status().conflicts:
            if conflict.vm == vm:
                context.screen.line(
                    f"{vm}: {conflict.what}: keep {conflict.shown}, drop {conflict.other}"
                )
    return run_command(
        context,
        Command(Verb.RESOLVE, vm=vm, message=message),
        manner,
        f"Settle {vm} so?",
        nothing=f"{vm} has no conflict.",
    )
