"""`xsm diff [A [B]]`: what differs between two revisions, for people or as text."""

from __future__ import annotations

import click

from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.names import RevisionId
from xsm.cli.texts import short

TEXT_STYLE = {"+": "new", "-": "gone", "@": "move"}


@site_command(
    "diff",
    short_help="What differs between two revisions.",
    examples=("xsm diff", "xsm diff a1b2c3d", "xsm diff a1b2c3d e4f5a6b --text"),
)
@click.argument("old", type=RevisionId(), metavar="[A]", required=False)
@click.argument("new", type=RevisionId(), metavar="[B]", required=False)
@click.option("--text", is_flag=True, help="A unified diff of the files.")
@pass_context
def command(context: Context, old: str | None, new: str | None, text: bool) -> None:
    """What differs between revisions A and B. Without B: the present one; without A: the one before
    it.

    To compare a file with the site use `xsm plan FILE`.
    """
    from xsm.cli.revisions import differences, text_diff

    client = context.client
    newer = client.revision(new) if new else client.revision(client.status().revision)
    if old is None:
        older = client.revision(newer.parents[0]) if newer.parents else None
    else:
        older = client.revision(old)
    before = client.files(older.id) if older else {}
    after = client.files(newer.id)
    lines = tuple(text_diff(before, after)) if text else differences(before, after)
    older_id = older.id if older else ""
    if context.json:
        context.show({"old": older_id, "new": newer.id, "lines": lines})
        return
    screen = context.screen
    if text:
        for line in lines:
            header = line.startswith(("---", "+++"))
            style = "head" if header else TEXT_STYLE.get(line[:1], "")
            screen.verbatim(line, style)
        return
    screen.line(f"{short(older_id)} => {short(newer.id)}", "head")
    for line in lines:
        screen.line(line, indent=2)
    if not lines:
        screen.line("no difference", indent=2)
