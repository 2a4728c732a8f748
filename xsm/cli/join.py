"""`xsm join TOKEN`: this host becomes a further host of a site."""

from __future__ import annotations

import click

from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.enrolling import (
    HostOptions,
    host_options,
    settings_of,
    show_enrolled,
    told_as_failures,
)
from xsm.cli.texts import date


@site_command(
    "join",
    short_help="Join this host to a site.",
    examples=("xsm join TOKEN --name dmz02 --address 192.168.5.102 --uri xen:///system",),
)
@click.argument("token", metavar="TOKEN")
@host_options
@pass_context
def command(context: Context, token: str, host: HostOptions) -> None:
    """Join this host to the site whose host gave TOKEN (`xsm invite` there). TOKEN `-`: read from standard input.

    Fetches a certificate and the site's whole history. The token names the site's CA by its
    fingerprint: nothing is told to a host that can't prove to be of that site. The settings go to
    /etc/xsm/xsmd.toml (not root: ~/.config/xsm/xsmd.toml), or to the FILE of `xsm --config FILE join`.
    """
    import asyncio
    import sys
    import time

    from xsm.edge.enrol import join_again, join_site
    from xsm.edge.invitations import MAX_TOKEN_CHARS, parse_token

    if token == "-":
        token = sys.stdin.read(MAX_TOKEN_CHARS + 1).strip()
    settings, settings_path = settings_of(context, host)
    with told_as_failures():
        again = parse_token(token).again
    if again:
        with told_as_failures():
            identity = asyncio.run(join_again(settings_path, token))
        if context.json:
            context.show(identity)
            return
        until = date(identity.not_after)
        context.screen.line(f"{identity.name} has new certificates, until {until}.", "good")
        context.screen.line("xsmd takes them up within minutes, or when it is started.")
        return
    with told_as_failures():
        enrolled = asyncio.run(join_site(settings, settings_path, token, time.time()))
    show_enrolled(
        context,
        enrolled,
        f"{settings.name} is a member of the site.",
        to_know="Until xsmd runs here, the site counts this host as absent: a majority needs one host more.",
    )
