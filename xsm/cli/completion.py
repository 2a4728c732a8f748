"""`xsm completion SHELL`: the script that makes the tab key work."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context

VARIABLE = "_XSM_COMPLETE"  # click's own name for the program `xsm`


@site_command(
    "completion",
    short_help="Print the shell's completion.",
    examples=(
        'eval "$(xsm completion bash)"',
        "xsm completion fish > ~/.config/fish/completions/xsm.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_context
def command(context: Context, shell: str) -> None:
    """Print the completion script of a shell. VMs and hosts are completed by asking xsmd."""
    completion_class = get_completion_class(shell)
    assert completion_class is not None  # the choice above holds click's own three
    # Not .source(), which runs the shell to look at its version.
    script = completion_class(click.Command("xsm"), {}, "xsm", VARIABLE)
    text = script.source_template % script.source_vars()
    context.show({"shell": shell, "script": text}) if context.json else context.screen.raw(text)
