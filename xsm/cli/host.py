"""`xsm host drain|resume|fence|forget|list`: what hosts may do for the site."""

from __future__ import annotations

import click

from xsm.api.types import Command, Verb
from xsm.cli.carry_out import Manner, manner_options
from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.draining import drain_host
from xsm.cli.host_add import add
from xsm.cli.hosts import show_hosts
from xsm.cli.libvirt_locks import libvirt_locks
from xsm.cli.libvirt_tls import libvirt_tls
from xsm.cli.names import host_argument
from xsm.cli.power import message_option
from xsm.cli.renew import renew
from xsm.cli.signer import signer
from xsm.cli.small_edit import run_command


@click.group(
    "host",
    short_help="Add, drain, resume, fence, forget or list hosts; their keys and certificates.",
)
def command() -> None:
    """Add, drain, resume, fence, forget or list hosts; their keys and certificates."""


@site_command("list", short_help="The same as `xsm hosts`.")
@pass_context
def list_hosts(context: Context) -> None:
    """The hosts: hypervisor, VMs, memory in all and free, and what is wrong with them."""
    show_hosts(context)


@site_command("drain", short_help="Let a host run no VMs.", examples=("xsm host drain dmz02",))
@host_argument()
@message_option
@manner_options
@pass_context
def drain(context: Context, host: str, message: str, manner: Manner) -> int:
    """Let HOST run no VMs: those that float move elsewhere; pinned ones are held until DOM0 changes.

    Shows first in which order they move, so that memory and APART (anti-affinity) hold at every moment, and how long
    that takes; where HOST can't be emptied otherwise, VMs of other hosts move to make room. Asks. When the time is up,
    and after Ctrl-C, what is under way ends, nothing else leaves, and HOST may run VMs again. Exit code 0 means that
    none of the site's VMs runs on HOST any more, by its own word; as long as one does, it is 1.
    """
    return drain_host(context, host, message, manner)


@site_command("resume", short_help="Let a drained host run VMs again.")
@host_argument()
@click.option(
    "--bring-home",
    "home",
    is_flag=True,
    help="Floating VMs that the drain made leave it come back, but for those that somebody moved since.",
)
@message_option
@manner_options
@pass_context
def resume(context: Context, host: str, home: bool, message: str, manner: Manner) -> int:
    """Let a drained HOST run VMs again."""
    command = Command(Verb.UNDRAIN, host=host, message=message, home=home)
    return run_command(
        context,
        command,
        manner,
        f"Let {host} run VMs again?",
        nothing=f"{host} is not drained.",
    )


@site_command("forget", short_help="Take a host out of the site for good.")
@host_argument()
@click.option(
    "--it-is-off",
    "--sure",
    "sure",
    is_flag=True,
    help="My word that HOST is off and stays off: its VMs may be started elsewhere.",
)
@message_option
@manner_options
@pass_context
def forget(
    context: Context,
    host: str,
    sure: bool,
    message: str,
    manner: Manner,
) -> int:
    """Take HOST out of the site for good: it is no member any more and its vote doesn't count.

    With --it-is-off you vouch that its VMs run no more. If that is wrong, a VM may run twice.
    """
    command = Command(Verb.FORGET, host=host, message=message, sure=sure)
    vouched = f" You vouch that {host} is off and none of its VMs runs." if sure else ""
    if sure:
        _say_what_speaks_against_it(context, host)
    return run_command(
        context,
        command,
        manner,
        f"Forget {host} for good?{vouched}",
        always_ask=True,
    )


def _say_what_speaks_against_it(context: Context, host: str) -> None:
    """Before somebody vouches that a host is off: what it ran, and whether something there still answers."""
    found = next((m for m in context.client.status().members if host in (m.name, m.address)), None)
    if found is None:
        return
    names = {found.name, found.address}
    ran = [
        vm.name
        for vm in context.client.vms()
        if not vm.foreign
        and (names & {*vm.running_on} or (vm.wanted_host in names and vm.state == "unknown"))
    ]
    if ran:
        context.screen.warn(f"{found.name} ran, or may run: {', '.join(ran)}", "care")
    if "nobody listens" in found.error:
        context.screen.warn(
            f"{found.name} is on: its address answers that only xsmd is not running there. Its VMs may well run",
            "bad",
        )


@site_command(
    "fence",
    short_help="Switch a host off, so that its VMs may start elsewhere.",
    examples=("xsm host fence dmz02",),
)
@host_argument()
@message_option
@manner_options
@pass_context
def fence(context: Context, host: str, message: str, manner: Manner) -> int:
    """Switch HOST off by the fence agent that the site file names for it (FENCE). All its VMs stop.

    A majority of all hosts has to agree. Floating VMs then start elsewhere; pinned ones wait. HOST is no member until
    it is switched on again and runs nothing: then it comes back by itself.
    """
    command = Command(Verb.FENCE, host=host, message=message)
    return run_command(
        context,
        command,
        manner,
        f"Switch {host} off now, with all its VMs?",
        always_ask=True,
    )


for _command in (
    add,
    drain,
    resume,
    forget,
    fence,
    libvirt_locks,
    libvirt_tls,
    list_hosts,
    renew,
    signer,
):
    command.add_command(_command)
