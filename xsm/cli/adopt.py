"""`xsm adopt HOST [DOMAIN...]`: domains that run already become entries of the site file."""

from __future__ import annotations

import click

from xsm.api.types import Applied, Command, Preview, Verb
from xsm.cli.carry_out import Change, Manner, carry_out, manner_options
from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.names import host_argument
from xsm.cli.power import message_option
from xsm.cli.unknown import names_checked


@site_command(
    "adopt",
    short_help="Take domains that run already into the site.",
    examples=("xsm adopt dmz01", "xsm adopt dmz01 web mail"),
)
@host_argument()
@click.argument("domains", nargs=-1, metavar="[DOMAIN]...")
@message_option
@manner_options
@pass_context
def command(
    context: Context, host: str, domains: tuple[str, ...], message: str, manner: Manner
) -> int:
    """Take foreign domains of HOST into the site: all of them, or the ones named.

    Nothing happens to the domains: the site file gets an entry for each as it is now, its
    definition becomes a config, and from then on the site keeps it so.
    """
    client = context.client
    order = Command(Verb.ADOPT, host=host, vms=tuple(sorted(set(domains))), message=message)

    def preview() -> Preview:
        with names_checked(client, host=host):
            return client.preview_command(order)

    def apply(head: str) -> Applied:
        from dataclasses import replace

        applied = client.command(replace(order, expect=head))
        if not context.json and applied.revision != head:
            show_entries(context, head, applied.revision)
        return applied

    change = Change(
        preview=preview,
        apply=apply,
        question="Take these in?",
        always_ask=True,
        nothing=f"Nothing to take in: {host} has no foreign domains.",
    )
    return carry_out(context, change, manner)


def show_entries(context: Context, old: str, new: str) -> None:
    """The entries that the site file got."""
    from xsm.cli.revisions import added_lines
    from xsm.site.document import SITE_FILES

    before, after = context.client.files(old), context.client.files(new)
    for path in SITE_FILES:
        if path in after:
            context.screen.line(f"{path} has now:", "head")
            for line in added_lines(before.get(path), after[path]):
                context.screen.verbatim(f"  {line}", "new")
