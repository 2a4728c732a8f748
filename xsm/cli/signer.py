"""`xsm host signer HOST`: one more host that holds the site's CA key."""

from __future__ import annotations

import click

from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.names import host_argument


@site_command(
    "signer",
    short_help="Give the site's CA key to a further host.",
    examples=("xsm host signer dmz02",),
)
@host_argument()
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@pass_context
def signer(context: Context, host: str, yes: bool) -> int:
    """Give the site's CA key to HOST: it can then invite hosts, too, and renew certificates.

    At first only the host where `xsm init` ran has it. Works on a host that has it; `xsm hosts` shows which do.
    Whoever is root on such a host can make certificates for anybody: few should have it, but more than one.
    """
    question = f"Give the site's CA key to {host}? Root there can then let in whom they want."
    if not context.confirm(question, yes):
        return 1
    handed = context.client.signer(host)
    if context.json:
        context.show(handed)
        return 0
    context.screen.line(f"These hosts hold the site's CA key: {', '.join(handed.signers)}", "good")
    return 0
