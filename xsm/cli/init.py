"""`xsm init`: a new site, with this host as its first."""

from __future__ import annotations

import click

from xsm.cli.command import command as site_command
from xsm.cli.context import Context, as_shown, pass_context
from xsm.cli.enrolling import (
    HostOptions,
    host_options,
    settings_of,
    show_enrolled,
    told_as_failures,
)
from xsm.site.problems import Invalid


@site_command(
    "init",
    short_help="Make a new site with this host as its first.",
    examples=(
        "xsm init --name dmz01 --address 192.168.5.101 --uri xen:///system",
        "xsm init mysite/ --name dmz01 --address 192.168.5.101",
    ),
)
@click.argument("path", type=click.Path(), metavar="[FILE|DIR]", required=False)
@host_options
@click.option("-m", "--message", default="A new site", metavar="MSG", help="Of its first revision.")
@pass_context
def command(context: Context, path: str | None, host: HostOptions, message: str) -> None:
    """Make a new site with this host as its first: settings, certificates, repository, checkout.

    FILE is the site's first site file (with the configs beside it); without one the site is empty.
    Needs no xsmd, and refuses to touch a host that belongs to a site already. The settings go to
    /etc/xsm/xsmd.toml (not root: ~/.config/xsm/xsmd.toml), or to the FILE of `xsm --config FILE init`.
    """
    import time

    from xsm.edge.enrol import EMPTY_SITE, init_site
    from xsm.edge.folder import read_folder

    settings, settings_path = settings_of(context, host)
    folder = read_folder(path, with_state=False) if path else None
    files = folder.proposed() if folder else EMPTY_SITE
    user = user_name()
    author = f"{user} <{user}@{settings.name}>"
    try:
        with told_as_failures():
            enrolled = init_site(
                settings, settings_path, files, author=author, message=message, now=time.time()
            )
    except Invalid as invalid:
        shown = folder.shown if folder else str
        raise Invalid(as_shown(invalid.problems, shown)) from None
    headline = f"A new site, with {settings.name} as its first host."
    show_enrolled(context, enrolled, headline, shown=folder.shown if folder else str)


def user_name() -> str:
    """The account that runs this; a container's may have no name."""
    import os
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid{os.getuid()}"
