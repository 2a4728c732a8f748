"""`xsm disk make VM DISK`: the operator's word that an empty disk may be made where XSM itself would not."""

from __future__ import annotations

import click

from xsm.api.types import Command, Verb
from xsm.cli.carry_out import Manner, manner_options
from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.names import vm_argument
from xsm.cli.power import message_option
from xsm.cli.small_edit import run_command


@click.group("disk", short_help="Have a VM's disk made anew.")
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


command.add_command(make)
