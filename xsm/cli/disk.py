"""`xsm disk`: the operator's word that an empty disk may be made where XSM would not, or that an old one counts."""

from __future__ import annotations

import click

from xsm.api.types import Command, Verb
from xsm.cli.carry_out import Manner, manner_options
from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.names import vm_argument
from xsm.cli.power import message_option
from xsm.cli.small_edit import run_command


@click.group("disk", short_help="Have a VM's disk made anew, or an old one used.")
def command() -> None:
    """Disks of VMs, as the site file names them."""


@site_command(
    "make",
    short_help="Have an empty disk made where the VM starts.",
    examples=("xsm disk make vm1 data",),
)
@vm_argument()
@click.argument("disk")
@message_option
@manner_options
@pass_context
def make(context: Context, vm: str, disk: str, message: str, manner: Manner) -> int:
    """Let VM's host make DISK anew, empty (or as a copy of its `from=`), though it had it before, or another host did.

    Your word that its data is not elsewhere, or not wanted: on a pool that is not mounted, on the host where VM was
    before. A volume that is there is used as it is all the same, and nothing is overwritten. The word is good once.
    """
    return run_command(
        context,
        Command(Verb.MAKE_DISK, vm=vm, disk=disk, message=message),
        manner,
        f"Have an empty disk {disk} made for {vm}, if there is none? What another host has of it is left there.",
        always_ask=True,
    )


@site_command(
    "use",
    short_help="Let a VM use the disk that a host has, though it may be old.",
    examples=("xsm disk use vm1 data dmz02",),
)
@vm_argument()
@click.argument("disk")
@click.argument("host")
@message_option
@manner_options
@pass_context
def use(context: Context, vm: str, disk: str, host: str, message: str, manner: Manner) -> int:
    """Let VM start with what HOST, where it belongs, has of DISK, though that may be old or incomplete.

    Your word that no newer one is elsewhere, or that it is not wanted: after the host where VM ran is lost for good, or
    died just as VM moved. What all other hosts have of DISK is old from then on. The word is good once.
    """
    return run_command(
        context,
        Command(Verb.USE_DISK, vm=vm, disk=disk, host=host, message=message),
        manner,
        f"Let {vm} start with the disk {disk} that {host} has? What another host has written to it since is not in it.",
        always_ask=True,
    )


command.add_command(make)
command.add_command(use)
