"""`xsm migrate, start, stop, pause, resume, restart`: one VM each, as edits of the site."""

from __future__ import annotations

from dataclasses import replace

import click

from xsm.api.types import Command, Verb
from xsm.cli.carry_out import Manner, manner_options
from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.failures import EXIT_INTERRUPTED, InputFailure, Refused
from xsm.cli.names import host_argument, vm_argument
from xsm.cli.small_edit import run_command
from xsm.site.model import Migration

message_option = click.option(
    "-m", "--message", default="", metavar="MSG", help="Why; kept in the history."
)


@site_command(
    "migrate",
    short_help="Move a VM to another host.",
    examples=("xsm migrate vm1 dmz02", "xsm migrate vm1 dmz02 --cold", "xsm migrate vm1 --abort"),
)
@vm_argument()
@host_argument("to", required=False, default="")
@click.option("--cold", is_flag=True, help="It may be stopped for it: sets MIGRATION to cold.")
@click.option(
    "--abort",
    is_flag=True,
    help="Call back a move that is not done: VM stays where it runs. What --cold set stays.",
)
@message_option
@manner_options
@pass_context
def migrate(
    context: Context, vm: str, to: str, cold: bool, abort: bool, message: str, manner: Manner
) -> int:
    """Move VM to HOST: changes its DOM0, or where the site has placed it when it floats.

    Refused when it can't be done now. Asks when the VM has to be stopped for it. Ctrl-C while it is
    followed calls the move back, as --abort does.
    """
    if abort:
        if to or cold:
            raise InputFailure("--abort takes neither HOST nor --cold", f"xsm migrate {vm} --abort")
        return run_command(
            context, Command(Verb.CALL_BACK, vm=vm, message=message), manner, f"Call {vm} back?"
        )
    if not to:
        raise InputFailure("HOST is missing: where should it go?", f"xsm migrate {vm} HOST")
    command = Command(Verb.MIGRATE, vm=vm, to=to, message=message, cold=cold)
    was = _migration(context, vm) if cold else None
    return run_command(
        context,
        command,
        manner,
        f"Move {vm} to {to}?",
        nothing=f"{vm} belongs on {to} already.",
        take_back=lambda: _call_back(context, vm, to, manner, was),
    )


def _migration(context: Context, vm: str) -> Migration | None:
    """What its entry in the site file says, None where there is none."""
    from xsm.site.document import load

    entry = load(context.client.files()).site.vm(vm)
    return entry.migration if entry else None


def _call_back(
    context: Context, vm: str, to: str, manner: Manner, migration: Migration | None
) -> int:
    """After Ctrl-C in the middle of a move. `migration`: what --cold changed."""
    context.screen.warn(
        f"interrupted: calling {vm} back from {to} (Ctrl-C again leaves the hosts to it)"
    )
    command = Command(Verb.CALL_BACK, vm=vm, migration=migration)
    try:
        run_command(context, command, replace(manner, yes=True), f"Call {vm} back?")
    except KeyboardInterrupt:
        context.screen.warn(f"left; `xsm why {vm}` tells what becomes of it")
    except Refused as refused:
        context.screen.warn(f"{refused.message}: there is nothing to call back")
    return EXIT_INTERRUPTED


@site_command("start", short_help="Start a VM.")
@vm_argument()
@message_option
@manner_options
@pass_context
def start(context: Context, vm: str, message: str, manner: Manner) -> int:
    """Start VM, and keep it running."""
    command = Command(Verb.START, vm=vm, message=message)
    return run_command(
        context, command, manner, f"Start {vm}?", nothing=f"{vm} is running as the site wants."
    )


@site_command("stop", short_help="Shut a VM down.")
@vm_argument()
@message_option
@manner_options
@pass_context
def stop(context: Context, vm: str, message: str, manner: Manner) -> int:
    """Shut VM down, and keep it off."""
    command = Command(Verb.STOP, vm=vm, message=message)
    return run_command(
        context,
        command,
        manner,
        f"Shut {vm} down?",
        always_ask=True,
        nothing=f"{vm} is off as the site wants.",
    )


@site_command("pause", short_help="Pause a VM.")
@vm_argument()
@message_option
@manner_options
@pass_context
def pause(context: Context, vm: str, message: str, manner: Manner) -> int:
    """Pause VM: it keeps its memory and gets no CPU time."""
    command = Command(Verb.PAUSE, vm=vm, message=message)
    return run_command(
        context, command, manner, f"Pause {vm}?", nothing=f"{vm} is paused as the site wants."
    )


@site_command("resume", short_help="Let a paused VM go on.")
@vm_argument()
@message_option
@manner_options
@pass_context
def resume(context: Context, vm: str, message: str, manner: Manner) -> int:
    """Let a paused VM go on."""
    command = Command(Verb.RESUME, vm=vm, message=message)
    return run_command(context, command, manner, f"Let {vm} go on?", nothing=f"{vm} is not paused.")


@site_command("restart", short_help="Restart a VM; pending changes apply.")
@vm_argument()
@message_option
@manner_options
@pass_context
def restart(context: Context, vm: str, message: str, manner: Manner) -> int:
    """Shut VM down and start it anew, so that changes of its definition take effect."""
    command = Command(Verb.RESTART, vm=vm, message=message)
    return run_command(context, command, manner, f"Restart {vm}?", always_ask=True)
