"""`xsm host renew`: new certificates for a host that signs, when its own have ended."""

from __future__ import annotations

import click

from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.enrolling import told_as_failures
from xsm.cli.texts import date


@site_command("renew", short_help="Make this host's own certificates anew.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@pass_context
def renew(context: Context, yes: bool) -> int:
    """Make this host's own certificates anew, on a host that holds the site's CA key.

    Certificates renew themselves; this is for a site that was off until they had ended. Needs no xsmd. Look at the
    clock first: they are valid by it. The other hosts then get theirs by `xsm invite NAME --again` here.
    """
    import time

    from xsm.edge.enrol import renew_own
    from xsm.edge.settings import load_settings

    settings = load_settings(context.config or None)
    now = time.time()
    question = f"It is {date(now)} by this host's clock. Make its certificates anew?"
    if not context.confirm(question, yes):
        return 1
    with told_as_failures():
        identity = renew_own(settings, now)
    if context.json:
        context.show(identity)
        return 0
    context.screen.line(
        f"{identity.name} has new certificates, until {date(identity.not_after)}.", "good"
    )
    context.screen.line(
        "An xsmd that runs takes them up within the hour, or when it is started anew."
    )
    return 0
